"""Seeds: how far the scores of heads that draw depend on their own chance."""

from __future__ import annotations

from .....data.output import html as pages
from .....data.output.terminal import number, percent
from ..choice import Choice, is_candidate
from ..findings.outcome import head_name
from ..findings.seed_range import SeedRange
from ..numbers import points_text, share_text
from ..study import Study
from .parts import not_run

_HEADINGS = ("head", "seeds", "first seed", "mean, %", "lowest, %", "highest, %", "range")


def seeds_part(study: Study, choice: Choice) -> list[str]:
    """Return the accuracy of each head over its seeds, on the test set of the chosen row."""
    tested = [row for row in study.rows if row["test_id"] == choice.row["test_id"]]
    rows = [row for row in filter(is_candidate, tested) if number(row["n_seeds"]) > 1]
    title = pages.heading("Seeds: the same images, another chance of the head", level=3)
    if not rows:
        drawing = [row for row in filter(is_candidate, tested) if number(row["n_seeds"]) >= 1]
        if not drawing:
            text = "No head of this test set draws anything: any seed gives the same scores."
            if any(not row["n_seeds"] for row in filter(is_candidate, tested)):
                text = "Rows of older versions do not say which heads draw."
            return [title, pages.paragraph(text, quiet=True)]
        head = drawing[0]["head"]
        return [title, not_run(f"freezeframe fit-classifier training.h5 --model {head} --seeds 3")]
    lines = []
    for row in rows:
        seeds = SeedRange.of([row])
        lines.append(
            (
                head_name(row),
                row["n_seeds"],
                share_text(row, "accuracy"),
                *(percent(row[f"seeds_accuracy_{end}"]) for end in ("mean", "lowest", "highest")),
                points_text(seeds.width) + " *" * seeds.disagrees,
            )
        )
    text = (
        "Splits, folds and features are the same for all seeds of a head; its start and what it "
        "draws differ. Heads that are not listed draw nothing, or were fitted with one seed. *: "
        "the range is more than a point and more than half of the 95 % interval, which allows for "
        "the test images alone."
    )
    return [title, pages.table(_HEADINGS, lines, numbers=range(1, 7)), pages.paragraph(text)]
