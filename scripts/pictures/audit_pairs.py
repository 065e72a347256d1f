"""Draw the picture of data/README: pairs that `freezeframe audit` finds in two sets of images.

The first set is a demo set. The second set looks new: its images are other drawings, but four of
them are edited images of the first set. The picture shows the pairs that the audit reports.

usage: python scripts/pictures/audit_pairs.py [PNG]
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure
from PIL import Image, ImageEnhance, ImageOps

PICTURE = Path(__file__).with_name("audit_pairs.png")
EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: image,
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((16, 10, image.width - 8, image.height - 14)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
}


def freezeframe(*arguments: str | Path) -> None:
    """Run a command of freezeframe; it must succeed."""
    command = [sys.executable, "-m", "freezeframe", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_sets(place: Path) -> dict[str, str]:
    """Make the sets `old` and `new` in a folder; return the edit of each edited path of `new`."""
    freezeframe("make-demo-images", place / "old", "--per-class", "40", "--seed", "1")
    freezeframe("make-demo-images", place / "new", "--per-class", "40", "--seed", "2")
    originals = sorted((place / "old" / "lesion").glob("*.png"))
    edit_of_path = {}
    for number, (name, edit) in enumerate(EDITS.items()):
        path = place / "new" / "lesion" / f"scan_{number}.jpg"
        with Image.open(originals[3 * number]) as image:
            edit(image.convert("L")).save(path, quality=70)
        edit_of_path[f"lesion/{path.name}"] = name
    return edit_of_path


def read_pairs(place: Path, edit_of_path: dict[str, str]) -> list[dict[str, str]]:
    """Audit the two sets; return the rows of audit.csv that concern edited images, by edit."""
    freezeframe("audit", place / "old", "--against", place / "new", "--output", place / "audit")
    with (place / "audit" / "audit.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path_b"] in edit_of_path]
    return sorted(rows, key=lambda row: row["path_b"])


def draw(place: Path, pairs: list[dict[str, str]], edit_of_path: dict[str, str]) -> Figure:
    """Draw each pair in a column of its own, the first set's image above the second's."""
    figure = Figure(figsize=(9, 4.9), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(2, len(pairs))
    for column, pair in enumerate(pairs):
        edit = edit_of_path[pair["path_b"]]
        for line, (folder, name) in enumerate((("old", "path_a"), ("new", "path_b"))):
            axis = axes[line, column]
            with Image.open(place / folder / pair[name]) as image:
                axis.imshow(image.convert("L"), cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(pair[name], fontsize=8)
        axes[1, column].set_xlabel(
            f"{pair['path_b']}, score {float(pair['score']):.2f}", fontsize=8
        )
        axes[0, column].set_title("training set", fontsize=9)
        axes[1, column].set_title(f"test set: {edit}", fontsize=9)
    figure.suptitle(f"LEAK: {len(pairs)} test images are copies of training images", fontsize=12)
    return figure


def main() -> None:
    """Write the picture."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with TemporaryDirectory() as folder:
        place = Path(folder)
        edit_of_path = make_sets(place)
        pairs = read_pairs(place, edit_of_path)
        draw(place, pairs, edit_of_path).savefig(path)
    # Few grey levels are enough, and keep the file small.
    with Image.open(path) as image:
        image.convert("L").quantize(48).save(path, optimize=True)
    print(f"{path}: {len(pairs)} pairs, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
