"""The leaderboard: a forest plot and a table of each test set."""

from __future__ import annotations

from collections.abc import Sequence

from .....data.output import html as pages
from ....board.ranking import RankedRow, rank_rows
from ....board.sentences import legend, title_of_test_set
from ....board.tables import metric_with_interval, rank_text
from ....scores.grades import grade_text, risk_lines
from ..charts.forest import forest
from ..choice import Choice
from ..findings.outcome import head_name
from ..study import Study
from .equivalence import equivalence_section
from .parts import show

MOST_TEST_SETS = 8
_METRICS = ("accuracy", "roc_auc", "sensitivity", "specificity", "brier")
_HEADINGS = ("#", "head", "grade", "accuracy, %", "AUC, %", "sens., %", "spec., %", "Brier")


def leaderboard_section(study: Study, choice: Choice) -> list[str]:
    """Return a forest plot and a table for each test set; that of the chosen row first."""
    test_sets = rank_rows(study.rows, "accuracy", study.runs)
    test_sets.sort(key=lambda ranked: all(place.row is not choice.row for place in ranked))
    parts = [pages.heading("All heads", anchor="heads")]
    for ranked in test_sets[:MOST_TEST_SETS]:
        parts += _test_set(ranked, choice)
    if len(test_sets) > MOST_TEST_SETS:
        n = len(test_sets) - MOST_TEST_SETS
        parts.append(pages.paragraph(f"{n} more test sets are in leaderboard.csv."))
    return parts + equivalence_section(study)


def _test_set(ranked: Sequence[RankedRow], choice: Choice) -> list[str]:
    title = title_of_test_set(ranked)
    risks = risk_lines({grade_text(place.row) for place in ranked})
    rows = [
        (
            rank_text(place),
            head_name(place.row),
            grade_text(place.row),
            *(metric_with_interval(place.row, metric) for metric in _METRICS),
        )
        for place in ranked
    ]
    return [
        show([forest([place.row for place in ranked], choice, title)]),
        pages.table(_HEADINGS, rows, numbers=(0, *range(3, len(_HEADINGS)))),
        # The top of the page explains parted pictures.
        pages.listing(line for line in legend(ranked, "accuracy") if line not in risks),
    ]
