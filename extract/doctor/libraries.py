"""Checks of libraries: versions against the metadata, imports, and what extras would bring."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ...data.output.terminal import first_names
from ...data.output.version import VERSION
from ..engines.packages import package_version
from .check import Check, shell_path
from .probe import Failure, Probe
from .requirements import (
    PACKAGE,
    Library,
    distributions_of,
    install_command,
    is_place_of,
    module_of,
    pip,
    reinstall_command,
)

ROOT = Path(__file__).resolve().parents[2]
"""Folder of this package."""

_SELDOM_IMPORTED = frozenset({"keras"})
"""Modules that are imported in another way: Keras needs a backend first."""


def package_check() -> Check:
    """Compare the version of this package with that of its metadata."""
    installed = package_version(PACKAGE)
    seen = f"{VERSION}, {shell_path(ROOT)}"
    facts = {"version": VERSION, "installed_version": installed}
    if installed == VERSION:
        return Check("freezeframe", "ok", seen, facts=facts)
    state = f"pip knows version {installed}" if installed else "pip knows of no installation"
    return Check(
        "freezeframe",
        "warning",
        f"{seen}; {state}",
        why="the libraries that are needed are read from the installed version",
        mend=install_command(),
        facts=facts,
    )


class Imports:
    """Imports of libraries in a child process, which works in the background.

    Args:
        libraries: the libraries; those that are not installed are left out.
    """

    def __init__(self, libraries: Sequence[Library]) -> None:
        modules = {module_of(library.name) for library in libraries if library.version}
        self._modules = sorted(modules - {""} - _SELDOM_IMPORTED)
        self._probe = Probe("imports", self._modules)

    def failures(self) -> dict[str, Failure]:
        """Wait for the imports; return the failures by the module that is to blame."""
        failures: dict[str, Failure] = {}
        for module, failure in _failures(self._modules, self._probe).items():
            # A library that requires a broken one fails, too, but is not to blame.
            failures.setdefault(failure.library or module, failure)
        return failures


def _failures(modules: Sequence[str], probe: Probe) -> dict[str, Failure]:
    """Return the failures of a probe, and of probes that follow it if its process died."""
    findings = probe.findings()
    n_tried = len(findings.facts) + len(findings.failures)
    rest = modules[n_tried:]
    if not rest or "start" in findings.failures:
        return findings.failures
    return findings.failures | _failures(rest, Probe("imports", rest))


def library_checks(
    libraries: Sequence[Library], failures: Mapping[str, Failure], *, blocks: bool
) -> list[Check]:
    """Return a check for each kind of problem that libraries have.

    Args:
        libraries: the libraries that are required.
        failures: failures of their imports, by the module that is to blame.
        blocks: True if the main job cannot run without these libraries.
    """
    checks = []
    missing = [library for library in libraries if not library.version]
    if missing and blocks:
        names = first_names([library.name for library in missing])
        why = "every command needs the libraries of the base installation"
        checks.append(
            Check("libraries-missing", "missing", names, why, install_command(), (), True)
        )
    old = [library for library in libraries if library.version and not library.fits]
    if old:
        seen = [f"{library.name} {library.version}, needed is {library.needed}" for library in old]
        command = shlex.join([library.requirement for library in old])
        checks.append(
            Check(
                "libraries-version",
                "warning",
                first_names(seen),
                why="this version was never tested, and may compute or print something else",
                mend=f"{pip()} install {command}",
            )
        )
    for module, failure in failures.items():
        checks.append(failure_check("libraries-broken", module, failure, libraries, blocks=blocks))
    return checks


def failure_check(
    code: str, module: str, failure: Failure, libraries: Sequence[Library], *, blocks: bool
) -> Check:
    """Return the check of a module that cannot be imported.

    Args:
        code: code of the check.
        module: the module that is to blame, or that was imported if none is.
        failure: what happened.
        libraries: libraries among which the module's distribution is sought first.
        blocks: True if the main job cannot run without it.
    """
    module = failure.library or module
    names = distributions_of(module, libraries)
    why = f"{module} is installed, but cannot be imported"
    mend = reinstall_command(names or [module])
    origin = failure.place or _origin(module)
    if origin and not any(is_place_of(name, origin) for name in names):
        file = Path(origin)
        # A package is a folder, which may be far above the file.
        place = shell_path(next((path for path in file.parents if path.name == module), file))
        why = f"{module} is read from {place}, where pip did not install it"
        mend = f"rename {place}, or take the folder that holds it out of PYTHONPATH"
    facts = {"module": module, "error": failure.error, "file": origin}
    return Check(code, "broken", f"{module}: {failure.error}", why, mend, (), blocks, facts)


def _origin(module: str) -> str:
    """Return the file of a module that ended its process before it could be seen; "" if unknown."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return ""
    return (spec.origin or "") if spec else ""


def base_checks(libraries: Sequence[Library], failures: Mapping[str, Failure]) -> list[Check]:
    """Return the problems of the base installation's libraries, or one check that is ok.

    Args:
        libraries: the libraries that the base requires.
        failures: failures of their imports, by the module that is to blame.
    """
    if problems := library_checks(libraries, failures, blocks=True):
        return problems
    seen = "not known: freezeframe is not installed"
    if libraries:
        seen = f"all {len(libraries)} of the base installation can be imported"
    return [Check("libraries", "ok", seen)]
