"""A part of a store: the rows that heads are trained or tested on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.splits import join_groups
from ...features.store import FeatureStore


@dataclass(frozen=True)
class Part:
    """Rows of a store, with their classes: a training or a test part.

    Attributes:
        store: where the rows are.
        rows: their numbers, of shape (n_rows,).
        labels: their classes after renaming, of shape (n_rows,).
        duplicates: numbers of their near-duplicate groups in the store, from 1 on, of shape
            (n_rows,); 0: not known.
        chains: group numbers, of shape (n_rows,); rows that a chain of relations links are one
            group, whichever rows of the store it leads through.
        recognised: whether it is known what the images of their chains look like, bool of shape
            (n_rows,).
    """

    store: FeatureStore
    rows: NDArray[np.intp]
    labels: NDArray[np.str_]
    duplicates: NDArray[np.intp]
    chains: NDArray[np.intp]
    recognised: NDArray[np.bool_]

    @classmethod
    def whole(
        cls, store: FeatureStore, labels: NDArray[np.str_], duplicates: NDArray[np.intp]
    ) -> Part:
        """All rows of a store that are done, of which parts are taken.

        Related are rows of the same bytes or the same pixels, near-duplicates, and rows of one
        group of the store.

        Args:
            labels, duplicates: of these rows.
        """
        rows = store.rows()
        pixels = store.pixels[rows]
        near = [number or "" for number in duplicates.tolist()]
        keys = (texts[rows].tolist() for texts in (store.sha256s, store.groups))
        chains = join_groups(pixels.tolist(), near, *keys)
        return cls(store, rows, labels, duplicates, chains, ~np.isin(chains, chains[pixels == ""]))

    def take(self, numbers: NDArray[Any]) -> Part:
        """Some of these rows, by their place among them or by a boolean."""
        columns = (self.rows, self.labels, self.duplicates, self.chains, self.recognised)
        return Part(self.store, *(column[numbers] for column in columns))

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The chains, numbered from 0 on in the order of these rows, of shape (n_rows,)."""
        return join_groups(self.chains.tolist())

    @property
    def sha256s(self) -> NDArray[np.str_]:
        """Digests of the files, of shape (n_rows,); "" where not known."""
        return self.store.sha256s[self.rows]

    @property
    def pixels(self) -> NDArray[np.str_]:
        """Digests of the decoded images, of shape (n_rows,); "" where not known."""
        return self.store.pixels[self.rows]
