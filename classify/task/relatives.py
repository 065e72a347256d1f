"""Relatives of test images among the training images: copies, near-copies, patient-mates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Progress
from ...data.splits import join_groups
from ...features.store import FeatureStore
from .part import Part

LEVELS = {
    "bytes": "the same bytes",
    "pixels": "the same pixels",
    "near": "nearly the same picture",
    "group": "the same group",
}
"""Relations of a test image to a training image, the strongest first, and their names."""
UNKNOWN = "unknown"
"""Level of an image without a relation, if some images could not be compared."""


def near_duplicates(store: FeatureStore, progress: Progress | None = None) -> NDArray[np.intp]:
    """Return the number of each row's near-duplicate group, from 1 on; 0 where it is unknown.

    A store that was merged from others has thumbnails, but no groups across its sources. The
    function then compares the thumbnails. An image without a digest of its pixels gets 0, whatever
    number the file has.

    Args:
        store: complete.
        progress: called with (compared pairs, all pairs).

    Returns:
        Of shape (n_rows_of_store,).
    """
    rows = store.rows()
    # Without pixels there is nothing to compare.
    rows = rows[store.pixels[rows] != ""]
    groups = np.where(store.pixels != "", store.duplicates, 0).astype(np.intp)
    if groups[rows].all():
        return groups
    from ...data.duplicates.pairs import duplicate_groups

    groups[rows] = 1 + duplicate_groups(
        store.sha256s[rows].tolist(),
        store.pixels[rows].tolist(),
        store.thumbnails(rows),
        progress=progress,
    )
    return groups


def relatives(test: Part, train: Part, progress: Progress | None = None) -> NDArray[np.str_]:
    """Return each test row's strongest relation to the training rows, a key of `LEVELS`.

    A row without a relation gets "". It gets `UNKNOWN` if no relation was found, but images of the
    row's chain or of the training part have no digest of their pixels.

    Relations form chains, as they do when rows are split. Example: test image A is nearly the same
    picture as B, and the bytes of B are trained on; then A is related, and so is another image of
    B's patient. A chain may lead through any rows of a store. Groups of two stores are never the
    same; pictures of two stores are compared.

    Args:
        test: rows of any store.
        train: rows of the same store, or of another one.
        progress: called with (compared pairs, all pairs).

    Returns:
        Of shape (n_test,).
    """
    parts = (test, train)
    one_store = test.store is train.store
    # Group numbers of two stores mean nothing to each other: they carry the number of their store.
    store_numbers = (0, 0) if one_store else (0, 1)
    near: list[tuple[int, int] | str] = []
    chains: list[tuple[int, int]] = []
    for store_number, part in zip(store_numbers, parts, strict=True):
        near += _near_keys(store_number, part.duplicates.tolist())
        chains += [(store_number, number) for number in part.chains.tolist()]
    sha256s = np.concatenate([part.sha256s for part in parts]).tolist()
    pixels = np.concatenate([part.pixels for part in parts]).tolist()
    # Equal bytes decode to equal pixels, so a copy by either is a copy.
    copies = join_groups(sha256s, pixels)
    pictures = join_groups(copies.tolist(), near)
    if not one_store:
        pictures = _compare_stores(test, train, copies, pictures, progress)
    # The weakest relation comes first, so that stronger ones replace it.
    groups_by_level = {
        "group": join_groups(pictures.tolist(), chains),
        "near": pictures,
        "pixels": copies,
        "bytes": join_groups(sha256s),
    }
    levels = unknown(test, train)
    for level, groups in groups_by_level.items():
        levels[_on_both_sides(groups, len(test.rows))] = level
    return levels


def unknown(test: Part, train: Part) -> NDArray[np.str_]:
    """Return the level of each test row, supposing that it has no relation: "" or `UNKNOWN`.

    A picture without a digest of its pixels may be any test picture's copy, or that of a training
    picture.
    """
    return np.where(test.recognised & train.recognised.all(), "", UNKNOWN)


def _near_keys(store_number: int, groups: Iterable[int]) -> list[tuple[int, int] | str]:
    """Return keys of a store's near-duplicate groups; unknown ones get "", which joins nothing."""
    return [(store_number, number) if number else "" for number in groups]


def _on_both_sides(groups: NDArray[np.intp], n_test: int) -> NDArray[np.bool_]:
    """Return True for each of the first n_test rows whose group has a later row, too."""
    return np.isin(groups[:n_test], groups[n_test:])


def _compare_stores(
    test: Part,
    train: Part,
    copies: NDArray[np.intp],
    pictures: NDArray[np.intp],
    progress: Progress | None,
) -> NDArray[np.intp]:
    """Join groups of pictures whose thumbnails are alike, across two stores.

    Test rows that have a relative already are not compared.

    Args:
        test: the first rows of `copies` and `pictures`.
        train: the rows after them.
        copies: group of equal bytes or pixels, of shape (n_test + n_train,).
        pictures: group of nearly the same pictures, of the same shape.
        progress: called with (compared pairs, all pairs).
    """
    from ...data.duplicates.pairs import merge_groups
    from ...data.duplicates.remembered import remembered_near_pairs

    n = len(test.rows)
    test_rows = np.flatnonzero((test.pixels != "") & ~_on_both_sides(pictures, n))
    train_rows = n + np.flatnonzero(train.pixels != "")
    # One image of each set of copies is enough.
    test_rows = test_rows[np.unique(copies[test_rows], return_index=True)[1]]
    train_rows = train_rows[np.unique(copies[train_rows], return_index=True)[1]]
    if not len(test_rows) or not len(train_rows):
        return pictures
    thumbnails = (
        test.store.thumbnails(test.rows[test_rows]),
        train.store.thumbnails(train.rows[train_rows - n]),
    )
    sides = np.repeat([0, 1], [len(test_rows), len(train_rows)])
    pairs = remembered_near_pairs(
        np.concatenate(thumbnails), sides=sides, progress=progress, cache=True
    )
    rows = np.concatenate([test_rows, train_rows])
    return merge_groups(pictures, pictures[rows[pairs.first]], pictures[rows[pairs.second]])
