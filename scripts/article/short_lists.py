"""List a few images of each class of some folders, for a quick run of scripts/reproduce.

usage: python scripts/article/short_lists.py FOLDER OUT.csv [FOLDER OUT.csv ...]

A list holds every 20th image of a class, or every nth of a small class, so that about 100 are left.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

from freezeframe.data.manifest import read_manifest

LEAST_IMAGES = 100
LONGEST_STEP = 20


def write_list(folder: str, output: str) -> None:
    """Write a list of some images of a folder."""
    manifest = read_manifest(folder)
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for label, count in manifest.classes.items():
            images = [image for image in manifest.images if image.label == label]
            step = max(1, min(LONGEST_STEP, count // LEAST_IMAGES))
            for image in images[::step]:
                writer.writerow([os.path.relpath(manifest.root / image.path), label])


def main() -> None:
    """Write the lists that the command line names."""
    for folder, output in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        write_list(folder, output)


if __name__ == "__main__":
    main()
