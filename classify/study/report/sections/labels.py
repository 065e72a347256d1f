"""Labels to look at again: images whose label is not their likeliest class."""

from __future__ import annotations

from .....data.output import html as pages
from .....data.output.terminal import counted
from ..choice import Choice
from ..findings.outcome import head_name
from ..findings.suspects import SUSPECTS_NAME, find_suspects
from ..study import Study
from .pictures import pictures_of

MOST_SUSPECTS = 12
"""Most images in the table; suspects.csv has all."""


def labels_section(study: Study, choice: Choice) -> list[str]:
    """Return the images whose label has the least probability."""
    row, suspects = find_suspects(study, choice)
    title = pages.heading("Labels to look at again", level=3, anchor="labels")
    if row is None:
        return [title, pages.paragraph("no predictions to judge labels by", quiet=True)]
    whose = f"{head_name(row)}, {row['split']}: {counted(int(row['n_test']), 'image')}, each judged"
    if not suspects:
        text = f"{whose} by a head that was not trained on it. Every label is its likeliest class."
        return [title, pages.paragraph(text)]
    text = (
        f"{whose} by a head that was not trained on it. {counted(len(suspects), 'picture')} "
        f"{'has' if len(suspects) == 1 else 'have'} a label that is not the likeliest class: a "
        "mistake of the head, or of the label. Those whose label has the least probability come "
        f"first (self-confidence, Northcutt 2021). All are in report/{SUSPECTS_NAME}. Look at them "
        "before you change a label: a hard picture looks the same to a head as a wrong label."
    )
    rows = [
        (
            rank,
            suspect.path,
            suspect.copies,
            suspect.label,
            f"{100 * suspect.probability:.2g}",
            suspect.likeliest,
        )
        for rank, suspect in enumerate(suspects[:MOST_SUSPECTS], start=1)
    ]
    headings = ("#", "image", "copies", "label", "probability of the label, %", "likeliest class")
    pictures = (pictures_of(study) or {}).get("suspect", [])
    table = pages.table(headings, rows, numbers=(0, 2, 4))
    return [title, pages.paragraph(text), *pictures, table]
