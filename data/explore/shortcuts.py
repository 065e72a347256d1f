"""Shortcuts to the label: format, colour mode or image size that gives a class away.

A head that is trained on such images may learn the scanner's export settings instead of the
finding. A small decision tree that sees only these columns shows how much a head could learn from
them. The tree is scored on images that it was not fitted on.

References:
    R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998: how the intervals of several shares are joined into one
    (MOVER), from Wilson's interval of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ..splits import grouped_folds

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
DEPTH = 3

CLEARLY = 0.05
"""A score is clearly above chance if its interval begins at least this far above it."""

TOGETHER = "format, mode and image size together"

SURE = 0.95
"""Least share of the images of a format or mode that are of one class, if it is a telltale."""

FEW_IMAGES = 10
"""Least number of images for a telltale, or for learning a class."""

MOST_HINT_IMAGES = 50_000
"""Most images that are scored; a larger set is sampled, because more make no hint clearer."""

# The normal quantile of a two-sided 95 % interval.
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Hint:
    """A score of how well some columns alone separate the classes.

    Attributes:
        columns: name of the columns: "format", "mode", "image size", ...
        classes: the classes that are separated.
        score: balanced accuracy by cross-validation, 0 to 1; NaN if it cannot be computed.
        low: lower end of the score's 95 % interval.
        high: upper end of the score's 95 % interval.
        rule: the single question that separates the classes best, in words.
        content: True if the columns describe the picture itself, so that its class may rightly
            depend on them.
        missing: the reason for a missing score, else "".
    """

    columns: str
    classes: tuple[str, ...] = ()
    score: float = nan
    low: float = nan
    high: float = nan
    rule: str = ""
    content: bool = False
    missing: str = ""

    @property
    def chance(self) -> float:
        """Score of a guess."""
        return 1 / len(self.classes) if self.classes else nan

    @property
    def clear(self) -> bool:
        """True if the score is clearly above chance; False if it is missing."""
        return self.low > self.chance + CLEARLY

    @property
    def warns(self) -> bool:
        """True if a head could learn these columns instead of the picture."""
        return self.clear and not self.content

    @property
    def sentence(self) -> str:
        """The score and its meaning in words."""
        if self.missing:
            return f"{self.columns}: {self.missing}"
        if len(self.classes) == 2:
            classes = f"{self.classes[0]} from {self.classes[1]}"
        else:
            classes = f"the {len(self.classes)} classes"
        # The names of the columns are the subject of the sentence: "mode" or "format and mode".
        verb = "separate" if " and " in self.columns else "separates"
        alone = "" if self.columns.endswith("together") else " alone"
        result = (
            f"{self.columns}{alone} {verb} {classes} with {_whole_percent(self.score)} balanced "
            f"accuracy (chance {_whole_percent(self.chance)})"
        )
        if not self.clear:
            return f"{result}, which is not clearly above chance"
        if self.content:
            return f"{result}: a head that learns more must do better"
        return f"{result}: a head can learn it instead of the picture"


@dataclass(frozen=True, slots=True)
class Telltale:
    """A format or mode whose images are nearly all of one class.

    Attributes:
        column: "format" or "mode".
        sentence: the finding in words.
    """

    column: str
    sentence: str


def find_hints(images: pd.DataFrame, groups: NDArray[np.intp]) -> list[Hint]:
    """Score how well format, mode and size alone separate the classes.

    Brightness and contrast are scored, too, for comparison. The score is that of a tree of depth 3
    with equal class weights, by stratified 5-fold cross-validation that keeps groups in one fold.
    There are fewer folds if a class has fewer images. Classes with fewer than two independent
    images are skipped.

    Args:
        images: readable images, with the columns label, format, mode, height, width, brightness
            and contrast.
        groups: group number of each image, of shape (n,).
    """
    # Every score uses the same images, so that scores can be compared.
    rows = _hint_rows(images, groups)
    images = images.iloc[rows]
    groups = groups[rows]
    labels = images["label"].to_numpy(str)
    tables = _column_tables(images)
    if len(np.unique(labels)) < 2:
        return [Hint(name, missing="too few independent images") for name in tables]
    try:
        folds = _folds(labels, groups)
    except FreezeframeError as error:
        return [Hint(name, missing=str(error)) for name in tables]
    return [_hint(name, table, labels, groups, folds) for name, table in tables.items()]


def telltales(images: pd.DataFrame, groups: NDArray[np.intp]) -> list[Telltale]:
    """Find formats and modes of few images that are nearly all of one class.

    A balanced score hardly changes for so few images, so `find_hints` does not show them.

    Args:
        images: readable images, with the columns label, format and mode.
        groups: group number of each image, of shape (n,).
    """
    results = []
    labels = images["label"].to_numpy(str)
    for column in ("format", "mode"):
        for value in sorted(set(images[column])):
            members = (images[column] == value).to_numpy()
            names, counts = np.unique(labels[members], return_counts=True)
            label = str(names[counts.argmax()])
            most = int(counts.max())
            n = int(counts.sum())
            n_independent = len(np.unique(groups[members]))
            if most / n < SURE or n_independent < FEW_IMAGES:
                continue
            # If nearly all images are of that class, its share in this format says nothing.
            usual = float((labels == label).mean())
            if _wilson(most / n, n_independent)[0] > usual + CLEARLY:
                count = f"all {n}" if most == n else f"{most} of {n}"
                sentence = (
                    f"{count} images of {column} {value} are {label}: "
                    f"{column} gives their class away"
                )
                results.append(Telltale(column, sentence))
    return results


def _hint_rows(images: pd.DataFrame, groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Select images of classes with at least two independent images, and not too many."""
    labels = images["label"].to_numpy(str)
    independent = {label: len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    # One independent image cannot be in the training part and in the test part.
    rows = np.flatnonzero([independent[label] >= 2 for label in labels])
    if len(rows) > MOST_HINT_IMAGES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_HINT_IMAGES, replace=False))
    return rows


def _column_tables(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of numbers that trees are fitted on, by name."""
    import pandas as pd

    formats = pd.get_dummies(images["format"], dtype=float, prefix="format", prefix_sep=" ")
    modes = pd.get_dummies(images["mode"], dtype=float, prefix="mode", prefix_sep=" ")
    size = images[["height", "width"]].astype(float)
    size["aspect ratio"] = size["width"] / size["height"]
    size["megapixels"] = size["width"] * size["height"] / 1e6
    return {
        "format": formats,
        "mode": modes,
        "image size": size,
        TOGETHER: pd.concat([formats, modes, size], axis=1),
        "brightness and contrast": images[["brightness", "contrast"]].astype(float),
    }


def _folds(
    labels: NDArray[Any], groups: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return grouped folds, at most as many as the rarest class has independent images."""
    rarest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    return grouped_folds(labels, groups, n_folds=min(FOLDS, rarest))


def _hint(
    name: str,
    table: pd.DataFrame,
    labels: NDArray[Any],
    groups: NDArray[np.intp],
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> Hint:
    """Cross-validate a small tree on some columns.

    Args:
        name: name of the columns.
        table: the columns, as numbers.
        labels: class of each image, of shape (n,).
        groups: group number of each image, of shape (n,).
        folds: rows to fit on and rows to score, for each fold.
    """
    values = table.to_numpy(float)
    predictions = np.empty_like(labels)
    # Each image is predicted once, by a tree that never saw its group.
    for train, test in folds:
        predictions[test] = _tree(DEPTH).fit(values[train], labels[train]).predict(values[test])
    score, low, high = _balanced_accuracy(labels, predictions, groups)
    return Hint(
        name,
        classes=tuple(np.unique(labels).tolist()),
        score=score,
        low=low,
        high=high,
        rule=_rule(table, labels),
        content=name.startswith("brightness"),
    )


def _tree(depth: int) -> Any:
    """Return an unfitted decision tree in which all classes have the same weight."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, class_weight="balanced", random_state=0)


def _balanced_accuracy(
    labels: NDArray[Any], predictions: NDArray[Any], groups: NDArray[np.intp]
) -> tuple[float, float, float]:
    """Return the mean share of right predictions over the classes, and its 95 % interval.

    The interval counts the images of a group as one.
    """
    shares = []
    below = 0.0
    above = 0.0
    # Images of a group are not independent, so that it counts as one in the interval.
    for label in np.unique(labels):
        members = labels == label
        share = float((predictions[members] == label).mean())
        low, high = _wilson(share, len(np.unique(groups[members])))
        shares.append(share)
        # MOVER adds the squared distances to the ends, below and above on their own.
        below += (share - low) ** 2
        above += (high - share) ** 2
    n = len(shares)
    score = sum(shares) / n
    return score, max(0.0, score - sqrt(below) / n), min(1.0, score + sqrt(above) / n)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n."""
    centre = share + _Z**2 / (2 * n)
    spread = _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return (centre - spread) / scale, (centre + spread) / scale


def _rule(table: pd.DataFrame, labels: NDArray[Any]) -> str:
    """Return the question that separates the classes best, with its answers.

    For example "width above 258: no_tumor (83 %); else brain_tumor (61 %)".
    """
    values = table.to_numpy(float)
    stump = _tree(1).fit(values, labels)
    tree = stump.tree_
    # A tree of one node has no question: the columns do not differ between the images.
    if tree.node_count == 1:
        return "the same for all"
    column = tree.feature[0]
    name = str(table.columns[column])
    threshold = float(tree.threshold[0])
    above = values[:, column] > threshold
    leaves = [
        (above, tree.value[tree.children_right[0], 0]),
        (~above, tree.value[tree.children_left[0], 0]),
    ]
    answers = []
    for members, weights in leaves:
        label = stump.classes_[int(np.argmax(weights))]
        share = float((labels[members] == label).mean())
        answers.append(f"{label} ({_whole_percent(share)})")
    # Formats and modes are columns of zeros and ones, where "above" says nothing.
    is_name = name.startswith(("format ", "mode "))
    question = name if is_name else f"{name} above {threshold:.4g}"
    return f"{question}: {answers[0]}; else {answers[1]}"


def _whole_percent(share: float) -> str:
    """Write a share in whole per cent: "83 %"."""
    return f"{share:.0%}".replace("%", " %")
