"""Controls: heads that see size or border alone, and labels that groups have exchanged."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freezeframe import FeatureStore, ModelFileError, Predictor
from freezeframe.__main__ import cli
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.task.control import with_shuffled_labels
from freezeframe.classify.task.task import make_task
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore, extract_different

Draw = Callable[[np.random.Generator, bool], np.ndarray]
N = 60
LABELS = ("well", "sick")


def noise(rng: np.random.Generator, height: int = 40, width: int = 40) -> np.ndarray:
    return rng.integers(0, 256, (height, width), np.uint8)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaderboards are in the folder of each test."""
    monkeypatch.chdir(tmp_path)


def pixel_store(images: list[tuple[np.ndarray, str, str]], mode: dict[str, str]) -> Path:
    """Write images of some label and group, and extract a store of their pixels.

    Args:
        images: pixels, label and group of each.
        mode: mode of the files of each label; by default that of the pixels.
    """
    rows = []
    folder = Path("images")
    folder.mkdir(exist_ok=True)
    for number, (pixels, label, group) in enumerate(images):
        image = Image.fromarray(pixels)
        image.convert(mode.get(label, image.mode)).save(folder / f"{number}.png")
        rows.append([f"{number}.png", label, group])
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "group"], *rows])
    settings = Settings(("pixels",), backbone="pixels-32")
    extract_different(folder / "list.csv", Path("a.h5"), settings)
    return Path("a.h5")


def draw(picture: Draw, **mode: str) -> Path:
    """Draw images of two classes, each with what gives it away."""
    rng = np.random.default_rng(0)
    labels = [LABELS[number % 2] for number in range(N)]
    return pixel_store([(picture(rng, label == "sick"), label, "") for label in labels], mode)


def fit(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["fit-classifier", *map(str, arguments)])
    assert result.exit_code in (0, 3), result.output
    return result


def accuracies(*arguments: object) -> dict[str, float]:
    """Cross-validate heads by the command, and return the accuracy of each."""
    models = ("majority", "image-size", "image-border")
    fit(*arguments, *(text for name in models for text in ("--model", name)), "--cv", 3)
    return {row["head"]: float(row["accuracy"]) for row in read_rows("leaderboard.csv")}


def test_image_size_finds_what_the_size_gives_away() -> None:
    shares = accuracies(draw(lambda rng, sick: noise(rng, 40, 44 if sick else 40)))
    assert shares["image-size"] == 1
    assert shares["image-border"] < 0.8
    row = next(row for row in read_rows("leaderboard.csv") if row["head"] == "image-size")
    assert (row["layer"], row["pooling"]) == ("image", "size")


@pytest.mark.parametrize("kept", [True, False])
def test_image_size_finds_what_the_mode_gives_away(kept: bool) -> None:
    """The mode is read from the files; a note says where it is unknown, as these have changed."""
    store = draw(lambda rng, _: noise(rng), sick="RGB")
    if not kept:
        for path in Path("images").glob("*.png"):
            path.write_bytes(path.read_bytes() + b"changed")
    result = fit(store, "--model", "image-size", "--cv", 3)
    row = read_rows("leaderboard.csv")[0]
    assert (float(row["accuracy"]) == 1) is kept
    note = f"image-size: {N} of {N} images of list.csv are not at their place, or have changed"
    assert (note in result.stderr) is not kept


def test_image_border_finds_what_the_frame_gives_away() -> None:
    def picture(rng: np.random.Generator, sick: bool) -> np.ndarray:
        pixels = noise(rng)
        pixels[:2, :] = 255 if sick else 0
        return pixels

    shares = accuracies(draw(picture))
    assert shares["image-border"] == 1
    assert shares["image-size"] < 0.8


def test_image_border_does_not_see_the_middle() -> None:
    def picture(rng: np.random.Generator, sick: bool) -> np.ndarray:
        pixels = noise(rng)
        pixels[10:30, 10:30] = 255 if sick else 0
        return pixels

    shares = accuracies(draw(picture))
    assert shares["image-border"] < 0.8


def test_all_skips_the_border_of_a_store_without_thumbnails(make_store: MakeStore) -> None:
    store = make_store("a.h5", ["sick", "well"] * 20)
    heads = ("--model", "all", "--search", "none", "--param", "epochs=1")
    result = fit(store, *heads)
    assert "image-border: skipped; " in result.stderr
    assert "has no thumbnail of sick/0.png; run extract-features again" in result.stderr
    named = CliRunner().invoke(cli, ["fit-classifier", str(store), "--model", "image-border"])
    assert named.exit_code == 1
    assert [row["head"] for row in read_rows("leaderboard.csv")][-2:] == ["majority", "image-size"]


def test_controls_predict_no_new_image(make_store: MakeStore, tmp_path: Path) -> None:
    fit(make_store("a.h5", ["sick", "well"] * 20), "--model", "image-size")
    run = read_rows("leaderboard.csv")[0]["run_id"]
    expected = "image-size is a control that judges the size of images and no features"
    with pytest.raises(ModelFileError, match=expected):
        Predictor(tmp_path / "runs" / run)


@pytest.mark.parametrize("leaks", [True, False])
def test_shuffled_labels_find_a_scanner_that_whole_groups_share(leaks: bool) -> None:
    """Patients of one scanner are mostly sick; folds by patient do not part scanners."""
    rng = np.random.default_rng(1)
    images = []
    for number in range(2 * N):
        patient, place = divmod(number, 6)
        bright = patient % 2
        # Each patient has five images of one class and one of the other.
        label = LABELS[bright if place else 1 - bright]
        pixels = noise(rng) // 2 + np.uint8(60 * bright * leaks)
        images.append((pixels, label, f"p{patient}"))
    result = fit(pixel_store(images, {}), "--control", "shuffled-labels", "--cv", 5)
    assert result.exit_code == 0
    verb = "beats" if leaks else "does not beat"
    sentence = f"logreg on list.csv, 5-fold, shuffled labels: {verb} chance, AUC "
    assert sentence in result.stdout


def test_shuffled_labels_find_patients_that_a_split_cuts(make_store: MakeStore) -> None:
    """Relatives keep one label on both sides of a split, so a head that knows them beats chance."""
    n = 120
    groups = [f"p{number // 2}" for number in range(n)]
    labels = ["sick" if number // 2 % 2 else "well" for number in range(n)]
    store = FeatureStore(
        make_store("a.h5", labels, groups=groups, splits=["train", "test"] * (n // 2))
    )
    task = with_shuffled_labels(make_task(store))
    train = dict(zip(task.train.chains.tolist(), task.train.labels.tolist(), strict=True))
    test = task.tests[0].part
    assert [train[chain] for chain in test.chains.tolist()] == test.labels.tolist()
    pairs = zip(test.labels, test.rows, strict=True)
    changed = [str(label) != store.labels[row] for label, row in pairs]
    assert 0.2 < np.mean(changed) < 0.8


def test_shuffled_labels_of_one_class_are_not_compared_with_chance(make_store: MakeStore) -> None:
    n = 40
    # The test part is one group, which keeps one label.
    groups = [f"p{number // 2}" if number < n else "p" for number in range(2 * n)]
    labels = ["sick" if number // 2 % 2 or number >= n else "well" for number in range(2 * n)]
    store = make_store("a.h5", labels, groups=groups, splits=["train"] * n + ["test"] * n)
    result = fit(store, "--control", "shuffled-labels", "--search", "none")
    assert "test images are of one class" in result.stdout
    assert "chance 50.0" not in result.stdout


def test_a_control_is_marked_and_not_ranked_with_real_runs(make_store: MakeStore) -> None:
    store = make_store("a.h5", ["sick", "well"] * 30)
    fit(store, "--model", "logreg", "--cv", 3)
    fit(store, "--model", "logreg", "--cv", 3, "--control", "shuffled-labels")
    real, control = read_rows("leaderboard.csv")
    assert json.loads(control["choices"])["control"] == "shuffled-labels"
    assert "control" not in json.loads(real["choices"])
    assert control["split"] == "3-fold, shuffled labels"
    assert "-logreg-shuffled-" in control["run_id"]
    shown = CliRunner().invoke(cli, ["leaderboard"]).stdout
    assert shown.count("rank ") == 2
    assert "shuffled labels: a control, ranked apart" in shown
