"""Ours against the loop people write, and against the bare forward passes of other libraries, on the same images.

usage: python scripts/benchmark.py FOLDER [--images 250] [--only NAME ...] [--csv benchmark.csv] [--repeat 1]
       python scripts/benchmark.py FOLDER --scaling [--sizes 250 500 1000 2000]    more images, fewer cores
       python scripts/benchmark.py FOLDER --parts                                  decoding alone, writing alone
       python scripts/benchmark.py --gpu [--precisions ...] [--batch-sizes ...]    Keras on KERAS_BACKEND's device

Each prints a table and writes it as CSV. Files go to the temporary folder: TMPDIR chooses the disk.
Linux only. Exit code 1 if a contestant failed, or has block5_pool features that are not Keras's to
5e-4.

Columns: `to first` and `to last` are seconds from the start of the process until the first and the
    last row stand in a file. `images/s` leaves the start out: it counts from the first rows on
    (`loop`: the first image; ours: the first rows that the store says are done; `keras batched`:
    before it decodes), and all ratios are of it. `with start` is all images by `to last`. `peak MB`
    is the largest sum of the memory (Pss) of a contestant's processes, seen every 0.2 s, or as
    often as costs 2 % of one core; that of a bare one holds its prepared input, too. `from Keras`
    is the relative L2 distance of block5_pool from that of `keras bare`, of the image where it is
    largest.
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
    tell,
)
from measure import family, memory
from numpy.typing import NDArray
from PIL import Image

from freezeframe import FeatureStore, ImageError, StoreError
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.pipeline import Source, cpu_cores, load_image
from freezeframe.features.index import read_layout
from freezeframe.features.layout import DONE

OURS = {"ours keras": "keras", "ours mnn": "mnn"}
REFERENCE = "keras bare"
NAMES = (*CONTESTANTS, *OURS)
TOLERANCE = 5e-4
LOOK_SECONDS = 0.2
POLL_SECONDS = 0.025
COUNT_SECONDS = 1.0

Row = dict[str, Any]


def choose_images(folder: Path, most: int, place: Path) -> int:
    """Leave the first images with different pixels in a folder, as `contestants.Work` wants them; how many."""
    manifest = read_manifest(folder)
    files: list[str] = []
    pixels: list[NDArray[np.uint8]] = []
    seen: set[bytes] = set()
    left_out = {
        "unreadable": 0,
        "with the same pixels as another": 0,
        "that Keras's load_img reads otherwise": 0,
    }
    unreadable, same, otherwise = left_out
    for image in manifest.images:
        path = (manifest.root / image.path).resolve()
        try:
            loaded = load_image(Source(0, path), VGG16.input_size, "bilinear")
        except (ImageError, OSError):
            left_out[unreadable] += 1
            continue
        if loaded.digest in seen:
            left_out[same] += 1
        elif not np.array_equal(loaded.pixels, plain_pixels(path)):
            left_out[otherwise] += 1
        else:
            seen.add(loaded.digest)
            files.append(str(path))
            pixels.append(loaded.pixels)
        if len(files) == most:
            break
    told = "".join(f"; left out {count} {why}" for why, count in left_out.items() if count)
    print(f"{folder}: {len(files)} images{told}")
    if not files:
        raise SystemExit(f"{folder}: no image to measure with")
    (place / "files.json").write_text(json.dumps(files))
    np.save(place / "pixels.npy", np.stack(pixels))
    return len(files)


def plain_pixels(path: Path) -> NDArray[np.uint8] | None:
    """Pixels as `load_img` makes them, which heeds no orientation and no deep grey levels."""
    with suppress(OSError, ValueError), Image.open(path) as image:
        height, width = VGG16.input_size
        return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    return None


def write_list(place: Path, most: int) -> Path:
    """The first images as a CSV for extract-features, of two made-up classes."""
    files = json.loads((place / "files.json").read_text())[:most]
    listed = place / f"list-{len(files)}.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([path, f"class-{number % 2}"] for number, path in enumerate(files))
    return listed


@dataclass
class Watched:
    """What was seen of a command from outside.

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
    """Run a command; look at its memory and at the store that it fills."""
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
                # Looking costs time on the cores that are measured; no more than 2 % of one.
                next_look = now + max(LOOK_SECONDS, 50 * (time.monotonic() - now))
            time.sleep(POLL_SECONDS)
            if store is not None and (now := time.monotonic()) >= next_count:
                # Often until the first rows are there, then seldom: the others are not looked at
                # like this.
                next_count = now + (COUNT_SECONDS if done else 0.0)
                with suppress(StoreError):  # it is not there yet
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
    """Extract the first images with one of our engines; keep block5_pool, in the images' order, if asked."""
    listed, store = write_list(place, most), place / "ours.h5"
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
    seen = watch([*command, "--output", str(store)], store, place / "cache")
    if seen.error:
        return {"note": seen.error}
    found = FeatureStore(store)
    n = len(found.rows())
    if features is not None:
        row_of = {path: row for row, path in enumerate(found.paths.tolist())}
        files = json.loads((place / "files.json").read_text())[:most]
        np.save(
            features, found.features(CHECKED, [row_of[Path(path).as_posix()] for path in files])
        )
    store.unlink()
    (begun, early), (ended, late) = (
        (seen.done or [(seen.start, 0)])[0],
        (seen.done or [(seen.start + seen.seconds, n)])[-1],
    )
    if late < n:  # it ended between two looks
        ended = seen.start + seen.seconds
    return timing(seen, n, begun, ended, begun, early)


def timing(seen: Watched, n: int, first: float, last: float, warm: float, warm_rows: int) -> Row:
    """The columns that tell time and memory; times are on the clock of `time.monotonic`."""
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
    told = json.loads(seen.output.splitlines()[-1])
    if "missing" in told:
        return {"note": f"not installed: {told['missing']}"}
    if "last" in told:
        return timing(seen, n, **told)
    return told | {"peak_mb": seen.peak}


def warm_up(place: Path) -> None:
    """Fill the cache of converted models, which is empty, and tell the cold start."""
    for engine in OURS.values():
        for when in ("cold", "warm") if engine == "mnn" else ("warm",):
            row = measure_ours(engine, place, 2)
            took = f"{row['to_last']:.1f} s" if "to_last" in row else row["note"]
            print(f"ours {engine}, {when} start and 2 images: {took}", flush=True)


def farthest(features: Path, reference: Path) -> float | None:
    """Relative L2 distance of the image whose features are farthest from the reference."""
    if not features.exists() or not reference.exists():
        return None
    found, true = (
        np.load(path).reshape(len(np.load(path)), -1).astype(np.float64)
        for path in (features, reference)
    )
    return float((np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)).max())


def compare(place: Path, n: int, only: Sequence[str], repeat: int) -> tuple[list[Row], list[str]]:
    """Measure all contestants, then all again; of each the median run by images/s. And what was wrong."""
    names = [name for name in NAMES if not only or name in only or name == REFERENCE]
    if set(names) & set(OURS):
        warm_up(place)
    runs: dict[str, list[Row]] = {name: [] for name in names}
    for number in range(1, repeat + 1):
        for name in names:
            row = measure_contestant(name, place, n)
            runs[name].append(row)
            took = (
                f"{row['rate']:.2f} images/s"
                if row.get("rate")
                else row.get("note", "too few images")
            )
            print(f"run {number}, {name}: {took}", flush=True)
    rows = []
    for name in names:
        ordered = sorted(runs[name], key=lambda row: row.get("rate") or 0.0)
        distance = farthest(place / f"{name}.npy", place / f"{REFERENCE}.npy")
        rows.append({"contestant": name} | ordered[(len(ordered) - 1) // 2] | {"l2": distance})
    rates = {row["contestant"]: row.get("rate") for row in rows}
    for row in rows:
        for column, other in {
            "of_loop": "loop",
            "of_ort": "onnxruntime bare",
            "of_mnn": "mnn bare",
        }.items():
            row[column] = (
                row["rate"] / rates[other] if row.get("rate") and rates.get(other) else None
            )
    wrong = [
        f"{name}: {row['note']}"
        for name in names
        for row in runs[name]
        if "exit code" in row.get("note", "")
    ]
    for row in rows:
        if row["l2"] is not None and not row["l2"] <= TOLERANCE:
            wrong.append(
                f"{row['contestant']}: {CHECKED} differs from Keras's by {row['l2']:.1e} > {TOLERANCE:g}"
            )
    return rows, wrong


def scaling(place: Path, n: int, sizes: Sequence[int]) -> Iterator[Row]:
    """Both engines over more and more images on all cores, and over the fewest on one core and on more."""
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
    """Keras on its backend's device, each precision and batch size in a process of its own."""
    for precision in precisions:
        for size in batch_sizes:
            asked = ["--child", "device", "--images", str(images), "--precisions", precision]
            seen = watch([sys.executable, __file__, *asked, "--batch-sizes", str(size)])
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
        texts = [(row.get(name), FORMATS.get(name, ".2f")) for name in columns]
        lines.append(
            [
                "" if v is None else format(v, how) if isinstance(v, float) else str(v)
                for v, how in texts
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "machine"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"machine": machine()} for row in rows)


def machine() -> str:
    """Processor, cores that may be used, Python."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
        return f"{model}, {cpu_cores()} cores, Python {platform.python_version()}"
    return f"{platform.machine()}, {cpu_cores()} cores, Python {platform.python_version()}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", help="of images, or a CSV; --gpu draws its own"
    )
    parser.add_argument("--images", type=int, help="how many; by default 250, with --gpu 2000")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=[], metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--csv", type=Path, default=Path("benchmark.csv"))
    parser.add_argument(
        "--repeat", type=int, default=1, help="runs of each contestant; the median is told"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--scaling", action="store_true")
    mode.add_argument("--parts", action="store_true")
    mode.add_argument("--gpu", action="store_true")
    mode.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[250, 500, 1000, 2000], help="of --scaling"
    )
    parser.add_argument(
        "--precisions", nargs="+", default=["float32", "bfloat16", "float16"], help="of --gpu"
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="of --gpu"
    )
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.folder is None and not asked.gpu and asked.child != "device":
        parser.error("FOLDER is missing")
    return asked


def child(asked: argparse.Namespace) -> None:
    """Measure one thing in this process."""
    if asked.child == "device":
        tell(lambda: measure_device(asked.images, asked.precisions[0], asked.batch_sizes[0]))
    elif asked.child == "mnn one":
        mnn_one(Work(asked.folder), asked.part, asked.count)
    else:
        tell(lambda: CONTESTANTS[asked.child](Work(asked.folder)))


def main() -> None:
    """Measure what is asked, and show it."""
    asked = parse()
    if asked.child:
        child(asked)
        return
    print(machine())
    wrong: list[str] = []
    if asked.gpu:
        rows = list(devices(asked.images or 2000, asked.precisions, asked.batch_sizes))
    else:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            n = choose_images(
                asked.folder, asked.images or (max(asked.sizes) if asked.scaling else 250), place
            )
            if asked.scaling:
                rows = list(scaling(place, n, asked.sizes))
            elif asked.parts:
                rows = measure_parts(Work(place), asked.repeat)
            else:
                rows, wrong = compare(place, n, asked.only, asked.repeat)
    show(rows, asked.csv)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
