"""Splits of images into training, validation, test and folds that keep each group together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FreezeframeError, ParameterError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Folder names (in any case) and CSV values that name a split, with the split that they name."""

ATTEMPTS = 100
"""Number of random orders to try until every class is on both sides.

The first one is nearly always enough."""

_SEED_STEP = 7919
"""Distance of the seeds of two attempts; a prime, so that small seeds do not repeat each other."""


def join_groups(*keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """Assign numbers to the groups of rows, where rows that share any key are in one group.

    Args:
        keys: sequences of length n (SHA-256 of the files, group names, ...). An empty string joins
            nothing; a frozenset joins by each of its members.

    Returns:
        Group numbers from 0 on, of shape (n,), in order of first appearance.

    Examples:
        >>> join_groups(["a", "b", "a", "c"], ["", "p1", "p1", ""]).tolist()
        [0, 0, 0, 1]
        >>> join_groups([frozenset({"p1", "study 7"}), frozenset({"p2"}), frozenset({"study 7"})])
        array([0, 1, 0])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(keys[0])
    # Each row is joined to the first row with the same key; groups are the connected components.
    left: list[int] = []
    right: list[int] = []
    for column in keys:
        first_rows: dict[Hashable, int] = {}
        for row, value in enumerate(column):
            members = value if isinstance(value, frozenset) else (value,)
            for key in members:
                if key != "":
                    left.append(row)
                    right.append(first_rows.setdefault(key, row))
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1]
    # SciPy does not promise an order of its numbers.
    _, starts, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.empty(len(starts), dtype=np.intp)
    order[np.argsort(starts)] = np.arange(len(starts))
    return order[inverse]


def hold_out(
    labels: Sequence[str] | NDArray[Any],
    groups: NDArray[np.intp],
    *,
    test_size: float = 0.2,
    seed: int = 0,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hold out a stratified test part that cuts no group.

    It takes the groups in random order. A group goes to the test part if that brings the class
    counts there nearer to their targets. So large groups are as likely to be tested as small ones,
    and shares are as close as the groups allow.

    Args:
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        test_size: target share of test rows, between 0 and 1 (both excluded).
        seed: seed of the random order.

    Returns:
        Row numbers of the training part and of the test part, both ascending.

    Raises:
        ParameterError: test_size is out of range.
        FreezeframeError: no order puts every class on both sides, if all images of a class are in
            one group, say.

    Examples:
        >>> train, test = hold_out(["a", "a", "b", "b"], np.arange(4), test_size=0.5)
        >>> len(train), len(test)
        (2, 2)
    """
    if not 0 < test_size < 1:
        raise ParameterError(f"test_size must be between 0 and 1, got {test_size}")
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    # Rows of each class in each group, of shape (n_groups, n_classes).
    members = np.zeros((int(groups.max()) + 1, len(names)), dtype=int)
    np.add.at(members, (groups, codes), 1)
    # The test part needs at least one row of each class.
    targets = np.maximum(1.0, test_size * members.sum(axis=0))
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        in_test = _draw_test_groups(members, targets, rng)
        if _each_side_has_each_class(in_test, members):
            test = in_test[groups]
            return np.flatnonzero(~test), np.flatnonzero(test)
    fewest = names[(members > 0).sum(axis=0).argmin()]
    raise FreezeframeError(
        f"no hold-out has every class on both sides: class {str(fewest)!r} has too few independent "
        "images (copies and groups count once); give splits or another test store"
    )


def _draw_test_groups(
    members: NDArray[np.intp], targets: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw the groups of the test part, True in an array of shape (n_groups,).

    Args:
        members: rows of each class in each group, of shape (n_groups, n_classes).
        targets: target number of test rows of each class, of shape (n_classes,).
        rng: generator of the random order.
    """
    in_test = np.zeros(len(members), dtype=bool)
    missing = targets
    for group in rng.permutation(len(members)):
        if np.abs(missing - members[group]).sum() < np.abs(missing).sum():
            in_test[group] = True
            missing = missing - members[group]
    # If one side lacks a class, move the smallest group of that class there.
    for code in range(members.shape[1]):
        holders = np.flatnonzero(members[:, code])
        if len(set(in_test[holders])) < 2 <= len(holders):
            smallest = holders[np.argmin(members[holders].sum(axis=1))]
            in_test[smallest] = not in_test[smallest]
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
    """Split rows into stratified folds that cut no group (scikit-learn's `StratifiedGroupKFold`).

    Args:
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        n_folds: number of folds, at least 2.
        seed: seed of the random order of the groups.

    Returns:
        For each fold the row numbers to fit on and those to score on; every class is in both.

    Raises:
        ParameterError: n_folds is less than 2.
        FreezeframeError: a class has fewer independent images than there are folds.

    Examples:
        >>> folds = grouped_folds(["a", "b"] * 4, np.array([0, 1, 0, 1, 2, 3, 4, 5]), n_folds=2)
        >>> [(sorted(fitted.tolist()), sorted(scored.tolist())) for fitted, scored in folds]
        [([0, 2, 5, 7], [1, 3, 4, 6]), ([1, 3, 4, 6], [0, 2, 5, 7])]
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if n_folds < 2:
        raise ParameterError(f"n_folds must be at least 2, got {n_folds}")
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    n_independent = [len(np.unique(groups[codes == code])) for code in range(len(names))]
    rarest = int(np.argmin(n_independent))
    if n_independent[rarest] >= n_folds:
        for attempt in range(ATTEMPTS):
            # scikit-learn may leave a class out of a fold; another order may not.
            splitter = StratifiedGroupKFold(
                n_folds, shuffle=True, random_state=(seed + _SEED_STEP * attempt) % 2**32
            )
            folds = list(splitter.split(codes, codes, groups))
            sides = [side for fold in folds for side in fold]
            if all(len(np.unique(codes[side])) == len(names) for side in sides):
                return folds
    raise FreezeframeError(
        f"{n_folds} folds are too many: class {str(names[rarest])!r} has {n_independent[rarest]} "
        f"independent images (copies and groups count once); {_fold_advice(min(n_independent))}"
    )


def _fold_advice(fewest: int) -> str:
    """Say how to get folds when the rarest class has so many independent images."""
    if fewest < 2:
        return "add images of that class"
    return f"give {fewest} folds at most, or add images of that class"


@dataclass(frozen=True, eq=False)
class Split:
    """Side and fold of each image.

    Attributes:
        sides: "train", "validation", "test", or "" for all images if none is held out; of shape
            (n,).
        folds: number of the fold in which an image is scored, from 1 on; 0 for images in no fold;
            of shape (n,).
    """

    sides: NDArray[np.str_]
    folds: NDArray[np.intp]


def split_groups(
    labels: Sequence[str],
    groups: NDArray[np.intp],
    *,
    test: float = 0.2,
    validation: float = 0.0,
    n_folds: int = 0,
    seed: int = 0,
) -> Split:
    """Split groups into a training, validation and test part, and into folds.

    Each part gets nearly the same shares of the classes, as far as the groups allow.

    Args:
        labels: class of each image, of shape (n,).
        groups: group number of each image, of shape (n,); images of one number stay together.
        test: share of all images for the test part; 0 for none.
        validation: share of all images for the validation part; 0 for none.
        n_folds: number of cross-validation folds of the images outside the test part; 0 for none.
        seed: seed of all random orders.

    Raises:
        ParameterError: the shares leave nothing to train on, or there are no shares and no folds.
        FreezeframeError: a class has too few groups.

    Examples:
        >>> split = split_groups(["a", "a", "b", "b"], np.arange(4), test=0.5)
        >>> sorted(split.sides.tolist())
        ['test', 'test', 'train', 'train']
    """
    if min(test, validation) < 0 or test + validation >= 1:
        raise ParameterError(
            f"shares must leave images to train on, got test {test} and validation {validation}"
        )
    if not test + validation and not n_folds:
        raise ParameterError("nothing to split: give a share to test on, or folds")
    names = np.asarray(labels)
    sides = np.full(len(labels), "train" if test or validation else "", dtype="U10")
    # Each hold-out takes its images from the rest, so its share is of the rest, too.
    rest = np.arange(len(labels))
    rest_share = 1.0
    for side, share in (("test", test), ("validation", validation)):
        if share:
            remaining, held_out = hold_out(
                names[rest], _renumber(groups[rest]), test_size=share / rest_share, seed=seed
            )
            sides[rest[held_out]] = side
            rest = rest[remaining]
            rest_share -= share
    folds = np.zeros(len(labels), np.intp)
    if n_folds:
        rows = np.flatnonzero(sides != "test")
        pairs = grouped_folds(names[rows], _renumber(groups[rows]), n_folds=n_folds, seed=seed)
        for number, (_, scored) in enumerate(pairs, 1):
            folds[rows[scored]] = number
    return Split(sides, folds)


def _renumber(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Assign new numbers to the groups of some rows, from 0 on, without gaps."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)
