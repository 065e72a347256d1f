"""The files of an audit: two CSV files, and a page that shows pairs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import FreezeframeError
from ..duplicates.symmetries import SYMMETRY_NAMES
from ..groups import join_names
from ..output import html as pages
from ..output.csv import csv_line
from ..output.reports import ReportFolder
from .audit import Audit
from .findings import NO_LEAKS, headlines, remarks
from .image_pairs import FEATURES, GROUP, LEVEL_NAMES, NEAR, ImagePair
from .small_picture import jpeg, small_picture

if TYPE_CHECKING:
    from PIL import Image

# Image a is the first of a pair, image b the second.
_SIDES = [f"{name}_{side}" for side in "ab" for name in ("set", "path", "label", "split")]
PAIR_COLUMNS = ("leak", "conflict", "level", "score", "symmetry", *_SIDES, "picture")
"""Columns of audit.csv."""

GROUP_COLUMNS = (
    *("set", "path", "label", "split", "given_group"),
    *("picture", "group", "images_in_group", "not_looked_at"),
)
"""Columns of groups.csv."""

AUDIT_FILES = ("audit.csv", "groups.csv", "index.html")
"""Names of the files of a report."""

PAIRS_SHOWN = 48
"""Most pairs of each kind on the page; audit.csv lists all."""

PAIRS_SHOWN_OF_PICTURE = 4
"""Most pairs of one picture in each kind on the page."""

_PICTURE_SIDE = 160
_PICTURE_GAP = 4


def report_folder(path: Path) -> ReportFolder:
    """Return the folder of a report; see `ReportFolder`."""
    return ReportFolder(path, "audit", {"audit.csv": PAIR_COLUMNS, "groups.csv": GROUP_COLUMNS})


def write_report(audit: Audit, output: ReportFolder) -> Path:
    """Write the report of an audit into a folder and return the path of its page.

    The page is written last: if it exists, the CSV files beside it are complete.
    """
    output.write("audit.csv", "".join(audit_csv(audit)))
    output.write("groups.csv", "".join(groups_csv(audit)))
    return output.write("index.html", page(audit))


def audit_csv(audit: Audit) -> Iterator[str]:
    """Yield the lines of audit.csv: one for each pair, leaks first, then conflicts."""
    yield csv_line(PAIR_COLUMNS)
    # The sort is stable: within each block, pairs stay in the order of their evidence.
    pairs = sorted(
        audit.pairs, key=lambda pair: (not audit.is_leak(pair), not audit.is_conflict(pair))
    )
    for pair in pairs:
        names = [*_image_names(audit, pair.first), *_image_names(audit, pair.second)]
        cells = [
            "yes" if audit.is_leak(pair) else "",
            "yes" if audit.is_conflict(pair) else "",
            LEVEL_NAMES[pair.level],
            # Images of one group are no copies, so their pictures have no score.
            "" if pair.level == GROUP else f"{pair.score:.4f}",
            SYMMETRY_NAMES[pair.symmetry] if pair.level == NEAR else "",
            *names,
            str(audit.pictures[pair.first]),
        ]
        yield csv_line(cells)


def groups_csv(audit: Audit) -> Iterator[str]:
    """Yield the lines of groups.csv: one for each image, with its group.

    The last column has the reason why nobody looked at an image.
    """
    yield csv_line(GROUP_COLUMNS)
    names = [join_names(texts) for images in audit.sets for texts in images.names.texts()]
    sizes = np.bincount(audit.groups)
    for row, group in enumerate(audit.groups.tolist()):
        texts = [*_image_names(audit, row), names[row]]
        numbers = (audit.pictures[row], group, sizes[group])
        images, place = audit.place_of(row)
        # An image that nobody looked at is alone in its group only as far as its bytes say.
        reason = images.unread_reason(place)
        yield csv_line([*texts, *map(str, numbers), reason])


def _image_names(audit: Audit, row: int) -> tuple[str, str, str, str]:
    """Return set, path, label and split of an image."""
    images, place = audit.place_of(row)
    return images.name, images.paths[place], audit.labels[row], images.splits[place]


def page(audit: Audit) -> str:
    """Return the HTML of the page: headlines, counts, and pairs side by side."""
    n_copies = sum(pair.level < NEAR for pair in audit.pairs)
    n_near = sum(pair.level in (NEAR, FEATURES) for pair in audit.pairs)
    n_unread = int(audit.unread.sum())
    body = [
        pages.warnings([text for _, text in headlines(audit)], none=NO_LEAKS),
        pages.facts(
            [
                ("images", len(audit.groups)),
                *([("not looked at", n_unread)] if n_unread else []),
                ("different pictures", len(set(audit.pictures[~audit.unread].tolist()))),
                ("pairs of copies", n_copies),
                ("pairs nearly the same", n_near),
            ]
        ),
        *(pages.paragraph(text) for text in remarks(audit)),
    ]
    for title, pairs in _kinds(audit):
        # A page with thousands of pictures would be too large for a browser.
        shown = _select(audit, pairs)
        if len(shown) < len(pairs):
            limit = f"at most {PAIRS_SHOWN_OF_PICTURE} of a picture"
            title += f" ({len(shown)} of {len(pairs)} pairs, {limit})"
        if shown:
            body += [pages.heading(title), pages.gallery(_figures(audit, shown))]
    body.append(
        pages.paragraph(
            "Two thumbnails count as one picture if their score is at least "
            f"{audit.threshold:g}; --threshold changes this."
        )
    )
    names = " and ".join(images.name for images in audit.sets)
    return pages.page(f"Audit of {names}", body)


def _kinds(audit: Audit) -> Iterator[tuple[str, list[ImagePair]]]:
    """Yield the kinds of pairs that the page shows, with their titles."""
    # A person has to judge near-duplicates; the least similar are the most doubtful.
    near = sorted(
        (pair for pair in audit.pairs if pair.level in (NEAR, FEATURES)),
        key=lambda pair: pair.score,
    )
    leaks = [pair for pair in audit.pairs if audit.is_leak(pair)]
    yield "Pictures with two labels", [pair for pair in audit.pairs if audit.is_conflict(pair)]
    yield "Nearly the same, on two sides", [pair for pair in near if audit.is_leak(pair)]
    yield "Copies, on two sides", [pair for pair in leaks if pair.level < NEAR]
    yield "Same group, on two sides", [pair for pair in audit.pairs if pair.level == GROUP]
    yield "Nearly the same, on one side", [pair for pair in near if not audit.is_leak(pair)]


def _select(audit: Audit, pairs: Sequence[ImagePair]) -> list[ImagePair]:
    """Return the first pairs, at most `PAIRS_SHOWN_OF_PICTURE` of each picture."""
    # Fifty copies of one picture make a thousand pairs, which would fill the page.
    shown_of: Counter[int] = Counter()
    selected = []
    for pair in pairs:
        picture = int(audit.pictures[pair.first])
        shown_of[picture] += 1
        if shown_of[picture] <= PAIRS_SHOWN_OF_PICTURE:
            selected.append(pair)
        if len(selected) == PAIRS_SHOWN:
            break
    return selected


def _figures(audit: Audit, pairs: Iterable[ImagePair]) -> Iterator[str]:
    """Yield a figure for each pair, with its evidence and names below."""
    for pair in pairs:
        evidence = LEVEL_NAMES[pair.level]
        if pair.level in (NEAR, FEATURES):
            evidence += f", {pair.score:.3f}"
        if pair.symmetry:
            evidence += f", the second shown {SYMMETRY_NAMES[pair.symmetry]}"
        names = " | ".join(
            ", ".join(filter(None, _image_names(audit, row))) for row in (pair.first, pair.second)
        )
        content = _side_by_side(audit, pair)
        yield pages.figure(content, f"two images, {evidence}", f"{evidence}: {names}")


def _side_by_side(audit: Audit, pair: ImagePair) -> bytes:
    """Return a JPEG of both images, the second under its symmetry."""
    from PIL import Image

    both = Image.new("RGB", (2 * _PICTURE_SIDE + _PICTURE_GAP, _PICTURE_SIDE), "white")
    for column, (row, symmetry) in enumerate(((pair.first, 0), (pair.second, pair.symmetry))):
        small = _small_image(audit, row, symmetry)
        left = column * (_PICTURE_SIDE + _PICTURE_GAP) + (_PICTURE_SIDE - small.width) // 2
        both.paste(small, (left, (_PICTURE_SIDE - small.height) // 2))
    return jpeg(both)


def _small_image(audit: Audit, row: int, symmetry: int) -> Image.Image:
    """Return a small version of an image, under a symmetry.

    If its file is missing or has changed, its thumbnail is used instead.
    """
    from PIL import Image

    from ..formats.image_file import open_image

    images, place = audit.place_of(row)
    thumbnail = Image.fromarray(images.thumbnails[place])
    pixels = np.asarray(thumbnail.resize((_PICTURE_SIDE, _PICTURE_SIDE)))
    if images.root is not None:
        # A report without one picture is better than no report.
        with suppress(FreezeframeError, OSError):
            opened = open_image(images.root / images.paths[place])
            # The file may have been replaced after the audit.
            if opened.sha256 == images.sha256s[place]:
                pixels = opened.pixels()
    return small_picture(pixels, _PICTURE_SIDE, symmetry)
