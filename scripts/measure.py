"""Run a command and print its wall-clock seconds and its peak memory. usage: python scripts/measure.py COMMAND ...

The largest process counts, not the sum of all. Where README tells memory or a command's whole time, this printed it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time


def main() -> None:
    """Run the command line's command and end with its exit code."""
    start = time.perf_counter()
    code = subprocess.run(sys.argv[1:]).returncode
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    megabytes = peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
    print(f"{seconds:.1f} s, peak memory {megabytes:.0f} MB: {' '.join(sys.argv[1:])}")
    sys.exit(code)


if __name__ == "__main__":
    main()
