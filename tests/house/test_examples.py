"""The examples in docstrings run and print what they show."""

from __future__ import annotations

import doctest
import importlib
import types
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

NOT_RUN = {
    "freezeframe.classify.fit.fitting",
    "freezeframe.classify.prediction.predictor",
    "freezeframe.features.archive.restoration",
    "freezeframe.features.rows.feature_rows",
    "freezeframe.features.store",
}
"""Modules whose examples are all skipped: they need a backbone or a finished store."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name in NOT_RUN


def test_every_public_name_has_an_example() -> None:
    for name, module in freezeframe._PUBLIC.items():
        assert f"freezeframe{module}" in MODULES
        assert ">>>" in (getattr(freezeframe, name).__doc__ or ""), name


def test_a_wrong_example_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("wrong", ">>> 1 + 1\n3")
    assert doctest.testmod(module) == (1, 1)
    assert "Expected:\n    3\nGot:\n    2" in capsys.readouterr().out
