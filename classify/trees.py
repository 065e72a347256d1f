"""Decision trees as plain arrays: read from XGBoost's own JSON once, checked, and walked with NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Boosted trees for several classes.

    Args:
        arrays: for all nodes of all trees, one behind the other, `left` and `right` (node numbers, -1 in a leaf),
            `feature`, `threshold` (a row goes left if its feature is smaller) and `leaf` (the score of a leaf); for
            each tree `root` (its first node) and `output` (the class that it scores).

    Raises:
        ValueError: the arrays are not trees: a wrong dtype or length, a child not in its tree or before its parent.
        KeyError: one is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = {name: checked_array(arrays, name, 1, dtype) for name, dtype in _FIELDS.items()}
        n_nodes = len(self.arrays["left"])
        numbers = np.arange(n_nodes)
        left, right, root, output = (self.arrays[name] for name in ("left", "right", "root", "output"))
        inner = left >= 0
        tree = np.searchsorted(root, numbers, "right")  # of each node, from 1 on
        sound = (
            all(len(self.arrays[name]) == n_nodes for name in ("right", "feature", "threshold", "leaf"))
            and len(root) == len(output) > output.max()
            # Every step leads to a higher number, so that every walk ends, whatever the file says.
            and (left[inner] > numbers[inner]).all()
            and (right[inner] > numbers[inner]).all()
            and max(left.max(), right[inner].max(initial=0), root.max()) < n_nodes
            # Trees that share nodes would make a small file a long walk.
            and root[0] == 0
            and (np.diff(root) > 0).all()
            and (tree[left[inner]] == tree[inner]).all()
            and (tree[right[inner]] == tree[inner]).all()
            and min(output.min(), self.arrays["feature"].min()) >= 0
        )
        if not sound:
            raise ValueError("its trees are damaged")

    @classmethod
    def from_xgboost(cls, booster: Mapping[str, Any]) -> Trees:
        """Trees of XGBoost's JSON model format (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html)."""
        model = booster["learner"]["gradient_booster"]["model"]
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _FIELDS}
        n_nodes = 0
        for tree, output in zip(model["trees"], model["tree_info"], strict=True):
            left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
            parts["left"].append(np.where(left >= 0, left + n_nodes, -1))
            parts["right"].append(np.where(left >= 0, right + n_nodes, -1))
            parts["feature"].append(np.where(left >= 0, tree["split_indices"], 0))
            parts["threshold"].append(np.array(tree["split_conditions"]))
            parts["leaf"].append(np.where(left >= 0, 0, tree["split_conditions"]))
            parts["root"].append(np.array([n_nodes]))
            parts["output"].append(np.array([output]))
            n_nodes += len(left)
        return cls({name: np.concatenate(parts[name]).astype(dtype) for name, dtype in _FIELDS.items()})

    def scores(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum of the leaves that each row of X, of shape (n_rows, n_features), falls into: (n_rows, n_classes)."""
        left, right, feature = (self.arrays[name] for name in ("left", "right", "feature"))
        threshold, leaf, output = (self.arrays[name] for name in ("threshold", "leaf", "output"))
        if feature.max() >= X.shape[1]:
            raise ValueError(f"its trees ask for feature {feature.max()} of {X.shape[1]}")
        scores = np.zeros((len(X), int(output.max()) + 1))
        rows = np.arange(len(X))
        for root, number in zip(self.arrays["root"], output, strict=True):
            node = np.full(len(X), root)
            while (inner := left[node] >= 0).any():
                onward = np.where(X[rows, feature[node]] < threshold[node], left[node], right[node])
                node = np.where(inner, onward, node)
            scores[:, number] += leaf[node]
        return scores


def checked_array(arrays: Mapping[str, NDArray[Any]], name: str, ndim: int, dtype: type[np.generic]) -> NDArray[Any]:
    """An array of a model file, if it is what a head can have written.

    Raises:
        KeyError: it is missing.
        ValueError: it is empty, not finite, or has another dtype or number of dimensions.
    """
    array = arrays[name]
    if array.ndim != ndim or array.dtype != dtype or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} dimensions, or not finite")
    return array
