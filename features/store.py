"""Reading a feature store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, StoreError
from .layout import (
    DECIDING,
    DIGEST_BYTES,
    DONE,
    FAILED,
    IDENTITY_COLUMNS,
    PENDING,
    THUMBNAIL_SIDE,
    Extent,
    file_identity,
    identity_digest,
    read_layout,
)
from .rows import FeatureRows

if TYPE_CHECKING:
    import pandas

SPLITS = ("train", "validation", "test", "")

_FINGERPRINT_RULE = "freezeframe-features 1\n"
"""What the fingerprint of a store of any version begins with: its rule has not changed since the first."""

Rows = Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


class FeatureStore:
    """A feature store, opened for reading: a snapshot of its rows, and its layers as memory maps.

    Nothing stays open and no lock is held, so a store can be read while another process fills it.

    Args:
        path: an HDF5 file written by `extract-features`.

    Attributes:
        path: the file.
        layers: the layers' shapes, {name: (height, width, channels)}.
        provenance: what made the features, {field: value}.
        format_version: of the file.
        paths, sha256s, labels, splits, groups: text columns, arrays of str of shape (n,).
        widths, heights: pixels, uint32 of shape (n,).
        status: 0 pending, 1 done, 2 failed, uint8 of shape (n,).
        reasons: why a row failed, objects of type str of shape (n,).
        pixels: SHA-256 of each decoded image, str of shape (n,); empty where not known or not done.
        duplicates: number of the near-duplicate group of each row, uint32 of shape (n,); 0 where
            not known or not done.

    Raises:
        StoreError: the file is missing, no feature store, of an unknown version, or damaged.

    Examples:
        >>> store = FeatureStore("features.h5")                           # doctest: +SKIP
        >>> X = store.features("block5_pool", store.rows(), "avg")        # doctest: +SKIP
        >>> X.shape                                                       # doctest: +SKIP
        (240, 512)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._layout = read_layout(path)
        self._check_identity()
        self.layers = {name: extent.shape[1:] for name, extent in self._layout.layers.items()}
        self.provenance = self._layout.provenance
        self.format_version = self._layout.version
        self.status = self._layout.read_status(path)
        self.paths = self._text("path")
        self.sha256s = self._text("sha256")
        self.labels = self._text("label")
        self.splits = self._text("split")
        self.groups = self._text("group")
        self.reasons = self._reasons()
        self.widths: NDArray[np.uint32] = np.array(self._layout.rows["width"].map(path))
        self.heights: NDArray[np.uint32] = np.array(self._layout.rows["height"].map(path))
        self._pixels = self._of_done_rows("pixels", f"S{DIGEST_BYTES}")
        self.duplicates: NDArray[np.uint32] = self._of_done_rows("duplicates", "<u4")

    def __len__(self) -> int:
        return len(self.status)

    def __repr__(self) -> str:
        counts = [int((self.status == code).sum()) for code in (DONE, FAILED, PENDING)]
        return (
            f"FeatureStore({str(self.path)!r}: {counts[0]} done, {counts[1]} failed, {counts[2]} pending; "
            + ", ".join(f"{name} {shape}" for name, shape in self.layers.items())
            + ")"
        )

    @property
    def complete(self) -> bool:
        """Whether no row is pending."""
        return not bool((self.status == PENDING).any())

    @cached_property
    def pixels(self) -> NDArray[np.str_]:
        """See the class; as text four times as large as in the file, and not always asked for."""
        return np.char.decode(self._pixels, "ascii", "replace")

    @property
    def fingerprinted(self) -> bool:
        """Whether of every done row its pixels, its thumbnail and its near-duplicate group are known."""
        done = self.status == DONE
        return bool((self._pixels[done] != b"").all() and (self.duplicates[done] > 0).all())

    @property
    def pictures(self) -> int | None:
        """How many different pictures the done rows show, near-duplicates counted once; None if it is not known."""
        return len(np.unique(self.duplicates[self.status == DONE])) if self.fingerprinted else None

    def thumbnails(self, rows: Rows) -> NDArray[np.uint8]:
        """Images of some rows, small and grey, uint8 of shape (n_rows, THUMBNAIL_SIDE, THUMBNAIL_SIDE).

        Args:
            rows: row numbers, or a boolean of shape (n,).

        Raises:
            StoreError: a row is not done, or the store has no thumbnail of it.
        """
        numbers = self._numbers(rows)
        without = numbers[self._pixels[numbers] == b""]
        if len(without):
            raise StoreError(
                f"{self.path}: has no thumbnail of {self.paths[without[0]]}; run extract-features again"
            )
        if not len(numbers):
            return np.empty((0, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
        return np.array(self._map(self._layout.rows["thumbnail"])[numbers])

    def rows(self, *, split: str | None = None, label: str | None = None) -> NDArray[np.intp]:
        """Numbers of the done rows, ascending, of shape (n_rows,); of one split or class if asked.

        Raises:
            ParameterError: no such split or label; a split that no image is in gives no rows.
        """
        wanted = self.status == DONE
        if split not in (None, *SPLITS):
            raise ParameterError(
                f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}"
            )
        if label is not None and label not in self.labels:
            raise ParameterError(
                f"no image is labelled {label!r}; labels are {', '.join(sorted(set(self.labels)))}"
            )
        if split is not None:
            wanted &= self.splits == split
        if label is not None:
            wanted &= self.labels == label
        return np.flatnonzero(wanted)

    def memmap(self, layer: str) -> np.memmap[Any, np.dtype[Any]]:
        """A layer as a read-only memory map of shape (n, height, width, channels), in the store's dtype.

        Rows that are not done hold undefined values.

        Raises:
            ParameterError: the store has no such layer.
        """
        self._check_layer(layer)
        return self._map(self._layout.layers[layer])

    def features(
        self, layer: str, rows: Rows | None = None, pooling: str | None = None
    ) -> NDArray[np.float32]:
        """Features of some rows, as float32.

        Args:
            layer: its name.
            rows: row numbers, or a boolean of shape (n,); by default all done rows.
            pooling: "flat", "avg", "max", or None for (n_rows, height, width, channels); see
                `pool`.

        Raises:
            ParameterError: an unknown layer or pooling.
            StoreError: a row is not done, or its features are not what was written.
        """
        return self.select(layer, rows, pooling)[:]

    def select(
        self, layer: str, rows: Rows | None = None, pooling: str | None = None
    ) -> FeatureRows:
        """Features of some rows as a matrix that is read block by block when asked for; arguments as for `features`."""
        numbers = self.rows() if rows is None else self._numbers(rows)
        return FeatureRows(self, layer, numbers, pooling, np.zeros(len(self), dtype=bool))

    def blocks(
        self, layer: str, rows: Rows, pooling: str | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Features of some rows in blocks of about 64 MB: pairs of row numbers and their features, in order.

        Each row is checked against its checksum on the way: a score must not rest on damaged
        features.
        """
        selected = self.select(layer, rows, pooling)
        for part, block in selected.blocks():
            yield selected.rows[part], block

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[tuple[int, str]]:
        """Recompute every done row's checksums; the pairs (row, layer) that do not match, none if all is well.

        Args:
            progress: told what is checked and what is to be checked, in rows of layers.
        """
        wrong, finished, total = [], 0, len(self.rows()) * len(self.layers)
        for layer, extent in self._layout.checksums.items():
            data, checksums = self.memmap(layer), self._map(extent)
            for row in self.rows():
                if _digest(data[row]) != checksums[row]:
                    wrong.append((int(row), layer))
                finished += 1
                if progress is not None:
                    progress(finished, total)
        return wrong

    def checksums(self, layer: str, rows: Rows | None = None) -> NDArray[np.str_]:
        """SHA-256 of the feature bytes of all rows, or of some, hexadecimal, of shape (n,); empty where not done."""
        self._check_layer(layer)
        checksums = self._map(self._layout.checksums[layer])
        return np.char.decode(
            np.array(checksums if rows is None else checksums[rows]), "ascii", "replace"
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the deciding provenance and every row: what was looked at, with what, and what came out."""
        digest = hashlib.sha256(_FINGERPRINT_RULE.encode())
        decided = {name: self.provenance[name] for name in DECIDING}
        digest.update(json.dumps(decided, sort_keys=True).encode())
        for name in (*IDENTITY_COLUMNS, "status"):
            digest.update(f"\n{name}\n".encode() + self._map(self._layout.rows[name]).tobytes())
        for name in sorted(self.layers):
            digest.update(
                f"\n{name}\n".encode() + self._map(self._layout.checksums[name]).tobytes()
            )
        return digest.hexdigest()

    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas frame, without features: one line per row, in order."""
        import pandas

        names = np.array(["pending", "done", "failed"])
        return pandas.DataFrame(
            {
                "path": self.paths,
                "sha256": self.sha256s,
                "label": self.labels,
                "split": self.splits,
                "group": self.groups,
                "width": self.widths,
                "height": self.heights,
                "status": names[self.status],
                "reason": self.reasons,
                "pixels": self.pixels,
                "duplicates": self.duplicates,
            }
        )

    def _check_layer(self, layer: str) -> None:
        if layer not in self.layers:
            raise ParameterError(
                f"{self.path} has no layer {layer!r}; it has {', '.join(self.layers)}"
            )

    def _check_identity(self) -> None:
        """Refuse a store whose list of images was changed, or that another program wrote anew with other places."""
        columns = {name: self._map(self._layout.rows[name]) for name in IDENTITY_COLUMNS}
        if identity_digest(columns) != self._layout.identity_sha256:
            raise StoreError(
                f"{self.path}: damaged: its paths, labels, splits or groups were changed; extract anew"
            )

    def _file_identity(self) -> tuple[int, int]:
        return file_identity(self.path.stat())

    def _map(self, extent: Extent) -> np.memmap[Any, np.dtype[Any]]:
        """A dataset as a memory map, unless another file has taken the place of the one that was opened."""
        if self._file_identity() != self._layout.file:
            raise StoreError(
                f"{self.path}: replaced by another store since it was opened; open it again"
            )
        return extent.map(self.path)

    def _numbers(self, rows: Rows) -> NDArray[np.intp]:
        """Row numbers of rows that are all done; a boolean array chooses the rows where it is true."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != self.status.shape:
                raise ParameterError(
                    f"a boolean for rows must have shape {self.status.shape}, got {chosen.shape}"
                )
            chosen = np.flatnonzero(chosen)
        elif chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise ParameterError(
                f"rows must be row numbers or a boolean array, got {chosen.dtype} of {chosen.shape}"
            )
        elif chosen.size and not -len(self) <= chosen.min() <= chosen.max() < len(self):
            raise ParameterError(
                f"rows must lie between 0 and {len(self) - 1}, got {chosen.min()} to {chosen.max()}"
            )
        numbers: NDArray[np.intp] = chosen.astype(np.intp)
        if (self.status[numbers] != DONE).any():
            raise StoreError(f"{self.path}: rows that are not done were asked for")
        return numbers

    def _of_done_rows(self, name: str, dtype: str) -> NDArray[Any]:
        """A column that version 1 has not; zeros where a row is not done, since it may be half written."""
        values = np.zeros(len(self), dtype)
        if name in self._layout.rows:
            done = self.status == DONE
            values[done] = self._map(self._layout.rows[name])[done]
        return values

    def _reasons(self) -> NDArray[np.object_]:
        reasons = np.full(
            len(self.status), "", dtype=object
        )  # as text of fixed length, 800 bytes a row
        raw = self._map(self._layout.rows["reason"])
        for row in np.flatnonzero(self.status == FAILED):
            reasons[row] = bytes(raw[row]).decode("utf-8", "replace")
        return reasons

    def _text(self, name: str) -> NDArray[np.str_]:
        raw = np.array(self._map(self._layout.rows[name]))
        try:
            return raw.astype(f"U{raw.dtype.itemsize}")  # plain ASCII, with a third of the memory
        except UnicodeDecodeError:
            pass
        try:
            return np.char.decode(raw, "utf-8")
        except UnicodeDecodeError:
            raise StoreError(f"{self.path}: damaged: {name} is not UTF-8") from None


def _digest(features: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest().encode()
