"""Plant wrong labels in a store, and measure how many of them rank among the first suspects.

    python scripts/checks/suspect_check.py STORE... [--share 5] [--layer block5_pool]

Of each store, the labels of a share of the images are exchanged for another class. Logistic
regression is fitted by 5 folds of groups on what is left. The table has the share of the planted
labels among as many first suspects, and among twice as many. The last column is of the store as it
is: the ranks of pictures that it has under two labels, the better rank of each picture.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from freezeframe import FeatureStore
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.study.report.findings.suspects import Suspect, label_suspects
from freezeframe.classify.task.task import Task, make_task


def paths_of(task: Task) -> list[str]:
    """Return the paths of the training images."""
    paths: list[str] = task.train.store.paths[task.train.rows].tolist()
    return paths


def suspects_of(task: Task) -> tuple[list[Suspect], dict[str, str]]:
    """Return the suspects of a cross-validation, and the digest of each image's pixels by path."""
    with TemporaryDirectory() as folder:
        run = fit_classifier(task, "logreg", leaderboard=Path(folder, "l.csv"))
        (evaluation,) = read_predictions(run.folder).values()
    pictures = dict(zip(paths_of(task), task.train.pixels.tolist(), strict=True))
    return label_suspects(evaluation, pictures), pictures


def planted(task: Task, share: float, seed: int) -> tuple[Task, set[str]]:
    """Exchange a share of the labels; return the task and the paths of its wrong labels."""
    rng = np.random.default_rng(seed)
    labels: NDArray[np.str_] = task.train.labels.copy()
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    for row in rows:
        labels[row] = rng.choice([name for name in task.classes if name != labels[row]])
    paths = {paths_of(task)[row] for row in rows}
    return replace(task, train=replace(task.train, labels=labels)), paths


def ranks_of_two_labels(task: Task) -> tuple[int, list[int]]:
    """Return the number of pictures under two labels, and the rank of each that is a suspect."""
    labels = defaultdict(set)
    for digest, label in zip(task.train.pixels, task.train.labels, strict=True):
        labels[digest].add(str(label))
    double = {digest for digest, names in labels.items() if len(names) > 1}
    suspects, pictures = suspects_of(task)
    ranks: dict[str, int] = {}
    for rank, suspect in enumerate(suspects, start=1):
        digest = pictures[suspect.path]
        if digest in double:
            ranks.setdefault(digest, rank)
    return len(double), [*ranks.values(), len(suspects)]


def main() -> None:
    """Print a row for each store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE")
    parser.add_argument("--share", type=float, default=5.0, help="per cent of labels [5]")
    parser.add_argument("--layer", help="layer of the features [the deepest]")
    options = parser.parse_args()
    print(
        "| store | planted | among as many first | among twice as many | pictures of two labels |"
    )
    print("|---|---:|---:|---:|---|")
    for path in options.stores:
        task = make_task(FeatureStore(path), layer=options.layer, n_folds=5)
        changed, wrong = planted(task, options.share / 100, seed=0)
        order = [suspect.path for suspect in suspects_of(changed)[0]]
        ranked = [len(wrong & set(order[: n * len(wrong)])) for n in (1, 2)]
        shares = " | ".join(f"{100 * n / len(wrong):.0f} %" for n in ranked)
        n_double, (*ranks, n_suspects) = ranks_of_two_labels(task)
        text = (
            f"{n_double}; ranks {', '.join(map(str, ranks))} of {n_suspects}" if n_double else "0"
        )
        print(f"| {path.stem} | {len(wrong)} of {len(task.train.labels)} | {shares} | {text} |")


if __name__ == "__main__":
    main()
