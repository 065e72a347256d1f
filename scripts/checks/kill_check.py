"""Kill an extraction at random moments, continue each time, and compare it with an undisturbed one.

usage: python scripts/checks/kill_check.py FOLDER [--kills 10] [--seed 0]
       -- [options of extract-features]

Prints how many rows were finished at each kill (by SIGKILL). Fails with exit code 1 unless every
row's checksums, fingerprint and near-duplicate group equal those of the uninterrupted run, and no
finished row was written again. To see that, finished rows get a mark in their `width` after each
kill: computing a row overwrites it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from freezeframe import FeatureStore, StoreError
from freezeframe.features.checksums.facts import fact_checksum
from freezeframe.features.layout import DONE

MARK = 1_000_000


def command(folder: str, output: Path, options: list[str]) -> list[str]:
    """Return the command line of one extraction."""
    return [
        sys.executable,
        "-m",
        "freezeframe",
        "extract-features",
        folder,
        "--output",
        str(output),
        *options,
    ]


def kill_once(arguments: list[str], seconds: float) -> bool:
    """Run an extraction, kill it after some seconds, and return whether it was still running."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def time_whole(arguments: list[str], output: Path) -> tuple[float, float]:
    """Run an extraction undisturbed; return the seconds until its first rows and from then on."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    first = 0.0
    while process.poll() is None:
        with suppress(StoreError):
            if not first and len(FeatureStore(output).rows()):
                first = time.perf_counter() - start
        time.sleep(0.02)
    if process.returncode:
        sys.exit("the undisturbed run failed")
    end = time.perf_counter() - start
    return first or end, end - (first or end)


def mark_finished(output: Path) -> int:
    """Mark the finished rows and return their number."""
    try:
        rows = FeatureStore(output).rows()
    except StoreError:
        # The process was killed before the store had its name.
        return 0
    with h5py.File(output, "r+") as file:
        digests = file["rows/sha256"][...]
        heights = file["rows/height"][...]
        mark = np.array(MARK, "<u4").tobytes()
        for row in rows:
            # A marked row must look as if it was written like this.
            facts = (bytes([DONE]), mark, heights[row].tobytes())
            file["rows/width"][row] = MARK
            file["rows/status_checksum"][row] = fact_checksum(digests[row], *facts)
    return len(rows)


def check(folder: str, kills: int, seed: int, options: list[str]) -> list[str]:
    """Run the whole check and return what was wrong."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole.h5"
        killed = Path(place) / "killed.h5"
        startup, work = time_whole(command(folder, whole, options), whole)
        marked = np.zeros(len(FeatureStore(whole)), dtype=bool)
        for number in range(1, kills + 1):
            # With this bound nearly all kills come before the last row.
            delay = chance.uniform(0, startup + 2 * work / kills)
            running = kill_once(command(folder, killed, options), delay)
            finished = mark_finished(killed)
            event = "killed" if running else "had ended by itself"
            rows = f"{finished} of {len(marked)} rows finished"
            print(f"{number}. {event} after {delay:.2f} s: {rows}", flush=True)
            if finished:
                marked[FeatureStore(killed).rows()] = True
        subprocess.run(command(folder, killed, options), check=True)
        return compare(FeatureStore(whole), FeatureStore(killed), marked)


def compare(whole: FeatureStore, killed: FeatureStore, marked: np.ndarray) -> list[str]:
    """Return the differences between the two stores that should not be."""
    wrong = []
    for layer in whole.layers:
        different = int((whole.checksums(layer) != killed.checksums(layer)).sum())
        wrong += [f"{different} rows of {layer} differ"] * bool(different)
    if killed.fingerprint != whole.fingerprint:
        wrong.append("the fingerprints differ")
    for name in ("pixels", "duplicates"):
        different = int((getattr(whole, name) != getattr(killed, name)).sum())
        wrong += [f"{different} rows have other {name}"] * bool(different)
    if not np.array_equal(whole.thumbnails(whole.rows()), killed.thumbnails(killed.rows())):
        wrong.append("the thumbnails differ")
    wrong += [f"{len(killed.verify())} checksums do not match their features"] * bool(
        killed.verify()
    )
    again = int((killed.widths[marked] != MARK).sum())
    wrong += [f"{again} finished rows were computed again"] * bool(again)
    return wrong


def main() -> None:
    """Parse the command line and run the check."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments[:end])
    wrong = check(options.folder, options.kills, options.seed, arguments[end + 1 :])
    print("\n".join(wrong) or "equal to the uninterrupted run; no finished row was computed again")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
