"""Measure whole audits of pictures that look alike, and of real sets.

usage: python scripts/benchmarks/duplicates.py [--smooth 500,1000,2000,5000] [--files 20000]
                                               [--limit 900] [SET ...]

Writes 64 x 64 PNGs of smooth noise into a temporary folder, once for each number of --smooth; and
--files PNGs of smooth noise and of drawn heads, of which half are edits of the other half. Then
`freezeframe audit` runs on each folder, and on each SET (several folders with a comma between them
are audited against each other), with an empty cache. Prints the processor, and for each audit the
seconds, the seconds of all cores, the peak memory (see measure.py), and the pairs nearly the same.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
from duplicate_check import synthetic
from measure import family, memory

SMOOTHNESS = 4
"""Standard deviation of the Gaussian that smooths the noise, in pixels."""


def smooth_noise(n: int) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures of smooth noise, from black to white, all different."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        picture = gaussian_filter(rng.normal(size=(64, 64)), SMOOTHNESS)
        picture -= picture.min()
        yield (255 * picture / picture.max()).astype(np.uint8)


def write_folder(folder: Path, pictures: Iterator[NDArray[np.uint8]]) -> Path:
    """Write pictures as PNGs of two classes."""
    for number, picture in enumerate(pictures):
        path = folder / ("ab"[number % 2]) / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def processor() -> str:
    """Return the name of the processor, as Linux names it, and the number of its cores."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} cores"


def cpu_of_children() -> float:
    """Return the seconds of all cores that finished child processes took so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def audit(title: str, folders: list[Path], limit: int) -> str:
    """Audit folders with an empty cache and return a row of the table."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "freezeframe", "audit", str(folders[0])]
        for folder in folders[1:]:
            command += ["--against", str(folder)]
        command += ["--output", f"{place}/audit"]
        start = time.perf_counter()
        cpu = cpu_of_children()
        peak = 0.0
        with Path(f"{place}/log").open("w") as log:
            process = subprocess.Popen(
                ["timeout", str(limit), *command],
                stdout=log,
                stderr=log,
                cwd=place,
                env=os.environ | {"XDG_CACHE_HOME": f"{place}/cache"},
            )
            while process.poll() is None:
                peak = max(peak, sum(map(memory, family(process.pid))))
                time.sleep(0.1)
        seconds = time.perf_counter() - start
        numbers = f"{seconds:.1f} | {cpu_of_children() - cpu:.1f} | {peak:.0f} MB"
        table = Path(f"{place}/audit/audit.csv")
        if not table.exists():
            code = process.returncode
            outcome = f"not done in {limit} s" if code == 124 else f"exit code {code}"
            return f"| {title} | {numbers} | {outcome} |"
        with table.open(newline="") as file:
            near = sum("nearly the same" in row.values() for row in csv.DictReader(file))
    return f"| {title} | {numbers} | {near} |"


def main() -> None:
    """Parse the command line, and print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--smooth", default="500,1000,2000,5000")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--limit", type=int, default=900, help="most seconds of an audit")
    options = parser.parse_args()
    print(processor())
    print("| images | seconds | of all cores | peak memory | pairs nearly the same |")
    print("|---|---:|---:|---:|---:|")
    for names in options.sets:
        folders = [Path(name).resolve() for name in names.split(",")]
        title = " against ".join(f"`{folder.name}`" for folder in folders)
        print(audit(title, folders, options.limit), flush=True)
    sizes = [int(size) for size in options.smooth.split(",") if size]
    jobs = [(f"{size:,} of smooth noise", smooth_noise(size)) for size in sizes]
    if options.files:
        jobs += [
            (f"{options.files:,} drawn heads", iter(synthetic(options.files)[0])),
            (f"{options.files:,} of smooth noise", smooth_noise(options.files)),
        ]
    for title, pictures in jobs:
        with tempfile.TemporaryDirectory() as place:
            folder = write_folder(Path(place), pictures)
            print(audit(title, [folder], options.limit), flush=True)


if __name__ == "__main__":
    main()
