"""Draw pairs that `freezeframe audit A --against B` reports, so that a person can judge them.

Three sheets of images side by side, A's left and B's right, are written to PLACE:
  random.png    random images of B, each with its most similar relative in A
  weakest.png   the images of B whose best score is lowest
  chained.png   images of B that are in a group with an image of A, but in no pair with one
Images of B are turned as audit.csv says. A pair is wrong if the two are not one picture.

usage: python scripts/checks/pair_sheet.py AUDIT_FOLDER A B PLACE [--pairs 40] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image, ImageDraw

SIDE = 118
COLUMNS = 8
TURNS = {
    "mirrored left to right": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
}
"""Turn that makes an image of B look like its relative, by the words of audit.csv."""


class Pair(NamedTuple):
    """An image of A, one of B, how B's is turned, and a caption."""

    path_a: str
    path_b: str
    symmetry: str
    caption: str


def direct_pairs(audit: pd.DataFrame, name_a: str, name_b: str) -> pd.DataFrame:
    """Return for each image of B its best pair "nearly the same" with an image of A."""
    between = audit[(audit.set_a == name_a) & (audit.set_b == name_b)]
    best = between.sort_values("score", ascending=False).drop_duplicates("path_b")
    return best[best.level == "nearly the same"]


def chained_images(
    audit: pd.DataFrame, groups: pd.DataFrame, name_a: str, name_b: str
) -> pd.DataFrame:
    """Return images of B that only other images of B join to A, with an image of A each."""
    between = audit[(audit.set_a == name_a) & (audit.set_b == name_b)]
    of_a = groups[groups.set == name_a].drop_duplicates("group")
    of_b = groups[(groups.set == name_b) & ~groups.path.isin(between.path_b)]
    return of_b.merge(of_a, on="group", suffixes=("_b", "_a"))


def draw(pairs: Iterable[Pair], folder_a: Path, folder_b: Path, sheet: Path) -> None:
    """Draw the pairs on one sheet."""
    listed = list(pairs)
    rows = -(-len(listed) // COLUMNS)
    picture = Image.new("RGB", (COLUMNS * (2 * SIDE + 8), max(rows, 1) * (SIDE + 22)), "white")
    pen = ImageDraw.Draw(picture)
    for number, pair in enumerate(listed):
        left = number % COLUMNS * (2 * SIDE + 8)
        top = number // COLUMNS * (SIDE + 22)
        pen.text((left, top), pair.caption, fill="black")
        for place, path in enumerate((folder_a / pair.path_a, folder_b / pair.path_b)):
            with Image.open(path) as image:
                small = image.convert("RGB").resize((SIDE, SIDE))
            if place == 1 and pair.symmetry in TURNS:
                small = small.transpose(TURNS[pair.symmetry])
            picture.paste(small, (left + place * (SIDE + 2), top + 14))
    picture.save(sheet)


def as_pairs(rows: pd.DataFrame) -> list[Pair]:
    """Return the pairs of a table, with score and labels as caption."""
    return [
        Pair(row.path_a, row.path_b, row.symmetry, f"{row.score:.3f} {row.label_a}, {row.label_b}")
        for row in rows.sort_values("score").itertuples()
    ]


def main() -> None:
    """Draw the sheets and print how many images each was drawn from."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("audit", "a", "b", "place"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.a.resolve().name, options.b.resolve().name
    audit = pd.read_csv(options.audit / "audit.csv", keep_default_na=False)
    groups = pd.read_csv(options.audit / "groups.csv", keep_default_na=False)
    direct = direct_pairs(audit, *names)
    chained = chained_images(audit, groups, *names)
    print(f"{len(direct)} images of {names[1]} are nearly the same as one of {names[0]}")
    print(f"{len(chained)} more are joined to one of {names[0]} by other images only")
    options.place.mkdir(parents=True, exist_ok=True)
    count = min(options.pairs, len(direct))
    sheets = {
        "random.png": as_pairs(direct.sample(count, random_state=options.seed)),
        "weakest.png": as_pairs(direct.nsmallest(count, "score")),
        "chained.png": [
            Pair(row.path_a, row.path_b, "", f"group {row.group}")
            for row in chained.sample(
                min(options.pairs, len(chained)), random_state=options.seed
            ).itertuples()
        ],
    }
    for sheet, pairs in sheets.items():
        draw(pairs, options.a, options.b, options.place / sheet)
        print(f"{options.place / sheet}: {len(pairs)} pairs")


if __name__ == "__main__":
    main()
