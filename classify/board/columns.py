"""Columns of tables, chosen so that they fit the terminal and no number is cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...data.output.terminal import printable, table

if TYPE_CHECKING:
    from rich.table import Table

ALWAYS = 100
"""Priority of columns that are never dropped."""

NAME_WIDTH = 24
LEAST_NAME_WIDTH = 10
GAP = 2
"""Spaces between two columns."""

_OBEYED = re.compile(r"[\\|<>\[\]*`~$&]|(?<![^\W_])_|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""Letters that Markdown obeys: of emphasis, code, HTML, entities, formulas, links and cells."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    Attributes:
        heading: text above the cells.
        cells: texts, one for each row.
        keep: priority where room is short: the column with the least number is dropped first;
            columns with `ALWAYS` stay.
        name: True if it holds names, which are aligned left; numbers are aligned right.
        instead: a narrower column that replaces it when it is dropped.
        narrowest: width in letters that a column of names has at least.
    """

    heading: str
    cells: Sequence[str]
    keep: int = ALWAYS
    name: bool = False
    instead: Column | None = None
    narrowest: int = NAME_WIDTH

    @property
    def width(self) -> int:
        """Width in letters of the terminal."""
        from rich.cells import cell_len

        # A letter of some scripts is two cells wide in a terminal.
        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def folds(self) -> bool:
        """True if its cells may take several lines: names that must stay."""
        return self.name and self.keep == ALWAYS

    @property
    def least_width(self) -> int:
        """Width that it keeps while other columns can be dropped."""
        return min(self.width, self.narrowest) if self.folds else self.width


def fit_columns(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that there is room for.

    Long names are folded into several lines, into more lines where nothing else helps.

    Args:
        columns: in their order.
        width: of the terminal, in letters.
    """
    chosen = list(columns)
    while (excess := _width_of(chosen) - width) > 0:
        least = min(chosen, key=lambda column: column.keep)
        place = chosen.index(least)
        # Columns are dropped before names become narrower than `NAME_WIDTH`.
        if least.keep < ALWAYS:
            chosen[place : place + 1] = [least.instead] if least.instead else []
            continue
        # Only columns that must stay are left: the widest one of names becomes narrower.
        names = [
            column for column in chosen if column.folds and column.least_width > LEAST_NAME_WIDTH
        ]
        if not names:
            break
        widest = max(names, key=lambda column: column.least_width)
        narrower = max(LEAST_NAME_WIDTH, widest.least_width - excess)
        chosen[chosen.index(widest)] = replace(widest, narrowest=narrower)
    return chosen


def _width_of(columns: Sequence[Column]) -> int:
    """Return the width of a table of these columns."""
    return sum(column.least_width for column in columns) + GAP * (len(columns) - 1)


def as_table(columns: Sequence[Column], rows: slice = slice(None)) -> Table:
    """Return some rows of columns as a table for `console`; tables of the same columns align."""
    rich_table = table()
    for column in columns:
        rich_table.add_column(
            column.heading,
            justify="left" if column.name else "right",
            no_wrap=not column.folds,
            overflow="fold",
            # Without a least width, rich would make columns narrower and cut numbers.
            min_width=column.least_width,
            max_width=column.least_width if column.narrowest < NAME_WIDTH else None,
        )
    for cells in zip(*(column.cells[rows] for column in columns), strict=True):
        rich_table.add_row(*cells)
    return rich_table


def as_markdown(columns: Sequence[Column], rows: slice = slice(None)) -> str:
    """Return some rows of columns as a table in Markdown."""
    # A Markdown table is as wide as it needs: no column is dropped.
    texts = [list(map(as_text, column.cells[rows])) for column in columns]
    lines = [
        [column.heading for column in columns],
        ["---" if column.name else "---:" for column in columns],
        *zip(*texts, strict=True),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_text(text: str) -> str:
    r"""Escape text so that Markdown shows it and does not obey it.

    A "_" within a word, as in "block5_pool", stays as it is; addresses are no links.

    Examples:
        >>> print(as_text("_a_ & [b](http://c)"), as_text("block5_pool"))
        \_a_ \& \[b\](http\://c) block5_pool
    """
    return _OBEYED.sub(r"\\\g<0>", printable(text))
