"""Files of predictions: the probabilities of a head for every test image.

`predictions.csv` in a run's folder has all that a comparison of two heads needs: one line per test
set, repeat and image. Its columns:

    test_id, test_set, split   the test set, as in the leaderboard
    positive                   the class that sensitivity is computed for; empty with more than two
                               classes
    repeat                     1, 2, ... where cross-validation was repeated, else 1
    path, sha256, group        the image; images of one group are not independent observations
    label, predicted           its class, and the class that the head predicts
    p_<class>, ...             the probabilities, each as the shortest decimal that is read back to
                               the same float64. With fewer digits, two images could tie, and the
                               AUC would change
    in_training                yes, if the very same file was trained on; else no
    relative                   its relation to an image that was trained on: bytes, pixels, near or
                               group, as in `relatives.LEVELS`; empty if it has none; unknown if
                               relatives could not be checked. Older files do not have this column
    patient                    its patient or declared group, a number that shows no identifier;
                               only in files of test sets that have some

`predictions_by_patient.csv` has the same columns, and a line for each patient: `path` is its name
in the column `patient`, and `sha256` a digest of its images, which identifies it in any run.
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

from ...data.formats.regular_file import read_regular
from ...data.output.csv import csv_line, csv_lines, restore_text
from ...errors import FreezeframeError, ImageError
from ..scores.evaluation import Evaluation
from ..scores.predictions import Predictions
from ..task.relatives import LEVELS, UNKNOWN
from ..task.store_split import HOLD_OUT, RANDOM
from ..task.units import GROUP, PATIENT

PREDICTIONS_NAME = "predictions.csv"
BY_PATIENT_NAME = "predictions_by_patient.csv"

_TEST_SET = ("test_id", "test_set", "split", "positive")
_TEXTS = (*_TEST_SET, "path", "sha256", "label", "predicted")
_ALWAYS = (*_TEST_SET, "repeat", "path", "sha256", "group", "label", "predicted", "in_training")
"""Columns of every file, beside the probabilities. These come before the last one."""

_LEVELS = (*LEVELS, UNKNOWN, "")
"""Cells of the column "relative", the strongest relation first."""

_WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def write_predictions(path: str | os.PathLike[str], evaluations: Sequence[Evaluation]) -> None:
    """Write a new file of predictions.

    Args:
        path: the file, which must not exist.
        evaluations: one or more, all of the same classes.

    Raises:
        FreezeframeError: two are of the same images.
        OSError: the file exists, or cannot be written.
    """
    test_ids = [evaluation.test_id for evaluation in evaluations]
    # Readers find an evaluation by its id, so two of one id would be mixed up.
    for evaluation in evaluations:
        if test_ids.count(evaluation.test_id) > 1:
            raise FreezeframeError(
                f"{evaluation.test_set}, {evaluation.split}: these images are tested twice; "
                "give the store once"
            )
    classes = evaluations[0].classes
    if any(evaluation.classes != classes for evaluation in evaluations):
        raise ValueError("all evaluations of a head have the same classes")
    probabilities = [f"p_{name}" for name in classes]
    with Path(path).open("x", newline="", encoding="utf-8") as file:
        with_patients = any(evaluation.patients for evaluation in evaluations)
        last = (_ALWAYS[-1], "relative", *(["patient"] if with_patients else []))
        file.write(csv_line([*_ALWAYS[:-1], *probabilities, *last]))
        for evaluation in evaluations:
            file.writelines(_lines(evaluation, with_patients))


def _lines(evaluation: Evaluation, with_patients: bool) -> Iterator[str]:
    """Yield the lines of one evaluation."""
    predictions = evaluation.predictions
    names = evaluation.classes
    test_set = [getattr(evaluation, name) for name in _TEST_SET]
    # The cells of an image that are the same in every repeat.
    images = [
        [str(path), str(sha256), str(group), names[y]]
        for path, sha256, group, y in zip(
            evaluation.paths,
            evaluation.sha256s,
            predictions.groups.tolist(),
            predictions.y.tolist(),
            strict=True,
        )
    ]
    in_training = ["yes" if same else "no" for same in evaluation.in_training]
    # The last cells are those of the relation, and of the patient.
    ends = [[relative] for relative in evaluation.relatives.tolist()]
    if with_patients:
        patients = evaluation.patients or [""] * len(ends)
        ends = [[*end, patient] for end, patient in zip(ends, patients, strict=True)]
    for repeat, (proba, predicted) in enumerate(
        zip(predictions.proba.tolist(), predictions.predicted.tolist(), strict=True), 1
    ):
        for i, image in enumerate(images):
            probabilities = map(repr, proba[i])
            prediction = (names[predicted[i]], *probabilities, in_training[i], *ends[i])
            yield csv_line((*test_set, str(repeat), *image, *prediction))


def read_predictions(
    path: str | os.PathLike[str], name: str = PREDICTIONS_NAME
) -> dict[str, Evaluation]:
    """Read the evaluations in a file of predictions, by test id, in the order of the file.

    Args:
        path: the file, or a run's folder.
        name: name of the file in a folder.

    Raises:
        FreezeframeError: the file is missing, or is not a file of predictions; the text names the
            line.
    """
    path = Path(path)
    path = path / name if path.is_dir() else path
    try:
        lines = csv_lines(read_regular(path))
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no predictions here; fit-classifier makes them") from None
    except (OSError, ImageError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read as predictions ({error})") from None
    table = _PredictionTable(path, lines, by_patient=name == BY_PATIENT_NAME)
    return {test_id: table.evaluation(test_id, rows) for test_id, rows in table.rows_of.items()}


def held_out_paths(folder: Path) -> frozenset[str]:
    """Return the paths of the images of its store that a run held out of its training.

    They are known by its predictions: without them, no image is held out.

    Args:
        folder: folder of the run.

    Raises:
        FreezeframeError: the predictions are damaged.
    """
    if not (folder / PREDICTIONS_NAME).is_file():
        return frozenset()
    evaluations = read_predictions(folder).values()
    splits = [item for item in evaluations if item.split.startswith((HOLD_OUT, RANDOM))]
    return frozenset(str(path) for item in splits for path in item.paths)


class _PredictionTable:
    """The lines of a file of predictions by column; each cell is checked by itself."""

    def __init__(self, path: Path, lines: list[list[str]], *, by_patient: bool) -> None:
        self.path = path
        self._by_patient = by_patient
        header, *body = lines or [[]]
        # Names of classes are in the header, too.
        header = _restored_cells(header)
        self._check_header(header)
        for number, line in enumerate(body):
            if len(line) != len(header):
                self.fail(f"{len(line)} cells instead of {len(header)}", number)
        if not body:
            self.fail("it has no lines")
        cells = dict(zip(header, zip(*body, strict=True), strict=True))
        self.texts = {name: _restored_cells(cells[name]) for name in _TEXTS}
        self.classes = tuple(name[2:] for name in header if name.startswith("p_"))
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.label = self._column("label", self.texts["label"], numbers.get)
        self.predicted = self._column("predicted", self.texts["predicted"], numbers.get)
        self.group = self._column("group", cells["group"], _whole_number)
        self.repeat = self._column("repeat", cells["repeat"], _whole_number)
        # Versions before this column noticed byte-identical files only.
        self.looked_for = "relative" in cells
        relatives = cells.get("relative", [UNKNOWN] * len(body))
        self.relative = self._relatives(cells["in_training"], relatives)
        self.proba = self._probabilities([cells[f"p_{name}"] for name in self.classes])
        self.rows_of: dict[str, list[int]] = {}
        for row, test_id in enumerate(self.texts["test_id"]):
            self.rows_of.setdefault(test_id, []).append(row)

    def _check_header(self, header: list[str]) -> None:
        """Fail if a column is missing or doubled. Any order and further columns are allowed."""
        missing = [name for name in _ALWAYS if name not in header]
        if missing:
            self.fail(f"no column {', '.join(missing)}, all of which fit-classifier writes")
        # A dict of columns would drop one of them.
        if len(set(header)) < len(header):
            self.fail("two columns have one name")
        if sum(name.startswith("p_") for name in header) < 2:
            self.fail("fewer than two columns p_CLASS")

    def _relatives(self, in_training: Sequence[str], relative: Sequence[str]) -> NDArray[np.intp]:
        """Return the place of each line's relation in `_LEVELS`.

        A file without the column "relative" shows only which images are in training.
        """
        same_bytes = self._column("in_training", in_training, {"yes": 1, "no": 0}.get) == 1
        places = {level: place for place, level in enumerate(_LEVELS)}
        levels = self._column("relative", relative, places.get)
        return np.where(same_bytes, _LEVELS.index("bytes"), levels)

    def _column(
        self, name: str, cells: Sequence[str], convert: Callable[[str], int | None]
    ) -> NDArray[np.intp]:
        """Convert cells to numbers; fail at the first one that `convert` returns None for."""
        # Most cells repeat: each text is converted once.
        numbers = {cell: convert(cell) for cell in set(cells)}
        for row, cell in enumerate(cells):
            if numbers[cell] is None:
                self.fail(f"{name} is {cell[:40]!r}", row)
        return np.array([numbers[cell] for cell in cells], dtype=np.intp)

    def _probabilities(self, columns: list[Sequence[str]]) -> NDArray[np.float64]:
        """Convert the cells of each class; the result is of shape (n_lines, n_classes)."""
        proba = np.array([list(map(_number, cells)) for cells in columns]).T
        # Probabilities that were rounded by hand have sums a little off 1.
        off = np.abs(proba.sum(axis=1) - 1)
        good = (proba >= 0).all(axis=1) & (proba <= 1).all(axis=1) & (off < 0.01)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            self.fail("its probabilities are not numbers from 0 to 1 with a sum of 1", row)
        return np.ascontiguousarray(proba)

    def evaluation(self, test_id: str, rows: list[int]) -> Evaluation:
        """Return the evaluation of one test id, its images in the order of their first repeat."""
        if not test_id:
            self.fail("test_id is empty", rows[0])
        # All rows of one test id must have the same test set, split and positive class.
        for name in _TEST_SET[1:]:
            self._check_equal(name, rows, [rows[0]] * len(rows))
        positive = self.texts["positive"][rows[0]]
        if positive and positive not in self.classes:
            self.fail(f"positive is {positive[:40]!r}", rows[0])
        repeats = self._repeats(rows)
        first = repeats[0]
        predictions = Predictions(
            self.label[first],
            self.proba[np.array(repeats)],
            self.predicted[np.array(repeats)],
            self.group[first],
            self.classes.index(positive) if positive else None,
        )
        # The strongest relation in any repeat counts.
        relatives = np.array(_LEVELS)[self.relative[np.array(repeats)].min(axis=0)]
        return Evaluation(
            test_id,
            self.texts["test_set"][rows[0]],
            self.texts["split"][rows[0]],
            self.classes,
            [self.texts["path"][row] for row in first],
            [self.texts["sha256"][row] for row in first],
            predictions,
            relatives,
            self.looked_for,
            unit=self._unit(rows[0]),
        )

    def _unit(self, row: int) -> str:
        """Return what the rows of an evaluation are: its names begin with it, "group 1" say."""
        if not self._by_patient:
            return "image"
        return GROUP if self.texts["path"][row].startswith(f"{GROUP} ") else PATIENT

    def _repeats(self, rows: list[int]) -> list[list[int]]:
        """Return the rows of each repeat, all in the same order of images."""
        by_repeat: dict[int, dict[str, int]] = {}
        for row in rows:
            images = by_repeat.setdefault(int(self.repeat[row]), {})
            path = self.texts["path"][row]
            if path in images:
                self.fail(f"the image {path[:80]!r} is listed twice", row)
            images[path] = row
        # Any order of lines is allowed: the first repeat sets the order of the images.
        first = next(iter(by_repeat.values()))
        for images in by_repeat.values():
            if images.keys() != first.keys():
                self.fail("not every repeat has all images", next(iter(images.values())))
            for name in ("label", "sha256"):
                self._check_equal(name, [images[path] for path in first], list(first.values()))
        return [[images[path] for path in first] for images in by_repeat.values()]

    def _check_equal(self, name: str, rows: list[int], references: list[int]) -> None:
        """Fail if a column differs between rows and reference rows."""
        cells = self.texts[name]
        for row, reference in zip(rows, references, strict=True):
            if cells[row] != cells[reference]:
                self.fail(
                    f"{name} is {cells[reference][:40]!r} in line {reference + 2}, "
                    f"but {cells[row][:40]!r}",
                    row,
                )

    def fail(self, problem: str, row: int | None = None) -> NoReturn:
        """Raise FreezeframeError; the text names the line of the row."""
        # Rows count from 0 and follow the header, lines count from 1.
        where = "" if row is None else f" in line {row + 2}"
        raise FreezeframeError(
            f"{self.path}: not a file of predictions: {problem}{where}; fit again"
        )


def _restored_cells(cells: Sequence[str]) -> list[str]:
    return [restore_text(cell) if cell[:1] == "'" else cell for cell in cells]


def _whole_number(cell: str) -> int | None:
    return int(cell) if _WHOLE_NUMBER.fullmatch(cell) else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
