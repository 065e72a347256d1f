"""Mutate image files in many ways and check that extract-features handles every one of them.

usage: python scripts/checks/mutation_check.py [--files 1000] [--seed 0]

Draws its own images, and uses pydicom's test files where pydicom is installed. Prints a table by
kind of mutation, the peak memory and the seconds. Succeeds, with exit code 0, if

- the command succeeds and prints no traceback,
- every file is a finished row, a failed row with a reason of one printable line, or skipped and
  listed,
- the store verifies,
- the process needs at most `MORE_MEGABYTES` more memory than for 20 small good images.

Needs a POSIX shell (ulimit) and /proc. `scripts/benchmarks/measure.py` measures the memory.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from freezeframe import FeatureStore
from freezeframe.data.formats.images import MAX_PIXELS
from freezeframe.data.manifest import read_manifest
from freezeframe.features.layout import DONE, FAILED, PENDING

ADDRESS_SPACE_KILOBYTES = 16 * 2**20
"""Limit of the process; libraries reserve much more than they use."""
MORE_MEGABYTES = 2500
"""Two threads may decode an image of `MAX_PIXELS` floats at once, 1.2 GB each."""
MORE_MEGABYTES_WITHOUT_LARGE = 400

SIDE = 9_990
ENDINGS = (".jpg", ".png", ".tif", ".bmp", ".gif", ".webp")
OPTIONS = (
    "--weights",
    "random",
    "--layer",
    "block1_pool",
    "--max-failed",
    "100",
    "--dtype",
    "float16",
)

MEASURE = Path(__file__).resolve().parents[1] / "benchmarks" / "measure.py"


@dataclass(frozen=True)
class File:
    """An image file to write: `data`, then a hole up to `length` bytes."""

    ending: str
    data: bytes
    length: int = 0


@dataclass(frozen=True)
class Run:
    """The exit code, output, seconds and peak memory of a process."""

    code: int
    output: str
    seconds: float
    megabytes: int


@dataclass(frozen=True)
class Outcome:
    """The result of one file: "done", "failed", "skipped" or "lost"."""

    kind: str
    result: str
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """The results of all files, the process, and a list of what was wrong."""

    outcomes: dict[str, Outcome]
    run: Run
    base: Run
    wrong: list[str]


# Drawing


@cache
def drawn(seed: int) -> dict[str, list[File]]:
    """Return good image files by their special property."""
    chance = random.Random(seed)
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 200, 2))
    noise = (
        rng.integers(0, 90, (height, width, 3)) + np.linspace(0, 160, width).astype(int)[:, None]
    )
    colour = Image.fromarray(noise.astype(np.uint8))
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    frames = [colour.rotate(90 * turn, expand=False) for turn in range(3)]
    animated = {"save_all": True, "append_images": frames[1:]}
    strips = [
        Image.fromarray(np.resize(noise.astype(np.uint8), shape))
        for shape in ((1, 20_000, 3), (20_000, 1, 3))
    ]
    return {
        "plain": [encoded(colour, kind) for kind in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WebP")]
        + [
            encoded(colour.convert(mode), kind)
            for mode in ("L", "1", "P")
            for kind in ("PNG", "TIFF", "BMP", "GIF")
        ]
        + [
            encoded(colour, "TIFF", compression=compression)
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ]
        + [encoded(colour, "JPEG", progressive=True), encoded(colour, "WebP", lossless=True)]
        + [
            File(".png", png(width, height, 8, kind, chance=chance, interlaced=True))
            for kind in (0, 2, 6)
        ],
        "16-bit or float": [
            encoded(deep, "PNG"),
            encoded(deep, "TIFF"),
            encoded(deep, "TIFF", compression="tiff_lzw"),
        ]
        + [encoded(deep.convert(mode), "TIFF") for mode in ("I", "F")]
        + [File(".png", png(width, height, 16, kind, chance=chance)) for kind in (0, 2, 4, 6)],
        "CMYK": [encoded(colour.convert("CMYK"), kind) for kind in ("JPEG", "TIFF")],
        "several frames": [
            encoded(frames[0], kind, **animated) for kind in ("GIF", "PNG", "TIFF", "WebP")
        ],
        "huge metadata": with_metadata(colour, chance),
        "1 x 20000": [
            encoded(strip, kind)
            for strip in strips
            for kind in ("JPEG", "PNG", "TIFF", "BMP", "GIF")
        ],
    }


def encoded(image: Image.Image, kind: str, **options: Any) -> File:
    """Return an image as a file that Pillow writes."""
    image.save(buffer := BytesIO(), kind, **options)
    return File("." + {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower()), buffer.getvalue())


def with_metadata(image: Image.Image, chance: random.Random) -> list[File]:
    """Return files of a small image with large profiles and texts, some of 99 MB when unpacked."""
    exif = Image.Exif()
    texts = PngImagePlugin.PngInfo()
    exif[270] = "x" * 60_000
    profile = chance.randbytes(1_000_000)
    texts.add_text("comment", "y" * 99_000_000, zip=True)
    return [
        encoded(image, "JPEG", exif=exif, icc_profile=profile, comment=b"z" * 60_000),
        encoded(image, "PNG", icc_profile=bytes(99_000_000), pnginfo=texts, exif=exif),
        encoded(image, "TIFF", icc_profile=profile, description="x" * 1_000_000),
        encoded(image, "WebP", icc_profile=profile, exif=exif, xmp=profile),
        encoded(image, "GIF", comment=b"z" * 1_000_000),
    ]


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    *,
    chance: random.Random | None = None,
    interlaced: bool = False,
) -> bytes:
    """Return a PNG of a form that Pillow does not write.

    Args:
        width: in pixels.
        height: in pixels.
        depth: bits of a channel.
        colour: type of PNG: 0, 2, 4 or 6.
        chance: source of noise; without it all pixels are zero.
        interlaced: in seven passes.
    """
    bits = depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    # First column, first row, and the steps to the next ones.
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    rows = []
    for left, top, across, down in passes:
        row_bytes = (-(-(width - left) // across) * bits + 7) // 8
        rows += [(row_bytes, -(-(height - top) // down))]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", packed(rows, chance, filtered=True)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def packed(
    rows: Iterable[tuple[int, int]], chance: random.Random | None = None, *, filtered: bool = False
) -> bytes:
    """Deflate rows of noise or zeros, each entry as (bytes of a row, number of rows)."""
    deflate = zlib.compressobj(1)
    parts = []
    for row_bytes, count in rows:
        for _ in range(count):
            row = chance.randbytes(row_bytes) if chance else bytes(row_bytes)
            parts.append(deflate.compress(b"\0" * filtered + row))
    return b"".join(parts) + deflate.flush()


def tiff(
    width: int, height: int, bits: int, pixels: bytes, tags: dict[int, int] | None = None
) -> bytes:
    """Return a grey TIFF of one deflated strip."""
    fields = {
        256: width,
        257: height,
        258: bits,
        259: 8,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
    }
    entries = [
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in sorted((fields | (tags or {})).items())
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


# Mutating


def truncated(chance: random.Random, file: File) -> File:
    """Cut a file at a random place."""
    return File(file.ending, file.data[: chance.randrange(1, len(file.data))])


def zeroed(chance: random.Random, file: File) -> File:
    """Set a run of bytes to zero."""
    start = chance.randrange(len(file.data))
    length = min(chance.randint(1, 1 + len(file.data) // 2), len(file.data) - start)
    return File(file.ending, file.data[:start] + bytes(length) + file.data[start + length :])


def header_changed(chance: random.Random, file: File) -> File:
    """Set some of the first 200 bytes at random, except the first four."""
    return changed(chance, file, range(4, min(200, len(file.data))))


def changed(chance: random.Random, file: File, places: range | None = None) -> File:
    """Set some bytes at random."""
    data = bytearray(file.data)
    for _ in range(chance.choice([1, 2, 4, 16])):
        data[chance.choice(places or range(len(data)))] = chance.choice(
            [0, 1, 127, 255, chance.randrange(256)]
        )
    return File(file.ending, bytes(data))


def claiming(chance: random.Random, files: list[File]) -> File:
    """Return a small file whose header claims a huge image."""
    width, height = chance.choice(
        [(60_000, 60_000), (chance.randint(20_000, 60_000), chance.randint(20_000, 60_000))]
    )
    # The first file of each ending.
    small = {file.ending: file.data for file in reversed(files)}
    bmp = small[".bmp"]
    gif = small[".gif"]
    jpeg = encoded(noise_image(chance), "JPEG").data
    webp = encoded(noise_image(chance), "WebP", lossless=True).data
    frame = jpeg.index(b"\xff\xc0") + 5
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    claims = [
        File(".png", small[".png"][:8] + chunk(b"IHDR", header) + small[".png"][33:]),
        File(".gif", gif[:6] + struct.pack("<HH", width, height) + gif[10:]),
        File(
            ".bmp",
            bmp[:18] + struct.pack("<ii", width, chance.choice([height, -height])) + bmp[26:],
        ),
        File(".tif", tiff(width, height, 8, packed([(1000, 50)]))),
        File(
            ".tif", tiff(8, 8, 8, packed([(1000, 50)]), {322: width, 323: height, 324: 8, 325: 100})
        ),
        File(".webp", webp[:21] + struct.pack("<I", 16_382 | 16_382 << 14) + webp[25:]),
        File(".jpg", jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]),
    ]
    return chance.choice(claims)


def noise_image(chance: random.Random) -> Image.Image:
    """Return a small grey image."""
    return Image.frombytes("L", (16, 16), chance.randbytes(256))


def no_image(chance: random.Random) -> File:
    """Return random bytes or text, with the ending of an image or not."""
    data = chance.choice(
        [chance.randbytes(500), b"BMW is a car", b"GIF", b"<html>404</html>", b"\0" * 3000]
    )
    return File(chance.choice([*ENDINGS, ".txt", ""]), data)


# Large ones


@cache
def above_the_limit() -> list[File]:
    """Return small files of more than `MAX_PIXELS`, and one with a side that is too long."""
    side = int(MAX_PIXELS**0.5) + 100
    return [
        File(".png", png(side, side, 8, 0)),
        File(".png", png(side, side, 8, 2)),
        File(".tif", tiff(side, side, 8, packed([(side, side)]))),
        File(".png", png(1, 2_000_000, 8, 0)),
    ]


@cache
def largest_allowed() -> list[File]:
    """Return small files of nearly `MAX_PIXELS`, in the modes that take most memory."""
    floats = tiff(SIDE, SIDE, 32, packed([(4 * SIDE, SIDE)]), {339: 3})
    pngs = [png(SIDE, SIDE, depth, colour) for depth, colour in ((16, 0), (8, 6), (16, 4))]
    return [File(".tif", floats), *(File(".png", data) for data in pngs)]


def many_scans(chance: random.Random) -> File:
    """Return a progressive JPEG that claims `SIDE` x `SIDE` pixels and repeats its last scan."""
    data = encoded(noise_image(chance), "JPEG", progressive=True).data
    frame = data.index(b"\xff\xc2") + 5
    scan = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    claim = data[:frame] + struct.pack(">HH", SIDE, SIDE) + data[frame + 4 : end]
    return File(".jpg", claim + data[scan:end] * 1000 + data[end:])


# Kinds of mutations


def dicom_files() -> list[File]:
    """Return pydicom's small test files; none if it is not installed."""
    try:
        from pydicom.data import get_testdata_file
    except ImportError:
        return []
    folder = Path(str(get_testdata_file("MR_small.dcm", download=False))).parent
    small = [path for path in sorted(folder.glob("*.dcm")) if path.stat().st_size < 150_000]
    return [File(".dcm", path.read_bytes()) for path in small]


Maker = Callable[[random.Random], File]


def kinds(seed: int, *, large: bool) -> dict[str, tuple[str, Maker]]:
    """Return, for each kind of mutation, the expected result and a function that makes a file.

    The result is "done" or "not done" for all files of the kind, or "" where both may happen.
    """
    good = drawn(seed)
    every = [file for files in good.values() for file in files]
    dicom = dicom_files()
    makers: dict[str, tuple[str, Maker]] = {
        name: ("done", lambda chance, files=files: chance.choice(files))
        for name, files in good.items()
    }
    makers |= {
        "wrong ending": (
            "done",
            lambda c: File(c.choice([*ENDINGS, ".txt", ""]), c.choice(every).data),
        ),
        "truncated": ("", lambda c: truncated(c, c.choice(every))),
        "run of zero bytes": ("", lambda c: zeroed(c, c.choice(every))),
        "random header": ("", lambda c: header_changed(c, c.choice(every))),
        "random bytes": ("", lambda c: changed(c, c.choice(every))),
        "empty": ("not done", lambda c: File(c.choice([*ENDINGS, ".txt"]), b"")),
        "no image": ("not done", no_image),
        "claims a huge size": ("not done", lambda c: claiming(c, good["plain"])),
    }
    if dicom:
        mutations = (truncated, zeroed, header_changed, changed)
        makers["DICOM"] = ("", lambda c: c.choice(dicom))
        makers["DICOM, mutated"] = ("", lambda c: c.choice(mutations)(c, c.choice(dicom)))
    if large:
        makers["above the limit"] = ("not done", lambda c: c.choice(above_the_limit()))
        makers["largest allowed"] = ("done", lambda c: c.choice(largest_allowed()))
        makers["a thousand scans"] = ("not done", many_scans)
        makers["file of 4 GB"] = (
            "not done",
            lambda c: File(".png", good["plain"][1].data, 4 * 2**30),
        )
    return makers


N_LARGE = {"above the limit": 20, "largest allowed": 16, "a thousand scans": 10, "file of 4 GB": 1}
"""Files of each large kind, whatever --files is."""


def write_files(folder: Path, count: int, seed: int, *, large: bool) -> dict[str, str]:
    """Write mutated files into two class folders; return the kind of each file by its path."""
    chance = random.Random(seed)
    makers = kinds(seed, large=large)
    common = [kind for kind in makers if kind not in N_LARGE]
    large_kinds = {kind: n for kind, n in N_LARGE.items() if kind in makers}
    order = [kind for kind, n in large_kinds.items() for _ in range(n)]
    order += [common[number % len(common)] for number in range(count - len(order))]
    chance.shuffle(order)
    written = {}
    for number, kind in enumerate(order):
        file = makers[kind][1](chance)
        path = folder / ("even", "odd")[number % 2] / f"{number:05}{file.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        if file.length:
            os.truncate(path, file.length)
        written[path.relative_to(folder).as_posix()] = kind
    return written


# Running and checking


def extract(folder: Path, output: Path) -> Run:
    """Run the real command on a folder, measured by `measure.py`.

    That is a small process, because a child's peak begins at that of the process that started it.
    """
    command = [
        sys.executable,
        "-m",
        "freezeframe",
        "extract-features",
        str(folder),
        "--output",
        str(output),
        *OPTIONS,
    ]
    limited = ["sh", "-c", f'ulimit -v {ADDRESS_SPACE_KILOBYTES}; exec "$@"', "sh", sys.executable]
    done = subprocess.run(
        [*limited, str(MEASURE), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    output_text = done.stdout.decode(errors="replace")
    measured = re.search(r"^([\d.]+) s, peak memory (\d+) MB", output_text, re.MULTILINE)
    seconds = float(measured[1]) if measured else 0.0
    megabytes = int(measured[2]) if measured else 0
    return Run(done.returncode, output_text, seconds, megabytes)


def check(place: Path, count: int, seed: int, *, large: bool) -> Check:
    """Write the files, run the command and check the results, in an empty folder."""
    good = place / "good"
    files = drawn(seed)["plain"]
    for number, file in enumerate(files[:20]):
        path = good / ("even", "odd")[number % 2] / f"{number}{file.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    base = extract(good, place / "good.h5")
    folder = place / "mutated"
    output = place / "mutated.h5"
    written = write_files(folder, count, seed, large=large)
    run = extract(folder, output)
    if failed := next((process for process in (base, run) if process.code), None):
        return Check({}, run, base, [f"exit code {failed.code}: {failed.output[-2000:]}"])
    outcomes = find_outcomes(folder, output, written, run.output)
    wrong = [
        *wrong_in_run(run, base, large),
        *wrong_in_outcomes(outcomes, kinds(seed, large=large)),
    ]
    if damaged := FeatureStore(output).verify():
        wrong.append(f"{len(damaged)} rows do not match their checksums")
    return Check(outcomes, run, base, wrong)


def find_outcomes(
    folder: Path, store_path: Path, written: dict[str, str], printed: str
) -> dict[str, Outcome]:
    """Return the result of each file."""
    store = FeatureStore(store_path)
    skipped = dict(read_manifest(folder).skipped)
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(map(str, store.paths)):
        # A file of several pictures has a row for each.
        rows.setdefault(path.partition("#")[0], []).append(row)
    outcomes = {}
    for path, kind in written.items():
        if path in rows:
            results = {int(store.status[row]): row for row in rows[path]}
            status = min(results, key=(PENDING, FAILED, DONE).index)
            result = {PENDING: "lost", FAILED: "failed"}.get(status, "done")
            outcomes[path] = Outcome(kind, result, str(store.reasons[results[status]]))
        elif path in skipped and f", {skipped[path]} (" in printed:
            outcomes[path] = Outcome(kind, "skipped", skipped[path])
        else:
            outcomes[path] = Outcome(kind, "lost")
    return outcomes


def wrong_in_run(run: Run, base: Run, large: bool) -> list[str]:
    """Return what was wrong with the process."""
    wrong = ["a traceback was printed"] * ("Traceback" in run.output)
    wrong += [
        f"a line is not printable: {line!r}"
        for line in run.output.split("\n")
        if not line.isprintable()
    ]
    bound = MORE_MEGABYTES if large else MORE_MEGABYTES_WITHOUT_LARGE
    if not base.megabytes or run.megabytes > base.megabytes + bound:
        good = f"the {base.megabytes} MB for good images"
        wrong.append(f"{run.megabytes} MB are more than {bound} MB above {good}")
    return wrong


def wrong_in_outcomes(
    outcomes: dict[str, Outcome], makers: dict[str, tuple[str, Maker]]
) -> list[str]:
    """Return what was wrong with single files."""
    wrong = []
    for path, outcome in outcomes.items():
        expected = makers[outcome.kind][0]
        if outcome.result == "lost":
            wrong.append(f"{path}: lost ({outcome.kind})")
        done = outcome.result == "done"
        if (expected == "done" and not done) or (expected == "not done" and done):
            problem = f"{outcome.result}, must be {expected}"
            wrong.append(f"{path}: {problem} ({outcome.kind}) {outcome.reason}")
        explained = bool(outcome.reason.strip())
        if (outcome.result == "failed") != explained and outcome.result != "skipped":
            wrong.append(f"{path}: {outcome.result} with reason {outcome.reason!r}")
        if not outcome.reason.isprintable():
            wrong.append(f"{path}: reason is not one printable line: {outcome.reason!r}")
    return wrong


def table(results: Check) -> str:
    """Return the results by kind of mutation as text."""
    lines = [f"{'kind':20}{'files':>6}{'done':>6}{'failed':>8}{'skipped':>10}  commonest reason"]
    for kind in sorted({outcome.kind for outcome in results.outcomes.values()}):
        of_kind = [outcome for outcome in results.outcomes.values() if outcome.kind == kind]
        counts = Counter(outcome.result for outcome in of_kind)
        reasons = Counter(outcome.reason for outcome in of_kind if outcome.reason).most_common(1)
        numbers = f"{len(of_kind):6}{counts['done']:6}{counts['failed']:8}{counts['skipped']:10}"
        lines.append(f"{kind:20}{numbers}  {reasons[0][0] if reasons else ''}")
    peak = f"peak memory {results.run.megabytes} MB; {results.base.megabytes} MB for 20 good images"
    lines.append(f"{results.run.seconds:.1f} s, {peak}")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run the check and print its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        results = check(Path(place), options.files, options.seed, large=True)
    print(table(results))
    print("\n".join(results.wrong) or "nothing went wrong")
    sys.exit(bool(results.wrong))


if __name__ == "__main__":
    main()
