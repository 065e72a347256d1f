"""Checks of what computes features: GPU, Keras with its backends, MNN, and the choice of auto."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..engines.packages import package_version
from .check import Check, shell_path
from .libraries import failure_check
from .probe import Failure, Findings
from .requirements import Library

SETUP = ("cpu", "offline")
"""Extras that make the main job possible on a machine without an NVIDIA GPU."""

GPU_SETUP = ("gpu", "offline")
"""Extras that make it possible on a machine with one."""


def gpu_check(findings: Findings) -> Check:
    """Check if an NVIDIA GPU is seen, and if Keras would use it.

    Args:
        findings: those of the probe "engine".
    """
    gpu = findings.facts.get("gpu")
    if gpu is None:
        return Check("gpu", "warning", "not known: see the other checks", facts={"megabytes": None})
    facts = {"megabytes": gpu["megabytes"], "used": gpu["usable_megabytes"] > 0}
    seen = f"NVIDIA GPU with {gpu['megabytes']} MB"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if facts["used"]:
        return Check("gpu", "ok", f"{seen}, used by keras", facts=facts)
    if gpu["megabytes"]:
        return Check(
            "gpu",
            "warning",
            f"{seen}, not used",
            why="the TensorFlow here is a build for CPUs, or Keras has no backend",
            extras=("gpu",),
            facts=facts,
        )
    if hidden:
        return Check("gpu", "ok", "hidden by CUDA_VISIBLE_DEVICES", facts=facts)
    if shutil.which("nvidia-smi"):
        return Check(
            "gpu",
            "broken",
            "nvidia-smi is installed, but reports no GPU",
            why="the driver does not answer, or has no GPU; the CPU computes meanwhile",
            mend="run nvidia-smi, which names the reason; restart the machine or its driver",
            facts=facts,
        )
    return Check("gpu", "ok", "no NVIDIA GPU is seen; the CPU computes", facts=facts)


def engine_checks(findings: Findings, libraries: Sequence[Library]) -> list[Check]:
    """Return the checks of MNN, of Keras, and of the engine that `auto` chooses.

    Args:
        findings: those of the probe "engine".
        libraries: libraries among which a broken module's distribution is sought first.
    """
    gpu = findings.facts.get("gpu") or {}
    setup = GPU_SETUP if gpu.get("megabytes") else SETUP
    engine = _engine_check(findings, libraries, setup)
    return [engine, _mnn_check(engine), _keras_check(findings, engine, setup)]


def _engine_check(
    findings: Findings, libraries: Sequence[Library], setup: tuple[str, ...]
) -> Check:
    """Check that the engine of `auto` starts."""
    engine, reason = findings.facts.get("engine", ("", ""))
    facts = {"engine": engine or None, "reason": reason}
    if "started" in findings.facts:
        return Check("engine", "ok", f"auto takes {engine}: {reason}", facts=facts)
    # A failure before the choice hides the choice; the first one says most.
    failure = next(iter(findings.failures.values()), Failure("the probe gave no answer"))
    failure = findings.failures.get("started", failure)
    wanted_backend = os.environ.get("KERAS_BACKEND")
    if failure.kind == "ParameterError" or (failure.kind == "MissingExtraError" and wanted_backend):
        seen = f"KERAS_BACKEND is {wanted_backend}, which is not installed or no backend of Keras"
        why = "auto takes the engine keras on this backend, because the variable is set"
        return Check("engine", "broken", seen, why, "unset KERAS_BACKEND", (), True, facts)
    if failure.kind == "MissingExtraError":
        why = "neither MNN nor Keras with a backend is installed, so no features can be computed"
        return Check("engine", "missing", "no engine is installed", why, "", setup, True, facts)
    module = {"mnn": "MNN", "keras": findings.facts.get("backend", "keras")}.get(engine, "numpy")
    check = failure_check("engine", module, failure, libraries, blocks=True)
    why = f"auto takes the engine {engine}, and it does not start" if engine else check.why
    if engine == "mnn" and "backend" in findings.facts:
        why += "; meanwhile --engine keras computes, half as fast"
    check = replace(check, why=why, facts=facts | dict(check.facts))
    return _with_settings_mended(check, failure)


def _with_settings_mended(check: Check, failure: Failure) -> Check:
    """Return the check of a broken Keras; if its keras.json is to blame, with how to mend that."""
    # Keras reads its settings when it is imported, and refuses wrong values.
    if failure.library == "keras" and Path(failure.place).name == "config.py":
        home = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
        mend = f"rm {shell_path(Path(home) / 'keras.json')}"
        return replace(check, why="keras.json has a value that Keras refuses", mend=mend)
    return check


def _mnn_check(engine: Check) -> Check:
    """Name the versions of MNN and ONNX; it is broken if `auto` takes it and it does not start."""
    versions = {name: package_version(name) for name in ("MNN", "onnx")}
    facts = {"versions": versions}
    chosen = engine.facts["engine"]
    missing = [name for name, version in versions.items() if not version]
    if chosen == "mnn" and engine.status != "ok":
        return replace(engine, code="mnn", blocks=False, facts=facts)
    if not missing:
        seen = ", ".join(f"{name} {version}" for name, version in versions.items())
        return Check("mnn", "ok", seen, facts=facts)
    seen = f"{' and '.join(missing)} not installed"
    if engine.facts["reason"] == "an NVIDIA GPU is seen":
        return Check("mnn", "ok", f"{seen}; keras on the GPU is faster", facts=facts)
    why = "the engine mnn is twice as fast as keras on a CPU"
    return Check("mnn", "missing", seen, why, extras=("cpu",), facts=facts)


def _keras_check(findings: Findings, engine: Check, setup: tuple[str, ...]) -> Check:
    """Name Keras and its backends, and the one that would be taken."""
    installed = findings.facts.get("backends") or {}
    versions = {name: _version(name) for name, present in installed.items() if present}
    backend = findings.facts.get("backend")
    facts = {"versions": versions, "backend": backend}
    names = [f"{name} {version}".strip() for name, version in versions.items()]
    seen = ", ".join(names)
    failure = findings.failures.get("backend")
    if engine.mend == "unset KERAS_BACKEND":
        return replace(engine, code="keras", blocks=False, facts=facts)
    if failure and failure.kind == "MissingExtraError":
        why = "fit-cnn and the heads that are networks need Keras with a backend"
        seen = f"{seen}; no backend" if installed.get("keras") else "not installed"
        return Check("keras", "missing", seen, why, extras=setup[:1], facts=facts)
    if engine.facts["engine"] == "keras" and engine.status != "ok":
        return replace(engine, code="keras", blocks=False, facts=facts)
    if not backend:
        return Check("keras", "warning", "not known: see the other checks", facts=facts)
    return Check("keras", "ok", f"{seen} installed; backend {backend}", facts=facts)


def _version(name: str) -> str:
    """Return the version of Keras or a backend; TensorFlow's CPU build has another name."""
    return package_version(name) or package_version(f"{name}-cpu")


def imported_keras_check(findings: Findings, libraries: Sequence[Library]) -> Check:
    """Check that Keras can be imported with its backend.

    Args:
        findings: those of the probe "keras".
        libraries: libraries among which a broken module's distribution is sought first.
    """
    failure = next(iter(findings.failures.values()), None)
    if failure is None:
        devices = findings.facts.get("keras", "")
        return Check(
            "keras-import", "ok", f"Keras computes on {devices}", facts={"devices": devices}
        )
    check = failure_check("keras-import", "keras", failure, libraries, blocks=False)
    return _with_settings_mended(check, failure)
