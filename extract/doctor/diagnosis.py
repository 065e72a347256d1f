"""The diagnosis: all checks, whether the main job can run here, and the commands that mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...data.output.version import VERSION
from .check import Check
from .engines import engine_checks, gpu_check, imported_keras_check
from .libraries import Imports, base_checks, library_checks, package_check
from .machine import cores_check, memory_check, processor_check, python_check, system_check
from .probe import Probe
from .requirements import Extra, Library, extras, install_command, required
from .storage import cache_check, keras_folder_check, store_check, temporary_check
from .trial import trial_check
from .weights import weights_check

DIAGNOSIS_SCHEMA = 1
"""Version of the JSON. It increases when a key is renamed, removed, or changes its meaning."""


@dataclass(frozen=True)
class Diagnosis:
    """All checks of this machine.

    Attributes:
        checks: the checks, the machine first.
        extras: the extras for users and their libraries.
    """

    checks: tuple[Check, ...]
    extras: tuple[Extra, ...]

    @property
    def ready(self) -> bool:
        """True if the main job can run: features with the default backbone, and a default head."""
        return not any(check.blocks for check in self.checks)

    @property
    def problems(self) -> list[Check]:
        """Checks with something to mend; those that block the main job come first."""
        with_mend = [check for check in self.checks if check.mend]
        return sorted(with_mend, key=lambda check: not check.blocks)

    def as_json(self) -> dict[str, Any]:
        """Return the diagnosis in the schema that `extract/README.md` documents."""
        checks = [
            {k: v for k, v in asdict(check).items() if k != "extras"} for check in self.checks
        ]
        return {
            "schema": DIAGNOSIS_SCHEMA,
            "version": VERSION,
            "ready": self.ready,
            "mend": list(dict.fromkeys(check.mend for check in self.problems)),
            "checks": checks,
            "extras": [
                {
                    "extra": extra.name,
                    "installed": extra.installed,
                    "libraries": [
                        {"requirement": library.requirement, "version": library.version or None}
                        for library in extra.libraries
                    ],
                }
                for extra in self.extras
            ],
        }


def diagnose(
    *, trial: bool = False, status: Callable[[str], None] = lambda text: None
) -> Diagnosis:
    """Look at this machine, without importing a heavy library in this process.

    Args:
        trial: import all installed libraries, too, and do the main job on drawn images.
        status: called with the current step.
    """
    status("looking at this machine")
    base = required()
    brought = extras()
    # An extra's library is listed once, though several extras bring it.
    optional = list(
        {library.name: library for extra in brought for library in extra.libraries}.values()
    )
    required_here = [*base, *optional]
    # All of them work at the same time; the slowest begins first.
    imports = Imports(base)
    engine_probe = Probe("engine")
    weights_probe = Probe("weights")
    checks = [package_check(), python_check(), system_check(), processor_check()]
    engine = engine_probe.findings()
    checks += [cores_check(engine), memory_check(engine), gpu_check(engine)]
    checks += base_checks(base, imports.failures())
    engines = engine_checks(engine, required_here)
    checks += engines
    weights = weights_probe.findings()
    checks.append(weights_check(weights, required_here))
    with_mnn = engines[0].facts.get("engine") == "mnn"
    checks.append(cache_check(engine, needed=with_mnn))
    checks += [keras_folder_check(weights), store_check(), temporary_check()]
    checks += (
        _optional_checks(optional, status) if trial else library_checks(optional, {}, blocks=False)
    )
    if trial:
        checks.append(trial_check(status))
    return Diagnosis(tuple(with_commands(checks)), tuple(brought))


def _optional_checks(optional: Sequence[Library], status: Callable[[str], None]) -> list[Check]:
    """Import the installed libraries of all extras, and Keras with its backend."""
    status("importing the libraries of extras")
    imports = Imports(optional)
    checks = library_checks(optional, imports.failures(), blocks=False)
    if any(library.name == "keras" and library.version for library in optional):
        status("importing Keras")
        checks.append(imported_keras_check(Probe("keras").findings(), optional))
    return checks


def with_commands(checks: Sequence[Check]) -> list[Check]:
    """Give each check that extras mend its command; one command for all extras that are needed.

    Args:
        checks: the checks, some of which name extras.
    """
    blocking = [check.extras for check in checks if check.blocks]
    needed = tuple(dict.fromkeys(extra for extras in blocking for extra in extras))
    commands = []
    for check in checks:
        if check.extras:
            names = needed if set(check.extras) <= set(needed) else check.extras
            check = replace(check, mend=install_command(names), extras=names)
        commands.append(check)
    return commands
