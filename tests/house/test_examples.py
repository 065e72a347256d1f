"""The examples in docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import freezeframe

PACKAGE = Path(freezeframe.__file__).parent
MODULES = sorted(
    ".".join(["freezeframe", *file.relative_to(PACKAGE).with_suffix("").parts])
    for room in ("data", "features", "extract", "classify")
    for file in (PACKAGE / room).rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)

NOTHING_TO_RUN = (
    "classify.fit.fitting",
    "classify.predict",
    "features.archive.restoration",
    "features.rows",
    "features.store",
)
"""Modules whose examples need a backbone or a finished store."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name.removeprefix("freezeframe.") in NOTHING_TO_RUN


def test_modules_with_examples_are_found() -> None:
    assert len(MODULES) > 8
