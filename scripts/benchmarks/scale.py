"""Measure the list of images and the store with very many rows, and compute the sizes of stores.

usage: python scripts/benchmarks/scale.py [--rows 1000000]

Writes a CSV of images that do not exist into a temporary folder. Then each step of an extraction
before the first image, and each step of opening a store, runs in a process of its own; the script
prints its seconds and peak memory. Digests of the files are invented, so the time to read files for
them is not included. The stores are sparse files; their layers and thumbnails take no space where
the file system can do that. A second table shows sizes by arithmetic.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from freezeframe import FeatureStore
from freezeframe.data.manifest import Manifest, read_manifest
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.features.layout import (
    DECIDING_FIELDS,
    DIGEST_BYTES,
    IDENTITY_COLUMNS,
    LAYER_DTYPES,
    ROW_COLUMNS,
    ROW_SHAPES,
)
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

LAYERS = BACKBONES["vgg16"].layers
STORES = {"block5.h5": ("block5_pool",), "both.h5": ("block5_pool", "block3_pool")}
TEXT_BYTES = {"path": 40, "label": 16, "split": 10, "group": 10}
"""Assumed bytes of the text columns in the table of sizes; in a store the longest text decides."""


def write_list(path: Path, rows: int) -> None:
    """Write a CSV of images that do not exist, of two classes."""
    with path.open("w") as file:
        file.write("path,label\n")
        for row in range(rows):
            label = ("healthy", "tumour")[row % 2]
            file.write(f"scans/{row % 1000:03}/patient-{row:09}.png,{label}\n")


def columns(manifest: Manifest) -> dict[str, Sequence[str]]:
    """Return the rows of a store, as an extraction makes them, but with invented digests."""
    rows: dict[str, Sequence[str]] = {
        name: [getattr(image, name) for image in manifest.images] for name in IDENTITY_COLUMNS
    }
    return rows | {"sha256": [f"{row:0{DIGEST_BYTES}x}" for row in range(len(manifest.images))]}


def make_store(path: Path, rows: dict[str, Sequence[str]]) -> None:
    """Create a store of pending rows with invented provenance."""
    provenance: dict[str, Any] = {name: kind() for name, kind in DECIDING_FIELDS.items()} | {
        "dtype": "float32"
    }
    with store_lock(path):
        create_store(path, rows, {name: LAYERS[name] for name in STORES[path.name]}, provenance)


def pending_rows(path: Path) -> int:
    """Return the number of rows that are still to be computed."""
    with StoreWriter(path) as writer:
        return len(writer.pending)


Step = Callable[[], object]


def steps(place: Path) -> dict[str, Callable[[], Step]]:
    """Return, by name, a function that prepares each step and returns the step, which is timed."""
    listed = place / "list.csv"

    def create(name: str) -> Step:
        rows = columns(read_manifest(listed))
        return lambda: make_store(place / name, rows)

    def manifest_again() -> Step:
        manifest = read_manifest(listed)
        return lambda: columns(manifest)

    by_store: dict[str, Callable[[], Step]] = {}
    for name, layers in STORES.items():
        title = "+".join(layers)
        by_store |= {
            f"create_store {title}": lambda name=name: create(name),
            f"FeatureStore {title}": lambda name=name: lambda: FeatureStore(place / name),
            f"pending rows {title}": lambda name=name: lambda: pending_rows(place / name),
        }
    return {
        "read_manifest": lambda: lambda: read_manifest(listed),
        "columns of rows": manifest_again,
    } | by_store


def peak_megabytes() -> float:
    """Return the peak memory of this process, with the pages it touched of mapped files."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )


def do_step(place: Path, name: str) -> None:
    """Do one step in this process, and print its seconds and memory as JSON."""
    step = steps(place)[name]()
    before = peak_megabytes()
    start = time.perf_counter()
    result = step()
    seconds = time.perf_counter() - start
    count = result if isinstance(result, int) else None
    print(json.dumps([seconds, before, peak_megabytes(), count]))


def measure(place: Path, rows: int) -> None:
    """Measure all steps, each in its own process, and print the table."""
    write_list(place / "list.csv", rows)
    print(f"{rows} rows, a list of {(place / 'list.csv').stat().st_size / 1e6:.0f} MB")
    print(f"{'step':45}{'seconds':>9}{'peak MB':>9}{'before':>9}  (peak when the step began)")
    for name in steps(place):
        command = [sys.executable, __file__, "--step", name, "--place", str(place)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, before, peak, count = json.loads(output)
        if count is not None and count != rows:
            raise SystemExit(f"{name}: {count} instead of {rows}")
        print(f"{name:45}{seconds:9.2f}{peak:9.0f}{before:9.0f}", flush=True)
    for name, layers in STORES.items():
        status = (place / name).stat()
        apparent = f"{status.st_size / 1e9:.1f} GB apparent"
        print(f"{'+'.join(layers)}: {apparent}, {status.st_blocks * 512 / 1e6:.0f} MB on disk")


def size_table() -> str:
    """Return the bytes of stores by layer, dtype and number of images, by arithmetic."""
    counts = {"5 thousand": 5_000, "1 million": 10**6, "100 million": 10**8}
    lines = [f"{'':24}{'a row':>12}" + "".join(f"{name:>14}" for name in counts)]

    def line(name: str, row_bytes: int) -> str:
        return f"{name:24}{row_bytes:12}" + "".join(
            f"{short(row_bytes * count):>14}" for count in counts.values()
        )

    for name in (layer for layer in LAYERS if layer.endswith("pool")):
        for dtype, code in LAYER_DTYPES.items():
            lines.append(line(f"{name} {dtype}", math.prod(LAYERS[name]) * np.dtype(code).itemsize))
    small = {name: dtype for name, dtype in ROW_COLUMNS.items() if f"rows/{name}" not in ROW_SHAPES}
    texts = sum(TEXT_BYTES.get(name, np.dtype(dtype).itemsize) for name, dtype in small.items())
    lines.append(line("columns of the rows", texts))
    lines.append(line("thumbnails", math.prod(ROW_SHAPES["rows/thumbnail"])))
    lines.append(line("checksums of a layer", DIGEST_BYTES))
    return "\n".join(lines)


def short(size: float) -> str:
    """Return a number of bytes in the unit that fits."""
    power = min(4, int(math.log10(size)) // 3)
    return f"{size / 1e3**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def main() -> None:
    """Parse the command line; measure all steps, or do one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        do_step(options.place, options.step)
        return
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), options.rows)
    texts = ", ".join(f"{n} bytes in {name}" for name, n in TEXT_BYTES.items())
    print(f"\nSizes, with texts of {texts}")
    print(size_table())


if __name__ == "__main__":
    main()
