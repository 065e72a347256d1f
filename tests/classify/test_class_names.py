"""Studies whose test set names its classes differently: files in both sets say which is which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import cli
from freezeframe.classify.study.class_names import match_classes
from freezeframe.classify.study.plan import study_steps
from freezeframe.classify.study.runner import StudyRunner
from freezeframe.classify.study.settings import StudySettings, read_settings
from freezeframe.classify.study.sources import StudyImages
from freezeframe.data.manifest import Image, Manifest

from .test_class_options import draw


def manifest(files: Mapping[str, str]) -> Manifest:
    """Return a list of images; each class has a letter for each file, equal for equal bytes."""
    images = [
        Image(f"{label}/{n}", text, label) for label in files for n, text in enumerate(files[label])
    ]
    return Manifest(Path("set"), Path("set"), tuple(images))


TRAINED = manifest({"sick": "abcdefghij", "well": "ABCDEFGHIJ"})


@pytest.mark.parametrize(
    ("test", "names"),
    [
        ({"yes": "abcdeXY", "no": "ABCDEZ"}, {"yes": "sick", "no": "well"}),
        # Copies within the test set are one file.
        ({"yes": "aaaaabcd", "no": "ABCDE"}, {"no": "well"}),
        # One of ten files may have a wrong label; two may not.
        ({"yes": "abcdefghiA"}, {"yes": "sick"}),
        ({"yes": "abcdefghAB"}, {}),
        # Two classes that would become one are for the user to decide.
        ({"yes": "abcde", "perhaps": "fghij", "no": "ABCDE"}, {"no": "well"}),
        # A file with two labels says nothing.
        ({"ill": "abcde", "no": "eABCD"}, {}),
        ({"yes": "XYZUVW"}, {}),
    ],
)
def test_classes_are_matched_by_files_of_both_sets(
    test: dict[str, str], names: dict[str, str]
) -> None:
    matches = match_classes(TRAINED, manifest(test), test)
    assert {match.name: match.trained for match in matches} == names


def test_a_training_file_with_two_labels_matches_nothing() -> None:
    trained = manifest({"sick": "abcdefghijkl", "well": "l"})
    (match,) = match_classes(trained, manifest({"yes": "abcdefghijkl"}), ["yes"])
    assert (match.n_agreeing, match.n_copies) == (11, 11)
    # A class that has its name already is not matched.
    assert match_classes(TRAINED, manifest({"yes": "abcde"}), []) == []


def test_checks_on_the_training_images_ignore_classes_of_test_sets() -> None:
    settings = StudySettings(classes=('yes=sick,"a, b"=well', "ill=sick"), drop_class=("odd", "no"))
    sources = [StudyImages(Path("a")), StudyImages(Path("b"))]
    steps = study_steps(settings, sources[0], sources[1:], Path("s"), ["ill", "a, b", "odd"])
    commands = {step.name: step.command for step in steps}
    own = """--classes '"a, b"=well' --classes ill=sick --drop-class odd --"""
    for name in ("random-split", "shuffled-labels", "stress"):
        assert own in commands[name]
    assert "--classes ill=sick --drop-class odd --drop-class no" in commands["heads-block5_pool"]
    assert "--classes ill=sick --drop-class odd --drop-class no" in commands["audit"]
    # Seeds are those of the heads; the checks draw nothing.
    seeds = study_steps(StudySettings(seeds=3), sources[0], [], Path("s"))
    assert {step.name for step in seeds if "--seeds 3" in step.command} == {
        "heads-block5_pool",
        "heads-block3_pool",
    }
    # Without test sets, a mistake in an option is for the commands to name.
    alone = study_steps(settings, sources[0], [], Path("s"))
    assert "--drop-class no" in {step.name: step.command for step in alone}["stress"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["run", *map(str, arguments)])


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Training images, and a test set of other names with six copies of each class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StudyRunner, "run", lambda self: None)
    trained = draw(tmp_path / "trained", {"sick": 10, "well": 10}, 0)
    other = draw(tmp_path / "other", {"no": 2, "yes": 2}, 1)
    for label, name in (("well", "no"), ("sick", "yes")):
        for number in range(6):
            content = (trained / label / f"{number}.png").read_bytes()
            (other / name / f"copy {number}.png").write_bytes(content)
    return trained, other


def test_a_study_matches_the_classes_and_keeps_them(sets: tuple[Path, Path]) -> None:
    trained, other = sets
    result = run(trained, "--test", other, "--output", "study")
    assert result.exit_code == 0, result.output
    sentence = "other: class yes is taken as sick: 6 of its 6 files that the training images have"
    assert sentence in result.stderr
    assert read_settings(Path("study/run.toml"))["classes"] == ("no=well", "yes=sick")
    again = run("--config", "study/run.toml")
    assert again.exit_code == 0
    assert "is taken as" not in again.stderr


def test_new_names_of_the_training_classes_are_used(sets: tuple[Path, Path]) -> None:
    trained, other = sets
    new = "sick=ill,well=healthy"
    assert run(trained, "--test", other, "--output", "study", "--classes", new).exit_code == 0
    classes = read_settings(Path("study/run.toml"))["classes"]
    assert classes == (new, "no=healthy", "yes=ill")


def coded(root: Path, trained: Path, ill: str, well: str) -> Path:
    """Return a test set with five copies of each training class, under other names."""
    for label, name in (("sick", ill), ("well", well)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            content = (trained / label / f"{number}.png").read_bytes()
            (root / name / f"{label} {number}.png").write_bytes(content)
    return root


def test_a_name_that_means_two_classes_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    trained, _ = sets
    first = coded(tmp_path / "first", trained, "1", "0")
    second = coded(tmp_path / "second", trained, "0", "1")
    result = run(trained, "--test", first, "--test", second, "--output", "study")
    assert result.exit_code == 2
    assert "second: its files show that class '0' is sick, and those of another" in result.stderr
    alike = coded(tmp_path / "alike", trained, "1", "0")
    assert run(trained, "--test", first, "--test", alike, "--output", "two").exit_code == 0
    # A set without common files has the names of a set that has some, in any order.
    plain = draw(tmp_path / "plain", {"0": 3, "1": 3}, 7)
    assert run(trained, "--test", plain, "--test", first, "--output", "three").exit_code == 0


def test_two_classes_of_a_set_do_not_become_one(sets: tuple[Path, Path], tmp_path: Path) -> None:
    trained, _ = sets
    test = coded(tmp_path / "test", trained, "other", "well")
    draw(tmp_path / "test", {"sick": 3}, 5)
    result = run(trained, "--test", test, "--output", "study")
    assert result.exit_code == 2
    assert "class 'other' is none of the training classes" in result.stderr
    # A class that is left out gives no name.
    left = coded(tmp_path / "left", trained, "1", "well")
    result = run(trained, "--test", left, "--output", "two", "--drop-class", "sick")
    assert "class '1' is none of the training classes well" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "other: class 'no' is none of the training classes sick, well, and too few files of"),
        ((), "; rename it with --classes no=CLASS, or leave it out with --drop-class no"),
        (("--classes", "yse=sick"), "--classes: no image is labelled 'yse'"),
        (("--classes", "yes"), "--classes must be OLD=NEW"),
    ],
)
def test_an_unclear_class_ends_the_command_before_its_first_step(
    sets: tuple[Path, Path], options: tuple[str, ...], message: str
) -> None:
    trained, other = sets
    for path in other.rglob("copy *"):
        path.unlink()
    result = run(trained, "--test", other, "--output", "study", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
