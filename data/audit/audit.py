"""The audit of one or several image sets: images that show the same picture, and their sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from ..duplicates.pairs import THRESHOLD, merge_groups
from ..output.terminal import Progress
from ..splits import join_groups
from .class_changes import ClassChanges
from .crossings import Crossing, Relations, find_crossings
from .image_pairs import (
    FEATURES,
    GROUP,
    ImagePair,
    SetPart,
    copy_pairs,
    group_pairs,
    in_order,
    near_duplicate_pairs,
    parts_of,
    strongest,
)
from .image_set import ImageSet, change_classes, group_names, with_unique_names


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit. Its images have numbers from 0 on, through all sets.

    A part is one split of one set.

    Attributes:
        sets: each is compared with those before it; a training set comes first.
        pairs: images that show the same picture. In each part, copies are paired with the first
            image of their content. The first images of two parts are paired, too. A pair of level
            `GROUP` joins two pictures of one patient or given group on two sides that no other
            pair joins.
        pictures: group number of each image, intp of shape (n,). Images of one group show the
            same picture, directly or through other images.
        groups: group number of each image, intp of shape (n,). Images of one group show the same
            picture, or are of one patient or given group; no split should cut it.
        threshold: two thumbnails with at least this score count as one picture.
    """

    sets: tuple[ImageSet, ...]
    pairs: tuple[ImagePair, ...]
    pictures: NDArray[np.intp]
    groups: NDArray[np.intp]
    threshold: float

    def column(self, name: str) -> list[str]:
        """Return the values of one attribute of `ImageSet` for the images of all sets."""
        return [text for images in self.sets for text in getattr(images, name)]

    @cached_property
    def set_numbers(self) -> NDArray[np.intp]:
        """Number of each image's set, of shape (n,)."""
        return np.repeat(np.arange(len(self.sets)), [len(images) for images in self.sets])

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Number of the first image of each set, of shape (n_sets,)."""
        return np.cumsum([0, *(len(images) for images in self.sets)])[:-1]

    @cached_property
    def labels(self) -> list[str]:
        """Class of each image."""
        return self.column("labels")

    @cached_property
    def unread(self) -> NDArray[np.bool_]:
        """True for images that nobody looked at, so that only their bytes can be compared.

        They could not be read, or their row of a store is not computed yet.
        """
        return np.array([not pixels for pixels in self.column("pixels")])

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """Comparisons of all parts that must not share an image; see `find_crossings`."""
        relations = Relations(
            self.column("sha256s"), self.column("pixels"), self.pictures, self.groups, self.pairs
        )
        return tuple(find_crossings(self.sets, relations))

    @cached_property
    def _parts(self) -> list[SetPart]:
        return parts_of(self.sets)

    @cached_property
    def _classes(self) -> list[set[str]]:
        return [set(images.labels) for images in self.sets]

    @cached_property
    def incomparable_patients(self) -> list[tuple[int, int]]:
        """Numbers of two sets, or of one set twice, whose patients have digests of two keys."""
        pairs = combinations_with_replacement(range(len(self.sets)), 2)
        return [
            (first, second)
            for first, second in pairs
            if any(self.sets[first].names.incomparable(self.sets[second].names))
        ]

    @cached_property
    def uncertain_groups(self) -> dict[tuple[int, int], list[str]]:
        """Names of groups that two sets share, by their numbers, if the scope is unknown.

        Stores of older formats do not keep whether a name means the same group in all sets.
        """
        shared = {}
        for first, second in combinations(range(len(self.sets)), 2):
            pair = (self.sets[first], self.sets[second])
            uncertain = set(pair[0].names.uncertain_groups() + pair[1].names.uncertain_groups())
            used = [frozenset().union(*images.names.texts()) for images in pair]
            names = uncertain & used[0] & used[1]
            if names:
                shared[first, second] = sorted(names)
        return shared

    @property
    def leaks(self) -> bool:
        """True if an image has a relative in a part that must not share any with its own."""
        return any(crossing.n_related for crossing in self.crossings)

    def place_of(self, row: int) -> tuple[ImageSet, int]:
        """Return the set of an image and its place there."""
        number = self.set_numbers[row]
        return self.sets[number], int(row - self.starts[number])

    def is_leak(self, pair: ImagePair) -> bool:
        """Return True if the pair is on two sides of a split, or in two sets."""
        first_set, first_split = self._parts[pair.first]
        second_set, second_split = self._parts[pair.second]
        if first_set != second_set:
            return True
        # An image without a split is on no side, so no split separates its pair.
        return "" not in (first_split, second_split) and first_split != second_split

    def is_conflict(self, pair: ImagePair) -> bool:
        """Return True if one picture has two labels.

        Labels of two sets are compared only if the sets are `comparable`.
        """
        first = self._parts[pair.first][0]
        second = self._parts[pair.second][0]
        # Two sets may name their classes differently, which is no conflict.
        comparable = first == second or self.comparable(first, second)
        differ = self.labels[pair.first] != self.labels[pair.second]
        return comparable and pair.level != GROUP and differ

    def comparable(self, first: int, second: int) -> bool:
        """Return True if one of two sets has all classes of the other."""
        first_classes = self._classes[first]
        second_classes = self._classes[second]
        return first_classes <= second_classes or second_classes <= first_classes


def audit(
    sets: Sequence[ImageSet],
    *,
    threshold: float = THRESHOLD,
    classes: Mapping[str, str] | None = None,
    drop_classes: Collection[str] = (),
    alike: Sequence[tuple[int, int, float]] = (),
    cache: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Find images that show the same picture, within one set and across sets.

    Args:
        sets: each is compared with those before it; a training set comes first.
        threshold: two thumbnails with at least this score count as one picture; see `near_pairs`.
            Above 1, only copies are found.
        classes: new names of labels, as {old: new}, where two sets name them differently.
        drop_classes: labels whose images are left out of all sets, by their names before `classes`.
        alike: more pairs, for example of similar features: the numbers of two images, and their
            score.
        cache: see `remembered_near_pairs`.
        progress: called with the number of compared pairs of thumbnails, and of all pairs.

    Raises:
        ParameterError: `classes` or `drop_classes` names a class that no image has, no image of a
            set is left, or the threshold is not above 0.

    Examples:
        >>> from freezeframe.data.demo.images import make_demo_images
        >>> from freezeframe.data.inspection.inspect import inspect_images
        >>> from freezeframe.data.manifest import read_manifest
        >>> manifest = read_manifest(make_demo_images("demo", per_class=10))
        >>> facts = inspect_images(manifest, cache=False)
        >>> result = audit([ImageSet.from_manifest(manifest, facts)], cache=False)
        >>> len(result.pairs), len(set(result.pictures))
        (2, 18)
    """
    changes = ClassChanges(classes or {}, drop_classes)
    labels = [label for images in sets for label in images.labels]
    changes.check(set(labels))
    alike = _renumbered(alike, changes.keeps(labels))
    sets = [change_classes(images, changes) for images in with_unique_names(sets)]
    sha256s = [text for images in sets for text in images.sha256s]
    pixels = [text for images in sets for text in images.pixels]
    # Copies have one content: comparing the first of them is enough.
    copies = join_groups(sha256s, pixels)
    pairs = [*copy_pairs(sets, copies, sha256s)]
    pairs += near_duplicate_pairs(
        sets, copies, pixels, threshold=threshold, cache=cache, progress=progress
    )
    pairs += [
        ImagePair(min(a, b), max(a, b), FEATURES, score)
        for a, b, score in alike
        if copies[a] != copies[b]
    ]
    # Two images can be a pair by several kinds of evidence.
    pairs = strongest(pairs)
    # Pictures are chains of pairs: A like B and B like C make one picture.
    firsts = copies[[pair.first for pair in pairs]]
    seconds = copies[[pair.second for pair in pairs]]
    pictures = merge_groups(copies, firsts, seconds)
    groups = join_groups(pictures.tolist(), *group_names(sets))
    # A group needs a pair of its own only where no shared picture joins its parts.
    pairs += group_pairs(sets, pictures, groups)
    return Audit(tuple(sets), in_order(pairs), pictures, groups, threshold)


def _renumbered(
    alike: Sequence[tuple[int, int, float]], keeps: NDArray[np.bool_]
) -> list[tuple[int, int, float]]:
    """Return pairs of images by their numbers without the images that are left out."""
    numbers = np.cumsum(keeps) - 1
    return [
        (int(numbers[a]), int(numbers[b]), score) for a, b, score in alike if keeps[a] and keeps[b]
    ]
