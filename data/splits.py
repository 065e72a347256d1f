"""Splitting rows into a training and a test part without cutting through a group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FreezeframeError, ParameterError

ATTEMPTS = 100
"""How many random orders a hold-out tries until every class is on both sides; the first one nearly always does."""


def join_groups(*keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number the groups that rows fall into when rows that share any key belong together.

    Args:
        keys: sequences of length n (SHA-256 of the files, group names, ...); an empty string joins
            nothing.

    Returns:
        Group numbers from 0 on, of shape (n,), in order of first appearance.

    Examples:
        >>> join_groups(["a", "b", "a", "c"], ["", "p1", "p1", ""]).tolist()
        [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(keys[0])
    left: list[int] = []
    right: list[int] = []
    for column in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(column):
            if key != "":
                left.append(row)
                right.append(first.setdefault(key, row))
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1]
    _, first_rows, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.empty(len(first_rows), dtype=np.intp)
    order[np.argsort(first_rows)] = np.arange(len(first_rows))
    return order[inverse]


def hold_out(
    labels: Sequence[str] | NDArray[Any],
    groups: NDArray[np.intp],
    *,
    test_size: float = 0.2,
    seed: int = 0,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A stratified hold-out that keeps each group on one side.

    In random order, each group goes to the test part if that brings its class counts nearer to the
    wanted ones; so large groups are no likelier to be tested than small ones, and shares hold as
    closely as the groups allow.

    Args:
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        test_size: wanted share of test rows, between 0 and 1 (both excluded).
        seed: of the random order.

    Returns:
        Row numbers of the training and the test part, ascending.

    Raises:
        ParameterError: test_size is out of range.
        FreezeframeError: no order tried puts every class on both sides (all images of one are of
            one group, say).

    Examples:
        >>> train, test = hold_out(["a", "a", "b", "b"], np.arange(4), test_size=0.5)
        >>> len(train), len(test)
        (2, 2)
    """
    if not 0 < test_size < 1:
        raise ParameterError(f"test_size must lie between 0 and 1, got {test_size}")
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    members = np.zeros((int(groups.max()) + 1, len(names)), dtype=int)
    np.add.at(members, (groups, codes), 1)
    wanted = np.maximum(1.0, test_size * members.sum(axis=0))  # at least one test row of each class
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        in_test = _deal(members, wanted, rng)
        if _each_side_has_each_class(in_test, members):
            test = in_test[groups]
            return np.flatnonzero(~test), np.flatnonzero(test)
    fewest = names[(members > 0).sum(axis=0).argmin()]
    raise FreezeframeError(
        f"no hold-out has every class on both sides: class {str(fewest)!r} has too few independent images (copies and "
        "groups count once); give splits or another test store"
    )


def _deal(
    members: NDArray[np.intp], wanted: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which groups are tested, of shape (n_groups,); a class that a side lacks gets a group there."""
    in_test = np.zeros(len(members), dtype=bool)
    missing = wanted
    for group in rng.permutation(len(members)):
        if np.abs(missing - members[group]).sum() < np.abs(missing).sum():
            in_test[group] = True
            missing = missing - members[group]
    for code in range(members.shape[1]):
        holding = np.flatnonzero(members[:, code])
        if len(set(in_test[holding])) < 2 <= len(holding):
            moved = holding[np.argmin(members[holding].sum(axis=1))]
            in_test[moved] = not in_test[moved]
    return in_test


def _each_side_has_each_class(in_test: NDArray[np.bool_], members: NDArray[np.intp]) -> bool:
    return all(members[side].any(axis=0).all() for side in (in_test, ~in_test))


def grouped_folds(
    labels: Sequence[str] | NDArray[Any],
    groups: NDArray[np.intp],
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Stratified folds that cut through no group (scikit-learn's `StratifiedGroupKFold`).

    Args:
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        n_folds: how many, at least 2.
        seed: of the order in which groups are dealt out.

    Returns:
        Pairs of row numbers, those to fit on and those to judge by; every class is on both sides of
        each.

    Raises:
        ParameterError: n_folds is less than 2.
        FreezeframeError: a class has fewer independent images than there are folds.

    Examples:
        >>> folds = grouped_folds(["a", "b"] * 4, np.array([0, 1, 0, 1, 2, 3, 4, 5]), n_folds=2)
        >>> [(sorted(fitted.tolist()), sorted(judged.tolist())) for fitted, judged in folds]
        [([0, 2, 5, 7], [1, 3, 4, 6]), ([1, 3, 4, 6], [0, 2, 5, 7])]
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if n_folds < 2:
        raise ParameterError(f"there must be 2 folds at least, got {n_folds}")
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    independent = [len(np.unique(groups[codes == code])) for code in range(len(names))]
    rarest = int(np.argmin(independent))
    if independent[rarest] >= n_folds:
        for attempt in range(ATTEMPTS):
            splitter = StratifiedGroupKFold(
                n_folds, shuffle=True, random_state=(seed + 7919 * attempt) % 2**32
            )
            folds = list(splitter.split(codes, codes, groups))
            if all(len(np.unique(codes[side])) == len(names) for fold in folds for side in fold):
                return folds
    raise FreezeframeError(
        f"{n_folds} folds are too many: class {str(names[rarest])!r} has {independent[rarest]} independent images "
        "(copies and groups count once)"
    )
