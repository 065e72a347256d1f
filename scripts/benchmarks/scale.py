"""How the list of images and the store behave with very many rows, without any image, and how large stores become.

usage: python scripts/scale.py [--rows 1000000]

Writes a CSV of images that do not exist into a temporary folder, then does each step of an
extraction that comes before the first image, and each of opening a store, in a process of its own,
and prints its seconds and peak memory. Digests of the files are made up, and the time to read files
for them is not in it. The stores are sparse files; their layers and thumbnails take no space where
the file system can do that. A second table is arithmetic.
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
from freezeframe.features.writer import StoreWriter, store_lock

LAYERS = BACKBONES["vgg16"].layers
STORES = {"block5.h5": ("block5_pool",), "both.h5": ("block5_pool", "block3_pool")}
TEXT_BYTES = {"path": 40, "label": 16, "split": 10, "group": 10}
"""Assumed widths of the text columns in the table of sizes; a store takes what its longest text needs."""


def write_list(path: Path, rows: int) -> None:
    """A CSV of images that do not exist, of two classes."""
    with path.open("w") as file:
        file.write("path,label\n")
        for row in range(rows):
            file.write(
                f"scans/{row % 1000:03}/patient-{row:09}.png,{('healthy', 'tumour')[row % 2]}\n"
            )


def columns(manifest: Manifest) -> dict[str, Sequence[str]]:
    """The rows of a store, as an extraction makes them of a manifest, but with digests."""
    rows: dict[str, Sequence[str]] = {
        name: [getattr(image, name) for image in manifest.images] for name in IDENTITY_COLUMNS
    }
    return rows | {"sha256": [f"{row:0{DIGEST_BYTES}x}" for row in range(len(manifest.images))]}


def make_store(path: Path, rows: dict[str, Sequence[str]]) -> None:
    """A store of pending rows with made-up provenance."""
    provenance: dict[str, Any] = {name: kind() for name, kind in DECIDING_FIELDS.items()} | {
        "dtype": "float32"
    }
    with store_lock(path):
        create_store(path, rows, {name: LAYERS[name] for name in STORES[path.name]}, provenance)


def pending_rows(path: Path) -> int:
    """How many rows a writer finds that are still to be computed."""
    with StoreWriter(path) as writer:
        return len(writer.pending)


Step = Callable[[], object]


def steps(place: Path) -> dict[str, Callable[[], Step]]:
    """By name what prepares each step; it returns the step itself, which alone is timed."""
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
    """Peak memory of this process so far; the pages it touched of mapped files count, too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )


def do_step(place: Path, name: str) -> None:
    """Do one step in this process, and print what it took as JSON."""
    step = steps(place)[name]()
    before, start = peak_megabytes(), time.perf_counter()
    result = step()
    seconds = time.perf_counter() - start
    print(
        json.dumps([seconds, before, peak_megabytes(), result if isinstance(result, int) else None])
    )


def measure(place: Path, rows: int) -> None:
    """Measure all steps, each in its own process, and print the table."""
    write_list(place / "list.csv", rows)
    print(f"{rows} rows, a list of {(place / 'list.csv').stat().st_size / 1e6:.0f} MB")
    print(f"{'step':45}{'seconds':>9}{'peak MB':>9}{'before':>9}  (peak when the step began)")
    for name in steps(place):
        command = [sys.executable, __file__, "--step", name, "--place", str(place)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, before, peak, found = json.loads(told)
        if found is not None and found != rows:
            raise SystemExit(f"{name}: {found} instead of {rows}")
        print(f"{name:45}{seconds:9.2f}{peak:9.0f}{before:9.0f}", flush=True)
    for name, layers in STORES.items():
        status = (place / name).stat()
        sizes = (
            f"{status.st_size / 1e9:.1f} GB apparent, {status.st_blocks * 512 / 1e6:.0f} MB on disk"
        )
        print(f"{'+'.join(layers)}: {sizes}")


def size_table() -> str:
    """Bytes of stores by layer, dtype and number of images, by arithmetic."""
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
    """Bytes in the unit that fits."""
    power = min(4, int(math.log10(size)) // 3)
    return f"{size / 1e3**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def main() -> None:
    """Parse the command line; measure, or do one step of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        do_step(asked.place, asked.step)
        return
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), asked.rows)
    print(
        f"\nSizes, with texts of {', '.join(f'{n} bytes in {name}' for name, n in TEXT_BYTES.items())}"
    )
    print(size_table())


if __name__ == "__main__":
    main()
