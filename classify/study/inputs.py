"""Digests of what a step reads: a step whose inputs have the same digest is not repeated."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...data.formats.image_file import file_of
from ...data.lists.image_list import read_paths
from ...data.output.version import VERSION

LIBRARIES = (
    "numpy",
    "Pillow",
    "scikit-learn",
    "MNN",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "xgboost",
    "xgboost-cpu",
)
"""Libraries whose version may change a result."""


@dataclass(frozen=True)
class ImageFiles:
    """The files of an image set, as they are on the disk now.

    Attributes:
        digest: changes with the name, size or time of any file.
        n_files: number of files.
    """

    digest: str
    n_files: int


def image_files(source: Path) -> ImageFiles:
    """Look at the files of a folder, or at a list and the files that it names; read none of them.

    Raises:
        ManifestError: the list cannot be read.
        OSError: the folder cannot be read.
    """
    lines = sorted(_folder_lines(source) if source.is_dir() else _list_lines(source))
    digest = hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape"))
    return ImageFiles(digest.hexdigest(), len(lines))


def _folder_lines(folder: Path) -> list[str]:
    """Describe each file below a folder."""
    lines = []
    for place, _, names in os.walk(folder, followlinks=True):
        lines += [_file_line(Path(place, name), folder) for name in names]
    return lines


def _list_lines(source: Path) -> list[str]:
    """Describe each file that a list names, and the list itself."""
    content = hashlib.sha256(source.read_bytes()).hexdigest()
    # Slices of one volume have one file.
    files = {file_of(path) for path in read_paths(source)}
    return [f"{content}", *(_file_line(Path(file), source.parent) for file in files)]


def _file_line(path: Path, folder: Path) -> str:
    """Describe a file by its name, size and time of change; or says that it is missing."""
    name = os.path.relpath(path, folder)
    return f"{name} {file_state(path)}"


def file_state(path: Path) -> str:
    """Return size and time of change of a file; "missing" for a file that does not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


@cache
def versions() -> str:
    """Return the versions of this package and of the libraries that are installed."""
    texts = [f"freezeframe {VERSION}"]
    for name in LIBRARIES:
        try:
            texts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(texts)
