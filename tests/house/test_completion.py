"""Shell completion: what bash, zsh and fish ask for, and a real bash that presses Tab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, ShellComplete, get_completion_class

from freezeframe.__main__ import COMMANDS, cli

from ..conftest import REPOSITORY

SHELLS = ("bash", "zsh", "fish")
SETUP = 'eval "$(_FREEZEFRAME_COMPLETE=bash_source freezeframe)"'
"""The line of README.md."""

PATH_WORDS = re.compile(r"FOLDER|CSV|PATH|STORE|IMAGE|MODEL|TOML|STUDY|RUN|LIST")
"""Words in the help of options and arguments that take paths."""

NO_PATHS = {("report", "run")}
"""Commands and options of which such a word names something else: here a run's id."""


@pytest.fixture(autouse=True)
def _any_bash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not start a bash to ask for its version."""
    monkeypatch.setattr(BashComplete, "_check_version", staticmethod(lambda: None))


def shell_of(name: str) -> ShellComplete:
    kind = get_completion_class(name)
    assert kind is not None
    return kind(cli, {}, "freezeframe", "_FREEZEFRAME_COMPLETE")


def answers(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], set[str]]:
    """Return the values that a shell gets for words of which the last is unfinished, and kinds."""
    count = len(words.split()) - (not words.endswith(" "))
    monkeypatch.setenv("COMP_WORDS", words)
    # Fish passes the unfinished word itself, the others its number.
    monkeypatch.setenv("COMP_CWORD", words.rpartition(" ")[2] if name == "fish" else str(count))
    shell = shell_of(name)
    completions = shell.get_completions(*shell.get_completion_args())
    assert all(item.value in shell.complete() for item in completions)
    return {item.value for item in completions}, {item.type for item in completions}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("freezeframe ex", {"explore", "extract-features", "explain"}),
        ("freezeframe extract-features --lay", {"--layer", "--layout"}),
        ("freezeframe extract-features --engine ", {"auto", "keras", "mnn", "none"}),
        ("freezeframe store in", {"info"}),
        ("freezeframe leaderboard --format m", {"markdown"}),
    ],
)
def test_three_shells_complete_commands_options_and_choices(
    shell: str, words: str, values: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers(shell, words, monkeypatch) == (values, {"plain"})
    assert "_FREEZEFRAME_COMPLETE" in shell_of(shell).source()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "words",
    [
        "freezeframe run sc",
        "freezeframe run --config sc",
        "freezeframe predict sc",
        "freezeframe compare runs/a sc",
        "freezeframe extract-features --weights sc",
    ],
)
def test_three_shells_complete_files(
    shell: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers(shell, words, monkeypatch)[1] <= {"file", "dir"}
    assert answers(shell, words, monkeypatch)[0] == {"sc"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name, those of `store` among them."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner.name}", inner) for inner in command.commands.values())


def test_every_path_that_a_command_takes_is_completed() -> None:
    kinds = {
        (name, str(option.name)): {item.type for item in option.shell_complete(context, "")}
        for name, command in commands()
        for context in [click.Context(command)]
        for option in command.params
        if PATH_WORDS.search(option.metavar or "")
    }
    assert len(kinds) > 40
    assert {place for place, kind in kinds.items() if not kind & {"file", "dir"}} == NO_PATHS


def test_bash_completes_a_command() -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    # Bash fills these variables and calls the function when a user presses Tab.
    code = (
        f"{SETUP}; COMP_WORDS=(freezeframe ex); COMP_CWORD=1; "
        "$(complete -p freezeframe | sed 's/.*-F \\([^ ]*\\).*/\\1/') freezeframe; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, env=environment
    )
    assert sorted(process.stdout.split()) == ["explain", "explore", "extract-features"]


def test_the_page_has_the_line_that_is_tested() -> None:
    page = (REPOSITORY / "README.md").read_text()
    assert SETUP in page
    assert all(f"{shell}_source" in page for shell in SHELLS)
