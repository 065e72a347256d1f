"""Values of options: no odd number is taken, and no option without effect is ignored in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import COMMANDS, cli
from freezeframe.classify.commands.head_results import parse_parameters
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.data.output.options import Integer, Number

from ..conftest import MakeStore

ODD = ("nan", "NaN", "inf", "-inf", "Infinity", "1_0", "1_000.5", "0x10", " 1", "1 ", "", "\u0663")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def number_options() -> Iterator[tuple[str, click.Parameter]]:
    """Yield each option of each command that takes a number."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for each in commands:
            for option in each.params:
                if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
                    yield f"{name} {option.name}", option


def test_no_option_takes_a_number_that_no_user_means() -> None:
    options = dict(number_options())
    assert {"fit-classifier sensitivity", "split folds", "fit-cnn max_failed"} <= set(options)
    assert len(options) > 20
    for name, option in options.items():
        assert isinstance(option.type, Integer | Number), name
        for text in ODD:
            with pytest.raises(click.BadParameter, match="is not a number; write digits"):
                option.type.convert(text, option, None)
        with pytest.raises(click.BadParameter):
            option.type.convert("1e400", option, None)
    for text, number in {"1e-3": 0.001, "+.5": 0.5, "7": 7, "2.": 2, "-0": 0}.items():
        assert Number(-9, 9).convert(text, None, None) == number


@pytest.mark.parametrize("text", ODD[:8])
def test_an_odd_number_is_no_hyper_parameter(make_store: MakeStore, text: str) -> None:
    result = call("fit-classifier", make_store("a.h5", ["a", "b"] * 9), "--param", f"C={text}")
    assert result.exit_code == 2
    assert result.stderr == f"error: logreg: C must be float, got {text!r}\n"
    assert parse_parameters((" C=1", "n=10", "r=.5")) == {" C": 1, "n": 10, "r": 0.5}


def idle_options(store: Path, split: Path, images: Path) -> dict[str, tuple[list[Any], str]]:
    """Return commands with an option that has no effect, and the cause that the error names."""
    f = "fit-classifier"
    cnn = ["fit-cnn", images, "--arch", "simple"]
    return {
        "--repeats": ([f, store, "--repeats", "3"], "without --cv"),
        "--repeats of fit-cnn": ([*cnn, "--repeats", "3"], "without --cv"),
        "--test-size, --cv": (
            [f, store, "--cv", "2", "--test-size", "0.3"],
            "with --cv, --test or splits of the store's own",
        ),
        "--test-size, --test": ([f, store, "--test", split, "--test-size", "0.3"], "with --cv"),
        "--test-size, own splits": ([f, split, "--test-size", "0.3"], "with --cv"),
        "--patience": ([*cnn, "--keep", "last", "--patience", "3"], "with --keep last"),
        "--stores": (["fit-cnn", store, "--arch", "vgg16-block5", "--stores", "s"], "on stores"),
        "--max-failed": (
            ["fit-cnn", store, "--arch", "vgg16-block5", "--max-failed", "3"],
            "on stores",
        ),
        "--seed": (["extract-features", images, "--seed", "3"], "without --weights random"),
    }


def test_an_option_without_effect_is_refused(make_store: MakeStore, folder: Path) -> None:
    labels = ["a", "b"] * 20
    store = make_store("a.h5", labels)
    split = make_store("b.h5", labels, splits=["train"] * 20 + ["test"] * 20)
    for name, (arguments, reason) in idle_options(store, split, folder).items():
        result = call(*arguments)
        option = name.split(" ")[0].strip(",")
        assert result.exit_code == 2, (name, result.output)
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: {option}: has no effect {reason}"), (name, line)
        assert line.endswith("; leave it out")
    assert not Path("leaderboard.csv").exists()
    # With what they need, the same options work.
    majority = ("--model", "majority")
    assert call("fit-classifier", store, *majority, "--cv", 2, "--repeats", 3).exit_code == 0
    assert call("fit-classifier", store, *majority, "--test-size", 0.3).exit_code == 0
    assert [row["split"] for row in read_rows("leaderboard.csv")] == ["2-fold x 3", "hold-out 30%"]


def test_a_hold_out_is_never_one_of_0_percent(make_store: MakeStore) -> None:
    store = make_store("a.h5", ["a", "b"] * 150)
    arguments = ["fit-classifier", store, "--model", "majority", "--test-size"]
    assert call(*arguments, "0.004").exit_code == 0
    assert read_rows("leaderboard.csv")[0]["split"] == "hold-out 0.4%"
    # A third of an image: one of each class is held out, 2 of 300.
    assert call(*arguments, "0.001").exit_code == 0
    row = read_rows("leaderboard.csv")[-1]
    assert (row["split"], row["n_test"]) == ("hold-out 0.67%", "2")
    assert call(*arguments, "0").exit_code == 2


def test_two_networks_are_not_taken_for_one(folder: Path) -> None:
    result = call("fit-cnn", folder, "--arch", "simple", "--arch", "dropout")
    assert result.exit_code == 2
    assert result.stderr == "error: --arch: 2 networks are given; run the command once for each\n"


def test_errors_name_options_and_say_what_to_do(
    folder: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freezeframe import StoreError
    from freezeframe.data.output.capacity import check_free

    result = call("split", folder, "--folds", "1")
    assert "--folds: 1 fold leaves nothing to train on; give 0, or 2 and more" in result.stderr
    result = call("split", folder, "--group-regex", "(")
    assert result.stderr.startswith("error: --group-regex: '(' is not a regular expression")
    result = call("split", folder, "--folds", "100")
    # The smallest class has 12 images, of which the splitter takes near copies for one.
    pattern = (
        r"has (\d+) independent images \(copies and groups count once\); give (\d+) folds at mo"
    )
    counts = re.search(pattern, result.stderr)
    assert counts is not None
    assert counts[1] == counts[2]
    result = call("fit-classifier", make_store("a.h5", ["a", "b"] * 9), "--param", "C=0")
    assert "C must lie between 1e-30 and 1e+30, got 0; give another value" in result.stderr
    usage = type("Usage", (), {"free": 40_000_000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"need 123\.5 kB, 40\.0 MB are free here; make room"):
        check_free(Path("a.h5"), 123_456)
