"""The plan of an extraction, made before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...data.manifest import Manifest
from ...data.output.capacity import has_room
from ...errors import ParameterError, StoreError
from ...features.copies.copying import copied_bytes
from ...features.index import begins_as_store
from ...features.layout import PENDING, STORE_FORMAT_VERSION
from ...features.store import FeatureStore
from ..settings import Settings
from .collection import check_same_collection, has_images
from .preflight import (
    check_alike,
    rows_by_content,
)

Task = Literal["create", "continue", "replace", "upgrade", "keep"]
"""The task of an extraction.

- create: make a new store.
- continue: compute what is pending in the existing store; it may be finished.
- replace: the images changed; build a new store beside the old one, from its rows.
- upgrade: build a store of today's format beside the old one, from its rows.
- keep: leave a finished store of an earlier format, since the disk has no room for a new one.
"""


@dataclass(frozen=True)
class RowCounts:
    """The rows of a plan that are still to be filled.

    Attributes:
        reused: rows to copy; a damaged row is computed instead.
        remaining: rows to compute.
    """

    reused: int
    remaining: int


@dataclass(frozen=True)
class Plan:
    """The steps of an extraction; `describe` shows them.

    Rows are counted only on request: in a large collection, counting takes longer than planning.

    Attributes:
        task: see `Task`.
        settings: resolved settings.
        output: path of the finished store.
        target: file to write: `output`, or a file beside it that replaces `output` at the end.
        existing: the store at `output`; None if it is missing or overwritten.
        begun: an unfinished store of these images at `target`, which the run continues; None
            without such a store, or if `target` is `output`.
        donors: stores to copy finished rows of the same files from, in this order.
        displaced: the donor at the path `target`, which is moved to `set_aside_path` first.
        obsolete: files of earlier runs that are removed before anything is written.
        layers: layers of the finished store, from the network's first to its last.
        outdated_bytes: bytes that an upgrade needs but the disk does not have; 0 without an
            upgrade or with enough room.
        workers: number of processes of the engine mnn; None takes one for each core.
    """

    task: Task
    settings: Settings
    output: Path
    target: Path
    existing: FeatureStore | None
    begun: FeatureStore | None
    donors: tuple[FeatureStore, ...]
    displaced: FeatureStore | None
    obsolete: tuple[Path, ...]
    layers: tuple[str, ...]
    outdated_bytes: int = 0
    workers: int | None = None

    @property
    def finished(self) -> bool:
        """True if no row is copied or computed, and no file is written."""
        if self.existing is None or self.task not in ("continue", "keep"):
            return False
        return self.existing.complete

    def count_rows(self, manifest: Manifest) -> RowCounts:
        """Count the rows to copy and to compute.

        Args:
            manifest: the images of the plan.
        """
        # The store that is continued has the images of the manifest, in its order.
        continued = self.existing if self.task in ("continue", "keep") else self.begun
        if continued is None:
            pending = list(range(len(manifest.images)))
        else:
            pending = (continued.status == PENDING).nonzero()[0].tolist()
        n_pending = len(pending)
        if self.existing is not None and self.task == "upgrade":
            # An upgrade copies failed rows, too.
            pending = [row for row in pending if self.existing.status[row] == PENDING]
        available: set[str] = set()
        for donor in self.donors:
            available.update(rows_by_content(donor))
        remaining = sum(manifest.images[row].sha256 not in available for row in pending)
        return RowCounts(n_pending - remaining, remaining)

    def describe(self, manifest: Manifest) -> str:
        """Return the plan as text: the existing store, the counts of rows, and the written file.

        Args:
            manifest: the images of the plan.
        """
        counts = self.count_rows(manifest)
        existing = repr(self.existing) if self.existing is not None else "nothing"
        lines = [
            f"{self.output}: {self.task}",
            f"  exists: {existing}",
            f"  reused: {counts.reused} images",
            f"  computed: {counts.remaining} images",
            f"  written: {'nothing' if self.finished else self.target}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Unfinished:
    """The unfinished stores that earlier runs left beside the output."""

    begun: FeatureStore | None = None
    displaced: FeatureStore | None = None
    donors: tuple[FeatureStore, ...] = ()
    obsolete: tuple[Path, ...] = ()


def make_plan(
    output: str | os.PathLike[str],
    manifest: Manifest,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = None,
) -> Plan:
    """Plan an extraction; nothing is written or removed.

    Args:
        output: the store.
        manifest: the images.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: replace the existing store instead of continuing it.
        reuse: other stores; rows of the same files are copied from them.
        workers: number of processes of the engine mnn; None takes one for each core.

    Raises:
        StoreError: a store has another provenance (the message names the field), or most of the
            existing store's images are not in the manifest.
        ParameterError: `workers` does not fit the engine, or `output` is in `reuse`.
        MissingExtraError: the engine is not installed.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> manifest = read_manifest("brain-mri")                        # doctest: +SKIP
        >>> print(make_plan("features.h5", manifest).describe(manifest))  # doctest: +SKIP
        /home/ada/features.h5: create
          exists: nothing
          reused: 0 images
          computed: 253 images
          written: /home/ada/features.h5
    """
    # Renaming the finished file onto a link would replace the link, not the store.
    output = Path(output).resolve()
    existing = _open_existing(output, overwrite)
    settings = (settings or Settings()).resolved(existing.provenance if existing else None)
    donors = tuple(_open_donor(path, output) for path in reuse)
    # This check must wait until "auto" is resolved to an engine.
    if workers and settings.engine != "mnn":
        raise ParameterError(
            f"workers are for the engine mnn, not for {settings.engine}; leave --workers out"
        )
    task = _choose_task(existing, manifest)
    _check_stores(task, existing, donors, manifest, settings)
    # A finished store without room for its upgrade is still complete, so it is kept.
    outdated_bytes = 0
    if existing is not None and task == "upgrade" and existing.complete:
        n_bytes = copied_bytes(existing)
        if not has_room(output, n_bytes):
            task = "keep"
            outdated_bytes = n_bytes
    unfinished = _find_unfinished(task, existing, output, manifest, settings)
    old = [existing] if existing is not None and task == "replace" else []
    donors = (*unfinished.donors, *old, *donors)
    return Plan(
        task=task,
        settings=settings,
        output=output,
        target=next_path(output) if task in ("upgrade", "replace") else output,
        existing=existing,
        begun=unfinished.begun,
        donors=donors,
        displaced=unfinished.displaced,
        obsolete=unfinished.obsolete,
        layers=tuple(existing.layers) if existing else settings.sorted_layers,
        outdated_bytes=outdated_bytes,
        workers=workers,
    )


def next_path(output: Path) -> Path:
    """Return the path at which a new store is built while the old one is still readable."""
    return output.with_name(f".{output.name}.next")


def set_aside_path(output: Path) -> Path:
    """Return the path to which an unfinished store of other images is moved.

    Some of its rows may be of the images of this run.
    """
    return output.with_name(f".{output.name}.before")


def _open_existing(output: Path, overwrite: bool) -> FeatureStore | None:
    """Open the store at the output, if it exists and is not overwritten."""
    if not output.exists():
        return None
    if not overwrite:
        return FeatureStore(output)
    # --overwrite must not destroy a file of another kind, such as a thesis.
    if not output.is_file() or not begins_as_store(output):
        raise StoreError(
            f"{output}: not a feature store, so it is not overwritten; "
            "remove it, or give another --output"
        )
    return None


def _open_donor(path: str | os.PathLike[str], output: Path) -> FeatureStore:
    """Open a store whose rows are to be reused."""
    if Path(path).resolve() == output:
        raise ParameterError(
            f"{path}: is the output itself, whose rows are kept anyway; remove it from --reuse"
        )
    return FeatureStore(path)


def _choose_task(existing: FeatureStore | None, manifest: Manifest) -> Task:
    """Choose the task by the existing store; `make_plan` may change "upgrade" to "keep"."""
    if existing is None:
        return "create"
    # Other labels, splits or another order need a new store, too.
    if not has_images(existing, manifest):
        return "replace"
    return "continue" if _is_current(existing) else "upgrade"


def _is_current(store: FeatureStore) -> bool:
    """Return True if a store is of the format that writers fill."""
    return store.format_version == STORE_FORMAT_VERSION


def _check_stores(
    task: Task,
    existing: FeatureStore | None,
    donors: Iterable[FeatureStore],
    manifest: Manifest,
    settings: Settings,
) -> None:
    """Raise `StoreError` if a store has another provenance or is of another collection."""
    if existing is not None:
        # A finished store may have any versions of libraries: no row of it is computed again.
        finished = task != "replace" and existing.complete
        check_alike(existing, settings, with_versions=not finished)
    for donor in donors:
        check_alike(donor, settings, with_versions=True)
    if existing is not None and task == "replace":
        check_same_collection(existing, manifest)


def _find_unfinished(
    task: Task,
    existing: FeatureStore | None,
    output: Path,
    manifest: Manifest,
    settings: Settings,
) -> _Unfinished:
    """Find the usable stores that earlier runs left unfinished beside the output."""
    if task not in ("upgrade", "replace"):
        return _Unfinished()
    if task == "upgrade" and existing is not None and existing.complete:
        # The upgrade copies all rows from the finished store. Rows of an unfinished store are not
        # needed, and may have other versions of libraries.
        return _Unfinished(obsolete=(next_path(output),))
    begun, obsolete_begun = _open_unfinished(next_path(output), settings)
    aside, obsolete_aside = _open_unfinished(set_aside_path(output), settings)
    obsolete = obsolete_begun + obsolete_aside
    donors = () if aside is None else (aside,)
    if begun is None or (_is_current(begun) and has_images(begun, manifest)):
        return _Unfinished(begun, None, donors, obsolete)
    # The images changed again. Only one unfinished store is kept: the one with more rows.
    if aside is None or aside.n_done < begun.n_done:
        return _Unfinished(None, begun, (begun,), obsolete)
    return _Unfinished(None, None, donors, (*obsolete, begun.path))


def _open_unfinished(
    path: Path, settings: Settings
) -> tuple[FeatureStore | None, tuple[Path, ...]]:
    """Open an unfinished store; return None and its path if it is missing or not usable."""
    try:
        store = FeatureStore(path)
        check_alike(store, settings, with_versions=True)
    except StoreError:
        return None, (path,)
    return store, ()
