"""Read the package's source: its files, what they import, and the names that they define."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("data", "features", "extract", "classify")
RELATIVE_MODULE = re.compile(r"(\.+)([a-z_][\w.]*)(?::\w+)?")
"""The form of a module in a table of modules, such as ".data.commands.split:split"."""


def package_files(root: Path = ROOT) -> list[Path]:
    """Return the Python files that are installed."""
    return [
        *sorted(root.glob("*.py")),
        *(file for room in ROOMS for file in sorted((root / room).rglob("*.py"))),
    ]


@cache
def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def module_file(parts: tuple[str, ...], root: Path = ROOT) -> Path | None:
    """Return the file of a module of the package, or None if there is no such module."""
    place = root.joinpath(*parts)
    if place.with_suffix(".py").is_file() and parts:
        return place.with_suffix(".py")
    return place / "__init__.py" if (place / "__init__.py").is_file() else None


def imported_modules(file: Path, root: Path = ROOT) -> Iterator[tuple[str, ...]]:
    """Yield the parts of every name that a file imports from the package.

    Imports inside functions, imports for type checking and tables of relative modules count.
    """
    folder = file.relative_to(root).parts[:-1]
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (tuple(name[1:]) for name in names if name[0] == "freezeframe")
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            if node.level:
                base = (*folder[: len(folder) - node.level + 1], *filter(None, module))
            elif module[0] == "freezeframe":
                base = tuple(module[1:])
            else:
                continue
            yield from ((*base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            table_entry = RELATIVE_MODULE.fullmatch(node.value)
            if table_entry:
                base = folder[: len(folder) - len(table_entry[1]) + 1]
                parts = (*base, *table_entry[2].split("."))
                # The ending of a file, such as ".npz", has the form of a module too.
                if module_file(parts, root) is not None:
                    yield parts


def imported_files(file: Path, root: Path = ROOT) -> set[Path]:
    """Return the files of the package that a file imports."""
    imported = set()
    for parts in imported_modules(file, root):
        # The last part is a module, or else a name that the module before it defines.
        target = module_file(parts, root) or module_file(parts[:-1], root)
        if target is not None and target != file:
            imported.add(target)
    return imported


@cache
def arrows(root: Path = ROOT) -> dict[Path, dict[str, set[str]]]:
    """Return, for each folder, which of its places import which others.

    A place is a file or a folder. An import between two files counts in the folder where their
    paths part, between the two places that hold them.
    """
    halls: dict[Path, dict[str, set[str]]] = {}
    for file in package_files(root):
        for target in imported_files(file, root):
            own, other = file.relative_to(root).parts, target.relative_to(root).parts
            depth = next(
                i for i, pair in enumerate(zip(own, other, strict=False)) if len(set(pair)) > 1
            )
            hall = halls.setdefault(root.joinpath(*own[:depth]), {})
            hall.setdefault(own[depth], set()).add(other[depth])
    return halls


def defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines or imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def strings(file: Path) -> Iterator[str]:
    """Yield the strings in a file of Python, docstrings among them."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
