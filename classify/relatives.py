"""Relatives: what the training part has of a test image itself: its copy, nearly the same picture, its patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.splits import join_groups

if TYPE_CHECKING:
    from ..features.store import FeatureStore
    from .task import Part

LEVELS = {
    "bytes": "the same bytes",
    "pixels": "the same pixels",
    "near": "nearly the same picture",
    "group": "the same group",
}
"""How an image is related to one that is trained on, the strongest first, and in words."""

Progress = Callable[[int, int], None]
Numbers = NDArray[np.intp]


def near_duplicates(store: FeatureStore, progress: Progress | None = None) -> Numbers:
    """Number of the near-duplicate group of each row of a store, from 1 on, of shape (n,); 0 where it is not known.

    A store that was joined from others has thumbnails, but does not know which of them are alike: they are compared.

    Args:
        progress: told how many pairs are compared, and how many there are to compare.
    """
    rows = store.rows()
    rows = rows[store.pixels[rows] != ""]
    found = store.duplicates.astype(np.intp)
    if found[rows].all():
        return found
    from ..data.duplicates import duplicate_groups

    digests = store.sha256s[rows].tolist(), store.pixels[rows].tolist()
    found[rows] = duplicate_groups(*digests, store.thumbnails(rows), progress=progress) + 1
    return found


def relatives(test: Part, train: Part, progress: Progress | None = None) -> NDArray[np.str_]:
    """How each test row is related to the training rows: a key of `LEVELS`, the strongest; "" if it is not.

    Relations form chains, as they do when rows are split: an image that is nearly the same picture as a test image,
    whose bytes are trained on, is related, too, and so is another image of that one's patient. Groups of two stores are
    never the same; pictures of two stores are compared.

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
    near = [key for side, part in zip(of_store, parts, strict=True) for key in _own(side, part.duplicates.tolist())]
    group = [key for side, part in zip(of_store, parts, strict=True) for key in _own(side, part.named_groups.tolist())]
    copies = join_groups(sha256s, pixels)
    pictures = join_groups(copies.tolist(), near)
    if not one_store:
        pictures = _compared(test, train, copies, pictures, progress)
    found = np.full(n, "", "U6")
    joined = {"group": join_groups(pictures.tolist(), group), "near": pictures, "pixels": copies}
    joined["bytes"] = join_groups(sha256s)
    for level, numbers in joined.items():  # the weakest first
        found[_on_both_sides(numbers, n)] = level
    return found


def _own(side: int, keys: Iterable[int | str]) -> list[tuple[int, int | str] | str]:
    """Keys of one store, so that those of another are not taken for them; what is not known joins nothing."""
    return [(side, key) if key else "" for key in keys]


def _on_both_sides(numbers: Numbers, n: int) -> NDArray[np.bool_]:
    """Which of the first n, those of the test rows, stand among the others, too."""
    return np.isin(numbers[:n], numbers[n:])


def _compared(test: Part, train: Part, copies: Numbers, pictures: Numbers, progress: Progress | None) -> Numbers:
    """Groups of pictures after each test picture was compared with all of the other store that are trained on.

    Test rows that have a relative already are not compared.
    """
    from ..data.duplicates import joined, near_pairs

    n = len(test.rows)
    asked = np.flatnonzero((test.pixels != "") & ~_on_both_sides(pictures, n))
    known = n + np.flatnonzero(train.pixels != "")
    asked, known = (rows[np.unique(copies[rows], return_index=True)[1]] for rows in (asked, known))
    if not len(asked) or not len(known):
        return pictures
    thumbnails = test.store.thumbnails(test.rows[asked]), train.store.thumbnails(train.rows[known - n])
    sides = np.repeat([0, 1], [len(asked), len(known)])
    pairs = near_pairs(np.concatenate(thumbnails), sides=sides, progress=progress)
    rows = np.concatenate([asked, known])
    return joined(pictures, pictures[rows[pairs.first]], pictures[rows[pairs.second]])
