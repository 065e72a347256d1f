"""Several seeds: heads that draw are fitted with each, on the same splits and folds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.ensemble import ExtraTreesClassifier

from freezeframe import FeatureStore, ParameterError
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.heads.networks.network import Network
from freezeframe.classify.heads.table import HEADS, make_head
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.scores.metrics import METRIC_NAMES
from freezeframe.classify.task.task import make_task
from freezeframe.data.splits import grouped_folds

from ..conftest import MakeStore

LABELS = ["sick", "well"] * 40


@pytest.mark.parametrize("name", [name for name in HEADS if not issubclass(HEADS[name], Network)])
def test_a_head_draws_if_the_seed_changes_its_bits(name: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = (rng.normal(size=(90, 40)) + 0.7 * y[:, None]).astype(np.float32)
    folds = grouped_folds(y, np.arange(90), n_folds=3, seed=0)
    bits = []
    for seed in (0, 1):
        # A few trees draw as much as many.
        few = {"n_estimators": 3} if "n_estimators" in HEADS[name].defaults else {}
        head = make_head(name, **few)
        head.fit(X, y, 2, seed=seed, folds=folds)
        bits.append(b"".join(array.tobytes() for array in head.arrays.values()))
    assert HEADS[name].draws == (bits[0] != bits[1])


def test_all_networks_draw() -> None:
    """`test_the_seed_alone_decides_every_bit` shows it for one of them."""
    assert all(kind.draws for kind in HEADS.values() if issubclass(kind, Network))


def test_each_seed_is_scored_on_the_same_images(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", LABELS))
    task = make_task(store, seed=5)
    options = FitOptions("none", {"n_estimators": 3}, n_seeds=3)
    run = HeadFitter(task, options, leaderboard=tmp_path / "l.csv").fit("extra-trees")
    lines = list(csv.DictReader((run.folder / "seeds.csv").open()))
    assert [line["seed"] for line in lines] == ["5", "6", "7"]
    # The oracle: scikit-learn's forests with these seeds, on the rows of the task.
    (test,) = task.tests
    parts = [store.select(task.layer, part.rows, "avg")[:] for part in (task.train, test.part)]
    expected = []
    for seed in (5, 6, 7):
        forest = ExtraTreesClassifier(3, max_features=0.1, random_state=seed)
        forest.fit(parts[0], task.train.labels)
        expected.append(forest.score(parts[1], test.part.labels))
    assert len(set(expected)) > 1
    assert [float(line["accuracy"]) for line in lines] == pytest.approx(expected, abs=1e-6)
    # The row is that of the first seed, whose head the model file has.
    (row,) = read_rows(tmp_path / "l.csv")
    assert {name: row[name] for name in METRIC_NAMES} == {
        name: lines[0][name] for name in METRIC_NAMES
    }
    ends = [float(row[f"seeds_accuracy_{end}"]) for end in ("mean", "lowest", "highest")]
    assert ends == pytest.approx([np.mean(expected), min(expected), max(expected)], abs=1e-6)
    assert (row["n_seeds"], row["seed"]) == ("3", "5")


def test_seeds_leave_folds_as_they_are(make_store: MakeStore, tmp_path: Path) -> None:
    """Cross-validation and tests of other images have a line for each seed, too."""
    train = FeatureStore(make_store("a.h5", LABELS))
    other = FeatureStore(make_store("b.h5", LABELS[:30]))
    task = make_task(train, tests=[other], n_folds=3)
    options = FitOptions("none", {"n_estimators": 3}, n_seeds=2)
    run = HeadFitter(task, options, leaderboard=tmp_path / "l.csv").fit("extra-trees")
    lines = list(csv.DictReader((run.folder / "seeds.csv").open()))
    assert [(line["seed"], line["split"]) for line in lines] == [
        ("0", "3-fold"),
        ("0", "external"),
        ("1", "3-fold"),
        ("1", "external"),
    ]
    assert [line["test_id"] for line in lines[:2]] == [line["test_id"] for line in lines[2:]]
    assert lines[0]["log_loss"] != lines[2]["log_loss"]
    for row, line in zip(run.rows, lines[:2], strict=True):
        assert row["test_id"] == line["test_id"]
        assert row["accuracy"] == pytest.approx(float(line["accuracy"]), abs=1e-6)


def test_zero_follows_the_largest_seed(make_store: MakeStore, tmp_path: Path) -> None:
    task = make_task(FeatureStore(make_store("a.h5", LABELS)), seed=2**32 - 1)
    options = FitOptions("none", {"n_estimators": 3}, n_seeds=2)
    run = HeadFitter(task, options, leaderboard=tmp_path / "l.csv").fit("extra-trees")
    lines = csv.DictReader((run.folder / "seeds.csv").open())
    assert [line["seed"] for line in lines] == ["4294967295", "0"]


def test_a_head_that_draws_nothing_is_fitted_once(make_store: MakeStore, tmp_path: Path) -> None:
    task = make_task(FeatureStore(make_store("a.h5", LABELS)))
    fitter = HeadFitter(task, FitOptions("none", n_seeds=3), leaderboard=tmp_path / "l.csv")
    run = fitter.fit("lda")
    assert not (run.folder / "seeds.csv").exists()
    (row,) = read_rows(tmp_path / "l.csv")
    assert (row["n_seeds"], row["seeds_accuracy_mean"]) == ("0", "")
    with pytest.raises(ParameterError, match="n_seeds must be 1 or more, got 0"):
        FitOptions(n_seeds=0)


def test_the_tables_have_the_range(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store("a.h5", LABELS)
    monkeypatch.chdir(store.parent)
    monkeypatch.setenv("COLUMNS", "250")
    fit = ["fit-classifier", "a.h5", "--search", "none", "--param", "n_estimators=3"]
    models = ["--model", "extra-trees", "--model", "lda"]
    shown = CliRunner().invoke(cli, [*fit, *models, "--seeds", "2"])
    assert shown.exit_code == 0, shown.output
    ends = ("mean", "lowest", "highest")
    row = read_rows("leaderboard.csv")[0]
    mean, low, high = (100 * float(row[f"seeds_accuracy_{end}"]) for end in ends)
    text = f"{mean:.1f} ({low:.1f}-{high:.1f}) of 2"
    ranked = CliRunner().invoke(cli, ["leaderboard"]).stdout
    for table in (shown.stdout, ranked):
        assert text in table
        assert "accuracy over seeds" in table
    assert "accuracy over seeds: mean (lowest-highest)" in shown.stderr
    assert "accuracy over seeds: mean (lowest-highest)" in ranked
    # Without seeds there is no column.
    Path("leaderboard.csv").unlink()
    assert "over seeds" not in CliRunner().invoke(cli, [*fit, *models]).output
