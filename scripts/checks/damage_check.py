"""Damage a feature store at random places and read it with freezeframe and with the HDF5 library.

usage: python scripts/checks/damage_check.py STORE [--times 1000] [--seed 0]

STORE should be small; it is not changed. Needs a system that can fork.

Each read is a process of its own. Prints how often each reader read the file, refused it, crashed,
or did not end. Fails with exit code 1 if freezeframe crashed or did not end. (The HDF5 library does
both, which is why freezeframe has a reader of its own.)
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py

from freezeframe import FeatureStore, StoreError

SECONDS = 3
"""Seconds after which a read counts as endless; a read of the whole file takes milliseconds."""

OUTCOMES = ("read", "refused", "crashed", "did not end")


def with_freezeframe(path: Path) -> None:
    """Read everything through FeatureStore; any error but its own is a crash."""
    try:
        store = FeatureStore(path)
        store.verify()
        store.thumbnails(store.pixels != "")
    except StoreError:
        raise
    except BaseException:
        os.abort()


def with_hdf5(path: Path) -> None:
    """Read everything through h5py."""
    with h5py.File(path, "r") as file:
        for group in file.values():
            dict(group.attrs)
            for dataset in group.values():
                dataset[...]


def outcome_of(read: Callable[[Path], None], path: Path) -> str:
    """Return what happens to a process that reads the file."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        # The default action ends the process even inside a C library.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            read(path)
        except Exception:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "did not end" if os.WTERMSIG(status) == signal.SIGALRM else "crashed"
    return ("read", "refused")[os.WEXITSTATUS(status)]


def main() -> None:
    """Parse the command line, damage the store many times, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    whole = options.store.read_bytes()
    chance = random.Random(options.seed)
    readers = {"freezeframe": with_freezeframe, "HDF5 library": with_hdf5}
    counts = {name: Counter[str]() for name in readers}
    with tempfile.TemporaryDirectory() as place:
        damaged = Path(place) / "damaged.h5"
        for _ in range(options.times):
            start = chance.randrange(len(whole))
            length = chance.randint(1, 8)
            byte = chance.choice([0, 1, 2, 4, 8, 16, 255, chance.randrange(256)])
            damaged.write_bytes(whole[:start] + bytes([byte]) * length + whole[start + length :])
            for name, read in readers.items():
                counts[name][outcome_of(read, damaged)] += 1
    for name, count in counts.items():
        print(f"{name}: {', '.join(f'{count[outcome]} {outcome}' for outcome in OUTCOMES)}")
    sys.exit(bool(counts["freezeframe"]["crashed"] + counts["freezeframe"]["did not end"]))


if __name__ == "__main__":
    main()
