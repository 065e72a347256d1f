"""Settings of studies, and the image sets that they name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from freezeframe import ParameterError
from freezeframe.__main__ import cli
from freezeframe.classify.study.inputs import image_files
from freezeframe.classify.study.plan import study_steps
from freezeframe.classify.study.settings import StudySettings, read_settings
from freezeframe.classify.study.sources import StudyImages, few_images, source_to_test_on
from freezeframe.data.manifest import read_manifest


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["run", *map(str, arguments)])


# Settings.


def test_the_file_that_a_study_writes_repeats_its_settings(tmp_path: Path) -> None:
    settings = StudySettings(
        source=str(tmp_path / 'a "quoted" folder, \\ and ü'),
        test=(str(tmp_path / "b"),),
        output=str(tmp_path / "study"),
        quick=True,
        classes=("yes=tumour", "no=healthy"),
        seed=7,
        group_regex=r"(p\d+)_",
    )
    path = tmp_path / "run.toml"
    path.write_text(settings.to_toml(), encoding="utf-8")
    assert StudySettings(**read_settings(path)) == settings


def test_paths_of_a_config_start_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('source = "scans"\ntest = ["other"]\nweights = "w.h5"\n')
    values = read_settings(path)
    assert values["source"] == str(tmp_path / "scans")
    assert values["test"] == (str(tmp_path / "other"),)
    assert values["weights"] == str(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "unknown key 'colour'; use source, test, output"),
        ("group_column = 'p'", "unknown key 'group_column'"),
        ("seed = 'one'", "seed must be a whole number, got 'one'"),
        ("seed = true", "seed must be a whole number, got True"),
        ("quick = 1", "quick must be true or false, got 1"),
        ("test = 'other'", "test must be a list of texts, got 'other'"),
        ("test = [1]", "test must be a list of texts, got [1]"),
        ("seed =", "is no TOML"),
    ],
)
def test_a_wrong_config_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    result = call("--config", path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_command_line_comes_before_the_config(tmp_path: Path, folder: Path) -> None:
    """The study is refused before its first step, with the settings of both."""
    path = tmp_path / "run.toml"
    path.write_text(f'source = "{folder}"\noutput = "from-config"\ntest = ["missing"]\n')
    result = call("--config", path)
    assert f"{tmp_path / 'missing'}: no such folder or list" in result.stderr
    result = call("--config", path, "--test", folder, "--output", folder / "within")
    assert result.exit_code == 2
    assert str(folder / "within") in result.stderr


# Inputs.


def test_the_digest_of_a_folder_or_list_follows_each_file(folder: Path) -> None:
    listed = folder / "list.csv"
    listed.write_text("path,label\nhealthy/00.png,healthy\ntumour/00.png,tumour\n")
    digests = {(image_files(folder).digest, image_files(listed).digest)}
    assert (image_files(folder).n_files, image_files(listed).n_files) == (25, 3)
    assert digests == {(image_files(folder).digest, image_files(listed).digest)}
    image = folder / "healthy" / "00.png"
    for change in (
        lambda: os.utime(image, (1, 1)),
        lambda: image.write_bytes(b"x"),
        image.unlink,
    ):
        change()
        digests.add((image_files(folder).digest, image_files(listed).digest))
    assert [len(set(part)) for part in zip(*digests, strict=True)] == [4, 4]


def test_options_on_patients_reach_only_test_sets_that_have_them(folder: Path) -> None:
    listed = folder / "list.csv"
    listed.write_text("path,label,patient\nhealthy/00.png,healthy,p1\n")
    settings = StudySettings(group_column="patient", group_regex=r"(\d+)\.png", layout="class")
    regex = ("--group-regex", r"(\d+)\.png")
    assert source_to_test_on(settings, listed).arguments == ("--group-column", "patient", *regex)
    assert source_to_test_on(settings, folder).arguments == (*regex, "--layout", "class")
    no_match = replace(settings, group_regex="patient-(.)")
    assert source_to_test_on(no_match, folder).arguments == ("--layout", "class")


def test_a_quick_study_takes_images_of_each_class_and_split(folder: Path) -> None:
    few = few_images(read_manifest(folder), 5)
    assert few.classes == {"healthy": 5, "tumour": 5}
    paths = [image.path for image in few.images]
    assert paths[:5] == [f"healthy/{number:02}.png" for number in (0, 3, 6, 8, 11)]


def test_an_impossible_class_option_ends_the_command_before_its_steps(folder: Path) -> None:
    with pytest.raises(ParameterError):
        read_settings(folder / "missing.toml")
    result = call(folder, "--classes", "a")
    assert result.exit_code == 2
    assert "--classes must be OLD=NEW" in result.stderr


def test_a_margin_is_a_number_with_or_without_a_point(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for text, margin in (("3", 3.0), ("0.5", 0.5)):
        path.write_text(f"margin = {text}")
        assert read_settings(path) == {"margin": margin}
        (step,) = (
            step
            for step in study_steps(
                StudySettings(margin=margin), StudyImages(tmp_path), [], tmp_path
            )
            if step.name == "compare"
        )
        assert step.arguments == ("compare", "--format", "csv", "--margin", f"{margin}")
    path.write_text("margin = true")
    with pytest.raises(ParameterError, match="margin must be a number, got True"):
        read_settings(path)
