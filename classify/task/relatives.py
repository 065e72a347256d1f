"""Relatives: what the training part has of a test image itself: its copy, nearly the same picture, its patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...data.splits import join_groups

if TYPE_CHECKING:
    from ...features.store import FeatureStore
    from .part import Part

LEVELS = {
    "bytes": "the same bytes",
    "pixels": "the same pixels",
    "near": "nearly the same picture",
    "group": "the same group",
}
"""How an image is related to one that is trained on, the strongest first, and in words."""
UNKNOWN = "unknown"
"""In the place of a level: no relation was found, but there may be one that could not be looked for."""

Progress = Callable[[int, int], None]
Numbers = NDArray[np.intp]


def near_duplicates(store: FeatureStore, progress: Progress | None = None) -> Numbers:
    """Number of the near-duplicate group of each row of a store, from 1 on, of shape (n,); 0 where it is not known.

    A store that was joined from others has thumbnails, but does not know which of them are alike:
    they are compared. Of an image without pixels nothing is known, whatever number the file gives
    it.

    Args:
        progress: told how many pairs are compared, and how many there are to compare.
    """
    rows = store.rows()
    rows = rows[store.pixels[rows] != ""]
    found = np.where(store.pixels != "", store.duplicates, 0).astype(np.intp)
    if found[rows].all():
        return found
    from ...data.duplicates.pairs import duplicate_groups

    digests = store.sha256s[rows].tolist(), store.pixels[rows].tolist()
    found[rows] = duplicate_groups(*digests, store.thumbnails(rows), progress=progress) + 1
    return found


def relatives(test: Part, train: Part, progress: Progress | None = None) -> NDArray[np.str_]:
    """How each test row is related to the training rows: a key of `LEVELS`, the strongest; "" if it is not.

    Where no relation was found, but images of the chain or of the training part are not recognised,
    it is `UNKNOWN`.

    Relations form chains, as they do when rows are split: an image that is nearly the same picture
    as a test image, whose bytes are trained on, is related, too, and so is another image of that
    one's patient. A chain may lead through any rows of a store. Groups of two stores are never the
    same; pictures of two stores are compared.

    Args:
        test: rows of any store.
        train: rows of the same store, or of another one.
        progress: told how many pairs of pictures are compared, and how many there are to compare.

    Returns:
        Of shape (n_test,).
    """
    n = len(test.rows)
    parts, one_store = (test, train), test.store is train.store
    of_store = (0, 0) if one_store else (0, 1)
    sha256s = [key for part in parts for key in part.sha256s.tolist()]
    pixels = [key for part in parts for key in part.pixels.tolist()]
    near = [
        key
        for side, part in zip(of_store, parts, strict=True)
        for key in _own(side, part.duplicates.tolist())
    ]
    chains = [
        (side, number)
        for side, part in zip(of_store, parts, strict=True)
        for number in part.chains.tolist()
    ]
    copies = join_groups(sha256s, pixels)
    pictures = join_groups(copies.tolist(), near)
    if not one_store:
        pictures = _compared(test, train, copies, pictures, progress)
    found = unknown(test, train)
    joined = {"group": join_groups(pictures.tolist(), chains), "near": pictures, "pixels": copies}
    joined["bytes"] = join_groups(sha256s)
    for level, numbers in joined.items():  # the weakest first
        found[_on_both_sides(numbers, n)] = level
    return found


def unknown(test: Part, train: Part) -> NDArray[np.str_]:
    """What is known of test rows for which no relation was found: "" if there is none, else `UNKNOWN`.

    A picture that is not recognised may be any test picture's copy, or that of a training picture.
    """
    return np.where(test.recognised & train.recognised.all(), "", UNKNOWN)


def _own(side: int, numbers: Iterable[int]) -> list[tuple[int, int] | str]:
    """Numbers of one store, so that those of another are not taken for them; what is not known joins nothing."""
    return [(side, number) if number else "" for number in numbers]


def _on_both_sides(numbers: Numbers, n: int) -> NDArray[np.bool_]:
    """Which of the first n, those of the test rows, stand among the others, too."""
    return np.isin(numbers[:n], numbers[n:])


def _compared(
    test: Part, train: Part, copies: Numbers, pictures: Numbers, progress: Progress | None
) -> Numbers:
    """Groups of pictures after each test picture was compared with all of the other store that are trained on.

    Test rows that have a relative already are not compared.
    """
    from ...data.duplicates.pairs import merge_groups
    from ...data.duplicates.remembered import remembered_near_pairs

    n = len(test.rows)
    asked = np.flatnonzero((test.pixels != "") & ~_on_both_sides(pictures, n))
    known = n + np.flatnonzero(train.pixels != "")
    asked, known = (rows[np.unique(copies[rows], return_index=True)[1]] for rows in (asked, known))
    if not len(asked) or not len(known):
        return pictures
    thumbnails = (
        test.store.thumbnails(test.rows[asked]),
        train.store.thumbnails(train.rows[known - n]),
    )
    sides = np.repeat([0, 1], [len(asked), len(known)])
    pairs = remembered_near_pairs(
        np.concatenate(thumbnails), sides=sides, progress=progress, cache=True
    )
    rows = np.concatenate([asked, known])
    return merge_groups(pictures, pictures[rows[pairs.first]], pictures[rows[pairs.second]])
