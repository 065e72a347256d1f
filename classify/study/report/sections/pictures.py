"""The images: their flow from files to parts, what explore found, and pictures to look at."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

from .....data.formats.regular_file import read_regular
from .....data.output import html as pages
from .....data.output.terminal import counted
from .....errors import ImageError
from ..charts.counts import flow
from ..choice import Choice, is_by_folds
from ..study import Study
from ..tables import Line
from .parts import draw_html, not_run

MOST_PICTURE_BYTES = 3_300_000
"""Most bytes of pictures on the page. As text they take a third more, and a page at most 5 MB."""

_SIGNATURES = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")


def images_section(study: Study, choice: Choice) -> list[str]:
    """Return the flow of the images, their classes, and the pictures that `run` made."""
    beside = _flow(study, choice)
    if study.images is None:
        beside.append(not_run("freezeframe explore FOLDER --output explore"))
    else:
        beside.append(_classes(study.images))
    heading = pages.heading("The images", anchor="images")
    parts = [heading, pages.columns(beside)]
    pictures = pictures_of(study)
    if pictures is None:
        return [*parts, not_run("freezeframe run FOLDER (copies side by side, and a map)")]
    if "pair" in pictures:
        parts += [
            pages.heading("Copies side by side", level=3, anchor="copies"),
            pages.paragraph(
                "Pairs of images that show the same picture, the most serious first; "
                "audit/index.html shows more, audit/audit.csv lists all."
            ),
            pages.gallery(pictures["pair"]),
        ]
    if "map" in pictures:
        parts += [pages.heading("A map of the images", level=3, anchor="map"), *pictures["map"]]
    return parts


def mistakes_section(study: Study) -> list[str]:
    """Return the surest mistakes: each image with its map and its nearest training pictures."""
    heading = pages.heading("The surest mistakes", anchor="mistakes")
    pictures = pictures_of(study)
    if pictures is None or "mistake" not in pictures:
        return [heading, not_run("freezeframe run FOLDER (pictures of the mistakes)")]
    return [
        heading,
        pages.paragraph(
            "Test images that the head is wrong about, the surest first. Beside each one: the map "
            "of what spoke for and against the answer; then the three training pictures with the "
            "most similar features (1.00: alike in all). Where these have the class of the answer, "
            "look at what they share with the image. Where they show the same, look at the labels."
        ),
        pages.paragraph(
            "A cell of the map reacts to more of the picture than it covers, so the map does not "
            "show where a finding is; the pictures in explain/ say how much.",
            quiet=True,
        ),
        *pictures["mistake"],
    ]


def _flow(study: Study, choice: Choice) -> list[str]:
    """Return the drawing from files to parts."""
    row = choice.row
    boxes: list[tuple[str, str]] = []
    if study.images is not None:
        readable = sum(not line["reason"] for line in study.images)
        n = len(study.images)
        boxes.append((counted(n, "file"), f"{n - readable} cannot be read"))
        boxes.append((counted(readable, "readable image"), ""))
    if study.groups:
        # Sets to test on come after the set that the study is about.
        own = [line for line in study.groups if line["set"] == study.groups[0]["set"]]
        looked_at = [line for line in own if not line["not_looked_at"]]
        n_pictures = len({line["picture"] for line in looked_at})
        copies = f"{len(looked_at) - n_pictures} show the same picture as another"
        if boxes:
            boxes[-1] = (boxes[-1][0], copies)
        else:
            boxes.append((counted(len(looked_at), "image"), copies))
        n_groups = len({line["group"] for line in looked_at})
        boxes.append((counted(n_pictures, "distinct picture"), ""))
        boxes.append((counted(n_groups, "independent group"), ""))
    missing = [] if study.groups else [not_run("freezeframe audit FOLDER --output audit")]
    folds = is_by_folds(row)
    ends = [f"{row['n_test']} tested on"]
    ends = [f"{ends[0]}, by folds"] if folds else [f"{row['n_train']} trained on", *ends]
    caption = (
        f"From files to parts. Parts are those of the first sentence's row: {row['split']} of "
        f"{row['test_set']}, {row['n_test_groups'] or '?'} independent groups tested. In a "
        "cross-validation each image is tested once, by a head that was not trained on it."
    )
    return [draw_html(flow(boxes, ends, caption)), *missing]


def _classes(images: list[Line]) -> str:
    """Return a table of the classes."""
    rows = []
    for label in sorted({line["label"] for line in images}):
        members = [line for line in images if line["label"] == label]
        readable = [line for line in members if not line["reason"]]
        formats = Counter(line["format"] for line in readable).most_common(3)
        sizes = Counter(f"{line['height']} x {line['width']}" for line in readable).most_common(1)
        share = f"{100 * len(members) / len(images):.0f} %"
        rows.append(
            (
                label,
                len(members),
                share,
                len(members) - len(readable),
                ", ".join(f"{name} {n}" for name, n in formats),
                ", ".join(f"{name} ({n} images)" for name, n in sizes),
            )
        )
    headings = ("class", "files", "share", "unreadable", "formats", "commonest size")
    return pages.table(headings, rows, numbers=(1, 2, 3))


def pictures_of(study: Study) -> dict[str, list[str]] | None:
    """Return the pictures that `run` made, by their kind, as long as there is room.

    Pictures of one title are beside each other. None if there is no list of pictures.
    """
    lines = study.pictures
    if lines is None:
        return None
    left = MOST_PICTURE_BYTES
    parts: dict[str, list[str]] = {}
    n_missing: Counter[str] = Counter()
    for (kind, title), members in groupby(lines, key=lambda line: (line["kind"], line["title"])):
        figures = []
        for line in members:
            content = _picture(study.folder, line["path"], left)
            n_missing[kind] += content is None
            if content is not None:
                left -= len(content)
                alt = f"{title}: {line['caption']}" if title else line["caption"]
                figures.append(pages.figure(content, alt, line["caption"]))
        if figures:
            shown = pages.tiles(title, figures) if title else "".join(figures)
            parts.setdefault(kind, []).append(shown)
    for kind, n in n_missing.items():
        if n:
            text = f"{counted(n, 'picture')} cannot be shown here; pictures.csv names all"
            parts.setdefault(kind, []).append(pages.paragraph(text, quiet=True))
    return parts


def _picture(folder: Path, name: str, most: int) -> bytes | None:
    """Return the bytes of a JPEG or PNG file; None if it is none, is elsewhere or is too large."""
    try:
        path = (folder / name).resolve()
        # A name from a file must not lead out of the folder.
        if not path.is_relative_to(folder.resolve()):
            return None
        content = read_regular(path) if path.stat().st_size <= most else b""
    except (OSError, ImageError, ValueError):
        return None
    return content if content.startswith(_SIGNATURES) else None
