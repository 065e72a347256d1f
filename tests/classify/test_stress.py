"""The stress test: a head cross-validated while more and more similar images are kept together."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freezeframe import FeatureStore, FreezeframeError, ParameterError
from freezeframe.__main__ import cli
from freezeframe.classify.fit import look_alikes, part_features
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.fit.look_alikes import LookAlikes
from freezeframe.classify.fit.part_features import PartFeatures
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.fit.stress import StressCurve, StressTest
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.task.task import make_task
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

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
    manifest = read_manifest(folder / "list.csv")
    extract_features(manifest, path, Settings(("pixels",), backbone="pixels-32"))
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
    assert "parting look-alikes costs " in result.stdout
    assert "the number depends on having seen similar images" in result.stdout
    assert "clusters of look-alikes are not patients" in result.stdout


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
