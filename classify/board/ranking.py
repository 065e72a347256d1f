"""Ranks of leaderboard rows on each test set, and paired tests against the best row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...data.output.terminal import number
from ...errors import FreezeframeError
from ..scores.clean import enough
from ..scores.evaluation import Evaluation
from ..scores.metric_names import is_by_patient, is_clean, metric_of, plain_metric
from ..scores.paired.paired_tests import compare, holm
from ..scores.roc_area import ALPHA
from .run_folders import RunFolders

NAN = float("nan")


@dataclass(frozen=True)
class RankedRow:
    """A row of the leaderboard among the rows that it can be compared with.

    Attributes:
        row: cells by column.
        rank: 1 for the best; rows with the same score share a rank. None where the metric is not
            defined.
        p: p-value of the paired test against the best row, adjusted after Holm; NaN without a test
            that counts.
        standing: "best"; "equal" if the test finds no difference from the best; "worse"; or
            "untested".
    """

    row: Mapping[str, str]
    rank: int | None
    p: float
    standing: Literal["best", "equal", "worse", "untested"]


def rank_rows(
    rows: Sequence[Mapping[str, str]], metric: str, folders: RunFolders
) -> list[list[RankedRow]]:
    """Rank the rows of each test set, best first.

    Some metrics of two classes depend on which one is positive, the sensitivity say. Rows with
    different positive classes are then ranked apart.

    The largest test set comes first; among equally large ones, the one with the latest run.

    Args:
        rows: of a leaderboard.
        metric: one of `METRIC_NAMES`, `CLEAN_NAMES` or `PATIENT_NAMES`.
        folders: the folders of the runs, whose predictions are tested against the best.
    """
    test_sets: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        test_sets.setdefault(_key_of(row, metric), []).append(row)
    order = sorted(
        test_sets.values(), key=lambda members: max(row["time"] for row in members), reverse=True
    )
    # Sorting is stable: test sets of one size stay in the order of their latest runs.
    order.sort(key=lambda members: int(members[0]["n_test"] or 0), reverse=True)
    return [_rank(members, metric, folders) for members in order]


def _key_of(row: Mapping[str, str], metric: str) -> tuple[str, ...]:
    """Return the key of the rows that are ranked together: they answer one question.

    They were tested on the very same images. Where the metric depends on the positive class, they
    have the same one. Schema 1 does not identify the images. There, rows of one key have the same
    test set, split, size and seed.
    """
    # Mean scores over the classes are comparable only if the heads know the same classes.
    question = (row["positive"], row["classes"]) if metric_of(metric).of_class else ()
    if row["test_id"]:
        return (row["test_id"], *question)
    return ("", row["test_set"], row["split"], row["n_test"], row["seed"], *question)


def _rank(rows: Sequence[Mapping[str, str]], metric: str, folders: RunFolders) -> list[RankedRow]:
    """Rank the rows of one test set."""
    defined = [row for row in rows if not math.isnan(number(row[metric]))]
    undefined = [row for row in rows if math.isnan(number(row[metric]))]
    unranked = [RankedRow(row, None, NAN, "untested") for row in undefined]
    if not defined:
        return unranked
    sign = metric_of(metric).sign
    # Sorting is stable: of rows with the same score the earlier one comes first.
    defined.sort(key=lambda row: -sign * number(row[metric]))
    values = [number(row[metric]) for row in defined]
    best, *rest = defined
    ranked = [RankedRow(best, 1, NAN, "best")]
    p_values = _p_against_best(best, rest, metric, folders)
    for row, value, p in zip(rest, values[1:], p_values, strict=True):
        ranked.append(RankedRow(row, values.index(value) + 1, p, _standing(p)))
    return ranked + unranked


def _standing(p: float) -> Literal["equal", "worse", "untested"]:
    """Return the standing of a row that is not the best."""
    if math.isnan(p):
        return "untested"
    return "equal" if p > ALPHA else "worse"


def _p_against_best(
    best: Mapping[str, str], rest: Sequence[Mapping[str, str]], metric: str, folders: RunFolders
) -> list[float]:
    """Return adjusted p-values of paired tests against the best row; NaN without predictions.

    The same images select the best row and test it. This makes the p-values somewhat too small.

    A clean score uses the clean images of its own run, but the test uses images that are clean for
    both runs. There the best row may be significantly worse. The other row is then not "worse": its
    p-value is NaN, too.
    """
    p_values = [NAN] * len(rest)
    best_is_worse = [False] * len(rest)
    # Rows of schema 1 have no id by which predictions could be found.
    if not best["test_id"] or not rest:
        return p_values
    by_patient = is_by_patient(metric)
    first = folders.evaluation(best["run_id"], best["test_id"], by_patient=by_patient)
    if first is None:
        return p_values
    for place, row in enumerate(rest):
        second = folders.evaluation(row["run_id"], row["test_id"], by_patient=by_patient)
        if second is not None:
            # A broken file must not keep the rest of the leaderboard from being shown.
            try:
                p_values[place], best_is_worse[place] = _test(first, second, metric)
            except FreezeframeError as error:
                folders.problems.append(str(error))
    # The rows are adjusted together: each further run is a further chance to differ by luck.
    adjusted: list[float] = holm(p_values).tolist()
    return [
        NAN if is_reversed and p <= ALPHA else p
        for p, is_reversed in zip(adjusted, best_is_worse, strict=True)
    ]


def _test(first: Evaluation, second: Evaluation, metric: str) -> tuple[float, bool]:
    """Return the p-value of a difference, and True if the second is better on these images.

    A clean metric is compared on the images that have no relative in the training of either run;
    the p-value is NaN if these are too few. So is a metric by patient, on such patients; the
    p-value is NaN if the runs know other patients.
    """
    if is_by_patient(metric) and sorted(first.images()) != sorted(second.images()):
        return NAN, False
    a = first.predictions
    b = second.like(first)
    if is_clean(metric) or is_by_patient(metric):
        clean = first.clean & second.clean[second.rows_like(first)]
        if not (clean.any() if is_by_patient(metric) else enough(a, clean)):
            return NAN, False
        a = a.take(clean)
        b = b.take(clean)
    result = compare(a, b, plain_metric(metric))
    return result.p, metric_of(metric).sign * result.difference < 0
