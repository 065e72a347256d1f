"""Write a list of the images of a folder or another list, without patients, groups and splits.

usage: python scripts/article/unnamed_list.py FOLDER|CSV OUT.csv

OUT.csv is written to the current folder.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

from freezeframe.data.manifest import read_manifest


def main() -> None:
    """Write the list that the command line names."""
    source, output = sys.argv[1:]
    manifest = read_manifest(source)
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for image in manifest.images:
            writer.writerow([os.path.relpath(manifest.root / image.path), image.label])


if __name__ == "__main__":
    main()
