"""Robustness: how far scores depend on look-alikes and on files, and where heads disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .....data.output import html as pages
from .....data.output.terminal import decimals, number, percent
from .....errors import FreezeframeError
from ....board.tables import interval_text
from ....scores.clean import leak_count
from ....scores.evaluation import Evaluation
from ....scores.grades import grade_rank
from ..charts.counts import disagreement, edit_changes, stress_curve
from ..choice import Choice, is_candidate
from ..findings.outcome import head_name
from ..numbers import share_text
from ..study import Row, Study
from ..tables import Line
from .parts import draw_html, not_run
from .seeds import seeds_part

MOST_HARD_IMAGES = 10
"""Most images in the table of those that every head gets wrong."""


MOST_NAMED_HEADS = 6


def robustness_section(study: Study, choice: Choice) -> list[str]:
    """Return the stress test, edits, seeds, and how many heads are wrong about each image."""
    return [
        pages.heading("How robust is it?", anchor="robust"),
        *_stress(study, choice),
        *_edits(study, choice),
        *seeds_part(study, choice),
        *_disagreement(study, choice),
    ]


def _stress(study: Study, choice: Choice) -> list[str]:
    rows = [choice.row, *(row for row in study.rows if head_name(row) == head_name(choice.row))]
    row = next((row for row in rows if is_candidate(row) and study.stress(row)), None)
    if row is None:
        head = choice.row["head"]
        return [not_run(f"freezeframe fit-classifier training.h5 --model {head} --stress")]
    levels = study.stress(row) or []
    judged = study.judged_level(row)
    star = (
        "The star is the level that is compared with the first."
        if judged
        else "No level has enough groups to be compared with the first."
    )
    caption = (
        f"{head_name(row)}: images that look alike are kept on one side, in fewer and fewer "
        f"groups. {star} Look-alikes are not patients: new patients may score higher or lower. "
        "Hyper-parameters are chosen for each level by the other folds, so that the first level "
        "may differ from the score of the same head elsewhere."
    )
    cells = [
        (
            f"{decimals(level['n_groups'], 0)}{' *' if place == judged and judged else ''}",
            decimals(level["largest_group"], 0),
            share_text(level, "accuracy"),
            share_text(level, "roc_auc"),
        )
        for place, level in enumerate(levels)
    ]
    headings = ("groups", "images in the largest", "accuracy", "AUC")
    table = pages.table(headings, cells, numbers=range(4))
    drawing = draw_html(stress_curve(levels, judged, caption))
    return [pages.columns([drawing, table])]


def _edits(study: Study, choice: Choice) -> list[str]:
    """Return what edits of the files do to accuracy and answers."""
    title = pages.heading("How much does the answer depend on how the file was saved?", level=3)
    rows = [choice.row, *(row for row in study.rows if head_name(row) == head_name(choice.row))]
    row = next((row for row in rows if study.robustness(row)), None)
    if row is None:
        return [title, not_run(f"freezeframe robustness runs/{choice.row['run_id']} FOLDER")]
    unedited, *edits = study.robustness(row) or []
    exact = number(unedited["changed_answers"]) == 0
    caption = (
        f"{head_name(row)}: change of the accuracy when {unedited['n_images']} test images without "
        "a relative in training are edited, in points, with paired 95 % intervals. Without an edit "
        f"{percent(unedited['accuracy'])} % are right; the files, read again, "
        f"{'give the very same answers' if exact else 'give other answers for some images'} as in "
        "the test. An interval that reaches 0 shows no change."
    )
    cells = [
        (
            ", ".join(filter(None, (line["edit"], line["strength"]))),
            percent(line["accuracy"]),
            _points(line),
            percent(line["changed_answers"]),
        )
        for line in edits
    ]
    headings = ("edit", "accuracy, %", "change (95 %), points", "answers changed, %")
    table = pages.table(headings, cells, numbers=range(1, 4))
    return [title, pages.columns([draw_html(edit_changes(edits, caption)), table])]


def _points(line: Line) -> str:
    """Write the change of the accuracy with its interval, in points."""
    ends = [interval_text("accuracy", number(line["accuracy_change"]))]
    ends.append(interval_text("accuracy", number(line["lower"]), number(line["upper"])))
    return f"{ends[0]} ({ends[1]})"


def _disagreement(study: Study, choice: Choice) -> list[str]:
    """Return the share of images by the number of heads that are wrong about them."""
    rows = _shared_test(study, choice)
    reference = study.evaluation(rows[-1]) if rows else None
    if reference is None or len(rows) < 2:
        return [not_run("freezeframe fit-classifier training.h5 --model all (two heads or more)")]
    wrong, names = _wrong(study, rows, reference)
    counts = wrong.sum(axis=0)
    shares = np.bincount(counts, minlength=len(names) + 1) / len(counts)
    where = f"{rows[-1]['test_set']}, {rows[-1]['split']}"
    caption = (
        f"Test images of {where} by the number of the {len(names)} heads that are wrong about "
        f"them: {100 * shares[0]:.1f} % are right for all, {100 * shares[-1]:.1f} % are wrong for "
        f"all. Look at these first: hard images, or wrong labels.{_head_list(names)}"
    )
    drawing = draw_html(disagreement(shares.tolist(), caption))
    return [pages.columns([drawing, *_hard_images(counts, names, reference)])]


def _head_list(names: Sequence[str]) -> str:
    """Name a few heads; many of them are in the table of all heads."""
    return f" Heads: {', '.join(names)}." if len(names) <= MOST_NAMED_HEADS else ""


def _shared_test(study: Study, choice: Choice) -> list[Row]:
    """Return the rows of a test set on which several heads are scored, the chosen head last.

    Test sets without leaks come first, then the one of the first sentence, then the one with most
    heads, the best grade and most images.
    """
    tests: dict[tuple[str, str], dict[str, Row]] = {}
    for row in filter(is_candidate, study.rows):
        # One row for each head and layer: a head that was fitted again counts once.
        tests.setdefault((row["test_id"], row["split"]), {})[head_name(row)] = row
    name = head_name(choice.row)
    own = (choice.row["test_id"], choice.row["split"])

    def worth(key: tuple[str, str]) -> tuple[float, ...]:
        rows = tests[key].values()
        clean = not any(leak_count(row)[0] for row in rows)
        rank = max(map(grade_rank, rows))
        n = max(int(row["n_test"] or 0) for row in rows)
        return (clean, key == own, len(rows), -rank, n)

    several = [key for key, rows in tests.items() if name in rows and len(rows) > 1]
    if not several:
        return []
    rows = tests[max(several, key=worth)].values()
    return sorted(rows, key=lambda row: head_name(row) == name)


def _wrong(
    study: Study, rows: Sequence[Row], reference: Evaluation
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return where each head is wrong, of shape (n_heads, n_images), and the heads' names."""
    wrong = []
    names = []
    for row in rows:
        evaluation = study.evaluation(row)
        try:
            predictions = evaluation.like(reference) if evaluation else None
        except FreezeframeError:
            # Its predictions are of other images: the leaderboard says so, too.
            continue
        if predictions is not None:
            wrong.append(predictions.predicted[0] != predictions.y)
            names.append(head_name(row))
    return np.array(wrong), names


def _hard_images(
    counts: NDArray[np.intp], names: Sequence[str], reference: Evaluation
) -> list[str]:
    """List images that every head gets wrong."""
    places = np.flatnonzero(counts == len(names))
    if not len(places):
        return []
    predictions = reference.predictions
    rows = [
        (
            reference.paths[place],
            reference.classes[predictions.y[place]],
            reference.classes[predictions.predicted[0, place]],
            f"{predictions.proba[0, place].max():.2f}",
        )
        for place in places[np.argsort(-predictions.proba[0, places].max(axis=1))]
    ]
    title = f"Wrong for all {len(names)} heads: {len(rows)} images"
    title += f", the surest {MOST_HARD_IMAGES}" if len(rows) > MOST_HARD_IMAGES else ""
    headings = ("image", "label", "answer of the head above", "probability")
    table = pages.table(headings, rows[:MOST_HARD_IMAGES], numbers=(3,))
    return [pages.heading(title, level=3) + table]
