"""Damage a feature store at random places and read it with freezeframe and with the HDF5 library, each in a process.

usage: python scripts/damage_check.py STORE [--times 1000] [--seed 0]

STORE should be small; it is not changed. Needs a system that can fork.

Prints how often each read it, refused it, crashed, or did not end. Fails (exit code 1) if
freezeframe did either of the last two: its reader uses no HDF5 library because that one does.
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
"""After so long a read counts as endless; a whole one takes some milliseconds."""


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


def outcome(read: Callable[[Path], None], path: Path) -> str:
    """What became of a process that reads the file."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a C library
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
    """Parse the command line, damage, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    whole, chance = asked.store.read_bytes(), random.Random(asked.seed)
    readers = {"freezeframe": with_freezeframe, "HDF5 library": with_hdf5}
    counts = {name: Counter[str]() for name in readers}
    with tempfile.TemporaryDirectory() as place:
        damaged = Path(place) / "damaged.h5"
        for _ in range(asked.times):
            start, length = chance.randrange(len(whole)), chance.randint(1, 8)
            byte = chance.choice([0, 1, 2, 4, 8, 16, 255, chance.randrange(256)])
            damaged.write_bytes(whole[:start] + bytes([byte]) * length + whole[start + length :])
            for name, read in readers.items():
                counts[name][outcome(read, damaged)] += 1
    for name, count in counts.items():
        print(
            f"{name}: {', '.join(f'{count[what]} {what}' for what in ('read', 'refused', 'crashed', 'did not end'))}"
        )
    sys.exit(bool(counts["freezeframe"]["crashed"] + counts["freezeframe"]["did not end"]))


if __name__ == "__main__":
    main()
