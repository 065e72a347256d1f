"""A part of a store: the rows that heads are trained or tested on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.groups import GroupNames
from ...data.splits import join_groups
from ...features.store import FeatureStore


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a store, with their classes: a training or a test part.

    Attributes:
        store: the store of the rows.
        rows: row numbers in the store, of shape (n_rows,).
        labels: classes after renaming, of shape (n_rows,).
        duplicates: number of each row's near-duplicate group in the store, from 1 on, of shape
            (n_rows,); 0 where it is unknown.
        chains: group numbers, of shape (n_rows,). Rows that a chain of relations links are one
            group. The chain may lead through any rows of the store, those of other parts too.
        recognised: True if all images of the row's chain have a digest of their pixels, bool of
            shape (n_rows,).
        names: groups and patients of these rows.
        whole: the part of all rows of the store; None if this part is that one.
    """

    store: FeatureStore
    rows: NDArray[np.intp]
    labels: NDArray[np.str_]
    duplicates: NDArray[np.intp]
    chains: NDArray[np.intp]
    recognised: NDArray[np.bool_]
    names: GroupNames
    whole: Part | None = None

    @classmethod
    def of_store(
        cls,
        store: FeatureStore,
        labels: NDArray[np.str_],
        duplicates: NDArray[np.intp],
        *,
        with_patients: bool = True,
    ) -> Part:
        """Make the part of all finished rows of a store; smaller parts are taken from it.

        Rows are related if they have the same bytes or the same pixels, are near-duplicates, are
        of one group of the store, or of one patient.

        Args:
            store: the store of the rows.
            labels: class of each of `store.rows()`, of shape (n_rows,).
            duplicates: near-duplicate group of each of them, of shape (n_rows,).
            with_patients: False ignores the PatientIDs of the store.
        """
        rows = store.rows()
        names = GroupNames(
            store.groups[rows].tolist(),
            store.group_scopes[rows].tolist(),
            store.patients[rows].tolist(),
        )
        if not with_patients:
            names = names.without_patient_ids()
        pixels = store.pixels[rows]
        # An empty key joins nothing: rows without pixels or group are related by the rest only.
        chains = join_groups(
            pixels.tolist(),
            [number or "" for number in duplicates.tolist()],
            store.sha256s[rows].tolist(),
            store.groups[rows].tolist(),
            names.common_keys(),
        )
        # One image without a digest makes its whole chain uncertain.
        recognised = ~np.isin(chains, chains[pixels == ""])
        return cls(store, rows, labels, duplicates, chains, recognised, names)

    def take(self, numbers: NDArray[Any]) -> Part:
        """Return some of these rows, chosen by their places or by a boolean array."""
        return Part(
            self.store,
            self.rows[numbers],
            self.labels[numbers],
            self.duplicates[numbers],
            self.chains[numbers],
            self.recognised[numbers],
            self.names.take(np.arange(len(self.rows))[numbers].tolist()),
            self.whole or self,
        )

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The chains, numbered from 0 on in the order of these rows, of shape (n_rows,)."""
        # Smaller parts keep the chains of the whole store, so that their numbers have gaps.
        return join_groups(self.chains.tolist())

    @property
    def sha256s(self) -> NDArray[np.str_]:
        """Digests of the files, of shape (n_rows,); "" where unknown."""
        return self.store.sha256s[self.rows]

    @property
    def pixels(self) -> NDArray[np.str_]:
        """Digests of the decoded images, of shape (n_rows,); "" where unknown."""
        return self.store.pixels[self.rows]


@dataclass(frozen=True)
class HeldOutPart:
    """A test set: rows that no head is fitted on.

    Attributes:
        part: the rows.
        split: where they come from: "hold-out 20%", "test", "validation" or "external".
    """

    part: Part
    split: str
