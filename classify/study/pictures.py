"""The small pictures of a report: mistakes with their nearest images, copies, and suspects."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.audit.report import GROUP_COLUMNS, PAIR_COLUMNS
from ...data.audit.small_picture import jpeg, small_picture
from ...data.duplicates.symmetries import SYMMETRY_NAMES
from ...data.formats.image_file import open_image
from ...data.output.csv import csv_line
from ...data.output.files import write_whole
from ...data.output.terminal import percent
from ...errors import FreezeframeError
from .late import MISTAKE_COLUMNS, MISTAKES_FILE
from .report.choice import choose_row
from .report.findings.suspects import find_suspects
from .report.sections.labels import MOST_SUSPECTS
from .report.study import PICTURE_COLUMNS, PICTURES_NAME, Study
from .report.tables import Line, read_table

MAP_PICTURE = "map/map.png"
MAP_CAPTION = (
    "Images with similar features are close to each other: all as points, and some as pictures, in "
    "the plane of the first two principal components. A class that is apart may come from another "
    "source."
)

SIDE = 200
"""Most pixels of the longer side of a picture."""

MOST_PAIRS = 6
MOST_PAIRS_OF_A_KIND = 3


@dataclass
class PictureList:
    """The pictures of a report: small files in `pictures/`, and one line for each.

    Args:
        folder: folder of the study.
    """

    folder: Path
    lines: list[str] = field(default_factory=lambda: [csv_line(PICTURE_COLUMNS)])

    def add(self, kind: str, title: str, path: Path, caption: str, symmetry: int = 0) -> None:
        """Draw an image small, and list it; an image that cannot be read is left out.

        Args:
            kind: kind of the picture.
            title: text above all pictures that belong together.
            path: the image.
            caption: text below it.
            symmetry: place in `SYMMETRY_NAMES`.
        """
        name = f"pictures/{len(self.lines)}.jpg"
        (self.folder / "pictures").mkdir(exist_ok=True)
        # A report without one picture is better than no report.
        with suppress(FreezeframeError, OSError):
            small = small_picture(open_image(path).pixels(), SIDE, symmetry)
            write_whole(self.folder / name, jpeg(small))
            self.lines.append(csv_line((kind, title, name, caption)))


def list_pictures(folder: Path, sources: Sequence[Path]) -> list[str]:
    """Draw the pictures of a report, and list them in `pictures.csv`; return no more arguments.

    Args:
        folder: folder of the study.
        sources: folders or lists of the image sets, that of the training images first.
    """
    roots = [path if path.is_dir() else path.parent for path in sources]
    pictures = PictureList(folder)
    _add_pairs(pictures, roots)
    _add_mistakes(pictures, roots[0])
    _add_suspects(pictures, roots[0])
    n_pictures = len(pictures.lines) - 1
    # The map is last: it is the largest, and there may be no room for it.
    if (folder / MAP_PICTURE).exists():
        pictures.lines.append(csv_line(("map", "", MAP_PICTURE, MAP_CAPTION)))
    write_whole(folder / PICTURES_NAME, "".join(pictures.lines))
    # An earlier list was longer; its images may be of patients who were removed since.
    for path in (folder / "pictures").glob("*.jpg"):
        if re.fullmatch("[1-9][0-9]*", path.stem) and int(path.stem) > n_pictures:
            path.unlink()
    return []


def _add_suspects(pictures: PictureList, root: Path) -> None:
    """Add the images with the most doubtful labels."""
    try:
        study = Study.read(pictures.folder)
        _, suspects = find_suspects(study, choose_row(study))
    except FreezeframeError:
        # Without a leaderboard or a score, the report itself says so.
        return
    for rank, suspect in enumerate(suspects[:MOST_SUSPECTS], start=1):
        caption = (
            f"{rank}. {suspect.label}: {100 * suspect.probability:.2g} %; likeliest "
            f"{suspect.likeliest} ({Path(suspect.path).name})"
        )
        path = Path(os.path.normpath(root / suspect.path))
        pictures.add("suspect", "The labels with the least probability", path, caption)


def _add_mistakes(pictures: PictureList, root: Path) -> None:
    """Add each explained mistake with its map and its nearest training pictures."""
    folder = pictures.folder
    explained = folder / "explain" / "explanations.json"
    if not ((folder / MISTAKES_FILE).exists() and explained.exists()):
        return
    records: dict[str, dict[str, Any]] = {}
    # A damaged file has no pictures to show; explain writes it again.
    with suppress(OSError, ValueError, KeyError, TypeError):
        records = {image["path"]: image for image in json.loads(explained.read_text())["images"]}
    mistakes = read_table(folder / MISTAKES_FILE, MISTAKE_COLUMNS, ["probability"])
    for place, line in enumerate(mistakes, start=1):
        share = percent(float(line["probability"]))
        title = (
            f"{place}. {Path(line['path']).name} is labelled {line['label']} and called "
            f"{line['predicted']} with {share} %"
        )
        pictures.add("mistake", title, Path(line["path"]), f"the image: {line['label']}")
        # What explain wrote may be damaged; the image is shown without it.
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            _add_reasons(pictures, title, records[line["path"]], root)


def _add_reasons(pictures: PictureList, title: str, record: Mapping[str, Any], root: Path) -> None:
    """Add the map of a mistake, and the training pictures that are nearest to it."""
    caption = f"orange: for {record['class']}, purple: against it"
    name = Path(record["map"]).name
    pictures.add("mistake", title, pictures.folder / "explain" / name, caption)
    for near in record["nearest"]:
        path = Path(os.path.normpath(root / near["path"]))
        caption = f"trained on: {near['label']}, similarity {near['similarity']:.2f} ({path.name})"
        pictures.add("mistake", title, path, caption)


def _add_pairs(pictures: PictureList, roots: Sequence[Path]) -> None:
    """Add pairs of images that show the same picture, the most serious ones first."""
    audit = pictures.folder / "audit"
    try:
        pairs = read_table(audit / "audit.csv", PAIR_COLUMNS)
        groups = read_table(audit / "groups.csv", GROUP_COLUMNS)
    except FreezeframeError:
        return
    # The audit has the sets in the order in which the study names them.
    names = dict.fromkeys(line["set"] for line in groups)
    root_of = dict(zip(names, roots, strict=False))
    for place, (kind, pair) in enumerate(serious_pairs(pairs), start=1):
        score = f" {float(pair['score']):.3f}" if pair["level"].startswith("nearly") else ""
        title = f"{place}. {kind}: {pair['level']}{score}"
        for side in "ab":
            if root := root_of.get(pair[f"set_{side}"]):
                symmetry = pair["symmetry"] if side == "b" else ""
                shown = SYMMETRY_NAMES.index(symmetry) if symmetry in SYMMETRY_NAMES else 0
                path = Path(os.path.normpath(root / pair[f"path_{side}"]))
                pictures.add("pair", title, path, _pair_caption(pair, side, shown), shown)


def serious_pairs(pairs: Sequence[Line]) -> list[tuple[str, Line]]:
    """Return the pairs to show with their kind in words: the most serious first, few of each.

    Args:
        pairs: lines of audit.csv.
    """
    kinds: dict[str, Callable[[Line], bool]] = {
        "Two labels": lambda pair: pair["conflict"] == "yes",
        "In two sets": lambda pair: pair["leak"] == "yes" and pair["set_a"] != pair["set_b"],
        "On two sides of a split": lambda pair: pair["leak"] == "yes",
        "In one set": lambda pair: True,
    }
    copies = [pair for pair in pairs if pair["level"] != "same group"]
    named = [(next(kind for kind, holds in kinds.items() if holds(pair)), pair) for pair in copies]
    # The sort is stable: within a kind, pairs stay in the order of the audit.
    named.sort(key=lambda member: list(kinds).index(member[0]))
    shown: list[tuple[str, Line]] = []
    for kind, pair in named:
        # A picture with many copies would fill the page.
        repeated = any(pair["picture"] == before["picture"] for _, before in shown)
        n_of_kind = sum(kind == before for before, _ in shown)
        if not repeated and n_of_kind < MOST_PAIRS_OF_A_KIND:
            shown.append((kind, pair))
    return shown[:MOST_PAIRS]


def _pair_caption(pair: Line, side: str, symmetry: int) -> str:
    names = [pair[f"{name}_{side}"] for name in ("set", "split")]
    place = ", ".join(filter(None, names))
    turned = f", shown {SYMMETRY_NAMES[symmetry]}" if symmetry else ""
    return f"{pair[f'label_{side}']} ({place}): {Path(pair[f'path_{side}']).name}{turned}"
