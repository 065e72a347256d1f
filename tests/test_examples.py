"""The examples in docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import freezeframe

PACKAGE = Path(freezeframe.__file__).parent
MODULES = sorted(
    ".".join(["freezeframe", room, file.stem])
    for room in ("data", "features", "extract", "classify")
    for file in (PACKAGE / room).glob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    # Only what needs a backbone or a finished store may show what cannot run here.
    assert result.attempted > 0 or name in ("freezeframe.classify.fit", "freezeframe.classify.predict")


def test_modules_with_examples_are_found() -> None:
    assert len(MODULES) > 8
