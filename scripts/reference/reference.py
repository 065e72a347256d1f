"""Write the API reference with pdoc: one page of the public names and the classes that they return.

usage: python scripts/reference/reference.py FOLDER
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import freezeframe

LEFT_OUT = {"Extent", "SharedEngine"}
"""Classes that `layer_extent` and `shared_engine` return to other parts of the package."""

_AS_IT_IS = inspect.formatannotation

INTRODUCTION = """
The commands are in the READMEs of the rooms. What is not on this page may change.
"""


def public_names() -> list[str]:
    """Return the names that `freezeframe` promises, errors last."""
    errors = [
        name
        for name, value in vars(freezeframe).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return [*freezeframe._PUBLIC, *errors]


def reached() -> dict[str, Any]:
    """Return the public names with their values, then the classes that they reach.

    A class reaches its bases and the types of its fields; its public methods and properties, and a
    function, reach the types that they return.
    """
    members = {name: getattr(freezeframe, name) for name in public_names()}
    waiting = list(members.values())
    while waiting:
        value = waiting.pop(0)
        for kind in _next_to(value):
            if kind not in members.values():
                members[kind.__name__] = kind
                waiting.append(kind)
    return members


def methods_of(value: Any) -> dict[str, Callable[..., Any]]:
    """Return the public functions of a class by name, those behind properties among them.

    A function is its own.
    """
    if not isinstance(value, type):
        return {value.__name__: value}
    functions: dict[str, Callable[..., Any]] = {}
    for name, member in vars(value).items():
        # Properties, class methods and methods of some estimators only have their function inside.
        inner = (getattr(member, place, None) for place in ("fget", "func", "fn", "__func__"))
        function = next(filter(callable, inner), member)
        if callable(function) and not name.startswith("_"):
            functions[name] = function
    return functions


def _next_to(value: Any) -> Iterator[type]:
    """Yield the classes of this package that a class or function reaches in one step."""
    hints = [_hints(function).get("return") for function in methods_of(value).values()]
    if isinstance(value, type):
        yield from filter(_is_own, value.__mro__[1:])
        hints += _hints(value).values()
    for hint in hints:
        yield from _own_classes(hint)


def _hints(value: Any) -> dict[str, Any]:
    """Return the type hints of a class or function; none if they name what is imported late."""
    try:
        return typing.get_type_hints(value)
    except NameError:
        return {}


def _own_classes(hint: Any) -> Iterator[type]:
    """Yield the classes of this package in a type hint, such as list[Prediction]."""
    if _is_own(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _own_classes(part)


def _is_own(value: Any) -> bool:
    own = isinstance(value, type) and value.__module__.startswith("freezeframe.")
    return own and value.__name__ not in LEFT_OUT


def _short(annotation: Any) -> str:
    """Write a type hint as the source has it: NDArray, not all that NumPy makes of it."""
    text = _AS_IT_IS(annotation)
    return re.sub(r"numpy\.ndarray\[tuple\[.*?\], numpy\.dtype\[(.*?)\]\]", r"NDArray[\1]", text)


def _without_directives(function: Callable[..., str]) -> Callable[..., str]:
    """Return a function on docstrings that gets them without remarks to doctest."""
    return lambda text, *rest: function(re.sub(r" *# doctest:.*", "", text), *rest)


def main() -> None:
    """Write the page to the folder that the command line names."""
    import pdoc

    members = reached()
    # pdoc shows what a module lists as its own.
    vars(freezeframe).update(members, __all__=list(members))
    freezeframe.__doc__ = f"{freezeframe.__doc__}{INTRODUCTION}"
    pdoc.doc.formatannotation = _short
    pdoc.docstrings.convert = _without_directives(pdoc.docstrings.convert)
    # A parameter writes its type itself, by the function of this name.
    with unittest.mock.patch.object(inspect, "formatannotation", _short):
        pdoc.render.configure(docformat="google", show_source=False)
        pdoc.pdoc("freezeframe", output_directory=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
