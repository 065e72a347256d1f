"""Sentences about ranked rows and compared runs: titles, legends and conclusions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...data.groups import PATIENTS_RISK
from ...data.output.terminal import NOT_DEFINED, counted
from ..scores.clean import leak_count
from ..scores.grades import clean_grade, has_clean, patients_lines, risk_lines, shown_grades
from ..scores.metric_names import heading, is_by_patient, is_clean, metric_of, plain_metric
from ..scores.roc_area import ALPHA
from .choices import ignores_patients, is_alphabetical, is_control
from .comparison import ALWAYS_COMPARED, RunPair
from .ranking import RankedRow
from .tables import interval_text, is_random, margin_text, p_text, positive_text, seeds_text

_INTERVALS = {"wilson": "Wilson's score", "delong": "DeLong's variance"}
"""Names of kinds of intervals; all others are bootstraps."""


def title_of_test_set(ranked: Sequence[RankedRow]) -> str:
    """Name the test set of ranked rows, and the positive class if all of them have the same one.

    "edureka, hold-out 20%: 920 images in 780 groups, positive class tumour"
    """
    rows = [place.row for place in ranked]
    # Rows of one test set may name it differently, after its folder was renamed.
    names = " / ".join(dict.fromkeys(f"{row['test_set']}, {row['split']}" for row in rows))
    # Groups are worth a word only where they are fewer than the images.
    groups = rows[0]["n_test_groups"]
    grouped = f" in {groups} groups" if groups not in ("", rows[0]["n_test"]) else ""
    positive = ""
    classes = {row["positive"] for row in rows}
    # Rows of several positive classes have a column for it instead.
    if len(classes) == 1 and "" not in classes:
        # One row that did not choose its class is enough to say so.
        example = next(filter(is_alphabetical, rows), rows[0])
        positive = f", positive class {positive_text(example)}"
    return f"{names}: {rows[0]['n_test'] or '?'} images{grouped}{positive}"


def legend(ranked: Sequence[RankedRow], metric: str) -> list[str]:
    """Explain the marks and columns that a table of ranked rows has.

    Args:
        ranked: the rows that are shown.
        metric: the metric that ranks them.
    """
    # Only what is in the table is explained: a short legend is read.
    return [
        *_standing_lines(ranked, metric),
        *_grade_lines(ranked, metric),
        *_choice_lines([place.row for place in ranked]),
        *seed_lines(place.row for place in ranked),
    ]


def seed_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Explain the accuracy over seeds, if a row has one."""
    if all(seeds_text(row) == NOT_DEFINED for row in rows):
        return []
    return [
        "accuracy over seeds: mean (lowest-highest) of all seeds, on the same splits and folds; "
        'all other scores are those of the first seed; "-": one seed, or a head that draws nothing'
    ]


def paper_legend(ranked: Sequence[RankedRow], metric: str) -> list[str]:
    """Explain the intervals and each grade, too, as the footnotes of a paper do.

    Args:
        ranked: the rows that are shown.
        metric: the metric that ranks them.
    """
    metrics = dict.fromkeys((plain_metric(metric), *ALWAYS_COMPARED))
    kinds = [
        f"{heading(name)}: {_INTERVALS.get(metric_of(name).interval, 'bootstrap of groups')}"
        for name in metrics
    ]
    lines = [
        "(95 %): 95 % interval; its units are groups, which are copies of a picture or images of "
        f"a patient ({'; '.join(kinds)})"
    ]
    grades = {grade for place in ranked for grade in shown_grades(place.row)}
    return [*lines, *patients_lines(grades), *legend(ranked, metric)]


def _standing_lines(ranked: Sequence[RankedRow], metric: str) -> list[str]:
    """Explain the marks beside the ranks."""
    standings = {place.standing for place in ranked}
    lines = []
    if "equal" in standings:
        test = f"{heading(metric)}: paired test, Holm-adjusted p above {ALPHA}"
        lines.append(
            f"=  no difference from the best of its test set is shown ({test}), which is not "
            "equality; compare tests if they are equivalent"
        )
    if "untested" in standings:
        reason = "predictions are missing, or the score is not defined"
        if is_clean(metric):
            reason += (
                "; or too few images are clean for both runs, "
                "or the best has the worse score on them"
            )
        if is_by_patient(metric):
            reason += "; or the runs know other patients"
        lines.append(f"?  not tested against the best: {reason}")
    return lines


def _grade_lines(ranked: Sequence[RankedRow], metric: str) -> list[str]:
    """Explain the grades, and clean scores."""
    rows = [place.row for place in ranked]
    lines = []
    if any(leak_count(row)[0] for row in rows):
        lines.append(
            "leaking: test images have a relative among the training images; a score on them says "
            "nothing about unseen images"
        )
    if any(leak_count(row)[1] for row in rows):
        lines.append(
            'grade "?" or "+": unknown, or unknown for some images; older versions, and stores '
            "made by them, notice byte-identical copies only"
        )
    return lines + clean_lines(rows, metric)


def clean_lines(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """Explain the clean scores of rows and their grade, and what parted pictures may hide.

    Args:
        rows: by column of the leaderboard.
        metric: the first metric of their table.
    """
    lines = []
    if any(leak_count(row)[0] for row in rows) or is_clean(metric):
        grades = dict.fromkeys(clean_grade(row) for row in rows if has_clean(row))
        text = f" (grade: {' or '.join(grades)})" if grades else ""
        lines.append(
            f"clean: on test images without a relative in training{text}; "
            '"-" if these are too few or unknown'
        )
    if any(row.get("clean_missing") for row in rows):
        lines.append("*: too few clean images of some class: the score leaves its images out")
    return lines + risk_lines({grade for row in rows for grade in shown_grades(row)})


def _choice_lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Explain the marks of what options and defaults decided."""
    lines = []
    if any(is_alphabetical(row) for row in rows):
        lines.append(
            "by alphabet: no name says which class is positive, so the last one is taken; "
            "fit with --positive to choose it"
        )
    if any(ignores_patients(row) for row in rows):
        lines.append(f"PatientIDs ignored: {PATIENTS_RISK}")
    if any(is_control(row) for row in rows):
        lines.append(
            "shuffled labels: a control, ranked apart; a head that beats chance (AUC 50) has found "
            "a leak, or a trait that whole groups share"
        )
    if any(is_random(row) for row in rows):
        lines.append(
            "random: the backbone's weights are random; the score says nothing about VGG16"
        )
    return lines


def pair_title(pair: RunPair) -> str:
    """Name the test set of a pair, and the class that both runs are scored for.

    "navoneel, external: 253 images, positive class yes"
    """
    tested = pair.tested
    positive = f", positive class {tested.positive}" if tested.positive else ""
    return f"{tested.test_set}, {tested.split}: {len(tested.paths)} images{positive}"


def conclusion(pair: RunPair) -> str:
    """Write a pair as a sentence.

    "on navoneel, no difference between logreg and xgboost is shown (accuracy, p = 0.410)"
    """
    metric = heading(pair.difference.metric, pair.unit)
    where = f"on {pair.tested.test_set}"
    if is_clean(pair.difference.metric):
        where = f"on the {pair.n} clean images of {pair.tested.test_set}"
    if is_by_patient(pair.difference.metric):
        where = f"on the {counted(pair.n, pair.unit)} of {pair.tested.test_set}"
    pair_name = f"{pair.first} and {pair.second}"
    if pair.better is None:
        return f"{where}, {pair_name} cannot be compared: {metric} has no test there"
    # A sentence says "p < 0.001"; a cell of a table has no room for the p.
    p = f"p = {p_text(pair.p_holm)}".replace("= <", "< ")
    tested = pair.difference.equivalence
    within = margin_text(tested.margin) if tested else ""
    if pair.better:
        worse = pair.second if pair.better == pair.first else pair.first
        # A difference may be certain, and too small to matter.
        small = f", by less than {within}" * bool(pair.equivalent)
        return f"{where}, {pair.better} is better than {worse}{small} ({metric}, {p})"
    if tested and pair.equivalent:
        p = f"p = {p_text(pair.p_equivalent)}".replace("= <", "< ")
        interval = f"90 % interval {interval_text(pair.difference.metric, tested.low, tested.high)}"
        return f"{where}, {pair_name} are equivalent within {within} ({metric}, {interval}, {p})"
    text = f"{where}, no difference between {pair_name} is shown"
    if pair.equivalent is False:
        text += (
            f", nor are they shown to be equivalent within {within}: too few {pair.unit}s to say"
        )
    return f"{text} ({metric}, {p})"
