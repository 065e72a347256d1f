"""Paired comparisons of runs on the images that all of them were tested on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...data.groups import PATIENTS_RISK
from ...errors import FreezeframeError
from ..runs.prediction_file import read_predictions
from ..scores.clean import PREFIX, enough, have, leak_text, metric_of, plain_metric
from ..scores.evaluation import Evaluation
from ..scores.paired_tests import Difference, compare, holm
from ..scores.roc_area import ALPHA
from ..scores.weighted_metrics import point_values
from .choices import ignores_patients
from .named_runs import NamedRun, names_of

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
        n: number of compared images; a clean metric has fewer than the test set.
        leaking: number of test images with a relative in each run's training.
        unknown: number of test images whose relatives in each run's training are unknown.
        difference: of a metric, first minus second.
        p_holm: its p-value, adjusted to all pairs of this test set and metric.
    """

    tested: Evaluation
    first: str
    second: str
    run_ids: tuple[str, str]
    n: int
    leaking: tuple[int, int]
    unknown: tuple[int, int]
    difference: Difference
    p_holm: float

    @property
    def better(self) -> str | None:
        """The run that is better; "" if the test cannot tell them apart, None without a test."""
        if math.isnan(self.p_holm):
            return None
        if self.p_holm > ALPHA:
            return ""
        sign = metric_of(self.difference.metric).sign
        return self.first if sign * self.difference.difference > 0 else self.second


def shared_evaluations(runs: Sequence[NamedRun]) -> list[list[Evaluation]]:
    """Return the evaluations of all runs for each test set that all of them share.

    Raises:
        FreezeframeError: predictions are missing or broken, or the runs share no test set.
    """
    by_run = [read_predictions(run.folder) for run in runs]
    shared = [
        test_id for test_id in by_run[0] if all(test_id in evaluations for evaluations in by_run)
    ]
    if not shared:
        _refuse_other_labels(runs, by_run)
        tested = [
            f"{run.run_id} on {_test_sets(evaluations)}"
            for run, evaluations in zip(runs, by_run, strict=True)
        ]
        raise FreezeframeError(
            f"the runs share no test images: {', '.join(tested)}; "
            "fit both with the same --test stores, or with the same split"
        )
    return [[evaluations[test_id] for evaluations in by_run] for test_id in shared]


def _refuse_other_labels(
    runs: Sequence[NamedRun], by_run: Sequence[Mapping[str, Evaluation]]
) -> None:
    """Raise FreezeframeError if the runs share images, but not their labels."""
    first, *further = [_tested_images(evaluations) for evaluations in by_run]
    for images, evaluation in first.items():
        same = [evaluation, *(tested[images] for tested in further if images in tested)]
        if len(same) == len(runs):
            classes = [
                f"{', '.join(result.classes)} in {name}"
                for name, result in zip(names_of(runs), same, strict=True)
            ]
            raise FreezeframeError(
                f"the runs were tested on the same images of {evaluation.test_set}, but these have "
                f"other labels: {' and '.join(classes)}; fit both with the same --classes"
            )


def _tested_images(evaluations: Mapping[str, Evaluation]) -> dict[frozenset[str], Evaluation]:
    """Return the evaluations of one run by their images, whatever the labels are."""
    return {
        frozenset(image for image, _ in evaluation.images()): evaluation
        for evaluation in evaluations.values()
    }


def _test_sets(evaluations: Mapping[str, Evaluation]) -> str:
    """Name the test sets of one run."""
    return ", ".join(
        f"{evaluation.test_set} ({evaluation.split}, {len(evaluation.paths)} images)"
        for evaluation in evaluations.values()
    )


def compare_runs(
    runs: Sequence[NamedRun], shared: Sequence[Sequence[Evaluation]], metric: str
) -> list[RunPair]:
    """Compare all pairs of runs on each test set.

    They are compared in the requested metric, in accuracy, and in the area under the ROC curve. If
    test images have relatives in the training of any run, the requested metric is compared without
    them, too.

    Args:
        runs: two or more.
        shared: from `shared_evaluations`.
        metric: one of `METRIC_NAMES`.
    """
    metrics = [metric, *(name for name in ALWAYS_COMPARED if name != metric)]
    pairs: list[RunPair] = []
    for evaluations in shared:
        for name in metrics:
            pairs += _pairs(runs, evaluations, name, metric)
        clean = _clean_for_all(evaluations)
        # Without leaks the clean comparison would repeat the first one.
        if not clean.all() and enough(evaluations[0].predictions, clean):
            pairs += _pairs(runs, evaluations, PREFIX + metric, metric, clean)
    return pairs


def _clean_for_all(evaluations: Sequence[Evaluation]) -> NDArray[np.bool_]:
    """Return True for images without a relative in the training of any run.

    The images are in the order of the first evaluation.
    """
    first = evaluations[0]
    # Files may list the same images in different orders.
    clean = [evaluation.clean[evaluation.rows_like(first)] for evaluation in evaluations]
    return np.asarray(np.all(clean, axis=0))


def _pairs(
    runs: Sequence[NamedRun],
    evaluations: Sequence[Evaluation],
    metric: str,
    order_by: str,
    rows: NDArray[np.bool_] | None = None,
) -> list[RunPair]:
    """Compare all pairs of runs on one test set in one metric.

    Args:
        runs: two or more.
        evaluations: of each run.
        metric: its name, a clean one too.
        order_by: metric on all rows that decides which run of a pair comes first.
        rows: True for the rows to compare on; None: all.
    """
    # Rows, classes and groups as in the first evaluation, so that the rows are paired.
    names = names_of(runs)
    predictions = [evaluation.like(evaluations[0]) for evaluation in evaluations]
    # The same run comes first in every metric, so that the rows of a table can be compared.
    sign = metric_of(order_by).sign
    values = [sign * point_values(result, [order_by])[order_by] for result in predictions]
    # Runs whose metric is not defined come last.
    order = sorted(
        range(len(runs)), key=lambda number: (math.isnan(values[number]), -values[number])
    )
    if rows is not None:
        predictions = [result.take(rows) for result in predictions]
    leaking = [int(evaluation.leaking.sum()) for evaluation in evaluations]
    unknown = [int(evaluation.unknown.sum()) for evaluation in evaluations]
    pairs = list(combinations(order, 2))
    differences = [
        replace(compare(predictions[a], predictions[b], plain_metric(metric)), metric=metric)
        for a, b in pairs
    ]
    # Each metric of a test set is a family of tests of its own.
    adjusted = holm([difference.p for difference in differences]).tolist()
    return [
        RunPair(
            tested=evaluations[0],
            first=names[a],
            second=names[b],
            run_ids=(runs[a].run_id, runs[b].run_id),
            n=len(predictions[0].y),
            leaking=(leaking[a], leaking[b]),
            unknown=(unknown[a], unknown[b]),
            difference=difference,
            p_holm=p,
        )
        for (a, b), difference, p in zip(pairs, differences, adjusted, strict=True)
    ]


def comparison_warnings(
    runs: Sequence[NamedRun], shared: Sequence[Sequence[Evaluation]]
) -> list[str]:
    """Return warnings of test images whose relatives make a comparison doubtful.

    Args:
        runs: the compared runs.
        shared: from `shared_evaluations`.
    """
    ignoring = [
        name for name, run in zip(names_of(runs), runs, strict=True) if ignores_patients(run.row)
    ]
    warnings = []
    if ignoring:
        warnings.append(f"PatientIDs were ignored for {', '.join(ignoring)}: {PATIENTS_RISK}")
    for evaluations in shared:
        where = f"{evaluations[0].test_set}, {evaluations[0].split}"
        warnings.append(_class_text(names_of(runs), evaluations, where))
        for name, evaluation in zip(names_of(runs), evaluations, strict=True):
            warnings.append(leak_text(evaluation, where, f"the training images of {name}"))
            warnings.append(_unknown_text(evaluation, where, name))
        clean = _clean_for_all(evaluations)
        if not enough(evaluations[0].predictions, clean):
            n_clean = int(clean.sum())
            warnings.append(
                f"{n_clean} of {len(clean)} test images of {where} {have(n_clean)} no relative in "
                "the training of any run, as far as is known: too few to compare"
            )
    return [warning for warning in warnings if warning]


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
