"""Write a list of images with a random 80:20 split, stratified by class, as most people make it.

usage: python scripts/article/random_split.py FOLDER|CSV validation|test OUT.csv

The split ignores copies, which is the point: a copy of a training image may end up in the other
part. The seed is 0. OUT.csv is written to the current folder.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

from sklearn.model_selection import train_test_split

from freezeframe.data.manifest import read_manifest


def main() -> None:
    """Write the list that the command line names."""
    source, name, output = sys.argv[1:]
    manifest = read_manifest(source)
    labels = [image.label for image in manifest.images]
    rows = range(len(labels))
    _, fifth = train_test_split(rows, test_size=0.2, stratify=labels, random_state=0)
    parts = ["train"] * len(labels)
    for row in fifth:
        parts[row] = name
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for image, part in zip(manifest.images, parts, strict=True):
            writer.writerow([os.path.relpath(manifest.root / image.path), image.label, part])


if __name__ == "__main__":
    main()
