"""Splits that cut no group: who is trained on, who chooses, who is tested, and folds."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .manifest import Manifest
from .output.csv import csv_line
from .splits import grouped_folds, hold_out


@dataclass(frozen=True, eq=False)
class Split:
    """On which side each image is.

    Attributes:
        sides: "train", "validation", "test", or "" of all if nothing is held out; of shape (n,).
        folds: number of the fold that an image is judged in, from 1 on; 0 of those that are in
            none; of shape (n,).
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
    """Deal groups out, by class as evenly as the groups allow.

    Args:
        labels: class of each image, of shape (n,).
        groups: group number of each image, of shape (n,); those of one number stay together.
        test, validation: shares of all images; 0 for none.
        n_folds: of cross-validation among those that are not tested; 0 for none.
        seed: of the dealing.

    Raises:
        ParameterError: shares that leave nothing to train on, or nothing is asked for.
        FreezeframeError: a class has too few groups.

    Examples:
        >>> found = split_groups(["a", "a", "b", "b"], np.arange(4), test=0.5)
        >>> sorted(found.sides.tolist())
        ['test', 'test', 'train', 'train']
    """
    if min(test, validation) < 0 or test + validation >= 1:
        raise ParameterError(
            f"shares must leave something to train on, got test {test} and validation {validation}"
        )
    if not test + validation and not n_folds:
        raise ParameterError("nothing to split: give a share to test on, or folds")
    sides = np.full(len(labels), "train" if test or validation else "", dtype="U10")
    names, rest = np.asarray(labels), np.arange(len(labels))
    left = 1.0
    for side, share in (("test", test), ("validation", validation)):
        if share:
            kept, held_out = hold_out(
                names[rest], _renumbered(groups[rest]), test_size=share / left, seed=seed
            )
            sides[rest[held_out]] = side
            rest, left = rest[kept], left - share
    folds = np.zeros(len(labels), np.intp)
    if n_folds:
        among = np.flatnonzero(sides != "test")
        for number, (_, judged) in enumerate(
            grouped_folds(names[among], _renumbered(groups[among]), n_folds=n_folds, seed=seed), 1
        ):
            folds[among[judged]] = number
    return Split(sides, folds)


def _renumbered(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def manifest_lines(
    manifest: Manifest, groups: NDArray[np.intp], found: Split, folder: Path
) -> Iterator[str]:
    """Lines of a CSV that `read_manifest` reads.

    Args:
        manifest: the images; their paths become relative to `folder`, where the file will lie.
        groups: group number of each image; one that has a group for itself gets no name for it.
        found: the split.

    Raises:
        ParameterError: a name that would not be read back as it is.
    """
    names = _group_names(manifest, groups)
    with_folds = bool(found.folds.any())
    yield csv_line(["path", "label", "split", "group", *(["fold"] if with_folds else [])])
    for image, group, side, fold in zip(
        manifest.images, groups.tolist(), found.sides, found.folds, strict=True
    ):
        path = Path(os.path.relpath(manifest.root / image.path, folder)).as_posix()
        if path != path.strip() or image.label != image.label.strip():
            raise ParameterError(
                f"{image.path}: a list cannot keep spaces at the ends of a name; rename it"
            )
        yield csv_line(
            [
                path,
                image.label,
                str(side),
                names[group],
                *([str(fold) if fold else ""] if with_folds else []),
            ]
        )


def _group_names(manifest: Manifest, groups: NDArray[np.intp]) -> list[str]:
    """What each group is called: as it was given, if it has one name; "" of an image for itself."""
    given: dict[int, set[str]] = defaultdict(set)
    for image, group in zip(manifest.images, groups.tolist(), strict=True):
        given[group] |= {image.group} - {""}
    sizes = np.bincount(groups)
    return [
        next(iter(given[group])) if len(given[group]) == 1 else f"group-{group}" * bool(size > 1)
        for group, size in enumerate(sizes)
    ]
