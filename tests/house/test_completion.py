"""Shell completion, in a real shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import REPOSITORY

SETUP = 'eval "$(_FREEZEFRAME_COMPLETE=bash_source freezeframe)"'
"""The line of README.md."""


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("freezeframe ex", ["explore", "extract-features", "explain"]),
        ("freezeframe extract-features --lay", ["--layer", "--layout"]),
        ("freezeframe extract-features --engine ''", ["auto", "keras", "mnn", "none"]),
        ("freezeframe store in", ["info"]),
    ],
)
def test_bash_completes_commands_options_and_choices(words: str, completions: list[str]) -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    # Bash fills these variables and calls the function when a user presses Tab.
    code = (
        f"{SETUP}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        "$(complete -p freezeframe | sed 's/.*-F \\([^ ]*\\).*/\\1/') freezeframe; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, env=environment
    )
    assert sorted(process.stdout.split()) == sorted(completions), process.stderr


def test_the_page_has_the_line_that_is_tested() -> None:
    assert SETUP in (REPOSITORY / "README.md").read_text()
