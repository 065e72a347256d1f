"""What an audit is told as: a few sentences, two CSV files, and a page with pairs side by side."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ..duplicates.symmetries import SYMMETRY_NAMES
from ..output import html as pages
from ..output.csv import csv_line, defuse
from .audit import FEATURES, GROUP, LEVELS, NEAR, Audit, Crossing, Pair

if TYPE_CHECKING:
    from PIL import Image

TEST_SIZE = 0.2
"""Of the random split whose leaks are foretold."""

FINE = "nothing crosses a split or a set, and no picture has two labels"

SHOWN = 48
"""Pairs of each kind on the page; audit.csv has all."""

SHOWN_OF_ONE = 4

_TILE = 160


def headlines(found: Audit) -> list[tuple[str, str]]:
    """What must be known: ("LEAK", what crosses parts that should have nothing in common), ("CONFLICT", two labels)."""
    told = [("LEAK", _crossing(crossing)) for crossing in found.crossings if crossing.n_related]
    conflicts = [pair for pair in found.pairs if found.is_conflict(pair)]
    if conflicts:
        pictures = np.unique(found.pictures[[pair.first for pair in conflicts]])
        images = int(np.isin(found.pictures, pictures).sum())
        have = "picture has" if len(pictures) == 1 else "pictures have"
        told.append(
            ("CONFLICT", f"{len(pictures)} {have} two labels, {_number(images, 'image')} in all")
        )
    return told


def _crossing(crossing: Crossing) -> str:
    levels = ", ".join(f"{count} {LEVELS[level]}" for level, count in crossing.levels.items())
    what = "also occur in" if GROUP not in crossing.levels else "have a relative in"
    return f"{crossing.n_related} of {crossing.n} {crossing.of} {what} {crossing.within} ({levels})"


def remarks(found: Audit) -> list[str]:
    """How much there is of everything, and what a careless split would do."""
    told = []
    for number, each in enumerate(found.sets):
        rows = found.set_numbers == number
        sha256s = [sha256 for sha256 in each.sha256s if sha256]
        pictures = found.pictures[rows]
        known = np.array(each.pixels, dtype=object) != ""
        told.append(
            f"{each.name}: {_number(len(each), 'image')}, {_number(len(set(sha256s)), 'distinct file')} "
            f"({len(sha256s) - len(set(sha256s))} redundant), {len(set(each.pixels) - {''})} with distinct pixels, "
            f"{_number(len(np.unique(pictures[known])), 'different picture')}"
        )
        given = [group for group in each.groups if group]
        if given:
            told.append(
                f"{each.name}: {_number(len(given), 'image')} of {_number(len(set(given)), 'given group')}"
            )
        groups = found.groups[rows]
        if not any(each.splits) and len(np.unique(groups)) < len(groups):
            told.append(
                f"{each.name}: a random split would put a relative of {_per_cent(expected_leak(groups))} of its test "
                f"images ({_per_cent(TEST_SIZE)} of all) into the training part; freezeframe split cuts no group"
            )
        unread = sum(not pixels for pixels in each.pixels)
        if unread:
            told.append(
                f"{each.name}: {_number(unread, 'image')} could not be read, and only bytes are compared"
            )
    told += [
        f"none of {crossing.n} {crossing.of} has a relative in {crossing.within}"
        for crossing in _clean(found)
    ]
    for one, other in combinations(range(len(found.sets)), 2):
        if not found.comparable(one, other):
            told.append(
                f"labels of {found.sets[other].name} and {found.sets[one].name} are not compared, since each has "
                "classes that the other has not; --classes OLD=NEW,... names them alike"
            )
    return told


def _clean(found: Audit) -> list[Crossing]:
    return [crossing for crossing in found.crossings if not crossing.n_related]


def expected_leak(groups: NDArray[np.intp], test_size: float = TEST_SIZE) -> float:
    """Share of the test images of a random split that would have one of their group in the training part.

    Each image is taken to be tested with that probability, independently of the others: one of a
    group of g has no relative in the training part with the probability test_size ** (g - 1).

    Examples:
        >>> expected_leak(np.array([0, 0, 1, 2]))
        0.4
    """
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return float(np.mean(1 - test_size ** (sizes[numbers] - 1.0)))


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %" if 0.01 < share < 0.99 else f"{100 * share:.1f} %"


def _number(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def audit_csv(found: Audit) -> Iterator[str]:
    """Lines of audit.csv: one for each pair, what crosses a split first."""
    sides = [f"{name}_{side}" for side in "ab" for name in ("set", "path", "label", "split")]
    yield csv_line(("leak", "conflict", "level", "score", "symmetry", *sides, "picture"))
    for pair in sorted(
        found.pairs, key=lambda pair: (not found.is_leak(pair), not found.is_conflict(pair))
    ):
        yes = ["yes" if each else "" for each in (found.is_leak(pair), found.is_conflict(pair))]
        told = [
            LEVELS[pair.level],
            f"{pair.score:.4f}" * (pair.level != GROUP),
            SYMMETRY_NAMES[pair.symmetry] if pair.level == NEAR else "",
        ]
        images = [*_told(found, pair.first), *_told(found, pair.second)]
        yield csv_line([*yes, *told, *map(defuse, images), str(found.pictures[pair.first])])


def groups_csv(found: Audit) -> Iterator[str]:
    """Lines of groups.csv: one for each image, with what must not be cut."""
    yield csv_line(
        ("set", "path", "label", "split", "given_group", "picture", "group", "images_in_group")
    )
    given, sizes = found.column("groups"), np.bincount(found.groups)
    for row, group in enumerate(found.groups.tolist()):
        told = [*_told(found, row), given[row]]
        yield csv_line(
            [*map(defuse, told), str(found.pictures[row]), str(group), str(sizes[group])]
        )


def _told(found: Audit, row: int) -> list[str]:
    """Set, path, label and split of an image."""
    images = found.sets[found.set_numbers[row]]
    place = row - found.starts[found.set_numbers[row]]
    return [images.name, images.paths[place], found.labels[row], images.splits[place]]


def page(found: Audit) -> str:
    """The page: what must be known, how much there is, and pairs side by side."""
    copies = [pair for pair in found.pairs if pair.level < NEAR]
    near = [pair for pair in found.pairs if pair.level in (NEAR, FEATURES)]
    apart = [pair for pair in found.pairs if pair.level == GROUP]
    body = [
        pages.warnings(
            [text for _, text in headlines(found)],
            none="nothing crosses a split or a set, and no picture has two labels",
        ),
        pages.facts(
            [
                ("images", len(found.groups)),
                ("different pictures", len(set(found.pictures.tolist()))),
                ("pairs of copies", len(copies)),
                ("pairs nearly the same", len(near)),
            ]
        ),
        *(pages.paragraph(text) for text in remarks(found)),
    ]
    # The least alike first: these are for eyes to judge.
    doubtful = sorted(near, key=lambda pair: pair.score)
    kinds: list[tuple[str, Sequence[Pair]]] = [
        ("Pictures with two labels", [pair for pair in found.pairs if found.is_conflict(pair)]),
        ("On both sides, nearly the same", [pair for pair in doubtful if found.is_leak(pair)]),
        ("On both sides, copies", [pair for pair in copies if found.is_leak(pair)]),
        ("On both sides, of one group", apart),
        ("On one side, nearly the same", [pair for pair in doubtful if not found.is_leak(pair)]),
    ]
    for title, pairs in kinds:
        if pairs:
            more = f" ({min(SHOWN, len(pairs))} of {len(pairs)} pairs, at most {SHOWN_OF_ONE} of a picture)"
            chosen = _varied(found, pairs)
            body += [
                pages.heading(title + more * (len(pairs) > len(chosen))),
                pages.gallery(_figures(found, chosen)),
            ]
    settings = f"Two thumbnails count as one picture from a score of {found.threshold:g} on; --threshold changes it."
    return pages.page(
        "Audit of " + " and ".join(each.name for each in found.sets),
        [*body, pages.paragraph(settings)],
    )


def _varied(found: Audit, pairs: Sequence[Pair]) -> list[Pair]:
    """The first pairs, few of each picture: a family of fifty copies has a thousand."""
    seen: Counter[int] = Counter()
    chosen = []
    for pair in pairs:
        seen[int(found.pictures[pair.first])] += 1
        if seen[int(found.pictures[pair.first])] <= SHOWN_OF_ONE:
            chosen.append(pair)
        if len(chosen) == SHOWN:
            break
    return chosen


def _figures(found: Audit, pairs: Iterable[Pair]) -> Iterator[str]:
    for pair in pairs:
        told = [_told(found, row) for row in (pair.first, pair.second)]
        how = LEVELS[pair.level] + f", {pair.score:.3f}" * (pair.level in (NEAR, FEATURES))
        how += f", the second shown {SYMMETRY_NAMES[pair.symmetry]}" * bool(pair.symmetry)
        names = " | ".join(
            ", ".join(filter(None, (name, path, label, split))) for name, path, label, split in told
        )
        yield pages.figure(_side_by_side(found, pair), f"two images, {how}", f"{how}: {names}")


def _side_by_side(found: Audit, pair: Pair) -> bytes:
    from PIL import Image

    both = Image.new("RGB", (2 * _TILE + 4, _TILE), "white")
    for number, row in enumerate((pair.first, pair.second)):
        tile = _tile(found, row, pair.symmetry if number else 0)
        both.paste(
            tile, (number * (_TILE + 4) + (_TILE - tile.width) // 2, (_TILE - tile.height) // 2)
        )
    both.save(file := BytesIO(), "JPEG", quality=85)
    return file.getvalue()


def _tile(found: Audit, row: int, symmetry: int) -> Image.Image:
    """The image, small, under a symmetry; its thumbnail if the file is not at hand."""
    from PIL import Image

    from ..formats.images import decode_image, read_image_bytes

    images = found.sets[found.set_numbers[row]]
    place = row - found.starts[found.set_numbers[row]]
    tile = Image.fromarray(images.thumbnails[place]).convert("RGB").resize((_TILE, _TILE))
    if images.root is not None:
        with suppress(FreezeframeError, OSError):
            data = read_image_bytes(images.root / images.paths[place])
            if (
                hashlib.sha256(data).hexdigest() == images.sha256s[place]
            ):  # else it is another file by now
                tile = Image.fromarray(decode_image(data))
    tile.thumbnail((_TILE, _TILE))
    quarters, mirrored = divmod(symmetry, 2)
    tile = tile.rotate(90 * quarters, expand=True)
    return tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else tile
