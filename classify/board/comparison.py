"""Paired comparisons of runs on the images that all of them were tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...data.groups import PATIENTS_RISK
from ..scores.clean import enough, has_missing_class, have, leak_text, missing_classes
from ..scores.evaluation import Evaluation
from ..scores.grades import risk_lines
from ..scores.metric_names import BY_PATIENT, CLEAN, is_by_patient, metric_of, plain_metric
from ..scores.paired.paired_tests import Difference, compare, holm
from ..scores.roc_area import ALPHA
from ..scores.weighted_metrics import point_values
from .choices import ignores_patients
from .named_runs import NamedRun, names_of
from .shared_tests import SharedTestSet

MARGIN = 0.02
"""Least difference of two shares that matters by default: two points of per cent."""

ALWAYS_COMPARED = ("accuracy", "roc_auc")
"""Metrics that are compared beside the requested one."""


@dataclass(frozen=True)
class RunPair:
    """Two runs on one test set, the better one first.

    Attributes:
        tested: the evaluation of one of the runs, which has the names of the test set.
        first: name of the better run.
        second: name of the other run.
        run_ids: run ids of both.
        grades: grade of each run's scores, see `grade_text`.
        n: number of compared images, or patients; a clean metric has fewer than the test set.
        unit: what is compared: "image", "patient" or "group".
        leaking: number of test images with a relative in each run's training.
        unknown: number of test images whose relatives in each run's training are unknown.
        difference: of a metric, first minus second.
        p_holm: its p-value, adjusted to all pairs of this test set and metric.
        p_equivalent: the p-value of its equivalence, adjusted likewise; NaN if it is not tested.
    """

    tested: Evaluation
    first: str
    second: str
    run_ids: tuple[str, str]
    grades: tuple[str, str]
    n: int
    unit: str
    leaking: tuple[int, int]
    unknown: tuple[int, int]
    difference: Difference
    p_holm: float
    p_equivalent: float = float("nan")

    @property
    def better(self) -> str | None:
        """The run that is better; "" if the test cannot tell them apart, None without a test."""
        if math.isnan(self.p_holm):
            return None
        if self.p_holm > ALPHA:
            return ""
        sign = metric_of(self.difference.metric).sign
        return self.first if sign * self.difference.difference > 0 else self.second

    @property
    def equivalent(self) -> bool | None:
        """True if the difference is shown to be below the margin; None if that is not tested."""
        return None if math.isnan(self.p_equivalent) else self.p_equivalent <= ALPHA

    @property
    def outcome(self) -> Literal["better", "worse", "equivalent", "not shown", "untested"]:
        """Outcome of the first run against the second.

        "not shown" is neither a difference nor equivalence: there are too few images to say. A
        difference that is shown counts more than its size.
        """
        if self.better:
            return "better" if self.better == self.first else "worse"
        if self.equivalent:
            return "equivalent"
        return "untested" if self.better is None else "not shown"


def compare_runs(
    runs: Sequence[NamedRun],
    shared: Sequence[SharedTestSet],
    metric: str,
    margin: float = MARGIN,
) -> list[RunPair]:
    """Compare all pairs of runs on each test set.

    They are compared in the requested metric, in accuracy, and in the area under the ROC curve. If
    test images have relatives in the training of any run, the requested metric is compared without
    them, too. Where all runs have scores by patient, it is compared by patient.

    Args:
        runs: two or more.
        shared: from `shared_test_sets`.
        metric: one of `METRIC_NAMES`.
        margin: least difference of two shares that matters, as a share.
    """
    metrics = [metric, *(name for name in ALWAYS_COMPARED if name != metric)]
    pairs: list[RunPair] = []
    for test_set in shared:
        order = _order(test_set.images, metric)
        for name in metrics:
            pairs += _pairs(runs, test_set, name, order, margin=margin)
        clean = _clean_for_all(test_set.images)
        # Without leaks the clean comparison would repeat the first one.
        if not clean.all() and enough(test_set.images[0].predictions, clean):
            pairs += _pairs(runs, test_set, CLEAN + metric, order, clean, margin=margin)
        if patients := test_set.paired_patients:
            clean = _clean_for_all(patients)
            if clean.any():
                pairs += _pairs(runs, test_set, BY_PATIENT + metric, order, clean, margin=margin)
    return pairs


def _clean_for_all(evaluations: Sequence[Evaluation]) -> NDArray[np.bool_]:
    """Return True for images without a relative in the training of any run.

    The images are in the order of the first evaluation.
    """
    first = evaluations[0]
    # Files may list the same images in different orders.
    clean = [evaluation.clean[evaluation.rows_like(first)] for evaluation in evaluations]
    return np.asarray(np.all(clean, axis=0))


def _order(evaluations: Sequence[Evaluation], metric: str) -> list[int]:
    """Return the numbers of the runs, the best in a metric of all images first.

    So the same run of a pair comes first in every metric, and the rows of a table can be compared.
    """
    sign = metric_of(metric).sign
    predictions = [evaluation.like(evaluations[0]) for evaluation in evaluations]
    values = [sign * point_values(result, [metric])[metric] for result in predictions]
    # Runs whose metric is not defined come last.
    return sorted(
        range(len(values)), key=lambda number: (math.isnan(values[number]), -values[number])
    )


def _pairs(
    runs: Sequence[NamedRun],
    test_set: SharedTestSet,
    metric: str,
    order: Sequence[int],
    rows: NDArray[np.bool_] | None = None,
    *,
    margin: float,
) -> list[RunPair]:
    """Compare all pairs of runs on one test set in one metric.

    Args:
        runs: two or more.
        test_set: the evaluations of each run.
        metric: its name, a clean one or one by patient too.
        order: numbers of the runs; the first of a pair comes first.
        rows: True for the rows to compare on; None: all.
        margin: see `compare_runs`.
    """
    evaluations = test_set.patients if is_by_patient(metric) else test_set.images
    # Rows, classes and groups as in the first evaluation, so that the rows are paired.
    names = names_of(runs)
    predictions = [evaluation.like(evaluations[0]) for evaluation in evaluations]
    if rows is not None:
        predictions = [result.take(rows) for result in predictions]
    leaking = [int(evaluation.leaking.sum()) for evaluation in evaluations]
    unknown = [int(evaluation.unknown.sum()) for evaluation in evaluations]
    pairs = list(combinations(order, 2))
    differences = [
        replace(
            compare(predictions[a], predictions[b], plain_metric(metric), margin=margin),
            metric=metric,
        )
        for a, b in pairs
    ]
    # Each metric of a test set is a family of tests of its own.
    adjusted = holm([difference.p for difference in differences]).tolist()
    tested = [difference.equivalence for difference in differences]
    equivalent = holm([test.p if test else float("nan") for test in tested]).tolist()
    return [
        RunPair(
            tested=test_set.images[0],
            first=names[a],
            second=names[b],
            run_ids=(runs[a].run_id, runs[b].run_id),
            grades=(test_set.grades[a], test_set.grades[b]),
            n=len(predictions[0].y),
            unit=evaluations[0].unit,
            leaking=(leaking[a], leaking[b]),
            unknown=(unknown[a], unknown[b]),
            difference=difference,
            p_holm=p,
            p_equivalent=p_equivalent,
        )
        for (a, b), difference, p, p_equivalent in zip(
            pairs, differences, adjusted, equivalent, strict=True
        )
    ]


def comparison_warnings(runs: Sequence[NamedRun], shared: Sequence[SharedTestSet]) -> list[str]:
    """Return warnings of relatives, seen or unknown, that make a comparison doubtful.

    Args:
        runs: the compared runs.
        shared: from `shared_test_sets`.
    """
    ignoring = [
        name for name, run in zip(names_of(runs), runs, strict=True) if ignores_patients(run.row)
    ]
    warnings = []
    if ignoring:
        warnings.append(f"PatientIDs were ignored for {', '.join(ignoring)}: {PATIENTS_RISK}")
    for test_set in shared:
        evaluations = test_set.images
        where = f"{evaluations[0].test_set}, {evaluations[0].split}"
        warnings.append(_class_text(names_of(runs), evaluations, where))
        for name, evaluation in zip(names_of(runs), evaluations, strict=True):
            warnings.append(leak_text(evaluation, where, f"the training images of {name}"))
            warnings.append(_unknown_text(evaluation, where, name))
        warnings.append(_few_clean_text(evaluations, where))
        warnings.append(_grades_text(names_of(runs), test_set.grades, where))
    warnings += risk_lines([grade for test_set in shared for grade in test_set.grades])
    return [warning for warning in warnings if warning]


def _few_clean_text(evaluations: Sequence[Evaluation], where: str) -> str:
    """Write that too few images are clean for all runs, or too few of a class; "" if not."""
    first = evaluations[0]
    clean = _clean_for_all(evaluations)
    if enough(first.predictions, clean):
        return ""
    n_clean = int(clean.sum())
    text = (
        f"{n_clean} of {len(clean)} test images of {where} {have(n_clean)} no relative in the "
        "training of any run, as far as is known"
    )
    if has_missing_class(first.predictions, clean):
        missing = [first.classes[label] for label in missing_classes(first.predictions, clean)]
        return f"{text}, but none or too few of class {', '.join(missing)}: not compared"
    return f"{text}: too few to compare"


def _grades_text(names: Sequence[str], grades: Sequence[str], where: str) -> str:
    """Write that the grades of runs differ; "" if they do not."""
    if len(set(grades)) < 2:
        return ""
    texts = [f"{name} {grade}" for name, grade in zip(names, grades, strict=True)]
    return (
        f"on {where}, the grades differ ({', '.join(texts)}): a difference may come from what was "
        "trained on, not from the head"
    )


def _class_text(names: Sequence[str], evaluations: Sequence[Evaluation], where: str) -> str:
    """Write that runs were fitted for different positive classes; "" if they were not."""
    first = evaluations[0].positive
    differing = [
        f"{name} was scored for {evaluation.positive or 'the mean over the classes'}"
        for name, evaluation in zip(names, evaluations, strict=True)
        if evaluation.positive != first
    ]
    if not differing:
        return ""
    return (
        f"on {where}, all runs are scored for {first or 'the mean over the classes'}, as "
        f"{names[0]} was; in the leaderboard {', '.join(differing)}"
    )


def _unknown_text(evaluation: Evaluation, where: str, name: str) -> str:
    """Write that relatives in a run's training could not be checked; "" if all were."""
    n_unknown = int(evaluation.unknown.sum())
    images = f"{n_unknown} of {len(evaluation.clean)} test images of {where}"
    if not n_unknown:
        return ""
    if not evaluation.looked_for:
        return (
            f"{name} was fitted by an older version, which noticed only byte-identical copies: "
            f"relatives of {images} are unknown; fit it again"
        )
    return (
        f"relatives of {images} among the training images of {name} are unknown: its stores lack "
        "fingerprints of some images; run extract-features again, then fit it again"
    )
