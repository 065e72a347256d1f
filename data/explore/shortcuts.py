"""What gives a class away without its pictures being looked at: file format, colour mode, image size.

A head that is trained on such images may learn the scanner's export settings instead of the
finding. How well a small tree does on those columns alone, on images it was not fitted on, says how
much there is to learn.

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
"""A warning is given if the interval of the score ends so far above chance."""

TOGETHER = "format, mode and image size together"

SURE = 0.95
"""A format or mode is a telltale if so many of its images are of one class, and it has `FEW` images at least."""
FEW = 10

MOST_ROWS = 50_000
"""Of more images, so many are drawn: no hint gets clearer by more."""

_Z = 1.959964  # 95 %, two-sided


@dataclass(frozen=True, slots=True)
class Hint:
    """How well some columns alone tell the classes apart.

    Attributes:
        columns: what was looked at: "format", "mode", "image size", ...
        classes: those that were told apart.
        score: balanced accuracy by cross-validation, 0 to 1; NaN if it cannot be told.
        low, high: its 95 % interval.
        rule: the one question that tells most, in words.
        content: the columns belong to the picture, so that they may rightly tell its class.
        missing: why there is no score, else "".
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
        """What guessing scores."""
        return 1 / len(self.classes) if self.classes else nan

    @property
    def clear(self) -> bool:
        """Whether the score is clearly above chance."""
        return self.low > self.chance + CLEARLY  # never, where it is NaN

    @property
    def warns(self) -> bool:
        """Whether a head could learn this instead of the picture."""
        return self.clear and not self.content

    @property
    def sentence(self) -> str:
        """What the score means."""
        if self.missing:
            return f"{self.columns}: {self.missing}"
        if len(self.classes) == 2:
            what = f"{self.classes[0]} from {self.classes[1]}"
        else:
            what = f"the {len(self.classes)} classes apart"
        verb = "tell" if " and " in self.columns else "tells"
        alone = "" if self.columns.endswith("together") else " alone"
        told = f"{self.columns}{alone} {verb} {what} in {self.score:.0%} (chance {self.chance:.0%})".replace(
            "%", " %"
        )
        if not self.clear:
            return f"{told}, which is not clearly more than chance"
        if self.content:
            return f"{told}: a head must do better to have learnt more than that"
        return f"{told}: a head can learn it instead of the picture"


def find_hints(images: pd.DataFrame, groups: NDArray[np.intp]) -> list[Hint]:
    """How well format, mode and size alone tell the classes apart; and brightness and contrast, for comparison.

    A tree of depth 3 whose classes weigh the same is judged by stratified 5-fold cross-validation
    (by fewer folds where a class has fewer images) that leaves groups whole. Classes with fewer
    than two independent images are left out.

    Args:
        images: readable ones, with the columns label, format, mode, height, width, brightness and
            contrast.
        groups: group number of each, of shape (n,).
    """
    chosen = _chosen(images, groups)
    images, groups = images.iloc[chosen], groups[chosen]
    asked = _columns(images)
    if images["label"].nunique() < 2:
        return [Hint(name, missing="there are too few independent images") for name in asked]
    try:
        folds = _folds(images["label"].to_numpy(str), groups)
    except FreezeframeError as error:
        return [Hint(name, missing=str(error)) for name in asked]
    return [
        _hint(name, columns, images["label"].to_numpy(str), groups, folds)
        for name, columns in asked.items()
    ]


def telltales(images: pd.DataFrame, groups: NDArray[np.intp]) -> list[str]:
    """Formats and modes that few images have, but nearly all of one class: a balanced score hardly shows them."""
    told = []
    labels = images["label"].to_numpy(str)
    for column in ("format", "mode"):
        for value in sorted(set(images[column])):
            members = (images[column] == value).to_numpy()
            names, n = np.unique(labels[members], return_counts=True)
            label, share = str(names[n.argmax()]), float(n.max() / n.sum())
            independent = len(np.unique(groups[members]))
            usual = float((labels == label).mean())
            if (
                share >= SURE
                and independent >= FEW
                and _wilson(share, independent)[0] > usual + CLEARLY
            ):
                all_of = f"all {n.sum()}" if share == 1 else f"{n.max()} of {n.sum()}"
                told.append(
                    f"{all_of} images of {column} {value} are {label}: {column} gives their class away"
                )
    return told


def _chosen(images: pd.DataFrame, groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows that are looked at: of classes with two independent images at least, and not too many."""
    labels = images["label"].to_numpy(str)
    independent = {label: len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    rows = np.flatnonzero([independent[label] >= 2 for label in labels])
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    return rows


def _columns(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Numbers to tell the classes from, by what they are called."""
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
    rarest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    return grouped_folds(labels, groups, n_folds=min(FOLDS, rarest))


def _hint(
    name: str,
    columns: pd.DataFrame,
    labels: NDArray[Any],
    groups: NDArray[np.intp],
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> Hint:
    values, classes = columns.to_numpy(float), tuple(np.unique(labels).tolist())
    content = name.startswith("brightness")
    told = np.empty_like(labels)
    for fitted, judged in folds:
        told[judged] = _tree(DEPTH).fit(values[fitted], labels[fitted]).predict(values[judged])
    score, low, high = _balanced_accuracy(labels, told, groups)
    return Hint(name, classes, score, low, high, _rule(columns, labels), content)


def _tree(depth: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, class_weight="balanced", random_state=0)


def _balanced_accuracy(
    labels: NDArray[Any], told: NDArray[Any], groups: NDArray[np.intp]
) -> tuple[float, float, float]:
    """Mean share of each class that is told right, and its 95 % interval; images of a group count as one there."""
    shares, below, above = [], 0.0, 0.0
    for label in np.unique(labels):
        members = labels == label
        share = float((told[members] == label).mean())
        low, high = _wilson(share, len(np.unique(groups[members])))
        shares.append(share)
        below, above = below + (share - low) ** 2, above + (high - share) ** 2
    score = sum(shares) / len(shares)
    return (
        score,
        max(0.0, score - sqrt(below) / len(shares)),
        min(1.0, score + sqrt(above) / len(shares)),
    )


def _wilson(share: float, n: int) -> tuple[float, float]:
    centre, spread = (
        share + _Z**2 / (2 * n),
        _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)),
    )
    return (centre - spread) / (1 + _Z**2 / n), (centre + spread) / (1 + _Z**2 / n)


def _rule(columns: pd.DataFrame, labels: NDArray[Any]) -> str:
    """The question that tells most, and the answers: "width above 258: no_tumor (83 %); else brain_tumor (61 %)"."""
    stump = _tree(1).fit(columns.to_numpy(float), labels)
    tree = stump.tree_
    if tree.node_count == 1:
        return "the same for all"
    name, threshold = str(columns.columns[tree.feature[0]]), float(tree.threshold[0])
    asked = f"{name} above {threshold:.4g}"
    if name.startswith(("format ", "mode ")):
        asked = name
    above = columns.to_numpy(float)[:, tree.feature[0]] > threshold
    leaves = [
        (above, tree.value[tree.children_right[0], 0]),
        (~above, tree.value[tree.children_left[0], 0]),
    ]
    answers = []
    for members, weights in leaves:
        label = stump.classes_[int(np.argmax(weights))]
        answers.append(f"{label} ({(labels[members] == label).mean():.0%})".replace("%", " %"))
    return f"{asked}: {answers[0]}; else {answers[1]}"
