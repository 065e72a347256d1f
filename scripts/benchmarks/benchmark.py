"""Compare extract-features with the loop people write and with bare forward passes of libraries.

usage: python scripts/benchmarks/benchmark.py FOLDER [--images 250] [--only NAME ...] [--repeat 1]
       python scripts/benchmarks/benchmark.py FOLDER --scaling [--sizes 250 500 1000 2000]
       python scripts/benchmarks/benchmark.py FOLDER --parts
       python scripts/benchmarks/benchmark.py --gpu [--precisions ...] [--batch-sizes ...]

--scaling measures more images and fewer cores, --parts decoding alone and writing alone, and --gpu
Keras on the device of KERAS_BACKEND. Each call prints a table and writes it as CSV (--csv). Files
are written to the temporary folder: TMPDIR chooses the disk. Linux only. Exit code 1 if a
contestant fails, or if its block5_pool features differ from Keras's by more than 5e-4.

Columns:
    `to first`, `to last`: seconds from the start of the process until the first and the last row
        are in a file.
    `images/s`: the rate without the start. It counts from the first rows on: `loop` from the first
        image, ours from the first finished rows of the store, `keras batched` from before it
        decodes. All ratios are of this rate.
    `with start`: all images by `to last`.
    `peak MB`: the largest sum of the memory (Pss) of a contestant's processes, looked at every
        0.2 s, or less often where looking would take more than 2 % of one core. A bare contestant
        holds its prepared input, too.
    `from Keras`: the largest relative L2 distance of an image's block5_pool from `keras bare`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contestants import (
    CHECKED,
    CONTESTANTS,
    LAYERS,
    VGG16,
    Work,
    measure_device,
    measure_parts,
    mnn_one,
    print_result,
)
from measure import family, memory
from numpy.typing import NDArray
from PIL import Image

from freezeframe import FeatureStore, ImageError, StoreError
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.engines.devices import cpu_cores
from freezeframe.extract.pipeline import ImageSource, load_image
from freezeframe.features.index import read_layout
from freezeframe.features.layout import DONE

OURS = {"ours keras": "keras", "ours mnn": "mnn"}
REFERENCE = "keras bare"
NAMES = (*CONTESTANTS, *OURS)
RATIOS = {"of_loop": "loop", "of_ort": "onnxruntime bare", "of_mnn": "mnn bare"}
"""Columns of ratios, and the contestants that they compare with."""
TOLERANCE = 5e-4
LOOK_SECONDS = 0.2
POLL_SECONDS = 0.025
COUNT_SECONDS = 1.0

Row = dict[str, Any]


def choose_images(folder: Path, most: int, place: Path) -> int:
    """Save the first images of different pixels for `contestants.Work`; return their number."""
    manifest = read_manifest(folder)
    files: list[str] = []
    pixels: list[NDArray[np.uint8]] = []
    seen: set[bytes] = set()
    skipped: Counter[str] = Counter()
    for image in manifest.images:
        path = (manifest.root / image.path).resolve()
        try:
            loaded = load_image(ImageSource(0, path), VGG16.input_size, "bilinear")
        except (ImageError, OSError):
            skipped["unreadable"] += 1
            continue
        if loaded.digest in seen:
            skipped["with the pixels of an earlier one"] += 1
        elif not np.array_equal(loaded.pixels, plain_pixels(path)):
            skipped["that Keras's load_img reads in another way"] += 1
        else:
            seen.add(loaded.digest)
            files.append(str(path))
            pixels.append(loaded.pixels)
        if len(files) == most:
            break
    reasons = "".join(f"; skipped {count} {reason}" for reason, count in skipped.items())
    print(f"{folder}: {len(files)} images{reasons}")
    if not files:
        raise SystemExit(f"{folder}: no image to measure with")
    (place / "files.json").write_text(json.dumps(files))
    np.save(place / "pixels.npy", np.stack(pixels))
    return len(files)


def plain_pixels(path: Path) -> NDArray[np.uint8] | None:
    """Return pixels as `load_img` reads them, without orientation and deep grey levels."""
    with suppress(OSError, ValueError), Image.open(path) as image:
        height, width = VGG16.input_size
        return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    return None


def write_list(place: Path, most: int) -> Path:
    """Write the first images as a CSV for extract-features, of two invented classes."""
    files = json.loads((place / "files.json").read_text())[:most]
    listed = place / f"list-{len(files)}.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([path, f"class-{number % 2}"] for number, path in enumerate(files))
    return listed


@dataclass
class Watched:
    """A finished command, as seen from outside.

    Attributes:
        start: when it was started, on the clock of `time.monotonic`, which all processes share.
        seconds: until it ended.
        peak: largest sum of its processes' memory, MB.
        done: (time, rows that are done) whenever the store had more of them than before.
        output: its standard output.
        error: the last line it wrote to standard error, if it failed.
    """

    start: float
    seconds: float
    peak: float
    done: list[tuple[float, int]]
    output: str
    error: str


def watch(command: Sequence[str], store: Path | None = None, cache: Path | None = None) -> Watched:
    """Run a command; watch its memory and the store that it fills."""
    environment = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        done: list[tuple[float, int]] = []
        peak = next_look = next_count = 0.0
        layout = None
        while process.poll() is None:
            if (now := time.monotonic()) >= next_look:
                peak = max(peak, sum(map(memory, family(process.pid))))
                # Looking takes time on the cores that are measured: at most 2 % of one.
                next_look = now + max(LOOK_SECONDS, 50 * (time.monotonic() - now))
            time.sleep(POLL_SECONDS)
            if store is not None and (now := time.monotonic()) >= next_count:
                # Often until the first rows are finished, then seldom: nothing looks at the files
                # of the other contestants.
                next_count = now + (COUNT_SECONDS if done else 0.0)
                # Until the process creates the store, there is nothing to read.
                with suppress(StoreError):
                    layout = layout or read_layout(store)
                    count = int((layout.read_status(store) == DONE).sum())
                    if count > (done[-1][1] if done else 0):
                        done.append((time.monotonic(), count))
        seconds = time.monotonic() - start
        output.seek(0)
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no word"])[-1]
        error = f"exit code {process.returncode}: {last[-200:]}" if process.returncode else ""
        return Watched(start, seconds, peak, done, output.read(), error)


def measure_ours(engine: str, place: Path, most: int, features: Path | None = None) -> Row:
    """Extract the first images with an engine of ours; save block5_pool where `features` says."""
    listed = write_list(place, most)
    path = place / "ours.h5"
    layers = [part for name in LAYERS for part in ("--layer", name)]
    command = [
        sys.executable,
        "-m",
        "freezeframe",
        "extract-features",
        str(listed),
        "--engine",
        engine,
        *layers,
    ]
    seen = watch([*command, "--output", str(path)], path, place / "cache")
    if seen.error:
        return {"note": seen.error}
    store = FeatureStore(path)
    n = len(store.rows())
    if features is not None:
        row_of = {path: row for row, path in enumerate(store.paths.tolist())}
        files = json.loads((place / "files.json").read_text())[:most]
        rows = [row_of[Path(file).as_posix()] for file in files]
        np.save(features, store.features(CHECKED, rows))
    path.unlink()
    end = seen.start + seen.seconds
    begun, early = seen.done[0] if seen.done else (seen.start, 0)
    ended, late = seen.done[-1] if seen.done else (end, n)
    # The process may end between two looks.
    if late < n:
        ended = end
    return timing(seen, n, begun, ended, begun, early)


def timing(seen: Watched, n: int, first: float, last: float, warm: float, warm_rows: int) -> Row:
    """Return the columns of time and memory; times are on the clock of `time.monotonic`."""
    return {
        "to_first": first - seen.start,
        "to_last": last - seen.start,
        "rate": (n - warm_rows) / (last - warm) if n > warm_rows else None,
        "rate_with_start": n / (last - seen.start),
        "peak_mb": seen.peak,
    }


def measure_contestant(name: str, place: Path, n: int) -> Row:
    """Run one contestant in its own process."""
    if name in OURS:
        return measure_ours(OURS[name], place, n, place / f"{name}.npy")
    seen = watch([sys.executable, __file__, str(place), "--child", name], cache=place / "cache")
    if seen.error:
        return {"note": seen.error}
    result = json.loads(seen.output.splitlines()[-1])
    if "missing" in result:
        return {"note": f"not installed: {result['missing']}"}
    if "last" in result:
        return timing(seen, n, **result)
    return result | {"peak_mb": seen.peak}


def warm_up(place: Path) -> None:
    """Fill the empty cache of converted models, and print the time of a cold start."""
    for engine in OURS.values():
        starts = ("cold", "warm") if engine == "mnn" else ("warm",)
        for start in starts:
            row = measure_ours(engine, place, 2)
            took = f"{row['to_last']:.1f} s" if "to_last" in row else row["note"]
            print(f"ours {engine}, {start} start and 2 images: {took}", flush=True)


def farthest(features: Path, reference: Path) -> float | None:
    """Return the largest relative L2 distance of an image's features from the reference."""
    if not features.exists() or not reference.exists():
        return None
    measured, true = (
        np.load(path).reshape(len(np.load(path)), -1).astype(np.float64)
        for path in (features, reference)
    )
    return float((np.linalg.norm(measured - true, axis=1) / np.linalg.norm(true, axis=1)).max())


def compare(place: Path, n: int, only: Sequence[str], repeat: int) -> tuple[list[Row], list[str]]:
    """Measure all contestants, in turn; return the median run of each, and what was wrong."""
    names = [name for name in NAMES if not only or name in only or name == REFERENCE]
    if set(names) & set(OURS):
        warm_up(place)
    runs: dict[str, list[Row]] = {name: [] for name in names}
    for number in range(1, repeat + 1):
        for name in names:
            row = measure_contestant(name, place, n)
            runs[name].append(row)
            rate = f"{row['rate']:.2f} images/s" if row.get("rate") else None
            print(f"run {number}, {name}: {rate or row.get('note', 'too few images')}", flush=True)
    rows = []
    for name in names:
        ordered = sorted(runs[name], key=lambda row: row.get("rate") or 0.0)
        distance = farthest(place / f"{name}.npy", place / f"{REFERENCE}.npy")
        rows.append({"contestant": name} | ordered[(len(ordered) - 1) // 2] | {"l2": distance})
    rates = {row["contestant"]: row.get("rate") for row in rows}
    for row in rows:
        for column, baseline in RATIOS.items():
            comparable = row.get("rate") and rates.get(baseline)
            row[column] = row["rate"] / rates[baseline] if comparable else None
    wrong = [
        f"{name}: {row['note']}"
        for name in names
        for row in runs[name]
        if "exit code" in row.get("note", "")
    ]
    for row in rows:
        if row["l2"] is not None and not row["l2"] <= TOLERANCE:
            distance = f"{row['l2']:.1e} > {TOLERANCE:g}"
            wrong.append(f"{row['contestant']}: {CHECKED} differs from Keras's by {distance}")
    return rows, wrong


def scaling(place: Path, n: int, sizes: Sequence[int]) -> Iterator[Row]:
    """Measure both engines with more and more images, and with few images on few cores."""
    warm_up(place)
    cores = sorted(os.sched_getaffinity(0))
    cases = [(size, len(cores)) for size in sorted({min(size, n) for size in sizes})]
    cases += [(cases[0][0], few) for few in (1, 2) if few < len(cores)]
    for name, engine in OURS.items():
        for size, few in cases:
            os.sched_setaffinity(0, cores[:few])
            try:
                row = measure_ours(engine, place, size)
            finally:
                os.sched_setaffinity(0, cores)
            yield {"contestant": name, "images": size, "cores": few} | row


def devices(images: int, precisions: Sequence[str], batch_sizes: Sequence[int]) -> Iterator[Row]:
    """Measure Keras on its device, each precision and batch size in a process of its own."""
    for precision in precisions:
        for size in batch_sizes:
            command = [sys.executable, __file__, "--child", "device", "--images", str(images)]
            command += ["--precisions", precision, "--batch-sizes", str(size)]
            seen = watch(command)
            row = {"note": seen.error} if seen.error else json.loads(seen.output.splitlines()[-1])
            yield {"precision": precision, "batch_size": size} | row | {"peak_mb": seen.peak}


TITLES = {
    "contestant": "contestant",
    "part": "part",
    "device": "device",
    "precision": "precision",
    "batch_size": "batch",
    "images": "images",
    "cores": "cores",
    "to_first": "to first",
    "to_last": "to last",
    "forward": "forward/s",
    "end_to_end": "end to end/s",
    "rate": "images/s",
    "unit": "unit",
    "rate_with_start": "with start",
    "of_loop": "x loop",
    "of_ort": "x ORT bare",
    "of_mnn": "of MNN bare",
    "peak_mb": "peak MB",
    "l2": "from Keras",
    "time": "time",
    "note": "note",
}
FORMATS = {"peak_mb": ".0f", "of_mnn": ".1%", "l2": ".1e"}


def show(rows: Sequence[Row], path: Path) -> None:
    """Print a table and write it as CSV, with the machine in each line."""
    columns = [name for name in TITLES if any(row.get(name) is not None for row in rows)]
    lines = [[TITLES[name] for name in columns]]
    for row in rows:
        lines.append([cell(row.get(name), FORMATS.get(name, ".2f")) for name in columns])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "machine"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"machine": machine()} for row in rows)


def cell(value: Any, number_format: str) -> str:
    """Return the text of a cell."""
    if value is None:
        return ""
    return format(value, number_format) if isinstance(value, float) else str(value)


def machine() -> str:
    """Return the processor, the usable cores and the version of Python."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
        return f"{model}, {cpu_cores()} cores, Python {platform.python_version()}"
    return f"{platform.machine()}, {cpu_cores()} cores, Python {platform.python_version()}"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", help="folder of images, or a CSV; --gpu draws its own"
    )
    parser.add_argument(
        "--images", type=int, help="number of images; by default 250, with --gpu 2000"
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=[], metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--csv", type=Path, default=Path("benchmark.csv"))
    parser.add_argument(
        "--repeat", type=int, default=1, help="runs of each contestant; the median is shown"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--scaling", action="store_true")
    mode.add_argument("--parts", action="store_true")
    mode.add_argument("--gpu", action="store_true")
    mode.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[250, 500, 1000, 2000],
        help="numbers of images for --scaling",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16", "float16"],
        help="precisions for --gpu",
    )
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=[8, 16, 32, 64, 128],
        help="batch sizes for --gpu",
    )
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is None and not options.gpu and options.child != "device":
        parser.error("FOLDER is missing")
    return options


def child(options: argparse.Namespace) -> None:
    """Measure one contestant or device in this process."""
    if options.child == "device":
        print_result(
            lambda: measure_device(options.images, options.precisions[0], options.batch_sizes[0])
        )
    elif options.child == "mnn one":
        mnn_one(Work(options.folder), options.part, options.count)
    else:
        print_result(lambda: CONTESTANTS[options.child](Work(options.folder)))


def main() -> None:
    """Measure as the command line says, and show the results."""
    options = parse()
    if options.child:
        child(options)
        return
    print(machine())
    wrong: list[str] = []
    if options.gpu:
        rows = list(devices(options.images or 2000, options.precisions, options.batch_sizes))
    else:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            n = choose_images(
                options.folder,
                options.images or (max(options.sizes) if options.scaling else 250),
                place,
            )
            if options.scaling:
                rows = list(scaling(place, n, options.sizes))
            elif options.parts:
                rows = measure_parts(Work(place), options.repeat)
            else:
                rows, wrong = compare(place, n, options.only, options.repeat)
    show(rows, options.csv)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
