"""How leaderboard rows and comparisons are shown: as many columns as the terminal has room for, no number cut."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...data.output.terminal import console, decimals, number, percent, printable, table
from ..scores.clean import PREFIX, leak_count, leak_count_text, metric_of, plain_metric
from ..scores.metrics import SHOWN_METRICS

if TYPE_CHECKING:
    from rich.table import Table

    from ..scores.paired_tests import Difference
    from .comparison import Pair

ALWAYS = 100
NAME_WIDTH = 24
LEAST_NAME_WIDTH = 10
GAP = 2


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    Attributes:
        heading, cells: what stands in it.
        keep: where there is too little room, the column of the least number goes first; those of
            ALWAYS stay.
        name: it holds names, which stand left; numbers stand right.
        instead: a narrower one that takes its place.
        narrowest: letters that a column of names keeps at least.
    """

    heading: str
    cells: Sequence[str]
    keep: int = ALWAYS
    name: bool = False
    instead: Column | None = None
    narrowest: int = NAME_WIDTH

    @property
    def width(self) -> int:
        """In letters of the terminal."""
        from rich.cells import cell_len

        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def folds(self) -> bool:
        """Whether it may take several lines: names that must stay."""
        return self.name and self.keep == ALWAYS

    @property
    def least_width(self) -> int:
        """What it is not made narrower than while there are columns to leave out."""
        return min(self.width, self.narrowest) if self.folds else self.width


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Leaderboard rows in their order, the columns that a reader compares; the CSV has the rest."""
    tested = Column(
        "tested on", [printable(f"{row['test_set']}, {row['split']}") for row in rows], name=True
    )
    n = Column("n", [str(row["n_test"]) for row in rows])
    names, numbers = row_columns(rows, "accuracy")
    screen = console()
    screen.print(as_table(fitted([*names, tested, n, *numbers], screen.width)))


def row_columns(
    rows: Sequence[Mapping[str, Any]], metric: str
) -> tuple[list[Column], list[Column]]:
    """What was fitted, and how it did, the metric that matters first and with its interval."""
    names = [
        Column("head", [printable(_head(row)) for row in rows], name=True),
        Column("features", [printable(_features(row)) for row in rows], name=True),
    ]
    numbers = [Column(f"{heading(metric)} (95 %)", [with_interval(row, metric) for row in rows])]
    if any(leak_count(row)[0] for row in rows) and metric == plain_metric(metric):
        numbers.append(_clean_column(rows, PREFIX + metric))
    for shown_metric in SHOWN_METRICS:
        name = shown_metric.name
        if name != metric:
            cells = [shown(name, row[name]) for row in rows]
            plain = Column(shown_metric.heading, cells, shown_metric.keep)
            if name in ("accuracy", "roc_auc"):
                cells = [with_interval(row, name) for row in rows]
                plain = Column(f"{heading(name)} (95 %)", cells, keep=1, instead=plain)
            numbers.append(plain)
    numbers += [
        _leaked_column(rows),
        Column("fit s", [decimals(row["fit_seconds"], 1) for row in rows], keep=5),
        Column("size", [_size(row.get("model_bytes", "")) for row in rows], keep=0),
    ]
    return names, numbers


def _clean_column(rows: Sequence[Mapping[str, Any]], metric: str) -> Column:
    """A metric without the test images that leak; "-" where too few are left, or where it is not known."""
    narrow = Column("clean", [shown(metric, row[metric]) for row in rows])
    return Column(
        f"{heading(metric)} (95 %)",
        [with_interval(row, metric) for row in rows],
        keep=30,
        instead=narrow,
    )


def _leaked_column(rows: Sequence[Mapping[str, Any]]) -> Column:
    """How many test images leak, as far as is known, and of how many."""
    counts = [leak_count_text(*leak_count(row)) for row in rows]
    shares = [
        count if count in ("0", "?") else f"{count} of {row['n_test']}"
        for count, row in zip(counts, rows, strict=True)
    ]
    return Column("leaked", shares, keep=20, instead=Column("leaked", counts))


def pair_columns(pairs: Sequence[Pair]) -> list[Column]:
    """Pairs of runs, both scores and their difference, and the test's p-value before and after its adjustment."""
    counts = [
        " and ".join(map(leak_count_text, pair.leaking, map(bool, pair.unknown))) for pair in pairs
    ]
    some = any(pair.n < len(pair.tested.paths) for pair in pairs)
    adjusted = len({(pair.first, pair.second) for pair in pairs}) > 1
    return [
        Column("metric", [heading(pair.difference.metric) for pair in pairs], name=True),
        Column("A", [printable(pair.first) for pair in pairs], name=True),
        Column("B", [printable(pair.second) for pair in pairs], name=True),
        Column(
            "of A", [shown(pair.difference.metric, pair.difference.first) for pair in pairs], keep=2
        ),
        Column(
            "of B",
            [shown(pair.difference.metric, pair.difference.second) for pair in pairs],
            keep=2,
        ),
        *([Column("n", [str(pair.n) for pair in pairs], keep=4)] if some else []),
        *([Column("leaked", counts, keep=3)] if set(counts) != {"0 and 0"} else []),
        Column("A - B (95 %)", [_difference(pair.difference) for pair in pairs]),
        *([Column("p", [p_text(pair.difference.p) for pair in pairs], keep=1)] if adjusted else []),
        Column("p (Holm)" if adjusted else "p", [p_text(pair.p_holm) for pair in pairs]),
        Column("test", [pair.difference.test for pair in pairs], keep=0, name=True),
    ]


def _difference(found: Difference) -> str:
    """+0.4 (-0.9 to +1.7), in the metric's own unit."""
    value, low, high = (
        _signed(shown(found.metric, part)) for part in (found.difference, found.low, found.high)
    )
    return value if "-" in (low, high) else f"{value} ({low} to {high})"


def _signed(text: str) -> str:
    if text.startswith("-"):
        return text if text == "-" or float(text) else f"+{text[1:]}"  # not -0.0
    return f"+{text}"


def heading(metric: str) -> str:
    """What a metric, a clean one too, is called at the head of a column, and in a sentence."""
    return "clean " * (metric != plain_metric(metric)) + metric_of(metric).heading


def _head(row: Mapping[str, Any]) -> str:
    threshold = number(row.get("threshold", ""))
    at = f", at {threshold:.3g}" if threshold == threshold else ""
    calibrated = f", {row['calibration']}" if row.get("calibration") else ""
    return str(row["head"]) + _start(row) + calibrated + at


def _start(row: Mapping[str, Any]) -> str:
    """What a network that is trained as a whole started from; a leaderboard may say anything."""
    with suppress(ValueError, AttributeError, RecursionError):
        weights = json.loads(row.get("hyperparameters") or "{}").get("weights")
        return f", {weights}" if weights else ""
    return ""


def _features(row: Mapping[str, Any]) -> str:
    return f"{row['layer']} {row['pooling']}" + ", random" * is_random(row)


def is_random(row: Mapping[str, Any]) -> bool:
    """Whether the backbone's weights are random ones, so that the score says nothing about it."""
    return str(row["weights"]).startswith("random")


def shown(metric: str, value: Any) -> str:
    """A metric in per cent, or with three decimals; "-" where it is not defined."""
    return decimals(value, 3) if metric_of(metric).unit == "number" else percent(value)


def with_interval(row: Mapping[str, Any], metric: str) -> str:
    """96.8 (95.5-97.8), without what is not known."""
    low, high = (row.get(f"{metric}_{end}", "") for end in ("low", "high"))
    value = shown(metric, row[metric])
    if number(low) != number(low) or number(high) != number(high):
        return value
    dash = " to " if plain_metric(metric) == "mcc" else "-"  # it may be negative
    return f"{value} ({shown(metric, low)}{dash}{shown(metric, high)})"


def _size(value: Any) -> str:
    n_bytes = number(value)
    if n_bytes != n_bytes:
        return "-"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Those columns for which there is room; long names count as ones that are folded, in need into more lines."""
    kept = list(columns)
    while (
        excess := sum(column.least_width for column in kept) + GAP * (len(kept) - 1) - width
    ) > 0:
        least = min(kept, key=lambda column: column.keep)
        place = kept.index(least)
        if least.keep < ALWAYS:
            kept[place : place + 1] = [least.instead] if least.instead else []
            continue
        names = [
            column for column in kept if column.folds and column.least_width > LEAST_NAME_WIDTH
        ]
        if not names:
            break
        widest = max(names, key=lambda column: column.least_width)
        narrower = max(LEAST_NAME_WIDTH, widest.least_width - excess)
        kept[kept.index(widest)] = replace(widest, narrowest=narrower)
    return kept


def as_table(columns: Sequence[Column], rows: slice = slice(None)) -> Table:
    """Some rows of columns as a table for `console`; tables of the same columns stand in line."""
    made = table()
    for column in columns:
        made.add_column(
            column.heading,
            justify="left" if column.name else "right",
            no_wrap=not column.folds,
            overflow="fold",
            min_width=column.least_width,
            max_width=column.least_width if column.narrowest < NAME_WIDTH else None,
        )
    for cells in zip(*(column.cells[rows] for column in columns), strict=True):
        made.add_row(*cells)
    return made


def as_markdown(columns: Sequence[Column], rows: slice = slice(None)) -> str:
    """Some rows of columns as a table of a README; names are shown, not obeyed."""
    lines = [
        [column.heading for column in columns],
        ["---" if column.name else "---:" for column in columns],
        *zip(*([as_text(cell) for cell in column.cells[rows]] for column in columns), strict=True),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_text(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return re.sub(r"([\\|<>\[\]*`])", r"\\\1", printable(text))


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    return "-" if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"
