"""Files of warnings: the reasons to doubt a run, as its fit printed them.

`warnings.csv` in a run's folder has one line for each warning, the most important first. A fit
without warnings leaves the header alone; runs of older versions have no such file. Its columns:

    code   finding of a report that the warning belongs to: collapsed-network or edge-of-search;
           empty for other warnings
    text   the warning
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...data.output.csv import csv_line

WARNINGS_NAME = "warnings.csv"
WARNING_COLUMNS = ("code", "text")


def write_warnings(folder: Path, warnings: Iterable[tuple[str, str]]) -> None:
    """Write the warnings of a run, as pairs of a code and a text, into its folder.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    with (folder / WARNINGS_NAME).open("x", newline="", encoding="utf-8") as file:
        file.writelines(map(csv_line, [WARNING_COLUMNS, *warnings]))
