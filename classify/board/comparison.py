"""Runs against each other, pair by pair, on the images that all of them were tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ParameterError
from ..runs.leaderboard import read_rows
from ..runs.prediction_file import NAME, read_predictions
from ..scores.clean import PREFIX, enough, have, leak_text, metric_of, plain_metric
from ..scores.evaluation import Evaluation
from ..scores.metrics import METRIC_TABLE
from ..scores.roc_area import ALPHA
from ..scores.weighted_metrics import point_values
from .ranking import RunFolders

if TYPE_CHECKING:
    from ..scores.paired_tests import Difference

ALWAYS_COMPARED = ("accuracy", "roc_auc")


@dataclass(frozen=True)
class NamedRun:
    """A run that is compared.

    Attributes:
        run_id: the name of its folder.
        folder: where its predictions are; the file itself, if that was given.
        row: one of its rows in the leaderboard; empty if it has none.
    """

    run_id: str
    folder: Path
    row: Mapping[str, str]


@dataclass(frozen=True)
class Pair:
    """Two runs on one test set, the better one first.

    Attributes:
        tested: one of the evaluations, for the test set's names.
        first, second: names of the runs.
        run_ids: of both.
        n: images they were compared on; fewer than tested, if the metric is a clean one.
        leaking: how many test images are known to have a relative in each run's training.
        unknown: of how many that is not known.
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
        """The run that is better than the other; empty if they cannot be told apart, None if that is not known."""
        if self.p_holm != self.p_holm:
            return None
        if self.p_holm > ALPHA:
            return ""
        sign = metric_of(self.difference.metric).sign
        return self.first if sign * self.difference.difference > 0 else self.second


def find_runs(texts: Sequence[str], leaderboard: Path, runs: Path) -> list[NamedRun]:
    """The runs that are meant by folders, by files of predictions, by run ids, or by the beginnings of run ids.

    Raises:
        ParameterError: no run or several are meant, or one is meant twice.
    """
    rows = read_rows(leaderboard) if leaderboard.exists() else []
    known = {row["run_id"]: row for row in reversed(rows)}
    found = [_find(text, known, leaderboard, runs) for text in texts]
    twice = [
        run.run_id
        for run in found
        if [other.folder.resolve() for other in found].count(run.folder.resolve()) > 1
    ]
    if twice:
        raise ParameterError(f"{twice[0]} stands there twice; give another run")
    return found


def _find(
    text: str, known: Mapping[str, Mapping[str, str]], leaderboard: Path, runs: Path
) -> NamedRun:
    path = Path(text)
    if path.exists():
        whole = path.resolve()
        run_id = (
            whole.name
            if whole.is_dir()
            else whole.parent.name
            if whole.name == NAME
            else whole.stem
        )
        return NamedRun(run_id, path, known.get(run_id, {}))
    if text not in known:
        meant = [run_id for run_id in known if run_id.startswith(text)]
        if len(meant) != 1:
            some = ", ".join(meant[:5]) + ", ..." * (len(meant) > 5)
            where = str(leaderboard) if known else f"{leaderboard}, which has none"
            raise ParameterError(
                f"{text!r} is the beginning of {len(meant)} run ids: {some}; give more of one"
                if meant
                else f"{text!r} is neither a run's folder nor a run id, or the beginning of one, of {where}"
            )
        text = meant[0]
    return NamedRun(text, RunFolders(runs).folder(text), known[text])


def names_of(runs: Sequence[NamedRun]) -> list[str]:
    """The shortest names that tell the runs apart: head, head and features, run id, or place."""
    heads = [run.row.get("head", run.run_id) for run in runs]
    features = [
        f"{head} {run.row.get('layer', '')} {run.row.get('pooling', '')}".rstrip()
        for head, run in zip(heads, runs, strict=True)
    ]
    for names in (heads, features, [run.run_id for run in runs]):
        if len(set(names)) == len(runs):
            return names
    return [str(run.folder) for run in runs]


def shared_evaluations(runs: Sequence[NamedRun]) -> list[list[Evaluation]]:
    """For each test set that all runs share what each of them said.

    Raises:
        FreezeframeError: predictions are missing or broken, or the runs share no test set.
    """
    every = [read_predictions(run.folder) for run in runs]
    shared = [
        test_id for test_id in every[0] if all(test_id in evaluations for evaluations in every)
    ]
    if not shared:
        tested = [f"{run.run_id} on {_sets(each)}" for run, each in zip(runs, every, strict=True)]
        raise FreezeframeError(
            f"the runs share no test images, so they cannot be compared: {'; '.join(tested)}"
        )
    return [[evaluations[test_id] for evaluations in every] for test_id in shared]


def compare_runs(
    runs: Sequence[NamedRun], shared: Sequence[Sequence[Evaluation]], metric: str
) -> list[Pair]:
    """All pairs of runs on each test set: in the metric asked for, in accuracy, and in the area under the ROC curve.

    If test images have relatives in the training of any run, the metric asked for is compared
    without them, too.
    """
    metrics = [metric, *(name for name in ALWAYS_COMPARED if name != metric)]
    found: list[Pair] = []
    for evaluations in shared:
        for name in metrics:
            found += _pairs(runs, evaluations, name, metric)
        clean = _clean_for_all(evaluations)
        if not clean.all() and enough(evaluations[0].predictions, clean):
            found += _pairs(runs, evaluations, PREFIX + metric, metric, clean)
    return found


def _clean_for_all(evaluations: Sequence[Evaluation]) -> NDArray[np.bool_]:
    """Which images, in the order of the first evaluation, are known to have no relative in the training of any run."""
    each = [other.clean[other.rows_like(evaluations[0])] for other in evaluations]
    return np.asarray(np.all(each, axis=0))


def _sets(evaluations: Mapping[str, Evaluation]) -> str:
    return ", ".join(
        f"{each.test_set} ({each.split}, {len(each.paths)} images)" for each in evaluations.values()
    )


def _pairs(
    runs: Sequence[NamedRun],
    evaluations: Sequence[Evaluation],
    metric: str,
    order_by: str,
    rows: NDArray[np.bool_] | None = None,
) -> list[Pair]:
    """All pairs on one test set, or on some of its rows, in one metric; the better run first by `order_by`."""
    from ..scores.paired_tests import compare, holm

    names = names_of(runs)
    said = [each.like(evaluations[0]) for each in evaluations]
    sign = -METRIC_TABLE[order_by].sign
    values = [sign * point_values(each, [order_by])[order_by] for each in said]
    order = sorted(
        range(len(runs)), key=lambda number: (values[number] != values[number], values[number])
    )
    said = said if rows is None else [each.take(rows) for each in said]
    counts = [(int(each.leaking.sum()), int(each.unknown.sum())) for each in evaluations]
    pairs = list(combinations(order, 2))
    differences = [
        replace(compare(said[a], said[b], plain_metric(metric)), metric=metric) for a, b in pairs
    ]
    adjusted = holm([found.p for found in differences]).tolist()
    return [
        Pair(
            evaluations[0],
            names[a],
            names[b],
            (runs[a].run_id, runs[b].run_id),
            len(said[0].y),
            (counts[a][0], counts[b][0]),
            (counts[a][1], counts[b][1]),
            found,
            p,
        )
        for (a, b), found, p in zip(pairs, differences, adjusted, strict=True)
    ]


def leaks(runs: Sequence[NamedRun], shared: Sequence[Sequence[Evaluation]]) -> list[str]:
    """What must be known of the runs before a comparison is believed."""
    warnings = []
    for evaluations in shared:
        where = f"{evaluations[0].test_set}, {evaluations[0].split}"
        for name, each in zip(names_of(runs), evaluations, strict=True):
            warnings.append(leak_text(each, where, f"the training images of {name}"))
            warnings.append(_not_known(each, where, name))
        clean = _clean_for_all(evaluations)
        if not enough(evaluations[0].predictions, clean):
            left = f"{clean.sum()} of {len(clean)} test images of {where} {have(int(clean.sum()))}"
            warnings.append(
                f"{left} no relative in the training of any run, as far as is known: too few to compare"
            )
    return [warning for warning in warnings if warning]


def _not_known(evaluation: Evaluation, where: str, name: str) -> str:
    """That relatives in a run's training could not be noticed, and what to do; empty if they could."""
    n_unknown, n = int(evaluation.unknown.sum()), len(evaluation.clean)
    if not n_unknown:
        return ""
    if not evaluation.looked_for:
        return (
            f"{name} was fitted by an older version, which noticed only byte-identical copies: whether {n_unknown} of "
            f"{n} test images of {where} leak is not known; fit again"
        )
    return (
        f"whether {n_unknown} of {n} test images of {where} have a relative among the training images of {name} is not "
        "known: its stores do not tell what all images look like; run extract-features again, then fit again"
    )
