"""Compare the stress test with the truth, on sets whose patients are known.

    python scripts/checks/stress_check.py FOLDER [STORE...] [--seeds 0 1]

Each STORE has patient ids. Simulated sets are drawn into FOLDER and extracted once, two for each
seed: heads of the demo generator, each patient with a skull, a scanner and a lesion of its own. In
`mixed` sets every patient has slices of both classes; in `parted` sets of one. The truth is the
accuracy of logistic regression with patients kept apart. The stress test does not see the ids.
For each set the script prints the curve, and how far its judged level is from the truth.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from freezeframe import FeatureStore
from freezeframe.classify.fit.part_features import PartFeatures
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.fit.stress import StressCurve, StressLevel, StressTest
from freezeframe.classify.scores.paired.paired_tests import compare
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.task.task import Task, make_task
from freezeframe.data.demo.drawing import draw_slice
from freezeframe.data.manifest import read_manifest
from freezeframe.data.splits import grouped_folds, join_groups
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

N_FOLDS = 5
N_TRUTHS = 5
"""Times that patients are split into folds: with few patients, the truth depends on the split."""

SETS = {"mixed": (20, 16), "parted": (32, 10)}
"""Patients of each kind of simulated set, and slices of each patient."""


def draw_set(folder: Path, kind: str, seed: int) -> Path:
    """Draw a simulated set, and return its list."""
    n_patients, n_slices = SETS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(n_patients):
        for number in range(n_slices):
            lesion = (patient if kind == "parted" else number) % 2 == 0
            rng = np.random.default_rng([seed, patient, number])
            name = f"p{patient:02}_z{number:02}.png"
            pixels = draw_slice(rng, lesion, patient=10_000 * seed + patient)
            Image.fromarray(pixels).save(folder / name)
            rows.append([name, "lesion" if lesion else "no_lesion", f"patient {patient}"])
    path = folder / "list.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "patient"], *rows])
    return path


def simulated_store(folder: Path, kind: str, seed: int) -> FeatureStore:
    """Draw and extract a simulated set, unless it was done before."""
    path = folder / f"{kind}-{seed}.h5"
    listed = folder / f"{kind}-{seed}" / "list.csv"
    if not listed.exists():
        draw_set(listed.parent, kind, seed)
    extract_features(read_manifest(listed), path, Settings(("block3_pool", "block5_pool")))
    return FeatureStore(path)


def without_patients(task: Task) -> Task:
    """Return a task that knows copies and near-duplicates only."""
    train = task.train
    duplicates = [number or "" for number in train.duplicates.tolist()]
    chains = join_groups(train.sha256s.tolist(), train.pixels.tolist(), duplicates)
    return replace(task, train=replace(train, chains=chains))


def by_patient(task: Task, test: StressTest) -> list[StressLevel]:
    """Score the head with patients kept apart, in several ways to split them."""
    train = task.train
    return [
        test.level(
            train.groups, grouped_folds(train.labels, train.groups, n_folds=N_FOLDS, seed=seed)
        )
        for seed in range(N_TRUTHS)
    ]


def joined(levels: Sequence[StressLevel], groups: NDArray[np.intp]) -> Predictions:
    """Return the predictions of several levels as repeats of one, in other groups."""
    first = levels[0].predictions
    proba = np.concatenate([level.predictions.proba for level in levels])
    return Predictions.of(first.y, proba, groups=groups, positive=first.positive)


def percents(*values: float) -> str:
    """Write a score in per cent with its interval."""
    value, low, high = (f"{100 * value:.1f}" for value in values)
    return f"{value} ({low}-{high})"


def report(name: str, store: FeatureStore) -> None:
    """Print the curve of one set and its distance from the truth."""
    task = make_task(store, layer="block5_pool", n_folds=N_FOLDS)
    blind = without_patients(task)
    features = PartFeatures(task.train, task.layer)
    start = time.monotonic()
    test = StressTest(blind, "logreg", FitOptions(), features)
    curve = test.curve(lambda _: None)
    seconds = time.monotonic() - start
    truths = by_patient(task, test)
    n_patients = len(np.unique(task.train.groups))
    print(f"{name}: {len(task.train.rows)} images of {n_patients} patients")
    for number, level in enumerate(curve.levels):
        mark = " *" * (number == curve.judged)
        scores = [percents(*level.numbers(metric)) for metric in ("accuracy", "roc_auc")]
        print(
            f"  {level.n_groups:4} groups, largest {level.largest:3}: accuracy, AUC", *scores, mark
        )
    print_distance(curve, truths, task.train.groups)
    print(f"  stress test: {seconds:.1f} s", flush=True)


def print_distance(
    curve: StressCurve, truths: Sequence[StressLevel], patients: NDArray[np.intp]
) -> None:
    """Print the truth, and some levels minus the truth, both by patient."""
    truth = joined(truths, patients)
    shown = {
        "copies apart": curve.levels[0],
        "judged level": curve.levels[curve.judged],
        "last level": curve.levels[-1],
    }
    for metric in ("accuracy", "roc_auc"):
        scores = [100 * level.numbers(metric)[0] for level in truths]
        print(
            f"  {metric} by patient: {np.mean(scores):.1f}, from {min(scores):.1f} to "
            f"{max(scores):.1f} in {len(truths)} ways to split"
        )
        for name, level in shown.items():
            gap = compare(joined([level] * len(truths), patients), truth, metric)
            ends = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
            print(
                f"    {name}: {100 * gap.first:.1f}, minus truth {100 * gap.difference:+.1f} "
                f"({ends})"
            )


def main() -> None:
    """Read the arguments and report each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("stores", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    arguments = parser.parse_args()
    for path in arguments.stores:
        report(path.stem, FeatureStore(path))
    for seed in arguments.seeds:
        for kind in SETS:
            report(f"{kind}-{seed}", simulated_store(arguments.folder, kind, seed))


if __name__ == "__main__":
    main()
