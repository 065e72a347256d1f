"""The API reference, without its renderer: what it shows is documented, and its examples run."""

from __future__ import annotations

import doctest
import inspect
import re
from typing import Any

import pytest

import freezeframe

from ..conftest import REPOSITORY, script

reference = script("reference")
MEMBERS: dict[str, Any] = reference.reached()
FUNCTIONS = {
    (owner, name): function
    for owner, member in MEMBERS.items()
    for name, function in reference.methods_of(member).items()
}


def undocumented(function: Any) -> list[str]:
    """Return what a docstring lacks: itself, a parameter, the returned value, or its errors."""
    text = inspect.getdoc(function) or ""
    described = text.partition("Args:")[2]
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    lacking = [
        name
        for name in names
        if not re.search(rf"^\s+(\w+, )*{name}(, \w+)*:", described, re.MULTILINE)
    ]
    source = inspect.getsource(function)
    if re.search(r"^\s+raise \w+(Error)\(", source, re.MULTILINE) and "Raises:" not in text:
        lacking.append("Raises:")
    return lacking if text else ["a docstring"]


@pytest.mark.parametrize("place", FUNCTIONS, ids=".".join)
def test_every_function_of_the_reference_is_documented(place: tuple[str, str]) -> None:
    assert undocumented(FUNCTIONS[place]) == []


def test_every_class_of_the_reference_is_documented() -> None:
    for name, member in MEMBERS.items():
        text = inspect.getdoc(member) or ""
        assert text, name
        if isinstance(member, type) and not issubclass(member, Exception):
            described = text.partition("Args:")[2] + text.partition("Attributes:")[2]
            for parameter in list(inspect.signature(member).parameters):
                assert re.search(rf"\b{parameter}\b.*:", described), (name, parameter)


def test_the_reference_has_the_public_names_and_what_they_return() -> None:
    assert set(freezeframe._PUBLIC) < set(MEMBERS)
    assert ("ReducedSearchCV", "predict_proba") in FUNCTIONS
    assert {"Prediction", "Explanation", "Familiarity", "RowColumns", "LeakError"} < set(MEMBERS)
    # What only other parts of the package use would make promises that nobody means.
    assert {"Settings", "Head", "SharedEngine", "Extent"}.isdisjoint(MEMBERS)


def test_every_public_name_has_an_example_that_runs() -> None:
    programs = "".join(path.read_text() for path in (REPOSITORY / "scripts/examples").glob("*.py"))
    for name in freezeframe._PUBLIC:
        (test,) = doctest.DocTestFinder(recurse=False).find(getattr(freezeframe, name), name)
        runs = any(not line.options.get(doctest.SKIP) for line in test.examples)
        assert runs or re.search(rf"^from freezeframe import .*\b{name}\b", programs, re.M), name


def test_what_is_missing_is_noticed() -> None:
    def bare(rows: int) -> int:
        """Return a row."""
        raise ValueError(rows)

    assert undocumented(bare) == ["rows", "Raises:"]
    assert undocumented(lambda: None) == ["a docstring"]
