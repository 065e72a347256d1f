"""Splitting rows into a training and a test part without cutting through a group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import FreezeframeError, ParameterError


def join_groups(*keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number the groups that rows fall into when rows that share any key belong together.

    Args:
        keys: sequences of length n (SHA-256 of the files, group names, ...); an empty string joins nothing.

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
    labels: Sequence[str] | NDArray[Any], groups: NDArray[np.intp], *, test_size: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A stratified hold-out that keeps each group on one side.

    In random order, each group goes to the test part if that brings its class counts nearer to the wanted ones; so
    large groups are no likelier to be tested than small ones, and shares hold as closely as the groups allow.

    Args:
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        test_size: wanted share of test rows, between 0 and 1 (both excluded).
        seed: of the random order.

    Returns:
        Row numbers of the training and the test part, ascending.

    Raises:
        ParameterError: test_size is out of range.
        FreezeframeError: a class cannot be on both sides, since all its images are of one group.

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
    in_test = np.zeros(len(members), dtype=bool)
    missing = wanted
    for group in np.random.default_rng(seed).permutation(len(members)):
        if np.abs(missing - members[group]).sum() < np.abs(missing).sum():
            in_test[group] = True
            missing = missing - members[group]
    _give_each_side_each_class(in_test, members, names)
    test = in_test[groups]
    return np.flatnonzero(~test), np.flatnonzero(test)


def _give_each_side_each_class(in_test: NDArray[np.bool_], members: NDArray[np.intp], names: NDArray[np.str_]) -> None:
    """Move the smallest group of a class to the side that has none of it; change `in_test` of shape (n_groups,)."""
    for code in range(len(names)):
        holding = np.flatnonzero(members[:, code])
        if len(set(in_test[holding])) < 2 <= len(holding):
            moved = holding[np.argmin(members[holding].sum(axis=1))]
            in_test[moved] = not in_test[moved]
    for code, name in enumerate(names):
        if len(set(in_test[members[:, code] > 0])) < 2:
            raise FreezeframeError(
                f"class {str(name)!r} has too few independent images (copies and groups count once) to be both "
                "trained and tested on; give splits or another test store"
            )
