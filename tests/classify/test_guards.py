"""Guards: images that were trained on are recognised, and those unlike the training images."""

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
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.runs import training_file
from freezeframe.classify.runs.model_file import load_model, save_model
from freezeframe.classify.runs.training_file import TRAINING_FILE
from freezeframe.classify.task.task import make_task
from freezeframe.classify.trust.guards.familiarity import FeatureDistribution, guard_features
from freezeframe.classify.trust.guards.training_lookup import TrainingCopy
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import resize_image
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore, head

UNLIKE = ["unlike", "the", "training", "images"]
WARNING = "the model was trained on a copy of this image: its answer proves nothing"


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
    # So small an error rate is never promised: these tests are about answers.
    options = FitOptions(error_rate=0.001)
    fitter = HeadFitter(make_task(store, n_folds=2), options, leaderboard=place / "l.csv")
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
    marked = [
        line.split()[0].rpartition("/")[2] for line in lines[1:6] if "copy of a training" in line
    ]
    assert marked == ["bytes.png", "mirrored.png", "pixels.bmp", "smaller.jpg"]
    assert lines[7] == (
        f"{place}/new/mirrored.png: {WARNING} "
        "(nearly the same picture as training image healthy/04.png, labelled healthy, "
        "mirrored left to right)"
    )
    assert len(lines) == 11
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
    assert "a training image" not in result.output
    assert len(result.stdout.splitlines()) == 3


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


# Familiarity: images that are unlike the training images.


def blob(seed: int) -> Image.Image:
    """Draw a bright ellipse with a soft edge, whose place and size vary."""
    rng = np.random.default_rng([3, seed])
    down, across = np.mgrid[-1:1:24j, -1:1:24j]
    centre = rng.normal(0, 0.1, 2)
    distance = np.hypot((down - centre[0]) / 0.7, (across - centre[1]) / rng.uniform(0.5, 0.8))
    pixels = 200 / (1 + np.exp(8 * (distance - 1))) + rng.normal(0, 4, distance.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def scans(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has the distribution of 120 pictures, and new ones in `new`.

    The head is on pixels, which is fast: a fit by itself makes no distribution of these.
    """
    scans = tmp_path_factory.mktemp("familiar")
    model = load_model(place / "second" / "model.safetensors")
    assert model.distribution is None
    maps = [
        resize_image(read_image(picture(scans, number)), 8, 8, "bilinear") for number in range(120)
    ]
    distribution = FeatureDistribution.fit(guard_features(np.stack(maps)), np.arange(120))
    (scans / "run").mkdir()
    save_model(scans / "run/model.safetensors", replace(model, distribution=distribution))
    noise = np.random.default_rng(0).integers(0, 256, (24, 24)).astype(np.uint8)
    Image.fromarray(noise).save(scans / "noise.png")
    return scans


def picture(scans: Path, number: int) -> Path:
    """Return the path of a drawn picture."""
    path = scans / f"{number}.png"
    blob(number).save(path)
    return path


def test_a_picture_unlike_the_training_images_gets_no_answer_in_the_table(scans: Path) -> None:
    images = [scans / "noise.png", picture(scans, 200), picture(scans, 201)]
    rows = json.loads(predict(scans / "run", *images, "--format", "json").stdout)
    assert [row["familiar"] for row in rows] == [False, True, True]
    # JSON keeps the numbers of all images.
    assert [list(row["probabilities"].values()) for row in rows] == [[0.5, 0.5]] * 3
    assert rows[0]["distance_percentile"] == 100 * 120 / 121
    assert all(0 <= row["distance_percentile"] < 99 for row in rows[1:])
    result = predict(scans / "run", *images)
    lines = result.stdout.splitlines()
    assert lines[1].split()[1:] == ["-", "-", "-", *UNLIKE]
    assert lines[2].split()[1:] == ["healthy", "0.500", "0.500"]
    assert lines[4:] == [
        "1 of 3 images is unlike the training images: the features are farther from theirs than "
        "those of 99 % of them; no answer is shown, as it would mean nothing: --unfamiliar shows it"
    ]
    shown = predict(scans / "run", *images, "--unfamiliar").stdout.splitlines()
    assert shown[1].split()[1:] == ["healthy", "0.500", "0.500", *UNLIKE]
    assert shown[4] == lines[4].partition("; ")[0]
    text = predict(scans / "run", *images, "--format", "csv").stdout
    cells = list(csv.DictReader(io.StringIO(text)))
    assert [row["familiar"] for row in cells] == ["no", "yes", "yes"]
    assert cells[0]["distance_percentile"] == "99.17"
    assert cells[0]["p_healthy"] == "0.500000"
    assert predict(scans / "run", *images, "--unfamiliar", "--format", "csv").exit_code == 2


def test_new_pictures_of_the_same_kind_are_familiar_alone_as_among_others(scans: Path) -> None:
    images = [picture(scans, number) for number in range(200, 220)]
    with Predictor(scans / "run") as predictor:
        together = [prediction.familiarity for prediction in predictor.predict(images)]
        alone = [predictor.predict([image])[0].familiarity for image in images]
    assert together == alone
    assert sum(like is not None and not like.familiar for like in together) <= 1


def test_with_few_training_images_familiarity_is_not_known(place: Path) -> None:
    result = predict(place / "run", place / "new/other.png")
    assert result.stdout.splitlines()[2].startswith(
        "not checked: are these images like the training"
    )
    result = predict(place / "run", place / "new/other.png", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert (row["familiar"], row["distance_percentile"]) == (None, None)


def test_about_one_in_a_hundred_new_images_is_refused() -> None:
    """The new images are of the same distribution as the training images, of two classes."""
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(2300, 60)) + 3 * (rng.random((2300, 1)) < 0.5) + 1)
    distribution = FeatureDistribution.fit(features[:300], np.arange(300))
    assert distribution is not None
    refused = [not distribution.familiarity(row).familiar for row in features[300:]]
    assert 0.001 <= np.mean(refused) <= 0.02


def test_relatives_are_left_out_together() -> None:
    """With its relatives left in, each image is near: then unrelated new images are refused."""
    rng = np.random.default_rng(1)
    centres = rng.normal(5, 1, (200, 40))
    groups = np.repeat(np.arange(60), 5)
    features = centres[groups] + rng.normal(0, 0.01, (300, 40))

    def share(groups: np.ndarray) -> float:
        distribution = FeatureDistribution.fit(features, groups)
        assert distribution is not None
        return float(np.mean([distribution.familiarity(row).familiar for row in centres[60:]]))

    assert share(groups) >= 0.98
    assert share(np.arange(300)) < 0.8


def test_a_fit_leaves_patients_out_as_a_whole(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[np.ndarray] = []

    def fit(features: np.ndarray, groups: np.ndarray) -> None:
        passed.extend([features, groups])

    monkeypatch.setattr(FeatureDistribution, "fit", fit)
    patients = [f"{number // 6:064x}" for number in range(120)]
    path = make_store("p.h5", ["healthy", "tumour"] * 60, patients=patients)
    task = make_task(FeatureStore(path), n_folds=2)
    HeadFitter(task, leaderboard=tmp_path / "l.csv").fit("majority")
    features, groups = passed
    np.testing.assert_array_equal(groups, np.arange(120) // 6)
    # Four cells of five channels.
    maps = FeatureStore(path).features("block5_pool")
    np.testing.assert_allclose(features, maps.reshape(120, 20), rtol=1e-6)


@pytest.mark.parametrize("n", [98, 99])
def test_fewer_than_99_images_have_no_distribution(n: int) -> None:
    features = np.random.default_rng(0).random((n, 5))
    distribution = FeatureDistribution.fit(features, np.arange(n))
    assert (distribution is None) == (n < 99)
    assert FeatureDistribution.fit(np.repeat(features, 4, axis=0), np.arange(4 * n) % 4) is None


def test_the_golden_model_of_version_4_has_a_distribution() -> None:
    golden = Path(__file__).parents[1] / "golden"
    model = load_model(golden / "model-v4.safetensors")
    assert model.training_images == "ab" * 32
    assert model.distribution is not None
    features = np.zeros(512)
    features[[0, 400]] = 4, 3
    # 0.8^2 / 1 + 0.6^2 / 0.25 is 2.08, the square of 1.44; 71 of the 99
    # distances 0, 1/49, ..., 2 are nearer.
    assert model.distribution.familiarity(features).percentile == 71
    for version in (1, 2, 3):
        assert load_model(golden / f"model-v{version}.safetensors").distribution is None


def wave(number: int) -> np.ndarray:
    """Draw one of the training images of the golden run."""
    y, x = np.mgrid[0:64, 0:64]
    grey = 127 + 60 * np.sin(x * (number + 2) / 9 + y / 7) + 60 * np.cos(y * (number + 1) / 11)
    grey[10 : 20 + number, 40:50] = 255
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def test_the_golden_run_of_version_4_has_all_that_a_run_may_have() -> None:
    """Its model has a background and a distribution; beside it are its training images."""
    grey = np.full((4, 4, 3), 90, np.uint8)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    with Predictor(Path(__file__).parents[1] / "golden" / "run-v4") as predictor:
        assert predictor.not_looked_up == ""
        predictions = predictor.predict([wave(0), wave(1)[:, ::-1], wave(7), grey, red])
        (explanation,) = predictor.explain([red])
    copies = [prediction.training_copy for prediction in predictions]
    assert copies[:3] == [
        TrainingCopy("pixels", "lesion/0.png", "lesion", "as it is"),
        TrainingCopy("near", "none ä/1.png", "none ä", "mirrored left to right"),
        TrainingCopy("none"),
    ]
    # Grey is the mean, but for rounding. Red is 9.19 from it, the root of 0.8453 / 0.01: that is
    # farther than 92 of the 99 distances 0, 0.1, ..., 9.8.
    likes = [prediction.familiarity for prediction in predictions]
    assert [like.percentile for like in likes[3:] if like is not None] == [1, 92]
    assert explanation.scale == 0.5
    assert explanation.completeness_error < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(100, np.float32)},
        {"mean": np.full(192, np.nan, np.float32)},
        {"mean": np.zeros(192)},
        {"mean": np.full(192, 1e30, np.float32)},
        {"directions": np.zeros((3, 192), np.float32)},
        {"directions": np.float32(1)},
        {"variances": np.zeros(33, np.float32)},
        {"variances": np.ones(32, np.float32)},
        {"distances": np.arange(120, 0, -1).astype(np.float32)},
        {"distances": np.zeros(98, np.float32)},
        {"distances": np.arange(-1, 150).astype(np.float32)},
        {"distances": np.float32(1)},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_an_impossible_distribution_is_refused(
    scans: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    model = load_model(scans / "run" / "model.safetensors")
    distribution = model.distribution
    assert distribution is not None
    save_model(tmp_path / "good", replace(model, distribution=replace(distribution)))
    assert load_model(tmp_path / "good").distribution is not None
    save_model(tmp_path / "bad", replace(model, distribution=replace(distribution, **change)))
    with pytest.raises(ModelFileError, match="bad: damaged"):
        load_model(tmp_path / "bad")
