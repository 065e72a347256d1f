"""Compare a search over penalties on the exact reduction with GridSearchCV on raw features.

usage: python scripts/benchmarks/sweep.py STORE [--layer block5_pool] [--raw-step 5] [--raw-near 2]

Both search 45 penalties of logistic regression by 5 folds, on the distinct files of the store; the
folds are grouped and stratified. Ours is `ReducedSearchCV` over all 225 fits, from the store to
coefficients of raw features.

Of GridSearchCV's fits only some are run, as it would run them: rows of the fold are copied, and a
new `LogisticRegression(C=...)` is fitted. One fold of every --raw-step-th penalty gives the mean
time of a fit (--raw-step 1 runs all). All folds of the --raw-near penalties on each side of the one
that ours chose show whether GridSearchCV would choose the same. Its time to read the features is
not counted. Both choose by accuracy, the default of GridSearchCV, and by log loss. Peak memory is
that of the process (Pss).
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
"""Range of C times the mean squared distance of rows from their mean, for any scale of features."""
N_FOLDS = 5
POOLING = "flat"


def penalties(store: FeatureStore, rows: NDArray[np.intp], layer: str) -> list[float]:
    """Return the values of C, ascending."""
    from freezeframe.classify.heads.linear import spread

    return list(np.geomspace(*RANGE, N_VALUES) / spread(store.select(layer, rows[::10], POOLING)))


def problem(path: Path) -> tuple[FeatureStore, NDArray[np.intp], NDArray[np.str_], list[Any]]:
    """Return the store, its rows of distinct files, their labels, and folds."""
    store = FeatureStore(path)
    rows = store.rows()
    _, first = np.unique(store.sha256s[rows], return_index=True)
    rows = rows[np.sort(first)]
    labels = store.labels[rows]
    groups = join_groups(store.sha256s[rows].tolist(), store.groups[rows].tolist())
    return store, rows, labels, grouped_folds(labels, groups, n_folds=N_FOLDS)


def run_ours(path: Path, layer: str) -> dict[str, Any]:
    """Run the whole search on the reduction by accuracy; then, without timing it, by log loss."""
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
    """Run some fits of GridSearchCV; return the seconds, accuracy and log loss of each."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    store, rows, labels, folds = problem(path)
    X = store.features(layer, rows, POOLING)
    values = penalties(store, rows, layer)
    results = []
    for number, (value, fold) in enumerate(fits, 1):
        fitted, judged = folds[fold]
        start = time.perf_counter()
        solver = LogisticRegression(C=values[value], max_iter=1000).fit(X[fitted], labels[fitted])
        proba = solver.predict_proba(X[judged])
        seconds = time.perf_counter() - start
        right = solver.classes_[proba.argmax(axis=1)] == labels[judged]
        loss = float(log_loss(labels[judged], proba, labels=solver.classes_))
        results.append([value, fold, seconds, float(right.mean()), loss])
        fit = f"C {values[value]:.2e}, fold {fold}, {seconds:.1f} s"
        print(f"raw fit {number} of {len(fits)}: {fit}", file=sys.stderr)
    return {"fits": results}


def contest(arguments: list[str]) -> tuple[dict[str, Any], float]:
    """Run a contestant in a process of its own; return its results and its peak memory in MB."""
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
    """Print the seconds and memory of both."""
    timed = [fit[2] for fit in raw["fits"]]
    n_fits = N_VALUES * N_FOLDS
    expected = float(np.mean(timed)) * n_fits
    n, d = ours["shape"]
    print(f"{n} rows of {d} features, {N_VALUES} penalties x {N_FOLDS} folds, rank {ours['rank']}")
    parts = (
        f"reading, Gram and Cholesky {ours['reduce_seconds']:.1f}, the rest {n_fits} fits, "
        "one more and the way back"
    )
    print(f"reduced: {ours['seconds']:.1f} s ({parts}), peak {ours_mb:.0f} MB")
    fit = f"{np.mean(timed):.2f} s a fit ({len(timed)} of {n_fits} timed)"
    print(f"raw: {fit}, {expected:.0f} s for {n_fits} fits, peak {raw_mb:.0f} MB")
    print(f"ratio: {expected / ours['seconds']:.1f} x", flush=True)


def show_choice(ours: Any, fits: list[Any]) -> bool:
    """Print the penalties that both choose, and return whether they agree.

    They agree if the choices by log loss are at most one step apart, and the choices by accuracy
    have accuracies at most 0.002 apart.
    """
    whole: dict[int, dict[int, Any]] = {}
    for value, fold, _, accuracy, loss in fits:
        whole.setdefault(value, {})[fold] = (accuracy, loss)
    # Penalties that all folds were run of.
    complete = {
        value: np.mean(list(folds.values()), axis=0)
        for value, folds in whole.items()
        if len(folds) == N_FOLDS
    }
    print("C         accuracy: reduced  raw     log loss: reduced  raw")
    for value in sorted(complete):
        accuracy, loss = complete[value]
        scores = f"{ours['accuracy'][value]:.4f}   {accuracy:.4f}"
        losses = f"{ours['log_loss'][value]:.4f}   {loss:.4f}"
        print(f"{ours['values'][value]:.2e}            {scores}             {losses}")
    good = True
    for name, column, best in (("accuracy", 0, max), ("log_loss", 1, min)):
        values = ours[name]
        chosen = values.index(best(values))
        raw = best(complete, key=lambda value: complete[value][column])
        difference = abs(values[chosen] - complete[raw][column])
        steps = abs(chosen - raw)
        print(
            f"chosen by {name}: reduced {ours['values'][chosen]:.2e}, "
            f"raw {ours['values'][raw]:.2e} of {len(complete)} run whole ({steps} steps apart), "
            f"{values[chosen]:.4f} and {complete[raw][column]:.4f} ({difference:.4f} apart)"
        )
        # Neighbours in accuracy differ by a few images: only the accuracy itself can be compared.
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
    # Fits that do not converge are part of both.
    warnings.simplefilter("ignore")
    if options.only == "ours":
        return print(json.dumps(run_ours(options.store, options.layer)))
    if options.only:
        return print(json.dumps(run_raw(options.store, options.layer, json.loads(options.only))))
    arguments = [str(options.store), "--layer", options.layer, "--only"]
    ours, ours_mb = contest([*arguments, "ours"])
    whole = [(value, fold) for value in range(N_VALUES) for fold in range(N_FOLDS)]
    # The fold changes with the penalty, so that all folds are timed.
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
