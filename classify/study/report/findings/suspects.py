"""Suspects: images whose label may be wrong, for the user to look at and correct.

Heads that were not trained on an image give its label a low probability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .....data.output.csv import csv_line
from ....scores.evaluation import Evaluation
from ..choice import Choice, is_candidate, is_external, is_random_split
from ..study import Row, Study
from .outcome import head_name

SUSPECTS_NAME = "suspects.csv"
SUSPECT_COLUMNS = (
    *("rank", "path", "copies", "label", "probability_of_label", "likeliest"),
    "probability_of_likeliest",
)
"""Columns of suspects.csv: a line for each picture, the most doubtful label first."""


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is not its likeliest class.

    Attributes:
        path: the image; of several copies, the one whose label is the least likely.
        copies: number of tested images that show this picture under this label, itself included.
        label: its class.
        probability: probability of that class, out of fold.
        likeliest: the likeliest class.
        highest: probability of that class.
    """

    path: str
    copies: int
    label: str
    probability: float
    likeliest: str
    highest: float


def find_suspects(study: Study, choice: Choice) -> tuple[Row | None, list[Suspect]]:
    """Return the row that has most images of the training set out of fold, and its suspects.

    It is a row of the chosen head, or the chosen row itself.
    """
    rows = [
        row
        for row in study.rows
        if head_name(row) == head_name(choice.row)
        and is_candidate(row)
        and not is_external(row)
        and not is_random_split(row)
    ]
    for row in sorted(rows, key=lambda row: -int(row["n_test"] or 0)):
        evaluation = study.evaluation(row)
        if evaluation is not None:
            own = study.groups[0]["set"] if study.groups else ""
            lines = [line for line in study.groups or [] if line["set"] == own]
            return row, label_suspects(
                evaluation, {line["path"]: line["picture"] for line in lines}
            )
    return None, []


def label_suspects(evaluation: Evaluation, pictures: Mapping[str, str]) -> list[Suspect]:
    """Rank the images whose label is not their likeliest class, the least likely label first.

    Images with a relative in training are left out: their heads know the label. A copy of a picture
    under the same label counts once.

    Args:
        evaluation: predictions of heads that were not trained on the images; the mean over repeats
            counts.
        pictures: number of the picture that each image shows, by path; an image that is missing
            here is compared by the digest of its file.

    References:
        Northcutt, Jiang and Chuang (2021): Confident learning: estimating uncertainty in dataset
        labels. Journal of Artificial Intelligence Research 70, 1373-1411. The order is that of
        their self-confidence.
    """
    predictions = evaluation.predictions
    proba = predictions.proba.mean(axis=0)
    of_label = proba[np.arange(len(proba)), predictions.y]
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(~evaluation.leaking).tolist():
        path = evaluation.paths[row]
        picture = pictures.get(path) or evaluation.sha256s[row] or path
        members[picture, int(predictions.y[row])].append(row)
    suspects = []
    for rows in members.values():
        row = min(rows, key=lambda row: (of_label[row], evaluation.paths[row]))
        likeliest = int(proba[row].argmax())
        if likeliest != predictions.y[row]:
            suspects.append(
                Suspect(
                    evaluation.paths[row],
                    len(rows),
                    evaluation.classes[predictions.y[row]],
                    float(of_label[row]),
                    evaluation.classes[likeliest],
                    float(proba[row, likeliest]),
                )
            )
    return sorted(suspects, key=lambda suspect: (suspect.probability, suspect.path))


def suspects_csv(suspects: Sequence[Suspect]) -> str:
    """Return the text of suspects.csv."""
    lines = [csv_line(SUSPECT_COLUMNS)]
    for rank, suspect in enumerate(suspects, start=1):
        cells = [str(rank), suspect.path, str(suspect.copies), suspect.label]
        cells += [f"{suspect.probability:.6f}", suspect.likeliest, f"{suspect.highest:.6f}"]
        lines.append(csv_line(cells))
    return "".join(lines)
