"""45 penalties by 5 folds of logistic regression: on the exact reduction, and as GridSearchCV does on raw features.

usage: python scripts/sweep.py STORE [--layer block5_pool] [--raw-step 5] [--raw-near 2]

Rows are the distinct files of the store, folds are grouped and stratified; both contestants get the
same. Ours is `ReducedSearchCV` over all fits, from the store to coefficients of raw features. Of
GridSearchCV's fits only some are run, each as it would run them (rows of the fold copied out, a
fresh `LogisticRegression(C=...)`): one fold of every --raw-step-th penalty, whose mean time stands
for all 225, and all folds of the --raw-near penalties on each side of the one that ours chose,
which tell whether it would choose the same; --raw-step 1 runs all. Its reading of the features is
left out. Both are told by accuracy, GridSearchCV's default, and by log loss. Peak memory is the
process's (Pss).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from measure import family, memory
from numpy.typing import NDArray

from freezeframe import FeatureStore
from freezeframe.data.splits import grouped_folds, join_groups

N_VALUES = 45
RANGE = [0.01, 1e9]
"""Of C, times the mean squared distance of rows from their mean: the same penalties for features of any scale."""
N_FOLDS = 5
POOLING = "flat"


def penalties(store: FeatureStore, rows: NDArray[np.intp], layer: str) -> list[float]:
    """Values of C, ascending."""
    from freezeframe.classify.heads.linear import spread

    return list(np.geomspace(*RANGE, N_VALUES) / spread(store.select(layer, rows[::10], POOLING)))


def problem(path: Path) -> tuple[FeatureStore, NDArray[np.intp], NDArray[np.str_], list[Any]]:
    """Rows of distinct files, their labels, and folds."""
    store = FeatureStore(path)
    rows = store.rows()
    _, first = np.unique(store.sha256s[rows], return_index=True)
    rows = rows[np.sort(first)]
    labels = store.labels[rows]
    groups = join_groups(store.sha256s[rows].tolist(), store.groups[rows].tolist())
    return store, rows, labels, grouped_folds(labels, groups, n_folds=N_FOLDS)


def run_ours(path: Path, layer: str) -> dict[str, Any]:
    """The whole sweep on the reduction, chosen by accuracy; then, not timed, by log loss."""
    from sklearn.linear_model import LogisticRegression

    from freezeframe.classify.solvers.reduced_search import ReducedSearchCV
    from freezeframe.classify.solvers.reduction import reduce

    store, rows, labels, folds = problem(path)
    values = penalties(store, rows, layer)
    start = time.perf_counter()
    reduction = reduce(store.select(layer, rows, POOLING))
    assert reduction is not None
    reduced = time.perf_counter() - start
    search = ReducedSearchCV(LogisticRegression(max_iter=1000), values=values, cv=folds).fit(
        reduction, labels
    )
    seconds = time.perf_counter() - start
    by_loss = ReducedSearchCV(
        LogisticRegression(max_iter=1000), values=values, cv=folds, scoring="neg_log_loss"
    ).fit(reduction, labels)
    return {
        "seconds": seconds,
        "reduce_seconds": reduced,
        "shape": [len(rows), int(search.n_features_in_)],
        "values": values,
        "rank": reduction.matrix.shape[1],
        "accuracy": search.cv_scores_.mean(axis=1).tolist(),
        "log_loss": (-by_loss.cv_scores_.mean(axis=1)).tolist(),
    }


def run_raw(path: Path, layer: str, fits: list[tuple[int, int]]) -> dict[str, Any]:
    """Some of GridSearchCV's fits on the raw matrix: seconds, accuracy and log loss of each."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    store, rows, labels, folds = problem(path)
    X, values = store.features(layer, rows, POOLING), penalties(store, rows, layer)
    found = []
    for number, (value, fold) in enumerate(fits, 1):
        fitted, judged = folds[fold]
        start = time.perf_counter()
        solver = LogisticRegression(C=values[value], max_iter=1000).fit(X[fitted], labels[fitted])
        proba = solver.predict_proba(X[judged])
        seconds = time.perf_counter() - start
        right = solver.classes_[proba.argmax(axis=1)] == labels[judged]
        loss = float(log_loss(labels[judged], proba, labels=solver.classes_))
        found.append([value, fold, seconds, float(right.mean()), loss])
        print(
            f"raw fit {number} of {len(fits)}: C {values[value]:.2e}, fold {fold}, {seconds:.1f} s",
            file=sys.stderr,
        )
    return {"fits": found}


def contest(arguments: list[str]) -> tuple[dict[str, Any], float]:
    """What a contestant prints, run in a process of its own, and that process's peak memory in MB."""
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(map(memory, family(process.pid))))
        time.sleep(0.1)
    assert process.stdout is not None
    text = process.stdout.read()
    if process.returncode:
        sys.exit(f"{arguments} failed")
    return json.loads(text.splitlines()[-1]), peak


def show_times(ours: Any, ours_mb: float, raw: Any, raw_mb: float) -> None:
    """What both take."""
    timed = [fit[2] for fit in raw["fits"]]
    n_fits = N_VALUES * N_FOLDS
    expected = float(np.mean(timed)) * n_fits
    n, d = ours["shape"]
    print(f"{n} rows of {d} features, {N_VALUES} penalties x {N_FOLDS} folds, rank {ours['rank']}")
    print(
        f"reduced: {ours['seconds']:.1f} s (reading, Gram and Cholesky {ours['reduce_seconds']:.1f}, the rest "
        f"{n_fits} fits, one more and the way back), peak {ours_mb:.0f} MB"
    )
    print(
        f"raw: {np.mean(timed):.2f} s a fit ({len(timed)} of {n_fits} timed), {expected:.0f} s for {n_fits} fits, "
        f"peak {raw_mb:.0f} MB"
    )
    print(f"ratio: {expected / ours['seconds']:.1f} x", flush=True)


def show_choice(ours: Any, fits: list[Any]) -> bool:
    """What both choose; whether it is the same by log loss but for one step, and by accuracy but for 0.002 of it."""
    whole: dict[int, dict[int, Any]] = {}
    for value, fold, _, accuracy, loss in fits:
        whole.setdefault(value, {})[fold] = (accuracy, loss)
    known = {
        value: np.mean(list(each.values()), axis=0)
        for value, each in whole.items()
        if len(each) == N_FOLDS
    }
    print("C         accuracy: reduced  raw     log loss: reduced  raw")
    for value in sorted(known):
        found = (ours["accuracy"][value], known[value][0], ours["log_loss"][value], known[value][1])
        print(
            "{:.2e}            {:.4f}   {:.4f}             {:.4f}   {:.4f}".format(
                ours["values"][value], *found
            )
        )
    good = True
    for name, column, best in (("accuracy", 0, max), ("log_loss", 1, min)):
        values = ours[name]
        chosen = values.index(best(values))
        would = best(known, key=lambda value: known[value][column])
        difference = abs(values[chosen] - known[would][column])
        steps = abs(chosen - would)
        print(
            f"chosen by {name}: reduced {ours['values'][chosen]:.2e}, raw {ours['values'][would]:.2e} of {len(known)} "
            f"run whole ({steps} steps apart), {values[chosen]:.4f} and {known[would][column]:.4f} "
            f"({difference:.4f} apart)"
        )
        # By accuracy neighbours differ by a handful of images, so that only its value can be held
        # to anything.
        good &= difference <= 0.002 if name == "accuracy" else steps <= 1
    return good


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--layer", default="block5_pool")
    parser.add_argument("--raw-step", type=int, default=5)
    parser.add_argument("--raw-near", type=int, default=2)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits that did not converge are part of both
    if options.only == "ours":
        return print(json.dumps(run_ours(options.store, options.layer)))
    if options.only:
        return print(json.dumps(run_raw(options.store, options.layer, json.loads(options.only))))
    arguments = [str(options.store), "--layer", options.layer, "--only"]
    ours, ours_mb = contest([*arguments, "ours"])
    whole = [(value, fold) for value in range(N_VALUES) for fold in range(N_FOLDS)]
    # The fold goes up with the penalty, lest always the same one be timed.
    steps = range(0, N_VALUES, options.raw_step)
    sample = (
        whole if options.raw_step == 1 else [(value, i % N_FOLDS) for i, value in enumerate(steps)]
    )
    raw, raw_mb = contest([*arguments, json.dumps(sample)])
    show_times(ours, ours_mb, raw, raw_mb)
    chosen = {
        ours["accuracy"].index(max(ours["accuracy"])),
        ours["log_loss"].index(min(ours["log_loss"])),
    }
    near = {
        value + step for value in chosen for step in range(-options.raw_near, options.raw_near + 1)
    }
    more, _ = contest(
        [*arguments, json.dumps([fit for fit in whole if fit[0] in near and fit not in sample])]
    )
    sys.exit(not show_choice(ours, raw["fits"] + more["fits"]))


if __name__ == "__main__":
    main()
