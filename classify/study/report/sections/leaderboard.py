"""The leaderboard: a forest plot and a table of each test set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .....data.output import html as pages
from ....board.ranking import RankedRow, rank_rows
from ....board.sentences import legend, title_of_test_set
from ....board.tables import metric_with_interval, rank_text
from ....scores.grades import grade_text, has_clean, risk_lines
from ....scores.metric_names import is_clean
from ..charts.forest import forest
from ..choice import BASELINE, IMAGE_CONTROLS, Choice
from ..findings.outcome import head_name
from ..study import Row, Study
from .equivalence import equivalence_section
from .parts import show

MOST_TEST_SETS = 8
MOST_OPEN_ROWS = 14
_METRICS = {
    "accuracy": "accuracy, %",
    "clean_accuracy": "clean accuracy, %",
    "roc_auc": "AUC, %",
    "sensitivity": "sens., %",
    "specificity": "spec., %",
    "brier": "Brier",
}


def leaderboard_section(study: Study, choice: Choice) -> list[str]:
    """Return a forest plot and a table for each test set; that of the chosen row first.

    Test sets of one row share a plot and a table.
    """
    test_sets = rank_rows(_once(study.rows, choice), "accuracy", study.runs)
    test_sets.sort(key=lambda ranked: all(place.row is not choice.row for place in ranked))
    single = [ranked[0] for ranked in test_sets if len(ranked) == 1]
    several = [ranked for ranked in test_sets if len(ranked) > 1]
    shown = several[:MOST_TEST_SETS]
    parts = [pages.heading("All heads", anchor="heads")]
    for ranked in shown:
        parts += _test_set(ranked, choice)
    if len(several) > len(shown):
        n = len(several) - len(shown)
        parts.append(pages.paragraph(f"{n} more test sets are in leaderboard.csv."))
    parts += _single_rows(single, choice) if single else []
    parts.append(_legend([*shown, *([place] for place in single)], choice))
    return parts + equivalence_section(study)


def _once(rows: Sequence[Row], choice: Choice) -> list[Row]:
    """Return the rows without repetitions of heads that see no features: any layer is the same."""
    shown: dict[Hashable, Row] = {}
    for row in (choice.row, *rows):
        blind = row["head"] in (BASELINE, *IMAGE_CONTROLS)
        shown.setdefault((row["head"], row["test_id"], row["split"]) if blind else id(row), row)
    return list(shown.values())


def _test_set(ranked: Sequence[RankedRow], choice: Choice) -> list[str]:
    title = title_of_test_set(ranked)
    names = [(rank_text(place), head_name(place.row)) for place in ranked]
    return [
        show([forest([place.row for place in ranked], choice, f"Accuracy on {title}")]),
        _table(("#", "head"), names, ranked),
    ]


def _single_rows(ranked: Sequence[RankedRow], choice: Choice) -> list[str]:
    """Return the rows that no other one can be compared with: other splits, and controls."""
    rows = [place.row for place in ranked]
    labels = [f"{row['head']}, {row['split']}" for row in rows]
    # One column for both, so that the numbers have room.
    names = [
        (row["n_test"], f"{head_name(row)}, on {row['test_set']}, {row['split']}") for row in rows
    ]
    return [
        show([forest(rows, choice, "Accuracy on other splits, and of controls", labels)]),
        _table(("images", "head and test"), names, ranked),
    ]


def _table(
    headings: Sequence[str], names: Sequence[Sequence[str]], ranked: Sequence[RankedRow]
) -> str:
    """Return a table of scores; a long one is folded, as the drawing shows its main column.

    Args:
        headings: of the first columns, of which the first holds numbers.
        names: cells of the first columns.
        ranked: the rows.
    """
    rows = [place.row for place in ranked]
    metrics = [name for name in _METRICS if not is_clean(name) or any(map(has_clean, rows))]
    cells = [
        (*first, grade_text(row), *(metric_with_interval(row, name) for name in metrics))
        for first, row in zip(names, rows, strict=True)
    ]
    titles = (*headings, "grade", *(_METRICS[name] for name in metrics))
    table = pages.table(titles, cells, numbers=(0, *range(len(headings) + 1, len(titles))))
    if len(rows) <= MOST_OPEN_ROWS:
        return table
    return pages.folded(f"Table of these {len(rows)} rows", [table])


def _legend(test_sets: Sequence[Sequence[RankedRow]], choice: Choice) -> str:
    """Return what the marks and grades of all tables mean, each once."""
    lines = [line for ranked in test_sets for line in legend(ranked, "accuracy")]
    # The top of the page explains the grade of its row.
    explained = risk_lines([grade_text(choice.row)])
    return pages.listing(line for line in dict.fromkeys(lines) if line not in explained)
