"""Citations: a value can reach an answer only through one, which notes where the value is from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....data.output.terminal import number, printable
from ...scores.metric_names import metric_of
from ...scores.metrics import columns_of
from ..report.findings.outcome import Evidence
from ..report.numbers import share_text
from ..report.tables import Line

MOST_LETTERS = 300
"""Most letters of a cell that a citation repeats; a longer one ends with `CUT`."""

CUT = "..."
EMPTY = "(empty)"
"""Text for an empty cell; it has no code marks, so no cell looks like it."""

LINES = "lines"
"""Name of a count in a citation: the lines of a file that have the cells before the colon."""

DISTINCT = "distinct"
"""First word of another count: the different cells of a column in these lines."""

CANDIDATES = f"{DISTINCT} head+layer of candidates"
"""The different pairs of head and layer in these lines, without baselines and controls."""


@dataclass(frozen=True)
class FileLine:
    """A line of a file of the study.

    Attributes:
        file: path of the file from the folder of the study, with `/`.
        key: the cells that find the line, by column.
        cells: the cells that may be cited, by column.
    """

    file: str
    key: Mapping[str, str]
    cells: Mapping[str, str]

    def has(self, *columns: str) -> bool:
        """Return True if none of these cells is missing or empty."""
        return all(self.cells.get(column) for column in columns)


class Citation:
    """Collects where the values of one answer are from, while its text is written."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, str]] = {}

    def plain(self, line: FileLine, column: str) -> str:
        """Return a cell without marks: a number, or a text that this package chose."""
        self._note(line.file, line.key, column, line.cells[column])
        return printable(line.cells[column])

    def name(self, line: FileLine, column: str) -> str:
        """Return a cell that holds any text, as code of markdown."""
        self._note(line.file, line.key, column, line.cells[column])
        return code(line.cells[column])

    def metric(self, line: FileLine, name: str) -> str:
        """Write a score with its interval: "77 % [61, 88]", or "0.158 [0.087, 0.291]"."""
        columns = [column for column in columns_of(name) if line.cells.get(column)]
        for column in columns:
            self._note(line.file, line.key, column, line.cells[column])
        if metric_of(name).unit == "share":
            return share_text(line.cells, name)
        value, *ends = (f"{number(line.cells[column]):.3f}" for column in columns)
        return f"{value} [{', '.join(ends)}]" if len(ends) == 2 else value

    def count(
        self, file: str, lines: Sequence[Line], key: Mapping[str, str], distinct: str = ""
    ) -> int:
        """Count the lines of a file that have some cells, or the different cells of a column.

        Args:
            file: path of the file from the folder of the study.
            lines: all its lines.
            key: the cells, by column; empty for all lines.
            distinct: the column whose different cells are counted; "" counts lines.
        """
        chosen = [
            line for line in lines if all(line[column] == cell for column, cell in key.items())
        ]
        if distinct:
            return self.counted(
                file, key, f"{DISTINCT} {distinct}", len({line[distinct] for line in chosen})
            )
        return self.counted(file, key, LINES, len(chosen))

    def counted(self, file: str, key: Mapping[str, str], column: str, n: int) -> int:
        """Note a count that was made before, and return it."""
        self._note(file, key, column, str(n))
        return n

    def evidence(self, text: str) -> Evidence:
        """Return the text with the source of every value that was read for it."""
        sources = []
        for place, cells in self._places.items():
            listed = ", ".join(f"{column}={cell}" for column, cell in cells.items())
            sources.append(f"{place}: {listed}" if listed else place)
        return Evidence(text, "; ".join(sources))

    def _note(self, file: str, key: Mapping[str, str], column: str, cell: str) -> None:
        place = ", ".join(
            [file_name(file), *(f"{name}={_cited(cell)}" for name, cell in key.items())]
        )
        cells = self._places.setdefault(place, {})
        # The cells that find the line are named already.
        if key.get(column) != cell:
            cells[column] = _cited(cell)


def is_defined(line: FileLine, name: str) -> bool:
    """Return True if a line has a score."""
    return not math.isnan(number(line.cells.get(name, "")))


def file_name(file: str) -> str:
    """Write the path of a file: plainly, or as code if a stranger could have chosen it."""
    return file if re.fullmatch(r"[a-z./]+", file) else code(file)


def code(text: str) -> str:
    """Write a text of a stranger as code of markdown: it is no link, no tag and no heading.

    Examples:
        >>> code("<b>x</b>"), code("a`b")
        ('`<b>x</b>`', '``a`b``')
    """
    text = printable(text)
    if len(text) > MOST_LETTERS:
        text = text[:MOST_LETTERS] + CUT
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    # A reader of markdown takes one space away on both sides, if both are there.
    beside = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    marks = "`" * (longest + 1)
    return f"{marks}{beside}{text}{beside}{marks}"


def _cited(cell: str) -> str:
    return code(cell) if cell else EMPTY
