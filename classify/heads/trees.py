"""Decision trees as plain arrays, walked with NumPy, and the head of extremely randomised trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import MIN_SHARE, Arrays, checked_array
from .base import Head, Parameters

MAX_DEPTH = 512
"""Greatest depth of a tree in a model file; forests grown to pure leaves are some 30 deep."""

_LEAVES_AT_ONCE = 2**19
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
        arrays: arrays by name. These have a value for each node of all trees, tree after tree:
            `left` and `right` (numbers of the children, -1 in a leaf); `feature`; `threshold` (a
            row goes left if its feature is smaller); `leaf` (scores, of shape (n_nodes,) for one
            class or (n_nodes, n_classes) for all). These have a value for each tree: `root` (its
            first node) and `output` (the class that it scores, or the first of several).

    Attributes:
        n_columns: columns of the scores: one for each class, or 1 where two classes share a score.

    Raises:
        ValueError: the arrays are no trees: a wrong dtype or length, a child outside its tree or
            before its parent, too deep.
        KeyError: an array is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        ndims = {"leaf": 2} if arrays["leaf"].ndim == 2 else {}
        self.arrays: Arrays = {
            name: checked_array(arrays, name, ndims.get(name, 1), dtype)
            for name, dtype in _FIELDS.items()
        }
        if not (_is_sound(self.arrays) and _is_shallow(self.arrays)):
            raise ValueError("its trees are damaged")
        # (n_nodes,) or (n_nodes, n_classes) -> (n_nodes, 1 or n_classes)
        self._leaf = self.arrays["leaf"].reshape(len(self.arrays["left"]), -1)
        self.n_columns = int(self.arrays["output"].max()) + self._leaf.shape[1]

    @classmethod
    def from_xgboost(cls, booster: Mapping[str, Any]) -> Trees:
        """Read the trees of XGBoost's JSON model format.

        See https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.
        """
        model = booster["learner"]["gradient_booster"]["model"]
        parts = []
        for tree, output in zip(model["trees"], model["tree_info"], strict=True):
            left = np.array(tree["left_children"])
            right = np.array(tree["right_children"])
            feature = np.array(tree["split_indices"])
            # XGBoost stores the value of a leaf in the place of its threshold.
            condition = np.array(tree["split_conditions"])
            leaf = np.where(left >= 0, 0, condition)
            parts.append((left, right, feature, condition, leaf, output))
        return cls(_join(parts))

    @classmethod
    def from_forest(cls, forest: Any, n_classes: int) -> Trees:
        """Read the trees of a fitted scikit-learn forest; a leaf holds the shares of its classes.

        scikit-learn goes left where float32 feature <= float64 threshold. No float32 is between a
        threshold and the largest float32 that is not above it. "Smaller than the float32 after that
        one" is therefore exactly the same condition.

        Args:
            forest: a forest with `classes_` (those of 0 ... n_classes - 1 that it was fitted on)
                and `estimators_`.
            n_classes: number of classes.
        """
        parts = []
        for estimator in forest.estimators_:
            tree = estimator.tree_
            rounded = tree.threshold.astype(np.float32)
            previous = np.nextafter(rounded, np.float32(-np.inf))
            below = np.where(rounded > tree.threshold, previous, rounded)
            threshold = np.nextafter(below, np.float32(np.inf))
            # (n_nodes, 1, n_classes) -> (n_nodes, n_classes); newer versions store shares
            counts = tree.value[:, 0, :]
            leaf = np.zeros((len(counts), n_classes), np.float32)
            leaf[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
            # Only leaves vote.
            leaf[tree.children_left >= 0] = 0
            parts.append(
                (tree.children_left, tree.children_right, tree.feature, threshold, leaf, 0)
            )
        return cls(_join(parts))

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sum of the leaves that each row falls into.

        Args:
            X: features of shape (n_rows, n_features).

        Returns:
            Scores of shape (n_rows, n_columns).
        """
        feature = self.arrays["feature"]
        output = self.arrays["output"]
        # Checked here, since the number of features is not in the file.
        if feature.max() >= X.shape[1]:
            raise ValueError(f"its trees ask for feature {feature.max()} of {X.shape[1]}")
        scores = np.zeros((len(X), self.n_columns))
        step = max(1, _LEAVES_AT_ONCE // (len(output) * self._leaf.shape[1]))
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            # (n_rows, n_trees) -> (n_rows, n_trees, n_classes or 1)
            values = self._leaf[self._leaves(X[part])]
            if values.shape[2] == 1:
                # Added in the order of the trees, so that sums are the same bits everywhere.
                np.add.at(scores[part].T, output, values[:, :, 0].T)
            else:
                scores[part, output[0] :] = values.sum(axis=1, dtype=np.float64)
        return scores

    def _leaves(self, X: NDArray[Any]) -> NDArray[np.int32]:
        """Return the leaf that each row falls into in each tree, of shape (n_rows, n_trees)."""
        left = self.arrays["left"]
        right = self.arrays["right"]
        feature = self.arrays["feature"]
        threshold = self.arrays["threshold"]
        root = self.arrays["root"]
        flat = np.ascontiguousarray(X, dtype=np.float32).reshape(-1)
        # One walk for each tree and row, tree by tree: neighbours in memory are then in one tree.
        node = np.repeat(root, len(X))
        # Where the row of each walk starts in `flat`.
        first = np.tile(np.arange(len(X)) * X.shape[1], len(root))
        # All walks take a step at a time; those in a leaf have ended.
        walking = np.flatnonzero(left[node] >= 0)
        while len(walking):
            here = node[walking]
            smaller = flat[first[walking] + feature[here]] < threshold[here]
            child = np.where(smaller, left[here], right[here])
            node[walking] = child
            walking = walking[left[child] >= 0]
        # (n_trees * n_rows,) -> (n_rows, n_trees)
        return node.reshape(len(root), len(X)).T


def _join(trees: Sequence[tuple[Any, ...]]) -> Arrays:
    """Join the arrays of single trees.

    Args:
        trees: (left, right, feature, threshold, leaf, output) of each tree, with its own node
            numbers from 0 on.
    """
    left, right, feature, threshold, leaf, output = zip(*trees, strict=True)
    # A tree's first node follows the last node of the tree before.
    root = np.cumsum([0, *(len(nodes) for nodes in left[:-1])])
    columns = {
        "left": [_shift(nodes, start) for nodes, start in zip(left, root, strict=True)],
        "right": [_shift(nodes, start) for nodes, start in zip(right, root, strict=True)],
        "feature": [
            np.where(nodes >= 0, numbers, 0) for nodes, numbers in zip(left, feature, strict=True)
        ],
        "threshold": threshold,
        "leaf": leaf,
        "root": [root],
        "output": [np.array(output)],
    }
    return {name: np.concatenate(columns[name]).astype(dtype) for name, dtype in _FIELDS.items()}


def _shift(nodes: NDArray[Any], start: int) -> NDArray[Any]:
    """Return children's node numbers counted from the first tree on; -1 stays -1."""
    return np.where(nodes >= 0, nodes + start, -1)


def _is_sound(arrays: Arrays) -> bool:
    """Return True if arrays are trees at all: every walk stays in its tree and ends."""
    left = arrays["left"]
    right = arrays["right"]
    root = arrays["root"]
    output = arrays["output"]
    n_nodes = len(left)
    if any(len(arrays[name]) != n_nodes for name in ("right", "feature", "threshold", "leaf")):
        return False
    numbers = np.arange(n_nodes)
    inner = left >= 0
    # Number of the tree of each node, from 1 on.
    tree = np.searchsorted(root, numbers, "right")
    return bool(
        len(root) == len(output) > output.max()
        # Leaves that score several classes score all of them.
        and (arrays["leaf"].ndim == 1 or output.max() == 0)
        # Every step leads to a higher number, so that every walk ends, whatever is in the file.
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
    """Return True if no walk in sound trees takes more than MAX_DEPTH steps."""
    left = arrays["left"]
    right = arrays["right"]
    level = arrays["root"]
    # Level by level through all trees at once, no deeper than allowed.
    for _ in range(MAX_DEPTH + 1):
        level = level[left[level] >= 0]
        if not len(level):
            return True
        level = np.concatenate([left[level], right[level]])
    return False


class ExtraTrees(Head):
    """A forest of extremely randomised trees.

    Geurts, Ernst and Wehenkel, doi:10.1007/s10994-006-6226-1; scikit-learn's
    `ExtraTreesClassifier`, each tree on all rows. The probability of a class is the mean over the
    trees of its share in the leaf that a row falls into.

    Hyper-parameters:
        n_estimators: number of trees.
        max_features: share of the features that a split is chosen from.
        min_samples_leaf: least number of training rows in a leaf.
    """

    name = "extra-trees"
    draws = True
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

        # scikit-learn takes the integer 1 for one feature, and 1.0 for all of them.
        share = float(self.parameters["max_features"])
        options = {**self.parameters, "max_features": share}
        # Trees do not grow to the depth limit of model files.
        forest = ExtraTreesClassifier(**options, max_depth=MAX_DEPTH, random_state=seed, n_jobs=-1)
        forest.fit(np.asarray(X, dtype=np.float32), y)
        self._trees = Trees.from_forest(forest, n_classes)

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        shares = self._trees.scores(X) / len(self._trees.arrays["root"])
        return np.asarray(np.log(np.maximum(shares, MIN_SHARE)))

    @property
    def arrays(self) -> Arrays:
        return self._trees.arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._trees = Trees(arrays)
        leaf = self._trees.arrays["leaf"]
        # Boosting has leaves of other kinds; its trees must not pass for a forest.
        if leaf.ndim != 2 or leaf.min() < 0 or leaf.max() > 1:
            raise ValueError("its leaves hold no shares")
