"""Creation of a feature store at full size, with every row pending.

FORMAT.md describes the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..data.groups import COMMON, OWN
from ..data.output.files import whole_file
from ..errors import ParameterError, StoreError
from .hdf5_file import DeferredErrorFile
from .index import encode_index
from .layout import (
    DIGEST_BYTES,
    IDENTITY_COLUMNS,
    LAYER_DTYPES,
    MAX_TEXT_BYTES,
    ROW_COLUMNS,
    ROW_SHAPES,
    STORE_FORMAT,
    STORE_FORMAT_VERSION,
    Extent,
    Layout,
    identity_digest,
    user_block_bytes,
)

LayerShape = tuple[int, int, int]
"""Height, width and channels of a layer."""

_Specs = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and dtype of each dataset, by full name."""


def create_store(
    path: str | os.PathLike[str],
    rows: Mapping[str, Sequence[str]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    """Create a store at full size with every row pending; call it under `store_lock`.

    The file gets its name only when it is complete.

    Args:
        path: path of the new store; an existing file is replaced.
        rows: the columns of `IDENTITY_COLUMNS`, each a sequence of n_images strings.
        layers: (height, width, channels) of each layer, by name.
        provenance: the fields of FORMAT.md; `dtype` is "float32" or "float16".

    Raises:
        StoreError: the file cannot be written.
        ParameterError: no rows, no layers, columns of unequal length, a text of more than
            `MAX_TEXT_BYTES`, or an unknown dtype.
    """
    path = Path(path)
    try:
        with whole_file(path) as temporary:
            write_pending(temporary, rows, layers, provenance)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot write the store ({error.strerror or error}); "
            "check the folder and its disk, or give another output"
        ) from None


def write_pending(
    path: Path,
    rows: Mapping[str, Sequence[str]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    """Write a store with every row pending into a temporary file that the caller renames later.

    The arguments are those of `create_store`.

    Raises:
        OSError: the file cannot be written.
        ParameterError: as `create_store`.
    """
    _check_arguments(rows, layers, provenance)
    _write_store(path, _initial_columns(rows, layers), layers, provenance)


def _check_arguments(
    rows: Mapping[str, Sequence[str]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    lengths = {len(rows[name]) for name in IDENTITY_COLUMNS}
    if len(lengths) != 1 or lengths == {0}:
        raise ParameterError(
            "rows: the columns of a store must have one length, at least 1; give a text an image"
        )
    if not set(rows["group_scope"]) <= {"", OWN, COMMON}:
        raise ParameterError(
            f"group_scope: must be {OWN!r}, {COMMON!r} or empty; take one of these"
        )
    if not layers:
        raise ParameterError("layers: a store needs at least one layer; give one")
    if provenance["dtype"] not in LAYER_DTYPES:
        raise ParameterError(
            f"dtype must be one of {', '.join(LAYER_DTYPES)}, got {provenance['dtype']!r}; "
            "take one of these"
        )


def _initial_columns(
    rows: Mapping[str, Sequence[str]], layers: Mapping[str, LayerShape]
) -> dict[str, NDArray[Any]]:
    """Return the columns and checksums of a store whose rows are all pending, by full name.

    Thumbnails are absent, like layers: they stay holes in the file until rows are filled.
    """
    n = len(rows["path"])
    columns: dict[str, NDArray[Any]] = {}
    for name, dtype in ROW_COLUMNS.items():
        full_name = f"rows/{name}"
        if name in IDENTITY_COLUMNS:
            columns[full_name] = _encode_text(name, rows[name], dtype)
        elif full_name not in ROW_SHAPES:
            # Zero is right for every column: pending, unknown, or an empty string.
            columns[full_name] = np.zeros(n, dtype)
    for name in layers:
        columns[f"checksums/{name}"] = np.zeros(n, f"S{DIGEST_BYTES}")
    return columns


def _encode_text(name: str, texts: Sequence[str], dtype: str) -> NDArray[Any]:
    """Encode texts as UTF-8 byte strings; dtype "S" takes the length of the longest text.

    Raises:
        ParameterError: a text has more than `MAX_TEXT_BYTES` bytes.
    """
    try:
        # NumPy encodes ASCII itself, much faster than Python text by text.
        values = np.array(texts, dtype="S")
    except UnicodeEncodeError:
        values = np.array([text.encode() for text in texts], dtype="S")
    if values.dtype.itemsize > MAX_TEXT_BYTES:
        raise ParameterError(
            f"{name}: a text of {values.dtype.itemsize} bytes is longer than the limit of "
            f"{MAX_TEXT_BYTES}; shorten it"
        )
    return values.astype(f"S{max(1, values.dtype.itemsize)}" if dtype == "S" else dtype)


def _dataset_specs(
    columns: Mapping[str, NDArray[Any]], layers: Mapping[str, LayerShape], dtype: np.dtype[Any]
) -> _Specs:
    n = len(columns["rows/path"])
    specs: _Specs = {name: (column.shape, column.dtype) for name, column in columns.items()}
    for name, shape in ROW_SHAPES.items():
        specs[name] = (n, *shape), np.dtype(ROW_COLUMNS[name.removeprefix("rows/")])
    for name, layer_shape in layers.items():
        specs[f"layers/{name}"] = (n, *layer_shape), dtype
    return specs


def _write_store(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    """Write the HDF5 file, then the index into the user block at its head."""
    specs = _dataset_specs(columns, layers, np.dtype(LAYER_DTYPES[provenance["dtype"]]))
    identity = identity_digest({name: columns[f"rows/{name}"] for name in IDENTITY_COLUMNS})

    def index(offsets: Mapping[str, int]) -> bytes:
        datasets = {name: Extent(offsets[name], *spec) for name, spec in specs.items()}
        return encode_index(Layout(datasets, dict(provenance), identity, STORE_FORMAT_VERSION))

    # The user block comes first in the file, so its size is set before the offsets are known. The
    # largest possible offsets make sure that the index fits.
    room = user_block_bytes(len(index(dict.fromkeys(specs, 2**63))))
    offsets = _write_hdf5(path, columns, specs, provenance, room)
    # Plain file I/O: HDF5 cannot write into its own user block.
    with path.open("r+b") as handle:
        handle.write(index(offsets))
        # The file is renamed next; its bytes must be on the disk by then.
        handle.flush()
        os.fsync(handle.fileno())


def _write_hdf5(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    specs: _Specs,
    provenance: Mapping[str, Any],
    user_block: int,
) -> dict[str, int]:
    """Write the HDF5 file; return the offset of each dataset in it."""
    # FORMAT.md wants a file that HDF5 1.8 reads, and datasets at multiples of 64 bytes.
    options = {"userblock_size": user_block, "alignment_threshold": 64, "alignment_interval": 64}
    with (
        DeferredErrorFile(path) as raw,
        h5py.File(raw, "w", libver=("earliest", "v108"), **options) as file,
    ):
        file.attrs["format"] = STORE_FORMAT
        file.attrs["format_version"] = STORE_FORMAT_VERSION
        file.create_group("provenance").attrs.update(provenance)
        offsets = {
            name: _create_dataset(file, name, *spec).id.get_offset() for name, spec in specs.items()
        }
        for name, column in columns.items():
            # The dtype of the dataset marks text as UTF-8; the column's own does not.
            file[name][...] = column.astype(file[name].dtype)
        # HDF5 writes its last bytes when it closes the file, so `check` comes after that.
        file.close()
        raw.check()
    return offsets


def _create_dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> h5py.Dataset:
    """Create a contiguous dataset whose space is allocated at once, but not filled."""
    kind = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # A contiguous dataset is one block of bytes, which can be mapped.
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    # The index holds the place of the dataset, so HDF5 must choose it now.
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # Without fill values, layers stay holes in the file until rows are filled.
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return file.create_dataset(name, shape, kind, dcpl=plist)
