"""Tables of leaderboard rows and of compared runs, as columns of texts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...data.output.terminal import NOT_DEFINED, counted, decimals, number, percent, printable
from ..scores.clean import leak_count
from ..scores.grades import clean_grade, grade_text, row_grade
from ..scores.metric_names import (
    BY_PATIENT,
    CLEAN,
    heading,
    is_by_patient,
    is_clean,
    metric_of,
)
from ..scores.metrics import SHOWN_METRICS
from ..scores.paired.paired_tests import Difference
from .choices import combination_of, ignores_patients, is_alphabetical
from .columns import Column
from .comparison import ALWAYS_COMPARED, RunPair
from .ranking import RankedRow

SHOWN_BY_PATIENT = ("accuracy", "roc_auc", "sensitivity", "specificity")
"""Metrics in the table of scores by patient."""

_NOT_IN_PAPERS = {"AP", "Brier", "ECE", "fit s", "size"}
"""Headings of columns that a table for a paper leaves out."""

MARKS = {"best": "", "equal": " =", "worse": "", "untested": " ?"}
"""Marks beside the rank, by standing; `legend` explains them."""


def fitted_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that are printed after a fit; the rows stay in their order."""
    test_sets = [printable(f"{row['test_set']}, {row['split']}") for row in rows]
    names, numbers = row_columns(rows, "accuracy")
    return [
        *names,
        Column("tested on", test_sets, name=True),
        Column("n", [str(row["n_test"]) for row in rows]),
        *numbers,
    ]


def ranked_columns(ranked: Sequence[RankedRow], metric: str) -> list[Column]:
    """Return columns of ranked rows, without their run ids."""
    rows = [place.row for place in ranked]
    names, numbers = row_columns(rows, metric)
    # Elsewhere the title has the class. Here a sensitivity could pass for that of another class.
    if _differ_in_class(rows):
        classes = [printable(positive_text(row) or NOT_DEFINED) for row in rows]
        names.append(Column("positive", classes, name=True))
    return [Column("rank", list(map(rank_text, ranked)), name=True), *names, *numbers]


def paper_columns(ranked: Sequence[RankedRow], metric: str) -> list[Column]:
    """Return the columns of ranked rows that a paper needs, with the number of images and groups.

    Other formats have what is left out.
    """
    columns = [
        column for column in ranked_columns(ranked, metric) if column.heading not in _NOT_IN_PAPERS
    ]
    counts = [_count(place.row) for place in ranked]
    names = sum(column.name for column in columns)
    return [*columns[:names], Column("n (groups)", counts), *columns[names:]]


def _count(row: Mapping[str, Any]) -> str:
    """Write the number of test images, and that of their groups where it is known: "48 (46)"."""
    groups = row.get("n_test_groups", "")
    return f"{row['n_test']} ({groups})" if groups else str(row["n_test"] or NOT_DEFINED)


def positive_text(row: Mapping[str, Any]) -> str:
    """Write the positive class: "dog (by alphabet)" if no name said which class is positive."""
    return str(row["positive"]) + " (by alphabet)" * is_alphabetical(row)


def _differ_in_class(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if rows of one test set have different positive classes."""
    by_test_set: dict[str, set[str]] = {}
    for row in rows:
        by_test_set.setdefault(row["test_id"] or row["test_set"], set()).add(row["positive"])
    return any(len(classes) > 1 for classes in by_test_set.values())


def rank_text(place: RankedRow) -> str:
    """Write a rank with its mark: "2 ="; "-" without a rank."""
    rank = NOT_DEFINED if place.rank is None else str(place.rank)
    return rank + MARKS[place.standing]


def row_columns(
    rows: Sequence[Mapping[str, Any]], metric: str
) -> tuple[list[Column], list[Column]]:
    """Return columns of leaderboard rows: names of head and features, and numbers.

    Args:
        rows: by column of the leaderboard.
        metric: comes first, and with its interval.
    """
    names = [
        Column("head", [printable(_head(row)) for row in rows], name=True),
        Column("features", [printable(_features(row)) for row in rows], name=True),
    ]
    numbers = [_metric_column(rows, metric)]
    # Without leaks, the clean score is the score itself. Patients who leak are never scored.
    leaks = any(leak_count(row)[0] for row in rows)
    if leaks and not is_clean(metric) and not is_by_patient(metric):
        numbers.append(_clean_column(rows, CLEAN + metric))
    for shown in SHOWN_METRICS:
        if shown.name != metric:
            values = [metric_text(shown.name, row[shown.name]) for row in rows]
            column = Column(shown.heading, values, shown.keep)
            if shown.name in ALWAYS_COMPARED:
                # These two have their interval as long as there is room.
                cells = _with_intervals(rows, shown.name)
                column = Column(f"{shown.heading} (95 %)", cells, keep=1, instead=column)
            numbers.append(column)
    numbers += [
        _grade_column(rows),
        *_seed_columns(rows),
        Column("fit s", [decimals(row["fit_seconds"], 1) for row in rows], keep=5),
        Column("size", [_size(row.get("model_bytes", "")) for row in rows], keep=0),
    ]
    return names, numbers


def _with_intervals(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    return [metric_with_interval(row, metric) for row in rows]


def _metric_column(rows: Sequence[Mapping[str, Any]], metric: str) -> Column:
    """Return a metric with its intervals, under a heading that names its units."""
    units = {str(row.get("patient_unit") or "patient") for row in rows}
    unit = " or ".join(sorted(units, reverse=True))
    cells = _starred(rows, metric, _with_intervals(rows, metric))
    return Column(f"{heading(metric, unit)} (95 %)", cells)


def _clean_column(rows: Sequence[Mapping[str, Any]], metric: str) -> Column:
    """Return a clean metric; "-" where too few images are clean, or where that is unknown."""
    values = [metric_text(metric, row[metric]) for row in rows]
    narrow = Column("clean", _starred(rows, metric, values))
    return replace(_metric_column(rows, metric), keep=30, instead=narrow)


def _starred(rows: Sequence[Mapping[str, Any]], metric: str, texts: Sequence[str]) -> Sequence[str]:
    """Mark clean scores from which a class is missing: they are not to be compared with others."""
    if not is_clean(metric):
        return texts
    return [
        f"{text} *" if row.get("clean_missing") and text != NOT_DEFINED else text
        for row, text in zip(rows, texts, strict=True)
    ]


def _grade_column(rows: Sequence[Mapping[str, Any]]) -> Column:
    """Return the grades: "leaking: 7 of 253", or "leaking" where room is short."""
    narrow = Column("grade", [row_grade(row) or "?" for row in rows])
    return Column("grade", [grade_text(row) for row in rows], keep=20, instead=narrow)


def _seed_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the accuracy over seeds, "95.1 (94.2-95.8) of 3", if a row has more than one seed."""
    cells = list(map(seeds_text, rows))
    if set(cells) <= {NOT_DEFINED}:
        return []
    return [Column("accuracy over seeds", cells, keep=10)]


def seeds_text(row: Mapping[str, Any]) -> str:
    """Write mean, lowest and highest accuracy over seeds, and their number; "-" for one seed."""
    ends = [percent(row.get(f"seeds_accuracy_{end}", "")) for end in ("mean", "lowest", "highest")]
    if NOT_DEFINED in ends:
        return NOT_DEFINED
    return f"{ends[0]} ({ends[1]}-{ends[2]}) of {row['n_seeds']}"


def patient_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return columns of scores by patient, of the rows that have them; none if no row has."""
    scored = [row for row in rows if row.get("n_test_patients")]
    if not scored:
        return []
    units = [counted(int(row["n_test_patients"]), row["patient_unit"]) for row in scored]
    tested = [printable(f"{row['test_set']}, {row['split']}") for row in scored]
    accuracy, area, *rates = (
        Column(f"{metric_of(name).heading} (95 %)", _with_intervals(scored, BY_PATIENT + name))
        for name in SHOWN_BY_PATIENT
    )
    # Patients with a relative in training are not scored, as images that leak are not clean.
    grades = [clean_grade(row) or "?" for row in scored]
    return [
        Column("head", [printable(_head(row)) for row in scored], name=True),
        Column("features", [printable(_features(row)) for row in scored], keep=3, name=True),
        Column("tested on", tested, keep=5, name=True),
        Column("scored by", list(map(printable, units)), name=True),
        Column("combined by", [printable(combination_of(row)) for row in scored], keep=4),
        accuracy,
        replace(area, keep=6),
        *(replace(column, keep=2) for column in rates),
        Column("grade", grades),
    ]


def pair_columns(pairs: Sequence[RunPair]) -> list[Column]:
    """Return columns of pairs: scores, difference, p before and after adjustment, and outcome."""
    firsts = [metric_text(pair.difference.metric, pair.difference.first) for pair in pairs]
    seconds = [metric_text(pair.difference.metric, pair.difference.second) for pair in pairs]
    columns = [
        Column("metric", [heading(pair.difference.metric, pair.unit) for pair in pairs], name=True),
        Column("A", [printable(pair.first) for pair in pairs], name=True),
        Column("B", [printable(pair.second) for pair in pairs], name=True),
        Column("of A", firsts, keep=2),
        Column("of B", seconds, keep=2),
    ]
    # The title has the size of the test set; clean metrics and those by patient differ from it.
    if any(pair.n != len(pair.tested.paths) for pair in pairs):
        columns.append(Column("n", [str(pair.n) for pair in pairs], keep=4))
    # Most runs of a test set have one grade, which is written once.
    grades = [" and ".join(dict.fromkeys(pair.grades)) for pair in pairs]
    columns.append(Column("grade", grades, keep=3))
    columns.append(Column("A - B (95 %)", [difference_text(pair.difference) for pair in pairs]))
    # A single pair needs no adjustment.
    adjusted = len({(pair.first, pair.second) for pair in pairs}) > 1
    if adjusted:
        columns.append(Column("p", [p_text(pair.difference.p) for pair in pairs], keep=1))
    return [
        *columns,
        Column("p (Holm)" if adjusted else "p", [p_text(pair.p_holm) for pair in pairs]),
        Column("A is", [pair.outcome for pair in pairs], keep=5, name=True),
        Column("test", [pair.difference.test for pair in pairs], keep=0, name=True),
    ]


def difference_text(difference: Difference) -> str:
    """Write a difference in the metric's own unit: +0.4 (-0.9 to +1.7)."""
    value = _signed(metric_text(difference.metric, difference.difference))
    interval = interval_text(difference.metric, difference.low, difference.high)
    return value if NOT_DEFINED in interval.split() else f"{value} ({interval})"


def interval_text(metric: str, *ends: float) -> str:
    """Write a difference, or the ends of its interval, in the metric's unit: -0.9 to +1.7."""
    return " to ".join(_signed(metric_text(metric, end)) for end in ends)


def margin_text(share: float) -> str:
    """Write a difference of two shares in points of per cent: "2 points", "1 point".

    Examples:
        >>> margin_text(0.02), margin_text(0.01), margin_text(0.005)
        ('2 points', '1 point', '0.5 points')
    """
    text = f"{100 * share:.6g}"
    return f"{text} point" if text == "1" else f"{text} points"


def _signed(text: str) -> str:
    """Put a plus before a number that is not negative; -0.0 becomes +0.0."""
    # NOT_DEFINED is a minus alone, and rounding may leave -0.0.
    if not text.startswith("-"):
        return f"+{text}"
    return text if text == NOT_DEFINED or float(text) else f"+{text[1:]}"


def _head(row: Mapping[str, Any]) -> str:
    """Write a head with its start, calibration and threshold: "logreg, sigmoid, at 0.31"."""
    threshold = number(row.get("threshold", ""))
    at = "" if math.isnan(threshold) else f", at {threshold:.3g}"
    calibrated = f", {row['calibration']}" if row.get("calibration") else ""
    return str(row["head"]) + _start(row) + calibrated + at


def _start(row: Mapping[str, Any]) -> str:
    """Write the weights that a network started with; "" for other heads."""
    # The cell comes from a file: it may hold anything.
    with suppress(ValueError, AttributeError, RecursionError):
        weights = json.loads(row.get("hyperparameters") or "{}").get("weights")
        return f", {weights}" if weights else ""
    return ""


def _features(row: Mapping[str, Any]) -> str:
    marks = ", random" * is_random(row) + ", PatientIDs ignored" * ignores_patients(row)
    return f"{row['layer']} {row['pooling']}{marks}"


def is_random(row: Mapping[str, Any]) -> bool:
    """Return True if the backbone's weights are random, so that the score is not about VGG16."""
    return str(row["weights"]).startswith("random")


def metric_text(metric: str, value: Any) -> str:
    """Write a metric in per cent, or with three decimals; "-" where it is not defined."""
    return decimals(value, 3) if metric_of(metric).unit == "number" else percent(value)


def metric_with_interval(row: Mapping[str, Any], metric: str) -> str:
    """Write a metric with its interval, if it has one: 96.8 (95.5-97.8)."""
    # Leaderboards of schema 1 have an interval of the accuracy only.
    low, high = (row.get(f"{metric}_{end}", "") for end in ("low", "high"))
    value = metric_text(metric, row[metric])
    if math.isnan(number(low)) or math.isnan(number(high)):
        return value
    # A hyphen before a minus would be hard to read: -0.1--0.2.
    dash = " to " if metric_of(metric).negative else "-"
    return f"{value} ({metric_text(metric, low)}{dash}{metric_text(metric, high)})"


def _size(value: Any) -> str:
    """Write the size of a model file: 12.3 MB, or 7 kB."""
    # Schema 1 has no sizes.
    n_bytes = number(value)
    if math.isnan(n_bytes):
        return NOT_DEFINED
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def p_text(p: float) -> str:
    """Write a p-value with three decimals."""
    if math.isnan(p):
        return NOT_DEFINED
    return "<0.001" if p < 0.001 else f"{p:.3f}"
