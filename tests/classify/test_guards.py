"""Guards: images that were trained on are recognised by their fingerprints beside the model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import load_file, save_file

from freezeframe import FeatureStore, ModelFileError, Predictor
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.guards.training_lookup import TrainingCopy
from freezeframe.classify.runs import training_file
from freezeframe.classify.runs.model_file import load_model, save_model
from freezeframe.classify.runs.training_file import TRAINING_FILE
from freezeframe.classify.task.task import make_task
from freezeframe.data.demo.drawing import draw_slice
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore

WARNING = "a copy of this image was trained on: the answer proves nothing"


def head(number: int) -> Image.Image:
    return Image.fromarray(draw_slice(np.random.default_rng([7, number]), False)).convert("RGB")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, a run of a head on them, and new images in `new`."""
    place = tmp_path_factory.mktemp("guards")
    for number in range(20):
        path = place / "scans" / ("healthy", "tumour")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        head(number).save(path)
    manifest = read_manifest(place / "scans")
    settings = Settings(layers=("pixels",), backbone="pixels-8")
    store = extract_features(manifest, place / "a.h5", settings).store
    fitter = HeadFitter(make_task(store, n_folds=2), leaderboard=place / "l.csv")
    for name, run in (("logreg", "run"), ("majority", "second")):
        (place / run).symlink_to(fitter.fit(name).folder)
    new = place / "new"
    new.mkdir()
    shutil.copy(place / "scans/healthy/04.png", new / "bytes.png")
    head(4).save(new / "pixels.bmp")
    head(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(new / "mirrored.png")
    head(4).resize((100, 100)).save(new / "smaller.jpg", quality=60)
    head(50).save(new / "other.png")
    (new / "broken.png").write_bytes(b"no image")
    return place


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)], prog_name="freezeframe")


EXPECTED = {
    "bytes.png": ("bytes", "as it is"),
    "mirrored.png": ("near", "mirrored left to right"),
    "other.png": ("none", ""),
    "pixels.bmp": ("pixels", "as it is"),
    "smaller.jpg": ("near", "as it is"),
}


def test_copies_of_training_images_are_recognised_without_the_store(place: Path, run: Path) -> None:
    paths = [place / "new" / name for name in EXPECTED]
    with Predictor(run) as predictor:
        assert predictor.not_looked_up == ""
        predictions = predictor.predict(paths)
        contents = predictor.predict([path.read_bytes() for path in paths])
        pixels = predictor.predict([np.asarray(Image.open(paths[0]).convert("RGB"))])
    for prediction, expected in zip(predictions, EXPECTED.values(), strict=True):
        copy = prediction.training_copy
        assert copy is not None
        assert (copy.level, copy.symmetry) == expected
        assert copy.is_copy == (copy.level != "none")
        assert (copy.path, copy.label) == (
            ("healthy/04.png", "healthy") if copy.is_copy else ("", "")
        )
    copies = [prediction.training_copy for prediction in predictions]
    assert copies == [prediction.training_copy for prediction in contents]
    # An array has no bytes of a file.
    assert pixels[0].training_copy == replace(copies[0], level="pixels")


def test_the_command_marks_copies_in_every_format(place: Path, run: Path) -> None:
    result = predict(run, place / "new")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    marked = [line.split()[0].rpartition("/")[2] for line in lines[1:6] if "trained on" in line]
    assert marked == ["bytes.png", "mirrored.png", "pixels.bmp", "smaller.jpg"]
    assert lines[7] == (
        f"{place}/new/mirrored.png: {WARNING} "
        "(nearly the same picture, mirrored left to right as healthy/04.png (healthy))"
    )
    assert len(lines) == 10
    assert "not looked up" not in result.stderr
    rows = json.loads(predict(run, place / "new", "--format", "json").stdout)
    known = {Path(row["path"]).name: row["known"] for row in rows}
    assert known.pop("broken.png") is None
    assert {name: (item["level"], item["symmetry"]) for name, item in known.items()} == EXPECTED
    text = predict(run, place / "new", "--format", "csv").stdout
    cells = {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(text))}
    assert {name: cells[name]["known"] for name in EXPECTED} == {
        name: level for name, (level, _) in EXPECTED.items()
    }
    assert cells["bytes.png"]["known_path"] == "healthy/04.png"
    assert cells["bytes.png"]["known_label"] == "healthy"
    assert cells["broken.png"]["known"] == ""


def test_a_table_without_copies_has_no_marks(place: Path, run: Path) -> None:
    result = predict(run, place / "new/other.png")
    assert result.exit_code == 0
    assert "trained on" not in result.output
    assert len(result.output.splitlines()) == 2


def test_images_of_the_test_set_were_not_trained_on(place: Path, tmp_path: Path) -> None:
    task = make_task(FeatureStore(place / "a.h5"))
    folder = HeadFitter(task, leaderboard=tmp_path / "l.csv").fit("majority").folder
    (test,) = task.tests
    scans = [place / "scans" / path for path in test.part.store.paths[test.part.rows]]
    with Predictor(folder) as predictor:
        assert {str(prediction.training_copy) for prediction in predictor.predict(scans)} == {""}


def test_without_the_file_nothing_is_looked_up_and_the_command_says_so(
    place: Path, run: Path
) -> None:
    (run / TRAINING_FILE).unlink()
    golden = Path(__file__).parents[1] / "golden" / "model-v3.safetensors"
    assert Predictor(load_model(run / "model.safetensors")).not_looked_up.startswith("the head")
    assert "is of an earlier version" in Predictor(golden).not_looked_up
    result = predict(run, place / "new/bytes.png", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["known"] is None
    assert result.stderr == (
        f"note: images are not looked up among the training images: {run / TRAINING_FILE} is "
        "missing; keep it beside the model\n"
    )


def refused(run: Path, reason: str | None = None) -> None:
    with pytest.raises(ModelFileError, match=reason) as raised:
        Predictor(run)
    text = str(raised.value)
    assert text.startswith(f"{run / TRAINING_FILE}: not the file that was written with its model")
    assert text.isprintable()


def test_a_changed_or_foreign_file_is_refused(run: Path, make_store: MakeStore) -> None:
    path = run / TRAINING_FILE
    whole = path.read_bytes()
    begin = whole.index(b"}}") + 2
    for number in np.random.default_rng(0).integers(begin, len(whole), 40).tolist():
        changed = bytearray(whole)
        changed[number] ^= 0x15
        path.write_bytes(changed)
        refused(run)
    for number in range(begin):
        changed = bytearray(whole)
        changed[number] ^= 0x15
        path.write_bytes(changed)
        # The header also holds what no array depends on.
        with suppress(ModelFileError):
            Predictor(run)
    for content in (b"", whole[:-1], whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(content)
        refused(run)
    other = make_store("b.h5", ["healthy", "tumour"] * 6)
    fitter = HeadFitter(make_task(FeatureStore(other)), leaderboard=run / "l.csv")
    shutil.copy(fitter.fit("majority").folder / TRAINING_FILE, path)
    refused(run, "its digest does not match")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256s": np.zeros((20, 31), np.uint8)},
        {"pixels": np.zeros((19, 32), np.uint8)},
        {"thumbnails": np.zeros((20, 64, 64), np.int8)},
        {"labels": np.full(20, 2, np.uint32)},
        {"paths": np.frombuffer(b"a\0b", np.uint8)},
        {"paths": np.frombuffer(b"\xff\0" * 20, np.uint8)},
        {"paths": np.zeros(0, np.uint8)},
        {"paths": np.zeros(20, np.float32)},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_forged_file_with_a_valid_digest_is_refused(run: Path, change: dict[str, Any]) -> None:
    arrays = load_file(run / TRAINING_FILE) | change
    save_file(arrays, run / TRAINING_FILE)
    digest = training_file.content_digest(training_file._TITLE, "", arrays)
    model = replace(load_model(run / "model.safetensors"), training_images=digest)
    (run / "model.safetensors").unlink()
    save_model(run / "model.safetensors", model)
    refused(run)


def test_runs_of_one_fit_share_the_file_on_the_disk(place: Path) -> None:
    first, second = (place / run / TRAINING_FILE for run in ("run", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert first.samefile(second)
    assert first.stat().st_size < 20 * (4096 + 64 + 30) + 1000


def test_images_without_a_fingerprint_may_be_copies(make_store: MakeStore, place: Path) -> None:
    """A store of an old format has digests of files only."""
    labels = ["healthy", "tumour"] * 6
    sha256s = [f"{number:064x}" for number in range(12)]
    task = make_task(FeatureStore(make_store("b.h5", labels, sha256s=sha256s)), n_folds=2)
    run = HeadFitter(task, leaderboard=place / "old.csv").fit("majority").folder
    lookup = Predictor(run)._lookup
    assert lookup is not None
    from freezeframe.data.fingerprints import fingerprint

    image = fingerprint(np.asarray(head(4)))
    assert lookup.find("f" * 64, image) == TrainingCopy("unknown")
    assert str(TrainingCopy("unknown")) == "maybe a copy"
    assert lookup.find(sha256s[3], image).path == "tumour/3.png"
