"""Decision trees as plain arrays: read from a fitted ensemble once, checked, and walked with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import SMALLEST, Arrays, checked_array
from .base import Head, Parameters

MAX_DEPTH = 512
"""Of a tree in a model file; forests grown until each leaf is of one class are some 30 deep."""
_CHUNK = 2**19
"""Leaf values looked up at a time, some 10 MB."""
_FIELDS: dict[str, type[np.generic]] = {
    "left": np.int32,
    "right": np.int32,
    "feature": np.int32,
    "threshold": np.float32,
    "leaf": np.float32,
    "root": np.int32,
    "output": np.int32,
}


class Trees:
    """The trees of a forest or of boosting, for several classes.

    Args:
        arrays: for all nodes of all trees, one behind the other, `left` and `right` (node numbers,
            -1 in a leaf), `feature`, `threshold` (a row goes left if its feature is smaller) and
            `leaf` (what a leaf says, of shape (n_nodes,) for one class or (n_nodes, n_classes) for
            all); for each tree `root` (its first node) and `output` (the class that it scores, or
            the first of them).

    Attributes:
        n_columns: of the scores: classes, or 1 where two classes have one score.

    Raises:
        ValueError: the arrays are not trees: a wrong dtype or length, a child not in its tree or
            before its parent, too deep.
        KeyError: one is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        wide = {"leaf": 2} if arrays["leaf"].ndim == 2 else {}
        self.arrays: Arrays = {
            name: checked_array(arrays, name, wide.get(name, 1), dtype)
            for name, dtype in _FIELDS.items()
        }
        if not (_is_sound(self.arrays) and _is_shallow(self.arrays)):
            raise ValueError("its trees are damaged")
        self._leaf = self.arrays["leaf"].reshape(len(self.arrays["left"]), -1)
        self.n_columns = int(self.arrays["output"].max()) + self._leaf.shape[1]

    @classmethod
    def from_xgboost(cls, booster: Mapping[str, Any]) -> Trees:
        """Trees of XGBoost's JSON model format (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html)."""
        model = booster["learner"]["gradient_booster"]["model"]
        parts = []
        for tree, output in zip(model["trees"], model["tree_info"], strict=True):
            left, condition = np.array(tree["left_children"]), np.array(tree["split_conditions"])
            leaf = np.where(left >= 0, 0, condition)
            feature = np.array(tree["split_indices"])
            parts.append((left, np.array(tree["right_children"]), feature, condition, leaf, output))
        return cls(_joined(parts))

    @classmethod
    def from_forest(cls, forest: Any, n_classes: int) -> Trees:
        """Trees of a fitted scikit-learn forest; a leaf holds the shares of the classes in it.

        scikit-learn goes left where float32 feature <= float64 threshold. No float32 lies between a
        threshold and the largest float32 that is not above it, so "smaller than the float32 after
        that one" says exactly the same.

        Args:
            forest: with `classes_`, which of 0 ... n_classes - 1 it was fitted on, and
                `estimators_`.
        """
        parts = []
        for tree in (estimator.tree_ for estimator in forest.estimators_):
            rounded = tree.threshold.astype(np.float32)
            below = np.where(
                rounded > tree.threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded
            )
            counts = tree.value[:, 0, :]  # (n_nodes, n_classes), shares in newer versions
            leaf = np.zeros((len(counts), n_classes), np.float32)
            leaf[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
            leaf[tree.children_left >= 0] = 0
            threshold = np.nextafter(below, np.float32(np.inf))
            parts.append(
                (tree.children_left, tree.children_right, tree.feature, threshold, leaf, 0)
            )
        return cls(_joined(parts))

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Sum of the leaves that each row of X, of shape (n_rows, n_features), falls into: (n_rows, n_columns)."""
        feature, output = self.arrays["feature"], self.arrays["output"]
        if feature.max() >= X.shape[1]:
            raise ValueError(f"its trees ask for feature {feature.max()} of {X.shape[1]}")
        scores = np.zeros((len(X), self.n_columns))
        step = max(1, _CHUNK // (len(output) * self._leaf.shape[1]))
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            values = self._leaf[self._leaves(X[part])]  # (n_rows, n_trees, n_classes or 1)
            if (
                values.shape[2] == 1
            ):  # in order of the trees, so that a sum is the same to the last bit everywhere
                np.add.at(scores[part].T, output, values[:, :, 0].T)
            else:
                scores[part, output[0] :] = values.sum(axis=1, dtype=np.float64)
        return scores

    def _leaves(self, X: NDArray[Any]) -> NDArray[np.int32]:
        """The leaf that each row falls into in each tree, of shape (n_rows, n_trees)."""
        left, right, feature, threshold, root = (
            self.arrays[name] for name in ("left", "right", "feature", "threshold", "root")
        )
        flat = np.ascontiguousarray(X, dtype=np.float32).reshape(-1)
        node = np.repeat(
            root, len(X)
        )  # tree by tree, since neighbours in memory are then in one tree
        first = np.tile(
            np.arange(len(X)) * X.shape[1], len(root)
        )  # where the row of each walk starts
        walking = np.flatnonzero(left[node] >= 0)
        while len(walking):
            here = node[walking]
            onward = np.where(
                flat[first[walking] + feature[here]] < threshold[here], left[here], right[here]
            )
            node[walking] = onward
            walking = walking[left[onward] >= 0]
        return node.reshape(len(root), len(X)).T


class ExtraTrees(Head):
    """A forest of trees with random thresholds (Geurts, Ernst and Wehenkel, doi:10.1007/s10994-006-6226-1).

    scikit-learn's `ExtraTreesClassifier`, each tree on all rows. The probability of a class is the
    mean over the trees of its share in the leaf that a row falls into.

    Parameters are `n_estimators` (trees), `max_features` (share of the features that a split is
    chosen from) and `min_samples_leaf`.
    """

    name = "extra-trees"
    pooling = "avg"
    defaults: ClassVar[Parameters] = {
        "n_estimators": 200,
        "max_features": 0.1,
        "min_samples_leaf": 1,
    }
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "n_estimators": (1, 100_000),
        "max_features": (1e-9, 1),
        "min_samples_leaf": (1, 2**31 - 1),
    }
    spaces: ClassVar = {"wide": {"min_samples_leaf": [3, 1], "max_features": [0.05, 0.1, 0.3]}}

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.ensemble import ExtraTreesClassifier

        options = {
            **self.parameters,
            "max_features": float(self.parameters["max_features"]),
        }  # 1 would be one feature
        # One that no model file may be deeper than; trees do not get there.
        forest = ExtraTreesClassifier(**options, max_depth=MAX_DEPTH, random_state=seed, n_jobs=-1)
        forest.fit(np.asarray(X, dtype=np.float32), y)
        self._trees = Trees.from_forest(forest, n_classes)

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        shares = self._trees.scores(X) / len(self._trees.arrays["root"])
        return np.asarray(np.log(np.maximum(shares, SMALLEST)))

    @property
    def arrays(self) -> Arrays:
        return self._trees.arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._trees = Trees(arrays)
        leaf = self._trees.arrays["leaf"]
        if leaf.ndim != 2 or leaf.min() < 0 or leaf.max() > 1:
            raise ValueError("its leaves hold no shares")


def _joined(trees: Sequence[tuple[Any, ...]]) -> Arrays:
    """Arrays of all trees from (left, right, feature, threshold, leaf, output) of each, with its own node numbers."""
    left, right, feature, threshold, leaf, output = zip(*trees, strict=True)
    root = np.cumsum([0, *(len(nodes) for nodes in left[:-1])])
    columns = {
        "left": [
            np.where(nodes >= 0, nodes + start, -1) for nodes, start in zip(left, root, strict=True)
        ],
        "right": [
            np.where(nodes >= 0, nodes + start, -1)
            for nodes, start in zip(right, root, strict=True)
        ],
        "feature": [
            np.where(nodes >= 0, asked, 0) for nodes, asked in zip(left, feature, strict=True)
        ],
        "threshold": threshold,
        "leaf": leaf,
        "root": [root],
        "output": [np.array(output)],
    }
    return {name: np.concatenate(columns[name]).astype(dtype) for name, dtype in _FIELDS.items()}


def _is_sound(arrays: Arrays) -> bool:
    """Whether arrays are trees at all: every walk stays in its tree and ends."""
    left, right, root, output = (arrays[name] for name in ("left", "right", "root", "output"))
    n_nodes = len(left)
    if any(len(arrays[name]) != n_nodes for name in ("right", "feature", "threshold", "leaf")):
        return False
    numbers = np.arange(n_nodes)
    inner = left >= 0
    tree = np.searchsorted(root, numbers, "right")  # of each node, from 1 on
    return bool(
        len(root) == len(output) > output.max()
        # Leaves that score several classes score all of them.
        and (arrays["leaf"].ndim == 1 or output.max() == 0)
        # Every step leads to a higher number, so that every walk ends, whatever the file says.
        and (left[inner] > numbers[inner]).all()
        and (right[inner] > numbers[inner]).all()
        and max(left.max(), right[inner].max(initial=0), root.max()) < n_nodes
        # Trees that share nodes would make a small file a long walk.
        and np.bincount(np.concatenate([left[inner], right[inner]]), minlength=1).max() <= 1
        and root[0] == 0
        and (np.diff(root) > 0).all()
        and (tree[left[inner]] == tree[inner]).all()
        and (tree[right[inner]] == tree[inner]).all()
        and min(output.min(), arrays["feature"].min()) >= 0
    )


def _is_shallow(arrays: Arrays) -> bool:
    """Whether no walk takes more than MAX_DEPTH steps, in sound trees."""
    left, right, level = arrays["left"], arrays["right"], arrays["root"]
    for _ in range(MAX_DEPTH + 1):
        level = level[left[level] >= 0]
        if not len(level):
            return True
        level = np.concatenate([left[level], right[level]])
    return False
