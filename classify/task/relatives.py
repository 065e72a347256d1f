"""Relatives of test images among the training images: copies, near-copies, patient-mates."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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

    A row without a relation gets "". It gets `UNKNOWN` if no relation was found, but one may exist:
    images of the row's chain or of the training part have no digest of their pixels, or a store
    does not keep whether a group's name means the same group in the other store.

    Relations form chains, as they do when rows are split. Example: test image A is nearly the same
    picture as B, and the bytes of B are trained on; then A is related, and so is another image of
    B's patient. A chain may lead through any rows of the two stores. Two stores share patients,
    groups whose names are common to all sets, and pictures.

    Args:
        test: rows of any store.
        train: rows of the same store, or of another one.
        progress: called with (compared pairs, all pairs).

    Returns:
        Of shape (n_test,).
    """
    one_store = test.store is train.store
    # Chains may lead through rows that are in neither part, so all rows of the stores take part.
    wholes = [test.whole or test] if one_store else [test.whole or test, train.whole or train]
    sides = _Sides.of_parts(wholes, test, train)
    sha256s = np.concatenate([whole.sha256s for whole in wholes]).tolist()
    pixels = np.concatenate([whole.pixels for whole in wholes]).tolist()
    # Equal bytes decode to equal pixels, so a copy by either is a copy.
    copies = join_groups(sha256s, pixels)
    near = [key for number, whole in enumerate(wholes) for key in _near_keys(number, whole)]
    pictures = join_groups(copies.tolist(), near)
    if not one_store:
        pictures = _compare_stores(wholes, sides, copies, pictures, progress)
    related = join_groups(pictures.tolist(), *_group_keys(wholes))
    # The weakest relation comes first, so that stronger ones replace it.
    groups_by_level = {
        "group": related,
        "near": pictures,
        "pixels": copies,
        "bytes": join_groups(sha256s),
    }
    levels = unknown(test, train)
    if not one_store:
        levels[sides.shared(_maybe_related(wholes, related))] = UNKNOWN
    for level, groups in groups_by_level.items():
        levels[sides.shared(groups)] = level
    return levels


def unknown(test: Part, train: Part) -> NDArray[np.str_]:
    """Return the level of each test row, supposing that it has no relation: "" or `UNKNOWN`.

    A picture without a digest of its pixels may be any test picture's copy, or that of a training
    picture.
    """
    return np.where(test.recognised & train.recognised.all(), "", UNKNOWN)


@dataclass(frozen=True)
class _Sides:
    """The places of test and training rows among the rows of one or two whole stores.

    Attributes:
        test: places of the test rows, of shape (n_test,).
        train: places of the training rows, of shape (n_train,).
    """

    test: NDArray[np.intp]
    train: NDArray[np.intp]

    @classmethod
    def of_parts(cls, wholes: Sequence[Part], test: Part, train: Part) -> _Sides:
        # The rows of a whole part are ascending.
        first = np.searchsorted(wholes[0].rows, test.rows)
        start = len(wholes[0].rows) if len(wholes) > 1 else 0
        return cls(first, start + np.searchsorted(wholes[-1].rows, train.rows))

    def shared(self, groups: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return True for each test row whose group has a training row, too."""
        return np.isin(groups[self.test], groups[self.train])


def _near_keys(number: int, whole: Part) -> list[tuple[int, int] | str]:
    """Return a key for each row's near-duplicate group; unknown ones get "", which joins nothing.

    Args:
        number: number of the store. Group numbers of two stores mean nothing to each other.
        whole: all rows of the store.
    """
    return [(number, group) if group else "" for group in whole.duplicates.tolist()]


def _group_keys(wholes: Sequence[Part]) -> tuple[list[Hashable], list[str], list[str]]:
    """Return keys of chains within a store, common groups and patients, for all rows."""
    chains: list[Hashable] = []
    groups: list[str] = []
    patients: list[str] = []
    for number, whole in enumerate(wholes):
        # A chain has the groups and patients of its store in it.
        chains += [(number, chain) for chain in whole.chains.tolist()]
        groups += whole.names.common_groups()
        patients += whole.names.common_patients()
    return chains, groups, patients


def _maybe_related(wholes: Sequence[Part], related: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join groups of rows that may be related: a name occurs in both, and its scope is unknown.

    Args:
        wholes: all rows of both stores.
        related: group number of the rows that are related for certain, of shape (n,).
    """
    uncertain = [name for whole in wholes for name in whole.names.uncertain_groups()]
    names = set(uncertain)
    # A name of unknown scope may mean the group of the same name in the other store.
    keys = [name if name in names else "" for whole in wholes for name in whole.names.groups]
    return join_groups(related.tolist(), keys)


def _compare_stores(
    wholes: Sequence[Part],
    sides: _Sides,
    copies: NDArray[np.intp],
    pictures: NDArray[np.intp],
    progress: Progress | None,
) -> NDArray[np.intp]:
    """Join groups of pictures whose thumbnails are alike, across two stores.

    Args:
        wholes: all rows of the test store and of the training store.
        sides: places of the test and the training rows.
        copies: group of equal bytes or pixels, of shape (n,).
        pictures: group of nearly the same pictures, of the same shape.
        progress: called with (compared pairs, all pairs).
    """
    from ...data.duplicates.pairs import merge_groups
    from ...data.duplicates.remembered import remembered_near_pairs

    first, second = wholes
    n = len(first.rows)
    first_places = np.flatnonzero(first.pixels != "")
    # Test rows that are the picture of a training row need no comparison.
    settled = sides.test[sides.shared(pictures)]
    first_places = np.setdiff1d(first_places, settled)
    second_places = n + np.flatnonzero(second.pixels != "")
    # One image of each set of copies is enough.
    first_places = first_places[np.unique(copies[first_places], return_index=True)[1]]
    second_places = second_places[np.unique(copies[second_places], return_index=True)[1]]
    if not len(first_places) or not len(second_places):
        return pictures
    thumbnails = (
        first.store.thumbnails(first.rows[first_places]),
        second.store.thumbnails(second.rows[second_places - n]),
    )
    numbers = np.repeat([0, 1], [len(first_places), len(second_places)])
    pairs = remembered_near_pairs(
        np.concatenate(thumbnails), sides=numbers, progress=progress, cache=True
    )
    places = np.concatenate([first_places, second_places])
    return merge_groups(pictures, pictures[places[pairs.first]], pictures[places[pairs.second]])
