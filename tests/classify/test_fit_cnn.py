"""`freezeframe fit-cnn` on real files: from images to the leaderboard, kills, and mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import load_file

from freezeframe import FeatureStore, WeightsError
from freezeframe.__main__ import cli
from freezeframe.classify.commands.fit_cnn import fit_cnn
from freezeframe.classify.heads.architectures import ARCHITECTURES
from freezeframe.classify.heads.networks.network import Network
from freezeframe.classify.heads.networks.training import Training
from freezeframe.classify.heads.table import FOR_ANY_LAYER, HEADS
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.engines.keras import PRECISIONS
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore, fast_environment, small_backbone

SMALL = ["--size", "16", "--epochs", "4", "--batch-size", "4", "--learning-rate", "0.003"]
HISTORY = [
    "epoch",
    "loss",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "images_per_second",
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(
        cli, [str(argument) for argument in arguments], prog_name="freezeframe"
    )


def fit(folder: Path, *more: object, arch: str = "dropout") -> Result:
    return call("fit-cnn", folder, "--arch", arch, *SMALL, *more)


def run_folder(number: int = -1, leaderboard: str = "leaderboard.csv") -> Path:
    """Folder of one of the runs in the leaderboard, by default of the last."""
    return Path("runs") / read_rows(leaderboard)[number]["run_id"]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def scores_only(history: Path) -> list[list[str]]:
    """Return the columns of a history that must be reproducible."""
    return [[line[name] for name in HISTORY[:4]] for line in table(history)]


def check_predictions(run: Path, root: Path, *more: object) -> None:
    """Check that the model predicts the image files as the run did."""
    lines = table(run / "predictions.csv")
    images = [root / line["path"] for line in lines]
    result = call("predict", run / "model.safetensors", *images, "--format", "csv", *more)
    assert result.exit_code == 0, result.stderr
    for line, got in zip(lines, csv.DictReader(io.StringIO(result.stdout)), strict=True):
        assert got["label"] == line["predicted"]
        for name in [name for name in line if name.startswith("p_")]:
            assert float(got[name]) == pytest.approx(float(line[name]), abs=1e-5)


def test_the_whole_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit(folder)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert re.fullmatch(
        r"stores/scans-\w+-pixels-16\.h5: 24 of 24 images, pixels 16 x 16 x 3", lines[0]
    )
    assert lines[1].split()[:3] == ["head", "features", "tested"]
    assert lines[2].startswith("cnn-dropout")
    assert "scans: 24 images (healthy 12, tumour 12)" in result.stderr
    epochs = re.findall(
        r"^cnn-dropout: epoch (\d) of 4: loss [\d.]+, validation loss [\d.]+, accuracy ",
        result.stderr,
        8,
    )
    assert epochs == ["1", "2", "3", "4"]
    (row,) = read_rows("leaderboard.csv")
    expected = {
        "head": "cnn-dropout",
        "layer": "pixels-16",
        "pooling": "flat",
        "weights": "none",
        "positive": "tumour",
    }
    assert {name: row[name] for name in expected} == expected
    assert (row["epochs"], row["n_searched"], row["split"], row["data_set"]) == (
        "4",
        "1",
        "hold-out 20%",
        "scans",
    )
    parameters = {
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 0.003,
        "patience": 3,
        "augment": 0,
        "precision": "float32",
    }
    assert json.loads(row["hyperparameters"]).items() >= parameters.items()
    run = run_folder()
    assert sorted(path.name for path in run.iterdir()) == [
        "conformal.csv",
        "history.csv",
        "model.safetensors",
        "predictions.csv",
        "training_images.safetensors",
        "warnings.csv",
    ]
    history = table(run / "history.csv")
    assert list(history[0]) == HISTORY
    assert [line["epoch"] for line in history] == ["1", "2", "3", "4"]
    trained = sum(float(line["seconds"]) for line in history)
    images = sum(float(line["seconds"]) * float(line["images_per_second"]) for line in history)
    assert float(row["train_images_per_second"]) == pytest.approx(images / trained, rel=1e-3)
    assert float(row["fit_seconds"]) > trained
    # Checkpoints are removed.
    assert [path.name for path in Path("runs").iterdir()] == [run.name]
    check_predictions(run, folder)
    (store,) = Path("stores").glob("*.h5")
    assert re.fullmatch(r"scans-[0-9a-f]{8}-pixels-16\.h5", store.name)
    assert FeatureStore(store).layers == {"pixels": (16, 16, 3)}

    head = call(
        "fit-classifier", store, "--layer", "pixels", "--model", "logreg", "--pooling", "avg"
    )
    assert head.exit_code == 0, head.stderr
    rows = read_rows("leaderboard.csv")
    assert rows[0]["test_id"] == rows[1]["test_id"]
    assert (rows[1]["epochs"], rows[1]["train_images_per_second"]) == ("", "")
    compared = call("compare", rows[0]["run_id"], rows[1]["run_id"])
    assert compared.exit_code == 0, compared.stderr
    assert "cnn-dropout" in compared.stdout
    assert "logreg" in compared.stdout
    assert "cnn-dropout" in call("leaderboard").stdout

    monkeypatch.setattr("freezeframe.extract.engines.keras.find_spec", lambda _: None)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for command in (
        ["predict", run / "model.safetensors", folder / "tumour" / "00.png"],
        ["fit-cnn", folder, "--arch", "dropout", *SMALL],
    ):
        result = call(*command)
        assert result.exit_code == 1
        assert re.fullmatch(
            r"error: .* needs Keras .*freezeframe\[cpu\].*", result.stderr.splitlines()[-1]
        )


def equal_runs(first: Path, second: Path, *, predictions: bool = True) -> bool:
    """Return True if two runs have the same weights, epochs and predictions, to the last bit."""
    arrays, arrays_2 = (load_file(run / "model.safetensors") for run in (first, second))
    if arrays.keys() != arrays_2.keys() or not all(
        np.array_equal(arrays[name], arrays_2[name]) for name in arrays
    ):
        return False
    if predictions:
        assert (first / "predictions.csv").read_text() == (second / "predictions.csv").read_text()
    return scores_only(first / "history.csv") == scores_only(second / "history.csv")


def wait_for(
    checkpoints: Path, writes: int, process: subprocess.Popen[str], seconds: float = 300
) -> None:
    """Wait until a process has written so many checkpoints."""
    deadline = time.monotonic() + seconds
    seen = set()
    while len(seen) < writes and process.poll() is None and time.monotonic() < deadline:
        for path in checkpoints.glob("*.safetensors"):
            try:
                seen.add(path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()
    assert len(seen) >= writes


def test_a_network_is_trained_on_the_chosen_slices_of_volumes(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    for folder in ("volumes", "masks"):
        Path(folder).mkdir()
    for number in range(12):
        rng = np.random.default_rng(number)
        mask = np.zeros((9, 8, 3), np.uint8)
        mask[2:5, 2:5, 1] = number % 2
        voxels = rng.integers(0, 90, (9, 8, 3)).astype(np.uint8) + 100 * mask
        for folder, array in (("volumes", voxels), ("masks", mask)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), f"{folder}/{number}.nii.gz")
    options = ["--slices", "middle:1", "--label-from-mask", "masks", "--test-size", "0.34"]
    result = fit(Path("volumes"), *options)
    assert result.exit_code == 0, result.stderr
    assert "12 of 12 images" in result.stdout
    assert "volumes: 12 images (negative 6, positive 6)" in result.stderr
    # Other slices are other stores.
    more = fit(Path("volumes"), "--axis", "coronal", *options)
    assert more.exit_code == 0, more.stderr
    assert len(list(Path("stores").glob("*.h5"))) == 2
    (store, _) = sorted(Path("stores").glob("*.h5"))
    refused = fit(store, "--slices", "content")
    assert refused.exit_code == 2
    assert "--slices: has no effect on stores, which have their images already" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and SIGINT")
def test_a_killed_training_continues_and_gives_the_same_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It survives kill -9 and Ctrl-C, with augmentation, dropout and class weights."""
    options = ["--epochs", "8", "--patience", "8", "--class-weights"]
    assert fit(folder, *options, arch="augmented").exit_code == 0
    arguments = [
        "fit-cnn",
        folder,
        "--arch",
        "augmented",
        *SMALL,
        *options,
        "--checkpoint-seconds",
        "0",
    ]
    command = [sys.executable, "-m", "freezeframe", *map(str, arguments)]
    checkpoints = Path("runs/.checkpoints")

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=fast_environment())
    try:
        wait_for(checkpoints, 20, process)
        process.send_signal(signal.SIGSTOP)
        second = call(*arguments)
    finally:
        process.kill()
    assert "Traceback" not in process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGKILL
    last = second.stderr.splitlines()[-1]
    assert second.exit_code == 1
    assert re.fullmatch(
        r"error: runs/\.checkpoints/\w+\.safetensors: "
        r"another process runs this training; wait until it ends",
        last,
    )
    assert len(list(checkpoints.glob("*.safetensors"))) == 1
    assert len(read_rows("leaderboard.csv")) == 1
    steps: list[int] = []
    report = Training._report_status
    with monkeypatch.context() as patch:
        patch.setattr(
            Training,
            "_report_status",
            lambda self: (steps.append(1), len(steps) == 9 and interrupt(), report(self)),
        )
        stopped = call(*arguments)
    assert (stopped.exit_code, len(steps)) == (130, 9)
    last_lines = stopped.stderr.splitlines()[-2:]
    assert last_lines == [
        "cnn-augmented: stopped; run the same command again to continue",
        "error: stopped",
    ]
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    assert re.search(
        r"^cnn-augmented: continues after \d+ epochs and \d+ batches$", result.stderr, re.MULTILINE
    )
    assert "all were computed before" in result.stderr
    assert equal_runs(run_folder(0), run_folder(1))
    assert not checkpoints.exists()


def interrupt() -> None:
    """Send this process a Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_another_folder_is_tested_on_and_its_leaks_are_reported(
    folder: Path, tmp_path: Path
) -> None:
    clinic = tmp_path / "clinic"
    for old, new in (("healthy", "no"), ("tumour", "yes")):
        shutil.copytree(folder / old, clinic / new)
    (clinic / "unclear").mkdir()
    Image.new("RGB", (20, 30), "red").save(clinic / "unclear" / "0.png")
    renamed = ["--classes", "no=healthy,yes=tumour", "--drop-class", "unclear"]
    unnamed = fit(folder, "--test", clinic)
    assert unnamed.exit_code == 1
    assert (
        "class 'no' is none of the training classes healthy, tumour"
        in unnamed.stderr.splitlines()[-1]
    )
    result = fit(folder, "--test", clinic, *renamed, "--patience", "1")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith(
        "error: more than half of the test images leak (24 of 24 of clinic"
    )
    assert (
        "24 of 24 test images of clinic have a relative among the training images" in result.stderr
    )
    assert "1 image of class unclear is left out (--drop-class)" in result.stderr
    (row,) = read_rows("leaderboard.csv")
    assert (row["split"], row["test_set"], row["n_test_leaking"], row["n_train"]) == (
        "external",
        "clinic",
        "24",
        "24",
    )
    assert int(row["epochs"]) <= 4
    assert len(list(Path("stores").glob("clinic-*-pixels-16.h5"))) == 1
    check_predictions(run_folder(), clinic)
    # A part of the training images is held out, too, and it is that of the heads.
    both = ["--test", clinic, *renamed, "--hold-out", "--allow-leaks", "--epochs", "1"]
    assert fit(folder, *both).exit_code == 0
    stores = [next(Path("stores").glob(f"{name}-*-pixels-16.h5")) for name in ("scans", "clinic")]
    head = [stores[0], "--test", stores[1], *renamed, "--hold-out", "--allow-leaks"]
    assert call("fit-classifier", *head, "--model", "majority").exit_code == 0
    rows = read_rows("leaderboard.csv")[1:]
    assert [row["split"] for row in rows] == ["hold-out 20%", "external"] * 2
    assert rows[0]["test_id"] == rows[2]["test_id"]
    idle = fit(folder, "--hold-out")
    assert idle.stderr == "error: --hold-out: has no effect without --test; leave it out\n"


@pytest.mark.slow
def test_three_classes_and_cross_validation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, label in enumerate(("red", "green", "blue")):
        (tmp_path / "colours" / label).mkdir(parents=True)
        for image in range(10):
            pixels = rng.integers(0, 100, (16, 16, 3))
            pixels[..., number] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "colours" / label / f"{image}.png"
            )
    result = fit(
        tmp_path / "colours",
        "--cv",
        "2",
        "--precision",
        "bfloat16",
        "--learning-rate",
        "0.005",
        arch="simple",
    )
    assert result.exit_code == 0, result.stderr
    (row,) = read_rows("leaderboard.csv")
    assert (row["split"], row["n_test"], row["positive"]) == ("2-fold", "30", "")
    assert float(row["accuracy"]) > 0.6
    # No network collapsed.
    assert "cross-validation" not in result.stderr
    assert not Path("runs/.checkpoints").exists()
    model = run_folder() / "model.safetensors"
    shown = json.loads(
        call("predict", model, tmp_path / "colours" / "red" / "0.png", "--format", "json").stdout
    )
    assert sum(shown[0]["probabilities"].values()) == pytest.approx(1)
    assert list(shown[0]["probabilities"]) == ["blue", "green", "red"]


def few(folder: Path) -> None:
    """Remove two thirds of the images, so that tests are quick."""
    for number in range(4, 12):
        for label in ("healthy", "tumour"):
            (folder / label / f"{number:02}.png").unlink()


def test_features_of_frozen_layers_are_computed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head on them is the one of fit-classifier."""
    few(folder)
    # Smaller images, which take a twelfth of the time; processes of MNN would not know of them.
    monkeypatch.setitem(BACKBONES, "vgg16", small_backbone(64))
    monkeypatch.setattr("freezeframe.extract.settings.mnn_installed", lambda: False)
    options = [
        "--weights",
        "random",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--learning-rate",
        "0.0001",
    ]
    result = call("fit-cnn", folder, "--arch", "vgg16-block5", *options)
    assert result.exit_code == 0, result.stderr
    assert (
        "the backbone's weights are random, seed 0: this score says nothing about VGG16"
        in result.stderr
    )
    (store,) = Path("stores").glob("scans-*-vgg16-block5_pool-random.h5")
    assert FeatureStore(store).layers == {"block5_pool": (2, 2, 512)}
    fixed = ("epochs=2", "batch_size=4", "learning_rate=0.0001", "patience=3", "scale=0")
    parameters = [part for text in fixed for part in ("--param", text)]
    assert (
        call(
            "fit-classifier", store, "--model", "dense-128", "--search", "none", *parameters
        ).exit_code
        == 0
    )
    rows = read_rows("leaderboard.csv")
    for name in ("head", "hyperparameters", "test_id", "accuracy", "log_loss", "epochs"):
        assert rows[0][name] == rows[1][name], name
    assert equal_runs(run_folder(0), run_folder(1))


def test_weights_from_a_file_are_extracted_with_and_fine_tuned(
    folder: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(make_store("f.h5", ["a", "b"] * 10))
    sources = []

    def extracted(manifest: Any, path: Path, settings: Settings, **_: Any) -> FeatureStore:
        sources.append(settings.weights)
        return store

    def loaded(weights: Any = "imagenet", *_: Any) -> None:
        sources.append(weights)
        raise WeightsError("stop here")

    monkeypatch.setattr("freezeframe.extract.report.extract_and_report", extracted)
    monkeypatch.setattr("freezeframe.extract.backbones.weights.load_weights", loaded)
    for option in (["--weights", "w.h5"], []):
        result = call("fit-cnn", folder, "--arch", "vgg16", "--trainable", "blocks=4,5", *option)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (
            1,
            "error: stop here",
        )
    assert sources == ["w.h5", "w.h5", "imagenet", "imagenet"]
    result = call("fit-cnn", store.path, "--arch", "vgg16", "--weights", "w.h5")
    message = (
        f"error: weights is for folders and lists, but {store.path} is a store; leave it out\n"
    )
    assert (result.exit_code, result.stderr) == (2, message)


@pytest.mark.slow
def test_layers_of_a_store_are_fine_tuned_or_fitted_on(folder: Path) -> None:
    few(folder)
    layers = ["--layer", "block3_pool", "--layer", "block4_pool"]
    assert call("extract-features", folder, *layers, "--weights", "random").exit_code == 0
    # The default is blocks=5.
    result = call("fit-cnn", "features.h5", "--arch", "vgg16", "--epochs", "1")
    assert result.exit_code == 0, result.stderr
    # The command chooses block3_pool for this head.
    own = ["--model", "early-blocks", "--param", "epochs=2"]
    result = call("fit-classifier", "features.h5", *own)
    assert result.exit_code == 0, result.stderr
    assert "early-blocks: epoch 2 of 2: loss " in result.stderr
    rows = read_rows("leaderboard.csv")
    assert [(row["head"], row["layer"], row["epochs"], row["weights"]) for row in rows] == [
        ("finetune-block5", "block4_pool", "1", "random, seed 0"),
        ("early-blocks", "block3_pool", "2", "random, seed 0"),
    ]
    check_predictions(run_folder(), folder)
    for wrong, message in (
        (
            ["early-blocks", "--layer", "block4_pool"],
            "early-blocks: needs features of block2_pool or block3_pool, but the layer is "
            "block4_pool; give another --layer, or extract block2_pool or block3_pool, too",
        ),
        (
            ["finetune-block4", "--pooling", "avg"],
            "finetune-block4: needs features of each position; choose the pooling flat",
        ),
    ):
        result = call("fit-classifier", "features.h5", "--model", *wrong)
        assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


@pytest.mark.slow
def test_all_of_vgg16_is_trained_on_small_images(folder: Path) -> None:
    few(folder)
    options = [
        "--trainable",
        "all",
        "--weights",
        "random",
        "--size",
        "32",
        "--epochs",
        "1",
        "--augment",
    ]
    result = call("fit-cnn", folder, "--arch", "vgg16", *options)
    assert result.exit_code == 0, result.stderr
    (row,) = read_rows("leaderboard.csv")
    assert (row["head"], row["layer"]) == ("finetune-all", "pixels-32")
    parameters = json.loads(row["hyperparameters"])
    assert (parameters["weights"], parameters["augment"], parameters["learning_rate"]) == (
        "random",
        1,
        1e-5,
    )
    check_predictions(run_folder(), folder)


def test_all_heads_are_those_for_any_layer(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_certain = {name for name, head in HEADS.items() if head.layers}
    assert for_certain == set(HEADS) - set(FOR_ANY_LAYER)
    assert {"early-blocks", "finetune-block5", "finetune-all", "cnn-simple"} < for_certain
    fitted: list[str] = []
    monkeypatch.setattr(
        "freezeframe.classify.fit.fitting.HeadFitter.fit",
        lambda self, name, status: fitted.append(name) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(
            cli,
            ["fit-classifier", str(make_store("a.h5", ["x", "y"] * 10)), "--model", "all"],
            catch_exceptions=False,
        )
    monkeypatch.setattr(
        "freezeframe.classify.commands.fit_classifier.fit_and_print",
        lambda fitter, names, *_, **__: fitted.extend(names),
    )
    call("fit-classifier", "a.h5", "--model", "all")
    assert tuple(fitted[1:]) == FOR_ANY_LAYER


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--arch", "lenet"],
            "Invalid value for '--arch': 'lenet' is not one of 'simple', 'dropout', ",
        ),
        ([], "Missing option '--arch'"),
        (
            ["--arch", "simple", "--trainable", "all"],
            "trainable is for the arch vgg16, but simple is trained as",
        ),
        (
            ["--arch", "simple", "--weights", "random"],
            "weights are for VGG16, but simple starts with random ones; leave them out",
        ),
        (
            ["--arch", "vgg16", "--trainable", "blocks=3,5"],
            "trainable must be all, or the last blocks .*'blocks=3,5'",
        ),
        (
            ["--arch", "vgg16", "--trainable", "blocks=1"],
            "trainable must be all, or the last blocks",
        ),
        (
            ["--arch", "vgg16", "--trainable", "all", "--weights", "w.h5"],
            "weights must be imagenet or random where all of VGG16 is trained",
        ),
        (
            ["--arch", "vgg16-block5", "--size", "64"],
            "size is for networks on pixels, but block5_pool needs images of 224 x 224; leave it",
        ),
        (["--arch", "vgg16-block5", "--augment"], "parameter 'augment': no head to fit has it"),
        (["--arch", "simple", "--size", "0"], "'--size': 0 is not in the range x>=1"),
        (["--arch", "simple", "--size", "-3"], "'--size': -3 is not in the range x>=1"),
        (["--arch", "simple", "--size", "4"], "size 4 is too small for the layers of cnn-simple"),
        (
            ["--arch", "vgg16", "--trainable", "all", "--weights", "random", "--size", "31"],
            "size 31 is too small for the layers of finetune-all",
        ),
        (
            ["--arch", "simple", "--epochs", "0"],
            "'--epochs': 0 is not in the range x>=1",
        ),
        (["--arch", "simple", "--batch-size", "0"], "'--batch-size': 0 is not in the range x>=1"),
        (["--arch", "simple", "--patience", "0"], "'--patience': 0 is not in the range x>=1"),
        (
            ["--arch", "simple", "--learning-rate", "nan"],
            "'--learning-rate': 'nan' is not a number; write digits",
        ),
        (
            ["--arch", "simple", "--precision", "int8"],
            "'int8' is not one of 'float32', 'bfloat16', 'float16'",
        ),
        (["--arch", "simple", "--seed", "-1"], "-1 is not in the range 0<=x<=4294967295"),
        (["--arch", "simple", "--checkpoint-seconds", "-1"], "-1.0 is not in the range x>=0"),
        (["--arch", "simple", "--size", "16", "--cv", "1"], "cross-validation needs 2 folds"),
        (
            ["--arch", "simple", "--size", "16", "--classes", "yes"],
            "--classes must be OLD=NEW,OLD=NEW,..., got 'yes'",
        ),
        (
            ["--arch", "simple", "--size", "16", "--positive", "x"],
            "positive must be one of healthy, tumour, got 'x'",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    folder: Path, arguments: list[str], message: str
) -> None:
    result = call("fit-cnn", folder, *arguments)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert re.match(f"error: .*{message}", last), last
    assert not Path("leaderboard.csv").exists()
    assert not Path("runs").exists()


def test_impossible_input_is_reported_in_one_line(folder: Path, make_store: MakeStore) -> None:
    Path("void").mkdir()
    Path("notes.txt").write_text("no list")
    features = make_store("f.h5", ["a", "b"] * 10)
    runs = Path("runs")
    runs.write_text("no folder")
    mistakes: list[tuple[list[Any], int, str]] = [
        (["nowhere"], 2, "Path 'nowhere' does not exist"),
        (["void"], 1, "void: no images"),
        (["notes.txt"], 1, "notes.txt: "),
        ([features], 2, r"size is 16, but \S+f\.h5 is a store of vgg16; leave it out$"),
        ([folder, "--test", features], 2, r"\S+f\.h5: has no layer 'pixels'; it has block3_pool"),
        (
            [features, "--group-regex", "x"],
            2,
            r"group_regex is for folders and lists, but \S+f\.h5 is a store; leave it out",
        ),
        ([folder, "--test", "void"], 1, "void: no images"),
        ([folder, "--group-column", "patient"], 2, r"\S+scans: a folder has no column 'patient'"),
        (
            [folder, "--checkpoint-seconds", "0", "--epochs", "1"],
            1,
            "runs: is not a folder; choose another folder",
        ),
        ([folder, "--leaderboard", "notes.txt"], 1, "notes.txt: not a leaderboard"),
        ([folder, "--stores", "notes.txt"], 1, "notes.txt: "),
        (
            [folder, "--learning-rate", "1000", "--runs", "others"],
            1,
            "training diverged with a learning_rate of",
        ),
    ]
    for arguments, code, message in mistakes:
        result = call("fit-cnn", arguments[0], "--arch", "simple", *SMALL, *arguments[1:])
        last = result.stderr.splitlines()[-1]
        assert (arguments, result.exit_code) == (arguments, code), last
        assert re.match(f"error: .*{message}", last), last
    (pixels,) = Path("stores").glob("*.h5")
    for size, message in (
        ("16", "positive must be one of healthy, tumour"),
        ("17", f"size is 17, but {pixels} is a"),
    ):
        result = call("fit-cnn", pixels, "--arch", "simple", "--size", size, "--positive", "x")
        assert (result.exit_code, result.stderr.startswith(f"error: {message}")) == (2, True), (
            result.stderr
        )
    assert runs.read_text() == "no folder"
    assert not Path("leaderboard.csv").exists()


def test_help_shows_all_choices() -> None:
    """The command repeats them, so that help need not load the modules that define them."""
    options = {option.name: option for option in fit_cnn.params}
    assert list(options["arch"].type.choices) == list(ARCHITECTURES)
    assert tuple(options["precision"].type.choices) == PRECISIONS
    assert tuple(options["keep"].type.choices) == Network.choices["keep"]
    text = " ".join(call("fit-cnn", "--help").stdout.split())
    assert "If the command is killed, run it again: it continues from the last checkpoint" in text
