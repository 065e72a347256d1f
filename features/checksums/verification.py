"""The verification of a store: what its rows hold is compared with their checksums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Progress
from ...errors import StoreError
from ..layout import DONE, row_checksum
from ..store_file import StoreFile
from .facts import FACTS, damaged_rows


class Verification:
    """A comparison of what the rows of a store hold with their checksums.

    Args:
        file: the file of the store.
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._damaged: dict[str, NDArray[np.intp]] = {}

    def damaged_rows(self, fact: str) -> NDArray[np.intp]:
        """Return the rows in which a fact does not match its checksum, ascending; see `FACTS`."""
        # Hashing all thumbnails takes seconds for a million rows, so it is done once.
        if fact not in self._damaged:
            self._damaged[fact] = self._find(fact)
        return self._damaged[fact]

    def check(self, *facts: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> None:
        """Raise StoreError if a fact of a row, by default of any, does not match its checksum."""
        for fact in facts:
            damaged = self.damaged_rows(fact)
            if rows is not None:
                damaged = np.intersect1d(damaged, np.asarray(rows, dtype=np.intp))
            if len(damaged):
                raise self._error(fact, damaged)

    def mismatches(self, progress: Progress | None = None) -> list[tuple[int, str]]:
        """Compute all checksums again; see `FeatureStore.verify`."""
        # Rows are read again here: an earlier result may be of a file that was sound then.
        mismatches = [(int(row), fact) for fact in FACTS for row in self._find(fact)]
        finished = 0
        rows = np.flatnonzero(self._file.status == DONE)
        layers = self._file.layout.layers
        for layer in layers:
            checksums = self._file.raw_checksums(layer)
            for row in rows:
                features = self._file.layer_rows(layer, np.array([row]))
                if row_checksum(features[0]).encode() != checksums[row]:
                    mismatches.append((int(row), layer))
                finished += 1
                if progress is not None:
                    progress(finished, len(rows) * len(layers))
        return mismatches

    def _find(self, fact: str) -> NDArray[np.intp]:
        with self._file.open() as file:
            return damaged_rows(self._file.layout, file, self._file.status, fact)

    def _error(self, fact: str, rows: NDArray[np.intp]) -> StoreError:
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        return StoreError(
            f"{self._file.path}: damaged: the {fact} of {self._file.text('path')[rows[0]]}{more} "
            "is not what was written; run extract-features again, which reads the images again"
        )
