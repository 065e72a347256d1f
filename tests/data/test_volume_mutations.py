"""Mutated volumes of each kind: each is read or refused in one line, and memory stays bounded."""

from __future__ import annotations

import gzip
import random
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freezeframe import ImageError, read_image
from freezeframe.data.formats.image_file import read_volume_header
from freezeframe.data.formats.images import patient_group

from .test_more_volumes import AXIAL, cjdata, enhanced, noise, save_pages, save_series

QUICK = 30
ALL = 500
MEGABYTES = 700
"""Most memory that a process may take beyond what it had: the largest stacks that are allowed."""


def nifti(path: Path) -> Path:
    nib = pytest.importorskip("nibabel")
    nib.save(nib.Nifti1Image(noise(6, 7, 5, dtype=np.int16), np.eye(4)), path.with_suffix(".nii"))
    return path.with_suffix(".nii")


def zipped(path: Path) -> Path:
    path.write_bytes(gzip.compress(nifti(path).read_bytes(), mtime=0))
    return path


def dicom(path: Path) -> Path:
    places = [[0.0, 0.0, 1.0 * index] for index in range(4)]
    path.write_bytes(enhanced(noise(4, 6, 8, dtype=np.uint16), AXIAL, places, slopes=[1.0] * 4))
    return path


def series(path: Path) -> Path:
    names = save_series(path.parent, noise(3, 6, 8, dtype=np.uint16), [0, 1, 2])
    return path.parent / names[1]


def tiff(path: Path) -> Path:
    return save_pages(path, list(noise(4, 7, 9, dtype=np.uint16)))


def packed_tiff(path: Path) -> Path:
    return save_pages(path, list(noise(4, 7, 9)), compression="tiff_lzw")


def matlab(path: Path) -> Path:
    return cjdata(path, noise(12, 10, dtype=np.int16))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return a file with some bytes changed, cut, repeated or made extreme."""
    changed = bytearray(data)
    # Headers are at the start, and decide most.
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 600)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place = rng.randrange(reach)
        kind = rng.randrange(5)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            changed[place : place + 4] = rng.choice((b"\xff" * 4, b"\x7f" * 4, bytes(4)))
        elif kind == 2:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 3:
            changed[place : place + 8] = changed[: rng.randrange(9)]
        else:
            del changed[place : place + rng.choice((1, 2, 100))]
        reach = min(reach, len(changed)) or 1
        changed = changed or bytearray(b"?")
    return bytes(changed)


@pytest.mark.parametrize(
    "n", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)], ids=["quick", "all"]
)
@pytest.mark.parametrize("make", [nifti, zipped, dicom, series, tiff, packed_tiff, matlab])
def test_mutated_volumes_end_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], n: int
) -> None:
    path = make(tmp_path / "v")
    data = path.read_bytes()
    name = {matlab: path, series: f"{path}#series"}.get(make, f"{path}#1")
    assert read_image(name).ndim == 3
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_read = 0
    for seed in range(n):
        path.write_bytes(mutated(data, random.Random(seed)))
        for read in (read_image, read_volume_header, patient_group):
            try:
                read(name if read is read_image else path)
                n_read += read is read_image
            except ImageError as error:
                text = str(error)
                assert text.isprintable()
                assert len(text) < 300 + len(str(name))
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{make.__name__}: {n_read} of {n} read, {taken} MB taken")
    assert taken < MEGABYTES
    # Mutations that none survives, or all, would test little.
    assert 0 < n_read < n
