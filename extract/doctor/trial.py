"""The trial: the main job itself, on drawn images, in processes with a time limit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from .check import Check

TRIAL_COMMANDS = (
    ("make-demo-images", "images", "--per-class", "10"),
    ("extract-features", "images"),
    ("fit-classifier",),
)
"""The commands of the trial. They name no engine and no head: the defaults are what is tried."""

TRIAL_SECONDS = 300
"""Seconds after which a command of the trial is killed; a slow machine takes 20 s for all."""


def trial_check(status: Callable[[str], None]) -> Check:
    """Draw 20 images, compute their features and fit a head, in a temporary folder.

    Args:
        status: called with the command that begins.
    """
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="freezeframe-doctor-") as folder:
            for command in TRIAL_COMMANDS:
                status(f"trying {command[0]}")
                if error := _error(command, folder):
                    return _failed(command[0], error)
    except OSError as error:
        return _failed(TRIAL_COMMANDS[0][0], str(error))
    seconds = time.monotonic() - start
    seen = f"20 drawn images were extracted and a head was fitted in {seconds:.0f} s"
    return Check("job", "ok", seen, facts={"seconds": round(seconds, 1)})


def _failed(command: str, error: str) -> Check:
    """Return the check of a trial that failed."""
    why = f"{command} fails here on drawn images"
    mend = f"mend the other checks first, or see what {command} says"
    return Check("job", "broken", f"{command}: {error}", why, mend, (), True)


def _error(command: tuple[str, ...], folder: str) -> str:
    """Run a command in a folder; return its last line if it fails, else no text."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "freezeframe", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {TRIAL_SECONDS} s"
    if done.returncode == 0:
        return ""
    last = done.stderr.strip().rpartition("\n")[2]
    return last.removeprefix("error: ") or f"exit code {done.returncode}"
