"""The stress test: a head cross-validated while more and more similar images are kept together."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.cluster.hierarchy import fcluster, ward
from scipy.spatial.distance import pdist

from freezeframe import FeatureStore, FreezeframeError, ParameterError
from freezeframe.__main__ import cli
from freezeframe.classify.fit import look_alikes, part_features
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.fit.look_alikes import LookAlikes
from freezeframe.classify.fit.part_features import PartFeatures
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.fit.stress import GROUPS_A_FOLD, StressCurve, StressTest
from freezeframe.classify.heads.linear import LogisticRegression
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.task.task import make_task
from freezeframe.data.splits import join_groups
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore, extract_different

N_PATIENTS = 20
SLICES = 6


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaderboards are in the folder of each test."""
    monkeypatch.chdir(tmp_path)


def draw_store(path: Path, *, of_patients: bool) -> Path:
    """Draw images whose class only the patient tells, or only the image itself; extract pixels."""
    rng = np.random.default_rng(0)
    folder = path.with_suffix("")
    folder.mkdir()
    rows = []
    for patient in range(N_PATIENTS):
        style = rng.integers(0, 256, (32, 32))
        for number in range(SLICES):
            sick = (patient if of_patients else number) % 2 == 1
            pixels = 0.45 * rng.integers(0, 256, (32, 32)) + 0.45 * style * of_patients
            if sick and not of_patients:
                pixels[8:24, 8:24] += 60
            name = f"p{patient:02}_{number}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append([name, "sick" if sick else "well"])
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *rows])
    extract_different(folder / "list.csv", path, Settings(("pixels",), backbone="pixels-32"))
    return path


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_store(tmp_path_factory.mktemp("stress") / "patients.h5", of_patients=True)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_store(tmp_path_factory.mktemp("stress") / "strangers.h5", of_patients=False)


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["fit-classifier", *map(str, arguments)])


def curve_of(path: Path, head: str = "logreg", **fixed: Any) -> StressCurve:
    task = make_task(FeatureStore(path), n_folds=5)
    features = PartFeatures(task.train, task.layer)
    test = StressTest(task, head, FitOptions("none", fixed), features)
    return test.curve(lambda _: None)


def test_a_head_that_recognises_patients_falls_when_look_alikes_are_parted(patients: Path) -> None:
    """The command prints the curve, writes it beside the model, and says what it suggests."""
    result = fit(patients, "--stress", "--cv", 5, "--search", "none")
    assert result.exit_code == 0, result.output
    run = Path("runs") / read_rows("leaderboard.csv")[0]["run_id"]
    with (run / "stress.csv").open() as file:
        levels = list(csv.DictReader(file))
    assert float(levels[0]["accuracy"]) > 0.9
    assert float(levels[-1]["accuracy"]) < 0.65
    sizes = [int(level["n_groups"]) for level in levels]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], levels[0]["largest_group"]) == (N_PATIENTS * SLICES, "1")
    names = ("accuracy", "accuracy_low", "accuracy_high")
    value, low, high = (f"{100 * float(levels[-1][name]):.1f}" for name in names)
    assert f"{value} ({low}-{high})" in result.stdout
    assert "look-alikes in one fold cost " in result.stdout
    assert "the first number rests on similar images in training" in result.stdout
    assert "clusters of look-alikes are not patients" in result.stdout
    # Parting look-alikes does not part patients: each level has the grade of the folds.
    assert {level["grade"] for level in levels} == {"pictures parted"}
    assert result.stdout.count("pictures parted") == 1 + len(levels)


def test_shuffled_labels_are_marked_at_each_level(patients: Path) -> None:
    result = fit(patients, "--stress", "--search", "none", "--control", "shuffled-labels")
    assert result.exit_code == 0, result.output
    assert "stress test of logreg on shuffled labels, 5 folds" in result.stdout
    assert "no more than chance explains" in result.stdout


def test_too_few_images_for_folds_name_the_option(patients: Path) -> None:
    few = FeatureStore(patients)
    task = make_task(few, n_folds=5)
    object.__setattr__(task.train, "chains", np.arange(len(few)) % 3)
    test = StressTest(task, "logreg", FitOptions("none"), PartFeatures(task.train, task.layer))
    with pytest.raises(FreezeframeError, match="--stress: 5 folds are too many"):
        test.curve(lambda _: None)


def test_each_level_joins_groups_of_the_last(patients: Path) -> None:
    curve = curve_of(patients)
    assert len(curve.levels) > 2
    for finer, coarser in pairwise(curve.levels):
        own, joined = finer.predictions.groups, coarser.predictions.groups
        assert len(set(zip(own, joined, strict=True))) == finer.n_groups > coarser.n_groups


def test_each_image_is_judged_by_a_head_that_saw_none_of_its_cluster(
    patients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = LogisticRegression.cross_validate

    def watched(self: LogisticRegression, X: Any, y: Any, n: int, folds: Any, *more: Any) -> Any:
        seen.append(folds)
        return real(self, X, y, n, folds, *more)

    monkeypatch.setattr(LogisticRegression, "cross_validate", watched)
    curve = curve_of(patients)
    assert len(seen) == len(curve.levels)
    for level, folds in zip(curve.levels, seen, strict=True):
        groups = level.predictions.groups
        judged = np.concatenate([rows for _, rows in folds])
        assert sorted(judged.tolist()) == list(range(len(groups)))
        assert not any(set(groups[fitted]) & set(groups[rows]) for fitted, rows in folds)


def test_the_judged_fold_does_not_choose_its_hyper_parameters(
    patients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that is right in one fold alone, and slightly wrong elsewhere, is not its own."""

    def candidates(
        self: LogisticRegression, X: Any, y: Any, n_classes: int, folds: Any, *more: Any
    ) -> Any:
        right = np.where(np.eye(n_classes)[y] > 0, 1.0, -1.0)
        for _, judged in folds:
            scores = -0.05 * right
            scores[judged] = 10 * right[judged]
            yield {}, scores

    monkeypatch.setattr(LogisticRegression, "cross_validate", candidates)
    curve = curve_of(patients)
    predictions = curve.levels[0].predictions
    assert (predictions.predicted[0] != predictions.y).all()


def test_the_cost_is_paired_and_counts_clusters(patients: Path) -> None:
    """The interval is as wide as that of a bootstrap of clusters, not of images."""
    curve = curve_of(patients)
    judged = curve.levels[curve.judged]
    assert judged.n_groups >= GROUPS_A_FOLD * curve.n_folds
    cost = curve.cost("accuracy")
    first, last = (
        (level.predictions.predicted[0] == level.predictions.y).astype(float)
        for level in (curve.levels[0], judged)
    )
    assert cost.difference == pytest.approx((first - last).mean())
    rng = np.random.default_rng(0)

    def width(groups: np.ndarray) -> float:
        sums = np.bincount(groups, first - last)
        sizes = np.bincount(groups)
        drawn = rng.integers(0, len(sizes), (2000, len(sizes)))
        low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
        return float(high - low)

    by_cluster, by_image = width(judged.predictions.groups), width(np.arange(len(first)))
    assert by_cluster > 1.3 * by_image
    assert cost.high - cost.low > 0.9 * by_cluster


def test_the_first_layer_of_the_store_is_clustered(make_store: MakeStore) -> None:
    """Deeper layers know what a slice shows, not whose it is."""
    store = FeatureStore(make_store("a.h5", ["sick", "well"] * 30))
    task = make_task(store, layer="block5_pool", n_folds=3)
    means = store.features("block3_pool", store.rows(), "avg").astype(float)
    points = means / np.linalg.norm(means, axis=1, keepdims=True)
    clusters = fcluster(ward(pdist(points)), 7, "maxclust")
    assert LookAlikes(task.train).groups(7).tolist() == join_groups(clusters.tolist()).tolist()


def test_a_head_that_sees_what_the_class_is_keeps_its_score(strangers: Path) -> None:
    result = fit(strangers, "--stress", "--search", "none")
    assert result.exit_code == 0, result.output
    assert "no more than chance explains" in result.stdout


def test_clusters_hold_whole_patients(patients: Path) -> None:
    task = make_task(FeatureStore(patients), n_folds=5)
    groups = LookAlikes(task.train).groups(N_PATIENTS)
    patient = [str(path)[:3] for path in task.train.store.paths]
    assert len(set(zip(patient, groups.tolist(), strict=True))) == N_PATIENTS


def test_known_relatives_stay_together_at_each_level(patients: Path) -> None:
    """Groups of a list are joined with clusters that would cut them."""
    store = FeatureStore(patients)
    task = make_task(store, n_folds=5)
    object.__setattr__(task.train, "chains", np.arange(len(store)) % 30)
    alike = LookAlikes(task.train)
    groups = alike.groups(60)
    assert all(len(set(groups[np.arange(len(store)) % 30 == number])) == 1 for number in range(30))


@pytest.mark.parametrize("head", ["ridge", "knn", "naive-bayes"])
def test_any_quick_head_takes_the_test(patients: Path, head: str) -> None:
    curve = curve_of(patients, head)
    first, last = (level.numbers("accuracy")[0] for level in (curve.levels[0], curve.levels[-1]))
    assert first > last
    assert curve.levels[-1].n_groups < N_PATIENTS


def test_one_reduction_serves_the_fit_and_all_levels(
    patients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reduced = []
    real = part_features.reduce
    monkeypatch.setattr(part_features, "reduce", lambda X: reduced.append(X.shape) or real(X))
    fitter = HeadFitter(make_task(FeatureStore(patients), n_folds=5), FitOptions("none"))
    fitter.stress(fitter.fit("logreg"))
    assert len(reduced) == 1


def test_networks_that_take_hours_are_refused(patients: Path) -> None:
    with pytest.raises(ParameterError, match="early-blocks would train for hours"):
        curve_of(patients, "early-blocks")


def test_too_many_images_are_one_line(patients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_alikes, "MOST_CLUSTERED", 50)
    with pytest.raises(FreezeframeError, match="120 groups of images are too many to cluster"):
        curve_of(patients)
    result = fit(patients, "--stress", "--search", "none")
    assert result.exit_code == 1
    assert "50 at most; give --stress a store of some of them" in result.stderr
    # The fit itself is done, and is in the leaderboard.
    assert len(read_rows("leaderboard.csv")) == 1
