"""Files of predictions: what a head said of every test image, with all that a comparison of two heads needs.

`predictions.csv` in a run's folder has one line per test set, repeat and image. Its columns:

    test_id, test_set, split   which test set, as in the leaderboard
    positive                   the class that sensitivity speaks of; empty with more than two classes
    repeat                     1, 2, ... where cross-validation was repeated, else 1
    path, sha256, group        the image; images of one group are no independent observations
    label, predicted           its class, and the one that the head says
    p_<class>, ...             the probabilities, each as the shortest decimal that is read back to the same float64:
                               a digit less could tie two images or part them, and the AUC would be another
    in_training                yes, if the very same file was trained on; else no
    relative                   how it is related to an image that was trained on: bytes, pixels, near or group, as in
                               `relatives.LEVELS`; empty if it is not, unknown if that could not be found out.
                               Older files do not have it
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ...data.output.csv import csv_line, csv_lines, defuse, restore_text
from ...errors import FreezeframeError
from ..scores.evaluation import Evaluation
from ..scores.predictions import Predictions
from ..task.relatives import LEVELS, UNKNOWN

NAME = "predictions.csv"
IDENTITY = ("test_id", "test_set", "split", "positive")
COLUMNS = (*IDENTITY, "repeat", "path", "sha256", "group", "label", "predicted", "in_training")
"""What every file has beside the probabilities, which stand before the last. The very last is "relative"."""
TEXTS = (*IDENTITY, "path", "sha256", "label", "predicted")

_LEVELS = (*LEVELS, UNKNOWN, "")
"""The strongest first."""

WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def write_predictions(path: str | os.PathLike[str], evaluations: Sequence[Evaluation]) -> None:
    """Write a new file of predictions.

    Args:
        path: of a file that does not exist.
        evaluations: one or more, all of the same classes.

    Raises:
        FreezeframeError: two are of the same images.
        OSError: the file exists, or cannot be written.
    """
    test_ids = [evaluation.test_id for evaluation in evaluations]
    for evaluation in evaluations:
        if test_ids.count(evaluation.test_id) > 1:
            raise FreezeframeError(
                f"{evaluation.test_set}, {evaluation.split}: tested on twice; give it once"
            )
    classes = evaluations[0].classes
    if any(evaluation.classes != classes for evaluation in evaluations):
        raise ValueError("all evaluations of a head have the same classes")
    with Path(path).open("x", newline="", encoding="utf-8") as file:
        file.write(
            csv_line((*COLUMNS[:-1], *(f"p_{name}" for name in classes), COLUMNS[-1], "relative"))
        )
        for evaluation in evaluations:
            file.writelines(_lines(evaluation))


def _lines(evaluation: Evaluation) -> Iterator[str]:
    said = evaluation.predictions
    names = [defuse(name) for name in evaluation.classes]
    identity = [defuse(getattr(evaluation, name)) for name in IDENTITY]
    paths, sha256s = (
        [defuse(str(text)) for text in texts] for texts in (evaluation.paths, evaluation.sha256s)
    )
    trained, related = (
        ["yes" if known else "no" for known in evaluation.in_training],
        evaluation.relatives.tolist(),
    )
    for repeat, (proba, predicted) in enumerate(
        zip(said.proba.tolist(), said.predicted.tolist(), strict=True), 1
    ):
        for i, (y, group) in enumerate(zip(said.y.tolist(), said.groups.tolist(), strict=True)):
            image = (paths[i], sha256s[i], str(group), names[y], names[predicted[i]])
            yield csv_line(
                (*identity, str(repeat), *image, *map(repr, proba[i]), trained[i], related[i])
            )


def read_predictions(path: str | os.PathLike[str]) -> dict[str, Evaluation]:
    """The evaluations in a file of predictions, by test id, in the order of the file.

    Args:
        path: of the file, or of a run's folder.

    Raises:
        FreezeframeError: the file is missing, or is no file of predictions; the text names the
            line.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    try:
        lines = csv_lines(path.read_bytes())
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no predictions here; fit-classifier makes them") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read as predictions ({error})") from None
    table = _Table(path, lines)
    return {test_id: table.evaluation(test_id, rows) for test_id, rows in table.rows_of.items()}


class _Table:
    """The lines of a file of predictions by column, each cell checked for itself."""

    def __init__(self, path: Path, lines: list[list[str]]) -> None:
        self.path = path
        header, *body = lines or [[]]
        self._check_header(header)
        for number, line in enumerate(body):
            if len(line) != len(header):
                self.fail(f"{len(line)} cells instead of {len(header)}", number)
        cells = dict(zip(header, zip(*body, strict=True), strict=True)) if body else {}
        if not cells:
            self.fail("it has no lines")
        self.texts = {
            name: [restore_text(cell) if cell[:1] == "'" else cell for cell in cells[name]]
            for name in TEXTS
        }
        self.classes = tuple(name[2:] for name in header if name.startswith("p_"))
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.label = self._column("label", self.texts["label"], numbers.get)
        self.predicted = self._column("predicted", self.texts["predicted"], numbers.get)
        self.group = self._column("group", cells["group"], _whole_number)
        self.repeat = self._column("repeat", cells["repeat"], _whole_number)
        self.looked_for = "relative" in cells
        self.relative = self._relatives(
            cells["in_training"], cells.get("relative", [UNKNOWN] * len(body))
        )
        self.proba = self._probabilities([cells[f"p_{name}"] for name in self.classes])
        self.rows_of: dict[str, list[int]] = {}
        for row, test_id in enumerate(self.texts["test_id"]):
            self.rows_of.setdefault(test_id, []).append(row)

    def _check_header(self, header: list[str]) -> None:
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            self.fail(f"no column {', '.join(missing)}; fit-classifier of this version writes all")
        if len(set(header)) < len(header):
            self.fail("two columns of one name")
        if sum(name.startswith("p_") for name in header) < 2:
            self.fail("fewer than two columns p_CLASS")

    def _relatives(self, trained: Sequence[str], related: Sequence[str]) -> NDArray[np.intp]:
        """Places in `_LEVELS`; a file without the column knows only which images are in training."""
        known = self._column("in_training", trained, {"yes": 1, "no": 0}.get) == 1
        levels = self._column(
            "relative", related, {level: place for place, level in enumerate(_LEVELS)}.get
        )
        return np.where(known, _LEVELS.index("bytes"), levels)

    def _column(
        self, name: str, cells: Sequence[str], number: Callable[[str], int | None]
    ) -> NDArray[np.intp]:
        known = {cell: number(cell) for cell in set(cells)}
        wrong = {cell for cell, value in known.items() if value is None}
        if wrong:
            row = next(row for row, cell in enumerate(cells) if cell in wrong)
            self.fail(f"{name} is {cells[row][:40]!r}", row)
        return np.array([known[cell] for cell in cells], dtype=np.intp)

    def _probabilities(self, columns: list[Sequence[str]]) -> NDArray[np.float64]:
        """Of shape (n_lines, n_classes)."""
        proba = np.array([[_number(cell) for cell in cells] for cells in columns]).T
        # Who rounds the probabilities of many classes gets sums that are a little off.
        good = (
            (proba >= 0).all(axis=1)
            & (proba <= 1).all(axis=1)
            & (np.abs(proba.sum(axis=1) - 1) < 0.01)
        )
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            self.fail("its probabilities are not numbers from 0 to 1 with a sum of 1", row)
        return np.ascontiguousarray(proba)

    def evaluation(self, test_id: str, rows: list[int]) -> Evaluation:
        """The rows of one test id, brought into the order of their first repeat."""
        if not test_id:
            self.fail("test_id is empty", rows[0])
        for name in IDENTITY[1:]:
            self._check_alike(name, rows, [rows[0]] * len(rows))
        positive = self.texts["positive"][rows[0]]
        if positive and positive not in self.classes:
            self.fail(f"positive is {positive[:40]!r}", rows[0])
        repeats = self._repeats(rows)
        first = repeats[0]
        said = Predictions(
            self.label[first],
            self.proba[np.array(repeats)],
            self.predicted[np.array(repeats)],
            self.group[first],
            self.classes.index(positive) if positive else None,
        )
        test_set, split = self.texts["test_set"][rows[0]], self.texts["split"][rows[0]]
        paths, sha256s = ([self.texts[name][row] for row in first] for name in ("path", "sha256"))
        related = np.array(_LEVELS)[self.relative[np.array(repeats)].min(axis=0)]
        return Evaluation(
            test_id, test_set, split, self.classes, paths, sha256s, said, related, self.looked_for
        )

    def _repeats(self, rows: list[int]) -> list[list[int]]:
        """Rows of each repeat, all in the same order of images."""
        found: dict[int, dict[str, int]] = {}
        for row in rows:
            images = found.setdefault(int(self.repeat[row]), {})
            path = self.texts["path"][row]
            if path in images:
                self.fail(f"the image {path[:80]!r} stands there twice", row)
            images[path] = row
        first = next(iter(found.values()))
        for images in found.values():
            if images.keys() != first.keys():
                self.fail("not every repeat has all images", next(iter(images.values())))
            for name in ("label", "sha256"):
                self._check_alike(name, [images[path] for path in first], list(first.values()))
        return [[images[path] for path in first] for images in found.values()]

    def _check_alike(self, name: str, rows: list[int], others: list[int]) -> None:
        cells = self.texts[name]
        if [cells[row] for row in rows] == [cells[row] for row in others]:
            return
        for row, other in zip(rows, others, strict=True):
            if cells[row] != cells[other]:
                self.fail(
                    f"{name} is {cells[row][:40]!r}, but {cells[other][:40]!r} in line {other + 2}",
                    row,
                )

    def fail(self, what: str, row: int | None = None) -> NoReturn:
        where = "" if row is None else f" in line {row + 2}"
        raise FreezeframeError(f"{self.path}: not a file of predictions: {what}{where}")


def _whole_number(cell: str) -> int | None:
    return int(cell) if WHOLE_NUMBER.fullmatch(cell) else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
