"""Options about classes, alike for heads and audits; and pictures with two labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from freezeframe import ParameterError
from freezeframe.__main__ import cli
from freezeframe.data.output.options import parse_classes


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def fit(*arguments: object) -> Result:
    fixed = ("--model", "majority", "--pooling", "flat")
    return call("fit-classifier", *arguments, *fixed)


def draw(root: Path, counts: Mapping[str, int], seed: int) -> Path:
    """Draw images of noise, no two alike; the classes' folders are named as in `counts`."""
    rng = np.random.default_rng(seed)
    for label, n in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores train.h5 and test.h5; in each of them one picture has two labels.

    The test set has a class more, "odd, blurred", with three images.
    """
    root = tmp_path_factory.mktemp("sets")
    train = draw(root / "train", {"sick": 10, "well": 10}, 0)
    test = draw(root / "test", {"sick": 12, "well": 12, "odd, blurred": 3}, 1)
    # The same bytes in one set, the same pixels in another file format in the other one.
    (train / "well" / "0.png").write_bytes((train / "sick" / "0.png").read_bytes())
    (test / "well" / "0.png").unlink()
    Image.open(test / "sick" / "0.png").save(test / "well" / "0.bmp")
    for folder in (train, test):
        extract = ("extract-features", folder, "--backbone", "pixels-8", "--layer", "pixels")
        result = call(*extract, "--output", f"{folder}.h5")
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_class_that_is_left_out_is_counted_by_fits_and_audits(sets: Path) -> None:
    train, test = sets / "train.h5", sets / "test.h5"
    result = fit(train, "--test", test)
    assert result.exit_code == 1
    assert "class 'odd, blurred' is none of the training classes sick, well" in result.stderr
    assert "or leave it out with --drop-class 'odd, blurred'" in result.stderr
    drop = ("--drop-class", "odd, blurred")
    text = "3 images of class odd, blurred are left out (--drop-class)"
    result = fit(train, "--test", test, *drop)
    assert result.exit_code == 0, result.output
    assert f"warning: test.h5: {text}\n" in result.stderr
    assert "belong to no split" not in result.stderr
    with Path("leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["n_test"], row["n_train"], row["classes"]) == ("24", "20", '["sick", "well"]')
    assert json.loads(row["choices"]) == {"positive": "name", "left_out": {"odd, blurred": 3}}
    # A folder and its store are audited alike.
    for place in (test, sets / "test"):
        audited = call("audit", train, "--against", place, "--no-cache", *drop)
        assert f"test: {text}\n" in audited.stdout
        assert "test: 24 images" in audited.stdout
        assert "not compared" not in audited.stdout
    with Path("audit", "groups.csv").open() as file:
        assert sum(line["set"] == "test" for line in csv.DictReader(file)) == 24


def test_a_class_of_the_training_set_is_left_out_of_everything(sets: Path) -> None:
    """A head for the other two classes; all images of a set are too many to leave out."""
    result = fit(sets / "test.h5", "--drop-class", "odd, blurred", "--cv", 3)
    assert "test.h5: 3 images of class odd, blurred are left out (--drop-class)" in result.stderr
    with Path("leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["n_test"], json.loads(row["choices"])["left_out"]) == ("24", {"odd, blurred": 3})
    every = ("--drop-class", "sick", "--drop-class", "well")
    message = "20 images of classes sick, well are left out (--drop-class), so that none is left"
    for command in (("audit", sets / "train"), ("fit-classifier", sets / "train.h5")):
        result = call(*command, *every)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert message in result.stderr


@pytest.mark.parametrize("command", ["audit", "fit-classifier"])
def test_impossible_changes_of_classes_are_one_line(sets: Path, command: str) -> None:
    for options, message in (
        (["--drop-class", "x"], "--drop-class: no image is labelled 'x'; labels are sick, well"),
        (["--classes", "x=y"], "--classes: no image is labelled 'x'; labels are sick, well"),
        (
            ["--classes", "sick=ill,sick=bad"],
            "--classes: 'sick' has two new names, 'ill' and 'bad'; give one",
        ),
        (
            ["--classes", "sick=ill", "--classes", "sick=bad"],
            "--classes: 'sick' has two new names, 'ill' and 'bad'; give one",
        ),
        (
            ["--classes", "sick=ill", "--drop-class", "sick"],
            "--drop-class: 'sick' is renamed by --classes, too; give one of the two",
        ),
        (["--classes", "sick="], "got 'sick='; put a name with a comma or an equals sign in"),
        (["--classes", "odd, blurred=x"], "got 'odd, blurred=x'; put a name with a comma"),
    ):
        result = call(command, sets / "train.h5", *options)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
        assert message in result.stderr


def test_a_class_with_a_comma_is_renamed(sets: Path) -> None:
    names = ("--classes", '"odd, blurred"=sick', "--classes", 'well="well, healthy"')
    result = fit(sets / "test.h5", *names)
    assert result.exit_code == 0, result.output
    with Path("leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["classes"]) == ["sick", "well, healthy"]
    assert call("audit", sets / "test", "--no-cache", *names).exit_code == 0
    with Path("audit", "groups.csv").open() as file:
        assert {line["label"] for line in csv.DictReader(file)} == {"sick", "well, healthy"}


names_of_classes = st.text(min_size=1).filter(lambda name: name == name.strip())


@settings(max_examples=30)
@given(st.dictionaries(names_of_classes, names_of_classes, min_size=1, max_size=4))
def test_names_in_quotes_may_hold_anything(renamed: dict[str, str]) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    pairs = [f"{quoted(old)}={quoted(new)}" for old, new in renamed.items()]
    assert parse_classes([",".join(pairs)]) == parse_classes(pairs) == renamed


def test_names_without_quotes_are_read_as_ever() -> None:
    assert parse_classes([]) == parse_classes([""]) == {}
    assert parse_classes([" yes = tumor , no=a=b", '5" x=y']) == {
        "yes": "tumor",
        "no": "a=b",
        '5" x': "y",
    }
    for text in ("yes", "=x", "a=", "a=b,c", 'a="b', '"a"b=c', "a=b,,c=d"):
        with pytest.raises(ParameterError, match="--classes must be OLD=NEW,OLD=NEW"):
            parse_classes([text])


def test_pictures_with_two_labels_are_counted_as_an_audit_counts_them(sets: Path) -> None:
    sentence = "1 picture has two labels, 2 images in all"
    for name in ("train.h5", "test.h5"):
        assert f"CONFLICT: {sentence}\n" in call("audit", sets / name, "--no-cache").stdout
    result = fit(sets / "train.h5", "--test", sets / "test.h5", "--drop-class", "odd, blurred")
    assert f"warning: training images: {sentence}\n" in result.stderr
    assert f"warning: test, external: {sentence}\n" in result.stderr
    # Renaming mends what only the names of two sets made.
    one_name = fit(sets / "test.h5", "--classes", "sick=x,well=x", "--cv", 2)
    assert "two labels" not in one_name.stderr
