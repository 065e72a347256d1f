"""Download a set of Kaggle and print the folder that holds its classes.

usage: python scripts/article/kaggle_set.py SET CLASS

Needs the extra kaggle. Some sets hold a copy of themselves: the innermost folder is taken.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout


def main() -> None:
    """Download the set that the command line names."""
    name, label = sys.argv[1:]
    try:
        import kagglehub
    except ImportError:
        sys.exit(
            "error: no folders given; name them, or run scripts/install cpu,offline,kaggle to "
            "download the article's sets"
        )
    # Standard output is for the folder alone; kagglehub reports its progress there, too.
    with redirect_stdout(sys.stderr):
        root = kagglehub.dataset_download(name)
    holders = [folder for folder, classes, _ in os.walk(root) if label in classes]
    if not holders:
        sys.exit(f"error: {root}: no folder {label!r}; look at what was downloaded")
    print(max(holders, key=len))


if __name__ == "__main__":
    main()
