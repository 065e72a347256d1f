"""Which images of one or several sets show the same, on which sides of which split, and under which labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..duplicates.pairs import THRESHOLD, merge_groups
from ..duplicates.remembered import remembered_near_pairs
from ..output.terminal import Progress
from ..splits import join_groups
from .image_set import ImageSet, given_groups, named_apart, renamed, thumbnails_of

LEVELS = ("same bytes", "same pixels", "nearly the same", "similar features", "same group")
"""Kinds of evidence that two images must not be parted, the strongest first."""
BYTES, PIXELS, NEAR, FEATURES, GROUP = range(len(LEVELS))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that show the same.

    Attributes:
        first, second: their numbers in the audit.
        level: of `LEVELS`, the strongest that holds.
        score: 1 for the same pixels, else how alike they are.
        symmetry: how the second is to be laid over the first, of `symmetries.NAMES`.
    """

    first: int
    second: int
    level: int
    score: float = 1.0
    symmetry: int = 0


@dataclass(frozen=True)
class Crossing:
    """How many images of one part have a relative in another.

    Attributes:
        of, within: names of the parts.
        n: images of the first.
        levels: how many of them have a relative in the second, by the strongest level.
        rows: which, by their numbers in the audit.
    """

    of: str
    within: str
    n: int
    levels: Mapping[int, int]
    rows: tuple[int, ...]

    @property
    def n_related(self) -> int:
        """Images of the first part with a relative in the second."""
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found in sets of images; they are numbered through, set by set.

    Attributes:
        sets: each is held against those before it; a training set stands first.
        pairs: images that show the same. Copies are paired with the first of their kind in their
            part (of a set and split), and the first of each part with those of the others. A pair
            of level `GROUP` is of two pictures of one patient or given group on two sides, where
            nothing else links these.
        pictures: group number of each image, intp of shape (n,): those that show the same, directly
            or through others.
        groups: the same with those of one patient or given group, intp of shape (n,): what no split
            should cut.
        threshold: from which score on two thumbnails count as one picture.
    """

    sets: tuple[ImageSet, ...]
    pairs: tuple[Pair, ...]
    pictures: NDArray[np.intp]
    groups: NDArray[np.intp]
    threshold: float

    def column(self, name: str) -> list[str]:
        """A column of all sets."""
        return [text for each in self.sets for text in getattr(each, name)]

    @cached_property
    def set_numbers(self) -> NDArray[np.intp]:
        """Number of each image's set, of shape (n,)."""
        return np.repeat(np.arange(len(self.sets)), [len(each) for each in self.sets])

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Number of the first image of each set."""
        return np.cumsum([0, *(len(each) for each in self.sets)])[:-1]

    @cached_property
    def labels(self) -> list[str]:
        """Of each image."""
        return self.column("labels")

    @cached_property
    def splits(self) -> list[str]:
        """Of each image."""
        return self.column("splits")

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """Parts that should have nothing in common: the splits of each set, and each set and those before it."""
        return tuple(self._crossings())

    def _crossings(self) -> Iterator[Crossing]:
        splits = np.array(self.splits)
        for number, each in enumerate(self.sets):
            for part, training in (
                ("test", "train"),
                ("validation", "train"),
                ("test", "validation"),
            ):
                inside = self.set_numbers == number
                rows, among = (
                    np.flatnonzero(inside & (splits == part)),
                    np.flatnonzero(inside & (splits == training)),
                )
                if len(rows) and len(among):
                    yield self._crossing(
                        f"{part} images of {each.name}", f"its {training} split", rows, among
                    )
        for first, second in combinations(range(len(self.sets)), 2):
            theirs, ours = (
                np.flatnonzero(self.set_numbers == number) for number in (first, second)
            )
            yield self._crossing(
                f"images of {self.sets[second].name}", self.sets[first].name, ours, theirs
            )

    def _crossing(
        self, of: str, within: str, rows: NDArray[np.intp], among: NDArray[np.intp]
    ) -> Crossing:
        """Compare the columns that tell of each level, the strongest first."""
        levels: Counter[int] = Counter()
        related: list[int] = []
        left = rows.tolist()
        columns = (
            (BYTES, self._sha256s),
            (PIXELS, self._pixels),
            (NEAR, self.pictures),
            (GROUP, self.groups),
        )
        there = set(among.tolist())
        for level, column in columns:
            theirs = {value for value in column[among].tolist() if value != ""}
            found = [row for row in left if column[row] in theirs]
            left = [row for row in left if column[row] not in theirs]
            for row in found:
                levels[self._level_of(row, there) if level == NEAR else level] += 1
            related += found
        return Crossing(of, within, len(rows), dict(sorted(levels.items())), tuple(sorted(related)))

    def _level_of(self, row: int, there: set[int]) -> int:
        """The strongest level of an image's pairs with some others; nearly the same, if others link them."""
        direct = [
            pair.level
            for pair in self._pairs_of[row]
            if (pair.first in there) or (pair.second in there)
        ]
        return min((level for level in direct if level >= NEAR), default=NEAR)

    @cached_property
    def _pairs_of(self) -> dict[int, list[Pair]]:
        found: dict[int, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            found[pair.first].append(pair)
            found[pair.second].append(pair)
        return found

    @cached_property
    def _sha256s(self) -> NDArray[np.object_]:
        return np.array(self.column("sha256s"), dtype=object)

    @cached_property
    def _pixels(self) -> NDArray[np.object_]:
        return np.array(self.column("pixels"), dtype=object)

    def is_leak(self, pair: Pair) -> bool:
        """Whether the pair is on two sides of a split, or of two sets."""
        (one, split), (other, other_split) = self._parts[pair.first], self._parts[pair.second]
        return one != other or ("" not in (split, other_split) and split != other_split)

    def is_conflict(self, pair: Pair) -> bool:
        """Whether one picture has two labels; those of two sets are compared only if the sets are `comparable`."""
        one, other = self._parts[pair.first][0], self._parts[pair.second][0]
        comparable = one == other or self.comparable(one, other)
        return (
            comparable
            and pair.level != GROUP
            and self.labels[pair.first] != self.labels[pair.second]
        )

    @cached_property
    def _parts(self) -> list[tuple[int, str]]:
        return parts_of(self.sets)

    def comparable(self, one: int, other: int) -> bool:
        """Whether one of two sets has all classes of the other."""
        first, second = self._classes[one], self._classes[other]
        return first <= second or second <= first

    @cached_property
    def _classes(self) -> list[set[str]]:
        return [set(each.labels) for each in self.sets]

    @property
    def leaks(self) -> bool:
        """Whether anything crosses parts that should have nothing in common."""
        return any(crossing.n_related for crossing in self.crossings)


def audit(
    sets: Sequence[ImageSet],
    *,
    threshold: float = THRESHOLD,
    classes: Mapping[str, str] | None = None,
    alike: Sequence[tuple[int, int, float]] = (),
    cache: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Find images that show the same, within and across sets.

    Args:
        sets: each is held against those before it; a training set stands first.
        threshold: from which score on two thumbnails count as one picture; see `near_pairs`. Above
            1: copies only.
        classes: new names for labels, where two sets name them differently.
        alike: more pairs of images, by their numbers through all sets, and their score: by their
            features, say.
        cache: see `remembered_near_pairs`.
        progress: told how many pairs of thumbnails are compared.

    Raises:
        ParameterError: a class is to be renamed that no image has, or the threshold is not above 0.

    Examples:
        >>> from freezeframe.data.demo.images import make_demo_images
        >>> from freezeframe.data.inspection.inspect import inspect_images
        >>> from freezeframe.data.manifest import read_manifest
        >>> manifest = read_manifest(make_demo_images("demo", per_class=10))
        >>> found = audit([ImageSet.of(manifest, inspect_images(manifest, cache=False))], cache=False)
        >>> len(found.pairs), len(set(found.pictures))
        (2, 18)
    """
    labels = {label for each in sets for label in each.labels}
    for name in classes or {}:
        if name not in labels:
            raise ParameterError(
                f"classes: no image is labelled {name!r}; labels are {', '.join(sorted(labels))}"
            )
    sets = [renamed(each, classes or {}) for each in named_apart(sets)]
    sha256s, pixels = (
        [text for each in sets for text in getattr(each, name)] for name in ("sha256s", "pixels")
    )
    same = join_groups(sha256s, pixels)
    pairs = [*_copies(sets, same, sha256s), *_near(sets, same, pixels, threshold, cache, progress)]
    pairs += [
        Pair(min(a, b), max(a, b), FEATURES, score) for a, b, score in alike if same[a] != same[b]
    ]
    pairs = list(
        {(pair.first, pair.second): pair for pair in reversed(pairs)}.values()
    )  # the strongest level wins
    firsts, seconds = (
        same[[getattr(pair, name) for pair in pairs]] for name in ("first", "second")
    )
    pictures = merge_groups(same, firsts, seconds)
    groups = join_groups(pictures.tolist(), *given_groups(sets))
    pairs += _groups_apart(sets, pictures, groups)
    return Audit(tuple(sets), tuple(sorted(pairs, key=_order)), pictures, groups, threshold)


def _order(pair: Pair) -> tuple[int, float, int, int]:
    return pair.level, -pair.score, pair.first, pair.second


def parts_of(sets: Sequence[ImageSet]) -> list[tuple[int, str]]:
    """Set and split of each image."""
    return [(number, split) for number, each in enumerate(sets) for split in each.splits]


def _copies(
    sets: Sequence[ImageSet], same: NDArray[np.intp], sha256s: Sequence[str]
) -> Iterator[Pair]:
    """Each copy with the first of its kind in its part, and the first of each part with those of the others."""
    for members in _first_of_parts(sets, same).values():
        pairs = [(rows[0], row) for rows in members.values() for row in rows[1:]]
        pairs += combinations([rows[0] for rows in members.values()], 2)
        for one, other in pairs:
            level = BYTES if sha256s[one] == sha256s[other] else PIXELS
            yield Pair(min(one, other), max(one, other), level)


def _groups_apart(
    sets: Sequence[ImageSet], pictures: NDArray[np.intp], groups: NDArray[np.intp]
) -> Iterator[Pair]:
    """Parts that have a group in common, but none of its pictures: the first image of each."""
    for members in _first_of_parts(sets, groups).values():
        for one, other in combinations(members.values(), 2):
            if set(pictures[one].tolist()).isdisjoint(pictures[other].tolist()):
                yield Pair(min(one[0], other[0]), max(one[0], other[0]), GROUP)


def _first_of_parts(
    sets: Sequence[ImageSet], same: NDArray[np.intp]
) -> dict[int, dict[tuple[int, str], list[int]]]:
    """Of each content the images in each part."""
    found: dict[int, dict[tuple[int, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (content, part) in enumerate(zip(same.tolist(), parts_of(sets), strict=True)):
        found[content][part].append(row)
    return found


def _near(
    sets: Sequence[ImageSet],
    same: NDArray[np.intp],
    pixels: Sequence[str],
    threshold: float,
    cache: bool,
    progress: Progress | None,
) -> Iterator[Pair]:
    """Nearly the same pictures: the first of each content in each part, with those of the other content."""
    readable = np.flatnonzero(np.array(pixels, dtype=object) != "")
    contents, places = np.unique(same[readable], return_index=True)
    rows = readable[places]
    thumbnails = thumbnails_of(sets, rows)
    near = remembered_near_pairs(thumbnails, threshold=threshold, cache=cache, progress=progress)
    members = _first_of_parts(sets, same)
    for a, b, score, symmetry in zip(
        near.first, near.second, near.score, near.symmetry, strict=True
    ):
        ones, others = (members[int(contents[number])].values() for number in (a, b))
        for one, other in product(ones, others):
            yield _laid(one[0], other[0], float(score), int(symmetry))


def _laid(one: int, other: int, score: float, symmetry: int) -> Pair:
    from ..duplicates.symmetries import inverse

    if one < other:
        return Pair(one, other, NEAR, score, symmetry)
    return Pair(other, one, NEAR, score, inverse(symmetry))
