"""The columns of a store: what it holds of each row beside features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import counted, first_names
from ..checksums.facts import FACTS, has_fact
from ..checksums.verification import Verification
from ..layout import DIGEST_BYTES, DONE, FAILED, IDENTITY_COLUMNS, PENDING, STATUS_NAMES, Layout
from ..store_file import StoreFile

if TYPE_CHECKING:
    import pandas


class RowColumns:
    """The columns of a store, a snapshot of its rows; `FeatureStore` describes the attributes.

    Args:
        file: the file of the store.
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._verification = Verification(file)
        self.layout: Layout = file.layout
        self.status = file.status
        self.paths = file.text("path")
        self.sha256s = file.text("sha256")
        self.labels = file.text("label")
        self.splits = file.text("split")
        self.groups = file.text("group")
        self.group_scopes = self._read_late_text("group_scope")
        self.patients = self._read_late_text("patient")
        self.reasons = self._read_reasons()
        self.widths: NDArray[np.uint32] = file.column("width")
        self.heights: NDArray[np.uint32] = file.column("height")
        # Text columns and sizes are small; layers and thumbnails stay in the file.
        self._pixels = self._read_done_rows("pixels", f"S{DIGEST_BYTES}", "fingerprint")
        self._duplicates: NDArray[np.uint32] = self._read_done_rows(
            "duplicates", "<u4", "duplicates"
        )

    def __len__(self) -> int:
        return len(self.status)

    @property
    def n_done(self) -> int:
        """Number of done rows, damaged or not."""
        return int((self.status == DONE).sum())

    @property
    def complete(self) -> bool:
        """True if no row is pending."""
        return not bool((self.status == PENDING).any())

    @property
    def pending(self) -> NDArray[np.intp]:
        """Numbers of the rows that are not computed yet, ascending; without damaged ones."""
        pending = np.flatnonzero(self.status == PENDING)
        return np.setdiff1d(pending, self.damaged_rows("status"))

    @property
    def pending_text(self) -> str:
        """The rows that are not computed yet, with the first of their paths; "" without any."""
        paths = self.paths[self.pending].tolist()
        if not paths:
            return ""
        return (
            f"{len(paths)} of {counted(len(self), 'row')} not computed yet ({first_names(paths)})"
        )

    @cached_property
    def pixels(self) -> NDArray[np.str_]:
        """SHA-256 of each decoded image, str of shape (n,); "" where unknown or not done.

        Raises:
            StoreError: a digest or a thumbnail does not match its checksum.
        """
        self._verification.check("fingerprint")
        # It is decoded on first use, since str takes four times the memory of bytes.
        return np.char.decode(self._pixels, "ascii", "replace")

    def pixels_of(self, rows: Sequence[int]) -> list[str]:
        """Return `pixels` of some rows; damage to other rows does not matter.

        Args:
            rows: row numbers.

        Raises:
            StoreError: a digest or a thumbnail of these rows does not match its checksum.
        """
        self._verification.check("fingerprint", rows=rows)
        return [self._pixels[row].decode("ascii", "replace") for row in rows]

    @cached_property
    def duplicates(self) -> NDArray[np.uint32]:
        """Number of each row's near-duplicate group, of shape (n,); 0 where unknown or not done.

        Raises:
            StoreError: a number does not match its checksum.
        """
        self._verification.check("duplicates")
        return self._duplicates

    @property
    def fingerprinted(self) -> bool:
        """True if every done row has its pixels, its thumbnail and its near-duplicate group."""
        done = self.status == DONE
        return bool((self._pixels[done] != b"").all() and (self._duplicates[done] > 0).all())

    @property
    def grouped(self) -> bool:
        """True if every row with a fingerprint has its near-duplicate group, undamaged."""
        rows = self._pixels != b""
        return bool((self._duplicates[rows] > 0).all()) and not len(self.damaged_rows("duplicates"))

    @property
    def pictures(self) -> int | None:
        """Number of different pictures in the done rows; None if near-duplicates are unknown."""
        if not self.fingerprinted:
            return None
        return len(np.unique(self.duplicates[self.status == DONE]))

    @property
    def has_row_checksums(self) -> bool:
        """True if checksums cover what rows hold beside features; versions 1 and 2 have none."""
        return self.layout.has_row_checksums

    def damaged_rows(self, fact: str) -> NDArray[np.intp]:
        """Return the rows in which a fact does not match its checksum, ascending.

        Args:
            fact: "status" (with sizes and reason), "fingerprint" (pixels and thumbnail) or
                "duplicates".
        """
        return self._verification.damaged_rows(fact)

    def check(self) -> None:
        """Check what all rows hold beside their features.

        Raises:
            StoreError: a status, a fingerprint or a group does not match its checksum.
        """
        self._verification.check(*FACTS)

    def identity(self, rows: slice = slice(None)) -> dict[str, list[str]]:
        """Return the columns of `IDENTITY_COLUMNS` as lists, by name; "" where a store lacks one.

        Such a column of an older store says what today's format needs: unknown scopes of groups,
        and no patients.

        Args:
            rows: the rows; by default all.
        """
        columns = (
            self.paths,
            self.sha256s,
            self.labels,
            self.splits,
            self.groups,
            self.group_scopes,
            self.patients,
        )
        return {
            name: column[rows].tolist()
            for name, column in zip(IDENTITY_COLUMNS, columns, strict=True)
        }

    def frame(self) -> pandas.DataFrame:
        """Return the rows without features as a pandas frame, one line per row, in order."""
        # pandas takes a second to import, and few callers need it.
        import pandas

        # Codes are 0, 1, 2, so they can index the array of names.
        names = np.array([STATUS_NAMES[code] for code in sorted(STATUS_NAMES)])
        return pandas.DataFrame(
            {
                "path": self.paths,
                "sha256": self.sha256s,
                "label": self.labels,
                "split": self.splits,
                "group": self.groups,
                "group_scope": self.group_scopes,
                "patient": self.patients,
                "width": self.widths,
                "height": self.heights,
                "status": names[self.status],
                "reason": self.reasons,
                "pixels": self.pixels,
                "duplicates": self.duplicates,
            }
        )

    def _read_done_rows(self, name: str, dtype: str, fact: str) -> NDArray[Any]:
        """Read a column that version 1 lacks; zeros where a row is not done or half written."""
        values = np.zeros(len(self), dtype)
        if name not in self.layout.rows:
            return values
        valid = self.status == DONE
        # A fact counts only with its checksum: a power cut can lose either of them.
        if self.has_row_checksums:
            valid &= has_fact(self._file.column(FACTS[fact]))
        values[valid] = self._file.column(name)[valid]
        return values

    def _read_late_text(self, name: str) -> NDArray[np.str_]:
        """Read a text column that versions 1 and 2 lack; "" in every row of these."""
        if name in self.layout.rows:
            return self._file.text(name)
        return np.zeros(len(self), "U1")

    def _read_reasons(self) -> NDArray[np.object_]:
        # Few rows fail, and text of fixed length would take 800 bytes for each row.
        reasons = np.full(len(self.status), "", dtype=object)
        raw = self._file.column("reason")
        for row in np.flatnonzero(self.status == FAILED):
            reasons[row] = bytes(raw[row]).decode("utf-8", "replace")
        return reasons
