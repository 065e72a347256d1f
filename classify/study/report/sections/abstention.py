"""Prediction sets: how often a head cannot say, and whether its error rate holds."""

from __future__ import annotations

from .....data.output import html as pages
from .....data.output.terminal import number
from ..choice import Choice
from ..numbers import share_text
from ..study import Study
from .parts import not_run

_HEADINGS = ("tested on", "images (groups)", "sets with the class", "cannot say", "wrong answers")


def abstention_part(study: Study, choice: Choice) -> list[str]:
    """Return how often the head of the chosen row cannot say, on each of its test sets."""
    title = pages.heading('When it should say "cannot say"', level=3)
    lines = study.prediction_sets(choice.row)
    if not lines:
        command = f"freezeframe fit-classifier training.h5 --model {choice.row['head']}"
        return [title, not_run(command)]
    rate = 100 * number(lines[0]["error_rate"])
    n_groups = f"{number(lines[0]['n_calibration']):.0f}"
    if not lines[0]["threshold"]:
        text = (
            f"No answer is withheld: {n_groups} independent training images are too few to promise "
            f"an error rate of {rate:g} %."
        )
        return [title, pages.paragraph(text)]
    rows = [
        (
            f"{line['test_set']}, {line['split']}",
            f"{line['n_test']} ({line['n_test_groups']})",
            share_text(line, "coverage") + " *" * _is_broken(line),
            share_text(line, "cannot_say"),
            share_text(line, "wrong"),
        )
        for line in lines
    ]
    text = (
        f"An image's prediction set has each class that is likely enough. The head answers if its "
        f"answer is the only one, and cannot say if there are several or none. {100 - rate:g} % of "
        f"the sets should hold the class, so that at most {rate:g} % of all images get a wrong "
        "answer, if they are like the training images. Of the images that get an answer, a larger "
        f"share may be wrong. (Split-conformal prediction; {n_groups} groups calibrated it, "
        f"{lines[0]['calibrated_on']}. Each group counts once.)"
    )
    parts = [title, pages.paragraph(text), pages.table(_HEADINGS, rows, numbers=range(1, 5))]
    if any(map(_is_broken, lines)):
        note = (
            f"*: fewer than {100 - rate:g} %, by more than chance: the error rate does not hold "
            "for this test set. Its images may be of another scanner, place or kind of patient."
        )
        parts.append(pages.paragraph(note))
    return parts


def _is_broken(line: dict[str, str]) -> bool:
    """Return True if the sets of a test set are wrong more often than promised."""
    return number(line["coverage_high"]) < 1 - number(line["error_rate"])
