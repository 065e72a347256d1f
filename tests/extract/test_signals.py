"""Ctrl-C, pressed more often than needed, on a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..conftest import fast_environment

SLOW_DECODING = """
import time
from freezeframe.extract import pipeline

load = pipeline.load_image

def load_slowly(*arguments):
    print("decodes", flush=True)
    time.sleep(0.7)
    return load(*arguments)

pipeline.load_image = load_slowly
from freezeframe.__main__ import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize(
    "pauses",
    [
        (0.1, 0.02),
        pytest.param((0.1, 0.1), marks=pytest.mark.slow),
        pytest.param((0.05, 0.3), marks=pytest.mark.slow),
        (0.1, 0.9),
    ],
    ids=str,
)
def test_a_third_ctrl_c_prints_no_traceback(
    folder: Path, tmp_path: Path, pauses: tuple[float, float]
) -> None:
    """The second ends the run at once; the third comes while threads that decode end."""
    options = ["--backbone", "pixels-16", "--layer", "pixels", "--output", tmp_path / "a.h5"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_DECODING, "extract-features", folder, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=fast_environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "decodes\n"
    for pause in (0.2, *pauses):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
