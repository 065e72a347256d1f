"""Checks of the machine: Python, system, processor, cores and memory."""

from __future__ import annotations

import os
import platform
import re
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rich.filesize import decimal

from ...data.output.capacity import memory_bytes
from ...data.output.terminal import counted
from .check import Check, shell_path
from .probe import Findings
from .requirements import fits_python, python_needed

VECTOR_FEATURES = {
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "avx512_bf16": "AVX-512 bf16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX VNNI",
    "avx2": "AVX2",
    "fma": "FMA",
    # ARM, as Linux names them, and then as macOS does.
    "sve": "SVE",
    "i8mm": "NEON i8mm",
    "bf16": "NEON bf16",
    "asimddp": "NEON dot product",
    "asimd": "NEON",
    "feat_i8mm": "NEON i8mm",
    "feat_bf16": "NEON bf16",
    "feat_dotprod": "NEON dot product",
    "neon": "NEON",
    "avx2_0": "AVX2",
}
"""Names of the vector features that speed up a network, by the system's name in lower case."""

MNN_PROCESS_BYTES = 550_000_000
"""Memory of each process of the engine mnn, as `scripts/benchmarks/benchmark.py` measures it."""

_SYSTEM_SECONDS = 5


def python_check() -> Check:
    """Check the version of Python, and that it has 64 bits."""
    version = platform.python_version()
    needed = python_needed()
    bits = 8 * struct.calcsize("P")
    seen = (
        f"{platform.python_implementation()} {version}, {bits} bits, {shell_path(sys.executable)}"
    )
    facts = {"version": version, "implementation": platform.python_implementation(), "bits": bits}
    if needed and not fits_python(needed):
        return Check(
            "python",
            "broken",
            seen,
            why=f"freezeframe needs Python {needed}",
            mend=f"install Python {needed}, and freezeframe into it",
            blocks=True,
            facts=facts,
        )
    if bits < 64:
        return Check(
            "python",
            "warning",
            seen,
            why="large stores do not fit in 32 bits, and few libraries are built for it",
            mend="install Python of 64 bits, and freezeframe into it",
            facts=facts,
        )
    return Check("python", "ok", seen, facts=facts)


def system_check() -> Check:
    """Name the operating system; none is refused."""
    name = f"{platform.system()} {platform.release()}"
    with suppress(OSError, AttributeError):
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "")
        name = f"{distribution}, {name}" if distribution else name
    facts = {"system": platform.system(), "machine": platform.machine()}
    return Check("system", "ok", f"{name}, {platform.machine()}", facts=facts)


def processor_check() -> Check:
    """Name the processor and its vector features."""
    name, flags = processor()
    features = [text for flag, text in VECTOR_FEATURES.items() if flag in flags]
    facts = {"name": name, "vector_features": features}
    if not flags:
        return Check("processor", "ok", f"{name}, vector features unknown", facts=facts)
    seen = f"{name}, {', '.join(features) or 'no vector feature that helps'}"
    # TensorFlow's and MNN's builds for x86 are compiled for AVX2, or fall back to slow code.
    if platform.machine() in ("x86_64", "AMD64") and "AVX2" not in features:
        return Check(
            "processor",
            "warning",
            seen,
            why="without AVX2 networks are slow, and TensorFlow may not start",
            mend="take another machine, or a virtual machine that passes AVX2 on",
            facts=facts,
        )
    return Check("processor", "ok", seen, facts=facts)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """Return the name of the processor and the system's names of its features.

    Both come from Linux or macOS; elsewhere the name is "unknown" and there are no features.

    Args:
        cpuinfo: Linux's file about processors.
    """
    if platform.system() == "Darwin":
        return _mac_processor()
    text = ""
    with suppress(OSError):
        text = cpuinfo.read_text(errors="replace")
    # ARM has no "model name" and calls its flags features.
    name = re.search(r"^model name\s*:\s*(.*\S)", text, re.MULTILINE | re.IGNORECASE)
    flags = re.search(r"^(?:flags|features)\s*:\s*(.*)", text, re.MULTILINE | re.IGNORECASE)
    return (name[1] if name else platform.machine() or "unknown"), set(
        flags[1].lower().split() if flags else ()
    )


def _mac_processor() -> tuple[str, set[str]]:
    """Ask macOS for the name and the features of its processor."""
    text = ""
    with suppress(OSError, subprocess.SubprocessError):
        text = subprocess.run(
            ["sysctl", "machdep.cpu.brand_string", "hw.optional"],
            capture_output=True,
            text=True,
            timeout=_SYSTEM_SECONDS,
        ).stdout
    name = re.search(r"brand_string: (.*\S)", text)
    # A feature is a line such as hw.optional.arm.FEAT_BF16: 1
    flags = re.findall(r"^hw\.optional\.(?:arm\.)?(\w+): 1$", text, re.MULTILINE)
    return (name[1] if name else "unknown"), {flag.lower() for flag in flags}


def cores_check(findings: Findings) -> Check:
    """Count the cores that this process may use, by its affinity and its container's quota.

    Args:
        findings: those of the probe "engine".
    """
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    usable = findings.facts.get("cores", allowed)
    limits = [f"of {machine}"]
    if allowed < machine:
        limits.append(f"{allowed} by the affinity of the process")
    if usable < allowed:
        limits.append("fewer by the quota of its container or by LOKY_MAX_CPU_COUNT")
    seen = f"{counted(usable, 'core')} for this process ({', '.join(limits)})"
    return Check("cores", "ok", seen, facts={"usable": usable, "machine": machine})


def memory_check(findings: Findings) -> Check:
    """Compare the memory with what the engine mnn takes on all cores.

    Args:
        findings: those of the probe "engine".
    """
    n_bytes = memory_bytes()
    if n_bytes == float("inf"):
        return Check("memory", "ok", "unknown on this system", facts={"bytes": None})
    facts = {"bytes": int(n_bytes)}
    cores = findings.facts.get("cores", 1)
    engine = findings.facts.get("engine", [""])[0]
    workers = max(1, int(n_bytes / MNN_PROCESS_BYTES))
    if engine == "mnn" and workers < cores:
        return Check(
            "memory",
            "warning",
            decimal(int(n_bytes)),
            why=f"the engine mnn takes {decimal(MNN_PROCESS_BYTES)} on each of {cores} cores",
            mend=f"freezeframe extract-features --workers {workers}",
            facts=facts,
        )
    return Check("memory", "ok", decimal(int(n_bytes)), facts=facts)
