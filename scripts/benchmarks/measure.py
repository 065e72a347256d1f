"""Run a command and print its wall-clock seconds and its peak memory.

usage: python scripts/benchmarks/measure.py COMMAND ...

Peak memory is the largest sum over the command's processes, looked at five times a second. A page
that several processes share counts in parts (Linux's Pss). The memory and whole times of commands
on the rooms' pages were printed by this script. Needs /proc.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def family(root: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile.
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children.get(process, [])


def memory(process: int) -> float:
    """Return the memory of a process now, in MB; a shared page counts in parts."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1e3
    return 0.0


def main() -> None:
    """Run the command that the command line names and end with its exit code."""
    start = time.perf_counter()
    peak = 0.0
    process = subprocess.Popen(sys.argv[1:])
    while process.poll() is None:
        peak = max(peak, sum(map(memory, family(process.pid))))
        time.sleep(0.2)
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s, peak memory {peak:.0f} MB: {' '.join(sys.argv[1:])}")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
