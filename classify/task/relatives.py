"""Relatives of test images among the training images: copies, near-copies, patient-mates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, eq=False)
class PartRelatives:
    """The relations of test rows to the training rows.

    Attributes:
        levels: strongest relation of each test row, a key of `LEVELS`, `UNKNOWN` or "", of shape
            (n_test,).
        contradicted: True where a training row shows the same picture with another label, bool of
            shape (n_test,).
    """

    levels: NDArray[np.str_]
    contradicted: NDArray[np.bool_]


def relatives(test: Part, train: Part, progress: Progress | None = None) -> NDArray[np.str_]:
    """Return each test row's strongest relation to the training rows; see `all_relatives`."""
    return all_relatives([test], train, progress)[0].levels


def all_relatives(
    tests: Sequence[Part], train: Part, progress: Progress | None = None
) -> list[PartRelatives]:
    """Return the relations of each test set's rows to the training rows.

    A row without a relation gets "". It gets `UNKNOWN` if no relation was found, but one may exist:
    images of the row's chain or of the training part have no digest of their pixels, a store does
    not keep whether a group's name means the same group in the other store, or the digests of their
    patients have different keys.

    Relations form chains, as they do when rows are split. Example: test image A is nearly the same
    picture as B, and the bytes of B are trained on; then A is related, and so is another image of
    B's patient. A chain may lead through any rows of all the stores, those of another test set too.
    Stores share patients, groups whose names are common to all sets, and pictures.

    Args:
        tests: rows of any stores, for each test set.
        train: rows of one of these stores, or of another one.
        progress: called with (compared pairs, all pairs).
    """
    if not tests:
        return []
    # Chains may lead through rows that are in no part, so all rows of the stores take part.
    wholes = list({id(part.store): part.whole or part for part in (train, *tests)}.values())
    places = _Places(wholes)
    kin = _Kin.of_stores(wholes, progress)
    # The weakest relation comes first, so that stronger ones replace it.
    groups_by_level = {
        UNKNOWN: _maybe_related(wholes, kin.related),
        "group": kin.related,
        "near": kin.pictures,
        "pixels": kin.copies,
        "bytes": join_groups(_sha256s(wholes)),
    }
    results = []
    for test in tests:
        levels = unknown(test, train)
        for level, groups in groups_by_level.items():
            levels[np.isin(groups[places.of(test)], groups[places.of(train)])] = level
        contradicted = _contradicted(
            kin.pictures[places.of(test)],
            test.labels,
            kin.pictures[places.of(train)],
            train.labels,
        )
        results.append(PartRelatives(levels, contradicted))
    return results


def linked_by(part: Part, tests: Sequence[Part], progress: Progress | None = None) -> Part:
    """Return a part whose chains may lead through rows of other stores, too.

    Example: A and B are in the part's store, and X is in another one. X is nearly the same picture
    as A and as B. Then A and B are one group, so that no split parts them.

    Args:
        part: rows of a store.
        tests: rows of other stores.
        progress: called with (compared pairs, all pairs).
    """
    linking = [test for test in tests if test.store.path != part.store.path]
    if not linking:
        return part
    whole = part.whole or part
    wholes = [whole, *(test.whole or test for test in linking)]
    related = _Kin.of_stores(wholes, progress).related
    unread = np.concatenate([member.pixels for member in wholes]) == ""
    recognised = ~np.isin(related, related[unread])
    n_rows = len(whole.rows)
    linked = replace(whole, chains=related[:n_rows], recognised=recognised[:n_rows])
    return linked if part.whole is None else linked.take(np.isin(whole.rows, part.rows))


@dataclass(frozen=True, eq=False)
class _Kin:
    """Groups of all rows of several stores, one store after another, each of shape (n,).

    Attributes:
        copies: rows with equal bytes or pixels are one group.
        pictures: rows that a chain of nearly equal pictures links are one group.
        related: rows that any chain of relations links are one group.
    """

    copies: NDArray[np.intp]
    pictures: NDArray[np.intp]
    related: NDArray[np.intp]

    @classmethod
    def of_stores(cls, wholes: Sequence[Part], progress: Progress | None) -> _Kin:
        """Join the rows of several stores; pictures of different stores are compared.

        Args:
            wholes: all rows of each store.
            progress: called with (compared pairs, all pairs).
        """
        pixels = np.concatenate([whole.pixels for whole in wholes]).tolist()
        # Equal bytes decode to equal pixels, so a copy by either is a copy.
        copies = join_groups(_sha256s(wholes), pixels)
        near = [key for number, whole in enumerate(wholes) for key in _near_keys(number, whole)]
        pictures = join_groups(copies.tolist(), near)
        if len(wholes) > 1:
            pictures = _compare_stores(wholes, copies, pictures, progress)
        related = join_groups(pictures.tolist(), *_name_keys(wholes))
        return cls(copies, pictures, related)


def _sha256s(wholes: Sequence[Part]) -> list[str]:
    """Return the digests of the files of several stores."""
    return [str(digest) for digest in np.concatenate([whole.sha256s for whole in wholes])]


def _contradicted(
    test_pictures: NDArray[np.intp],
    test_labels: NDArray[np.str_],
    train_pictures: NDArray[np.intp],
    train_labels: NDArray[np.str_],
) -> NDArray[np.bool_]:
    """Return True for each test row whose picture has another label in a training row."""
    # Few pictures are in both parts; only these need a look at their labels.
    shared = np.flatnonzero(np.isin(train_pictures, test_pictures))
    labels_of: dict[int, set[str]] = defaultdict(set)
    for row in shared.tolist():
        labels_of[int(train_pictures[row])].add(str(train_labels[row]))
    pairs = zip(test_pictures.tolist(), test_labels.tolist(), strict=True)
    return np.array([bool(labels_of.get(picture, set()) - {label}) for picture, label in pairs])


def unknown(test: Part, train: Part) -> NDArray[np.str_]:
    """Return the level of each test row, supposing that it has no relation: "" or `UNKNOWN`.

    A picture without a digest of its pixels may be any test picture's copy, or that of a training
    picture. A patient whose digest has another key may be any patient.
    """
    incomparable = np.array(test.names.incomparable(train.names), np.bool_)
    return np.where(test.recognised & train.recognised.all() & ~incomparable, "", UNKNOWN)


class _Places:
    """The places of a part's rows among the rows of several whole stores.

    Args:
        wholes: all rows of each store, one store after another.
    """

    def __init__(self, wholes: Sequence[Part]) -> None:
        starts = np.cumsum([0, *(len(whole.rows) for whole in wholes)]).tolist()
        self._wholes = {
            id(whole.store): (whole, start)
            for whole, start in zip(wholes, starts[:-1], strict=True)
        }

    def of(self, part: Part) -> NDArray[np.intp]:
        """Return the places of a part's rows, of shape (n_rows,)."""
        whole, start = self._wholes[id(part.store)]
        # The rows of a whole part are ascending.
        return np.searchsorted(whole.rows, part.rows) + np.intp(start)


def _near_keys(number: int, whole: Part) -> list[tuple[int, int] | str]:
    """Return a key for each row's near-duplicate group; unknown ones get "", which joins nothing.

    Args:
        number: number of the store. Group numbers of two stores mean nothing to each other.
        whole: all rows of the store.
    """
    return [(number, group) if group else "" for group in whole.duplicates.tolist()]


def _name_keys(wholes: Sequence[Part]) -> tuple[list[Hashable], list[frozenset[str]]]:
    """Return keys of chains within a store, and of names that all stores share, for all rows."""
    chains: list[Hashable] = []
    common: list[frozenset[str]] = []
    for number, whole in enumerate(wholes):
        # A chain has the groups and patients of its store in it.
        chains += [(number, chain) for chain in whole.chains.tolist()]
        common += whole.names.common_keys()
    return chains, common


def _maybe_related(wholes: Sequence[Part], related: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join groups of rows that may be related: two stores have a name, and its scope is unknown.

    Args:
        wholes: all rows of the stores.
        related: group number of the rows that are related for certain, of shape (n,).
    """
    names = {name for whole in wholes for name in whole.names.uncertain_groups()}
    # A name of unknown scope may mean the same as any equal name in the other stores.
    keys = [texts & names - {""} for whole in wholes for texts in whole.names.texts()]
    return join_groups(related.tolist(), keys)


def _compare_stores(
    wholes: Sequence[Part],
    copies: NDArray[np.intp],
    pictures: NDArray[np.intp],
    progress: Progress | None,
) -> NDArray[np.intp]:
    """Join groups of pictures whose thumbnails are alike, across stores.

    Args:
        wholes: all rows of each store.
        copies: group of equal bytes or pixels, of shape (n,).
        pictures: group of nearly the same pictures, of the same shape.
        progress: called with (compared pairs, all pairs).
    """
    from ...data.duplicates.pairs import merge_groups
    from ...data.duplicates.remembered import remembered_near_pairs

    thumbnails = []
    places = []
    sides = []
    start = 0
    for number, whole in enumerate(wholes):
        own = np.flatnonzero(whole.pixels != "")
        # One image of each set of copies is enough.
        own = own[np.unique(copies[start + own], return_index=True)[1]]
        thumbnails.append(whole.store.thumbnails(whole.rows[own]))
        places.append(start + own)
        sides.append(np.full(len(own), number))
        start += len(whole.rows)
    # Without two stores that have pictures, nothing can be compared.
    if sum(len(numbers) > 0 for numbers in sides) < 2:
        return pictures
    pairs = remembered_near_pairs(
        np.concatenate(thumbnails), sides=np.concatenate(sides), progress=progress, cache=True
    )
    compared = np.concatenate(places)
    return merge_groups(pictures, pictures[compared[pairs.first]], pictures[compared[pairs.second]])
