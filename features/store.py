"""`FeatureStore`: a feature store, opened for reading."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.output.terminal import Progress, counted
from ..errors import MissingFactError, ParameterError, StoreError
from .layout import (
    DONE,
    FINGERPRINT_COLUMNS,
    FINGERPRINT_FIELDS,
    STATUS_NAMES,
    THUMBNAIL_SIDE,
    Extent,
)
from .rows.columns import RowColumns
from .rows.feature_rows import FeatureRows
from .store_file import RowSelection, StoreFile

if TYPE_CHECKING:
    pass

SPLITS = ("train", "validation", "test", "")

_FINGERPRINT_RULE = "freezeframe-features 1\n"
"""First bytes of the fingerprint of every store: the rule has not changed since version 1."""


class FeatureStore(RowColumns):
    """A feature store, opened for reading: a snapshot of its rows, and its layers as memory maps.

    It keeps no file open and holds no lock, so a store can be read while another process fills it.

    Args:
        path: an HDF5 file written by `extract-features`.

    Attributes:
        path: the file.
        layers: (height, width, channels) of each layer, by name.
        provenance: fields that describe how the features were made.
        format_version: format version of the file.
        layout: places of the datasets in the file.
        paths, sha256s, labels, splits, groups: text columns, arrays of str of shape (n,).
        group_scopes: meaning of each group's name, str of shape (n,): "own" (in this list only),
            "common" (the same group in all sets), or "" (unknown, or no group).
        patients: digest of each image's patient, the same in all sets, str of shape (n,); "" where
            unknown.
        widths, heights: pixels, uint32 of shape (n,).
        status: 0 pending, 1 done, 2 failed, uint8 of shape (n,).
        reasons: reason of each failed row, objects of type str of shape (n,); "" for other rows.

    Raises:
        StoreError: the file is missing, not a feature store, of an unknown version, or damaged.
            What a row holds beside its features is checked when it is first used.

    Examples:
        >>> store = FeatureStore("features.h5")                           # doctest: +SKIP
        >>> X = store.features("block5_pool", store.rows(), "avg")        # doctest: +SKIP
        >>> X.shape                                                       # doctest: +SKIP
        (240, 512)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        file = StoreFile(path)
        super().__init__(file)
        self.path: Path = file.path
        self.layers = {name: extent.shape[1:] for name, extent in self.layout.layers.items()}
        self.provenance = self.layout.provenance
        self.format_version = self.layout.version

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{int((self.status == code).sum())} {name}" for code, name in STATUS_NAMES.items()
        )
        layers = ", ".join(f"{name} {shape}" for name, shape in self.layers.items())
        return f"FeatureStore({str(self.path)!r}: {counts}; {layers})"

    @property
    def source(self) -> str:
        """The folder or list of the images; "" for a store that was merged from several."""
        text = str(self.provenance.get("source", ""))
        # Before version 3 of the format, `merge` joined the sources to one text.
        joined = ", /" in text or re.search(r" and \d+ more$", text)
        return "" if joined else text

    @property
    def data_set(self) -> str:
        """The name of the image set: that of its folder or list, else of the store's file."""
        return PurePath(self.source).name or self.path.stem

    def thumbnails(self, rows: RowSelection) -> NDArray[np.uint8]:
        """Read the thumbnails of some rows, which are small grey images.

        Args:
            rows: row numbers, or a boolean of shape (n,).

        Returns:
            uint8 of shape (n_rows, THUMBNAIL_SIDE, THUMBNAIL_SIDE).

        Raises:
            StoreError: a row is not done, the store has no thumbnail of it, or a thumbnail does
                not match its checksum.
        """
        numbers = self._done_numbers(rows)
        without = numbers[self._pixels[numbers] == b""]
        if len(without):
            raise MissingFactError(
                f"{self.path}: has no thumbnail of {self.paths[without[0]]}; "
                "run extract-features again"
            )
        # A store of version 1 has no column for thumbnails.
        if not len(numbers):
            return np.empty((0, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
        self._verification.check("fingerprint", rows=numbers)
        return self._file.rows(self.layout.rows["thumbnail"], numbers)

    def rows(self, *, split: str | None = None, label: str | None = None) -> NDArray[np.intp]:
        """Return the numbers of the done rows, ascending, of shape (n_rows,).

        Args:
            split: only rows of this split; a split without images gives no rows.
            label: only rows of this class.

        Raises:
            ParameterError: the split or the label is unknown.
            StoreError: a status or a size does not match its checksum.
        """
        self._verification.check("status")
        if split not in (None, *SPLITS):
            raise ParameterError(
                f"{self.path}: split must be one of {', '.join(map(repr, SPLITS))}, "
                f"got {split!r}; take one of these"
            )
        if label is not None and label not in self.labels:
            raise ParameterError(
                f"{self.path}: no image is labelled {label!r}; labels are "
                f"{', '.join(sorted(set(self.labels)))}: take one of these"
            )
        selected = self.status == DONE
        if split is not None:
            selected &= self.splits == split
        if label is not None:
            selected &= self.labels == label
        return np.flatnonzero(selected)

    def memmap(self, layer: str) -> np.memmap[Any, np.dtype[Any]]:
        """Map a layer into memory, read-only, of shape (n, height, width, channels).

        It has the store's dtype. Rows that are not done hold undefined values, and no row is
        checked. The system kills a process that reads the map of a file that became shorter.

        Args:
            layer: name of the layer.

        Raises:
            ParameterError: the store has no such layer.
        """
        return self._file.map_layer(layer)

    def layer_extent(self, layer: str) -> Extent:
        """Return the place of a layer in the file.

        Args:
            layer: name of the layer.

        Raises:
            ParameterError: the store has no such layer.
        """
        return self._file.layer_extent(layer)

    def stored_features(self, layer: str, rows: RowSelection) -> NDArray[Any]:
        """Read the features of some rows as stored, without a check.

        Args:
            layer: name of the layer.
            rows: row numbers, or a boolean of shape (n,).

        Returns:
            An array of shape (n_rows, height, width, channels) in the store's dtype.

        Raises:
            ParameterError: the store has no such layer.
            StoreError: a row is not done, or the file became shorter.
        """
        return self._file.layer_rows(layer, self._done_numbers(rows))

    def features(
        self, layer: str, rows: RowSelection | None = None, pooling: str | None = None
    ) -> NDArray[np.float32]:
        """Read the features of some rows, as float32.

        Args:
            layer: name of the layer.
            rows: row numbers, or a boolean of shape (n,); by default all done rows.
            pooling: "flat", "avg", "max", or None for (n_rows, height, width, channels); see
                `pool`.

        Raises:
            ParameterError: the layer or the pooling is unknown.
            StoreError: a row is not done, or its features do not match their checksum.
        """
        return self.select(layer, rows, pooling)[:]

    def select(
        self, layer: str, rows: RowSelection | None = None, pooling: str | None = None
    ) -> FeatureRows:
        """Select the features of some rows as a matrix that is read on request.

        Args:
            layer: name of the layer.
            rows: as for `features`.
            pooling: as for `features`.
        """
        numbers = self.rows() if rows is None else self._done_numbers(rows)
        return FeatureRows(self._file, layer, numbers, pooling, np.zeros(len(self), dtype=bool))

    def blocks(
        self, layer: str, rows: RowSelection, pooling: str | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Read the features of some rows in order, about 64 MB at a time.

        Each row is checked against its checksum: no score may depend on damaged features.

        Args:
            layer: name of the layer.
            rows: row numbers, or a boolean of shape (n,).
            pooling: as for `features`.

        Yields:
            Row numbers, and their features.
        """
        selected = self.select(layer, rows, pooling)
        for part, block in selected.blocks():
            yield selected.rows[part], block

    def verify(self, progress: Progress | None = None) -> list[tuple[int, str]]:
        """Compute all checksums again; return (row, name) of each mismatch.

        The name is that of a layer, or a fact of `FACTS` ("status", "fingerprint", "duplicates").

        Args:
            progress: called with the number of checked rows and of all rows, counted in each layer.
        """
        return self._verification.mismatches(progress)

    def checksums(self, layer: str, rows: RowSelection | None = None) -> NDArray[np.str_]:
        """Read the SHA-256 of the feature bytes of all rows, or of some.

        Args:
            layer: name of the layer.
            rows: row numbers, or a boolean of shape (n,); by default all rows.

        Returns:
            Hexadecimal digests of shape (n,); empty where a row is not done.
        """
        return self._file.checksums(layer, rows)

    def dataset(self, full_name: str) -> NDArray[Any]:
        """Read a dataset by its full name, for example "rows/path", as stored and unchecked.

        Args:
            full_name: as in the table of FORMAT.md.
        """
        return self._file.dataset(full_name)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images, the deciding provenance and the features; FORMAT.md has the rule.

        Two stores with the same fingerprint hold the same features of the same images.
        """
        digest = hashlib.sha256(_FINGERPRINT_RULE.encode())
        fields = {name: self.provenance[name] for name in FINGERPRINT_FIELDS}
        digest.update(json.dumps(fields, sort_keys=True).encode())
        # Patients are a late addition: stores without them keep the fingerprint that they had.
        late = ("patient",) if self.patients.any() else ()
        for name in (*FINGERPRINT_COLUMNS, *late):
            digest.update(f"\n{name}\n".encode() + self._file.column(name).tobytes())
        # The checksums stand for the features, which are far too large to hash each time.
        for name in sorted(self.layers):
            digest.update(f"\n{name}\n".encode() + self._file.raw_checksums(name).tobytes())
        return digest.hexdigest()

    def _done_numbers(self, rows: RowSelection) -> NDArray[np.intp]:
        """Convert a selection to row numbers; raise if it is not valid or a row is not done."""
        numbers = self._file.row_numbers(rows)
        undone = numbers[self.status[numbers] != DONE]
        if len(undone):
            # A damaged status looks pending, and has other advice.
            self._verification.check("status")
            first = undone[0]
            raise StoreError(
                f"{self.path}: {len(undone)} of {counted(len(numbers), 'requested row')} not "
                f"done, first "
                f"{self.paths[first]} ({STATUS_NAMES[self.status[first]]}); "
                "take the rows from store.rows(), or run extract-features again"
            )
        return numbers
