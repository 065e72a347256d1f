"""The libraries that this package and its extras require, read from the installed metadata.

Nothing is imported but `packaging`, so libraries that are broken can be read, too.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..engines.packages import package_version
from .check import shell_path

PACKAGE = "freezeframe"

DEVELOPER_EXTRAS = frozenset({"test"})
"""Extras for those who change this package; users need none of their libraries."""


@dataclass(frozen=True)
class Library:
    """A library that this package or an extra requires.

    Attributes:
        name: name of the distribution, as pip knows it.
        options: its own extras that are needed, such as "[and-cuda]"; mostly empty.
        needed: the versions that are needed, such as ">=3.1"; empty if any version is.
        version: the installed version; empty if it, or a library of its own extras, is missing.
    """

    name: str
    options: str
    needed: str
    version: str

    @property
    def fits(self) -> bool:
        """True if it is installed in a version that is needed."""
        return bool(self.version) and SpecifierSet(self.needed).contains(self.version, True)

    @property
    def requirement(self) -> str:
        """Its name and the versions that are needed, as pip takes them."""
        return self.name + self.options + self.needed


@dataclass(frozen=True)
class Extra:
    """An extra and the libraries that it installs on this machine."""

    name: str
    libraries: tuple[Library, ...]

    @property
    def installed(self) -> bool:
        """True if no library is missing."""
        return all(library.version for library in self.libraries)


def required(extra: str = "") -> list[Library]:
    """Return the libraries that an extra, or else the base installation, requires here.

    Empty if this package is not installed but run from its source.
    """
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return []
    return [_library(requirement) for requirement in _requirements(distribution, extra)]


def _requirements(distribution: metadata.Distribution, extra: str) -> list[Requirement]:
    """Return what a distribution requires here for an extra, or for "" without one."""
    parsed = [Requirement(line) for line in distribution.requires or ()]
    return [
        requirement
        for requirement in parsed
        # With an extra, the requirements of the base are not repeated.
        if ("extra" in str(requirement.marker or "")) == bool(extra)
        and (requirement.marker is None or requirement.marker.evaluate({"extra": extra}))
    ]


def _library(requirement: Requirement) -> Library:
    """Look a requirement up among the installed distributions."""
    options = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    name = requirement.name
    # A full build has the same modules as its CPU build, so one serves for the other.
    for build in (name, name.removesuffix("-cpu")):
        if version := package_version(build):
            name = build
            break
    complete = version and all(
        package_version(inner.name)
        for extra in requirement.extras
        for inner in _requirements(metadata.distribution(name), extra)
    )
    return Library(name, options, str(requirement.specifier), version if complete else "")


def extras() -> list[Extra]:
    """Return the extras for users, in the order of the metadata."""
    try:
        names = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return [Extra(name, tuple(required(name))) for name in names if name not in DEVELOPER_EXTRAS]


def python_needed() -> str:
    """Return the versions of Python that this package needs; "" if that is unknown."""
    try:
        return str(metadata.metadata(PACKAGE).json.get("requires_python", ""))
    except metadata.PackageNotFoundError:
        return ""


def fits_python(needed: str) -> bool:
    """Return True if this Python is one of the versions that are needed."""
    try:
        return SpecifierSet(needed).contains(".".join(map(str, sys.version_info[:3])))
    except InvalidSpecifier:
        return True


def module_of(name: str) -> str:
    """Return the name of the module that a distribution installs; "" if that is unknown."""
    try:
        distribution = metadata.distribution(name)
        record = distribution.read_text("RECORD") or ""
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return ""
    modules = re.findall(r"^(\w+)(?:/__init__)?\.py,", record, re.MULTILINE)
    # "scikit-learn" installs sklearn, "MNN" installs MNN: the same name comes first.
    plain = name.removesuffix("-cpu").replace("-", "_").lower()
    public = [module for module in modules if not module.startswith("_")]
    return next((module for module in public if module.lower() == plain), "") or (
        public[0] if public else ""
    )


def pip() -> str:
    """Return the command that runs the pip of this Python: `pip`, or this Python with -m pip."""
    command = shutil.which("pip")
    beside = Path(sys.executable).parent
    if command and Path(command).parent == beside:
        return "pip"
    return f"{shell_path(sys.executable)} -m pip"


def install_command(names: Sequence[str] = ()) -> str:
    """Return the command that installs this package with extras, from where it came from."""
    source, editable = _source()
    option = "--editable " if editable else ""
    chosen = f"[{','.join(names)}]" if names else ""
    return f"{pip()} install {option}{shlex.quote(source + chosen)}"


def reinstall_command(names: Sequence[str]) -> str:
    """Return the command that installs libraries again, with what they require."""
    return f"{pip()} install --force-reinstall {shlex.join(names)}"


def distributions_of(module: str, libraries: Sequence[Library]) -> list[str]:
    """Return the distributions that install a module, first sought among some libraries."""
    names = [library.name for library in libraries if module_of(library.name) == module]
    # All distributions are read only if these libraries do not have it: that takes seconds.
    return names or list(metadata.packages_distributions().get(module, []))


def is_place_of(name: str, file: str) -> bool:
    """Return True if a file is where a distribution is installed."""
    try:
        folder = Path(str(metadata.distribution(name).locate_file("")))
    except metadata.PackageNotFoundError:
        return False
    return Path(file).is_relative_to(folder.resolve()) or Path(file).is_relative_to(folder)


def _source() -> tuple[str, bool]:
    """Return where this package was installed from, and if the installation is editable."""
    try:
        text = metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}"
        origin = json.loads(text)
        path = Path(url2pathname(urlsplit(origin["url"]).path))
        # A folder or a file that was moved cannot be installed from again.
        if path.exists():
            return str(path), bool(origin.get("dir_info", {}).get("editable"))
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError, AttributeError):
        pass
    return PACKAGE, False
