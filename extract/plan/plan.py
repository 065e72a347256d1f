"""The plan of an extraction, made before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...data.manifest import Manifest
from ...errors import ParameterError, StoreError
from ...features.index import begins_as_store
from ...features.layout import DONE, PENDING, STORE_FORMAT_VERSION
from ...features.store import FeatureStore
from ..settings import Settings
from .preflight import (
    check_alike,
    check_same_collection,
    has_images,
    has_room,
    stored_row_bytes,
)

Task = Literal["create", "continue", "replace", "upgrade", "keep"]
"""Tasks of an extraction:

- create: make a new store.
- continue: compute what is pending in the existing store; it may be finished.
- replace: the images changed; build a new store beside the old one, from its rows.
- upgrade: build a store of today's format beside the old one, from its rows.
- keep: leave a finished store of an earlier format, since the disk has no room for a new one.
"""


@dataclass(frozen=True)
class Plan:
    """The steps of an extraction; `print(plan)` shows them.

    Attributes:
        task: see `Task`.
        manifest: the images.
        settings: resolved settings.
        output: path of the finished store.
        target: file that is written: `output`, or a file beside it that replaces it at the end.
        existing: the store at `output`; None if it is missing or overwritten.
        begun: the unfinished store of these images at `target`, if it is not `output`; it is
            continued.
        donors: stores from which finished rows of the same files are copied, in this order.
        displaced: the donor that is at `target`, and is moved to `set_aside_path` first.
        obsolete: files of earlier runs that are removed before anything is written.
        layers: layers of the finished store, from the network's first to its last.
        n_reused: rows to be copied; a damaged row is computed instead.
        n_remaining: rows to be computed.
        outdated_bytes: bytes that an upgrade needs, for which there is no room; else 0.
        workers: processes of the engine mnn; None takes one a core.
    """

    task: Task
    manifest: Manifest
    settings: Settings
    output: Path
    target: Path
    existing: FeatureStore | None
    begun: FeatureStore | None
    donors: tuple[FeatureStore, ...]
    displaced: FeatureStore | None
    obsolete: tuple[Path, ...]
    layers: tuple[str, ...]
    n_reused: int
    n_remaining: int
    outdated_bytes: int = 0
    workers: int | None = None

    def __str__(self) -> str:
        existing = repr(self.existing) if self.existing is not None else "nothing"
        lines = [
            f"{self.output}: {self.task}",
            f"  exists: {existing}",
            f"  reused: {self.n_reused} images",
            f"  computed: {self.n_remaining} images",
            f"  written: {'nothing' if self.finished else self.target}",
        ]
        return "\n".join(lines)

    @property
    def finished(self) -> bool:
        """True if no row is copied or computed, and no file is written."""
        if self.task == "keep":
            return True
        return self.task == "continue" and not self.n_reused and not self.n_remaining


@dataclass(frozen=True)
class _Unfinished:
    """The unfinished stores that earlier runs left beside the output."""

    begun: FeatureStore | None = None
    displaced: FeatureStore | None = None
    donors: tuple[FeatureStore, ...] = ()
    obsolete: tuple[Path, ...] = ()


def make_plan(
    manifest: Manifest,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = None,
) -> Plan:
    """Plan an extraction; nothing is written or removed.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: replace the existing store instead of continuing it.
        reuse: other stores; rows of the same files are copied from them.
        workers: processes of the engine mnn; None takes one a core.

    Raises:
        StoreError: a store has another provenance (the message names the field), or most of the
            existing store's images are not in the manifest.
        ParameterError: `workers` does not fit the engine, or `output` is in `reuse`.
        MissingExtraError: the engine is not installed.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> print(make_plan(read_manifest("brain-mri"), "features.h5"))  # doctest: +SKIP
        /home/ada/features.h5: create
          exists: nothing
          reused: 0 images
          computed: 253 images
          written: /home/ada/features.h5
    """
    # A link to a store stays a link.
    output = Path(output).resolve()
    existing = _open_existing(output, overwrite)
    settings = (settings or Settings()).resolved(existing.provenance if existing else None)
    donors = tuple(_open_donor(path, output) for path in reuse)
    # It is checked here since the engine of "auto" is known only now.
    if workers and settings.engine != "mnn":
        raise ParameterError(f"workers are for the engine mnn, not for {settings.engine}")
    task = _choose_task(existing, manifest)
    _check_stores(task, existing, donors, manifest, settings)

    outdated_bytes = 0
    if existing is not None and task == "upgrade" and existing.complete:
        n_bytes = copied_bytes(existing)
        if not has_room(output, n_bytes):
            task = "keep"
            outdated_bytes = n_bytes
    unfinished = _find_unfinished(task, existing, output, manifest, settings)
    old = [existing] if existing is not None and task == "replace" else []
    donors = (*unfinished.donors, *old, *donors)
    n_reused, n_remaining = _count_rows(task, existing, unfinished.begun, donors, manifest)
    return Plan(
        task=task,
        manifest=manifest,
        settings=settings,
        output=output,
        target=next_path(output) if task in ("upgrade", "replace") else output,
        existing=existing,
        begun=unfinished.begun,
        donors=donors,
        displaced=unfinished.displaced,
        obsolete=unfinished.obsolete,
        layers=tuple(existing.layers) if existing else settings.sorted_layers,
        n_reused=n_reused,
        n_remaining=n_remaining,
        outdated_bytes=outdated_bytes,
        workers=workers,
    )


def next_path(output: Path) -> Path:
    """Return the path at which a new store is built while the old one is still readable."""
    return output.with_name(f".{output.name}.next")


def set_aside_path(output: Path) -> Path:
    """Return the path of an unfinished store of other images, whose rows are still useful."""
    return output.with_name(f".{output.name}.before")


def copied_bytes(store: FeatureStore) -> int:
    """Return the bytes that the finished rows of a store take in a new one."""
    return len(store.rows()) * stored_row_bytes(store)


def rows_by_content(store: FeatureStore) -> dict[str, int]:
    """Return the finished rows of a store by the SHA-256 of their files."""
    return {
        str(store.sha256s[row]): int(row)
        for row in (store.status == DONE).nonzero()[0]
        if store.sha256s[row]
    }


def _open_existing(output: Path, overwrite: bool) -> FeatureStore | None:
    """Open the store at the output, if it exists and is not overwritten."""
    if not output.exists():
        return None
    if not overwrite:
        return FeatureStore(output)
    # Also with --overwrite a file of another kind is not touched.
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
    """Choose the task by what exists; "keep" is decided later."""
    if existing is None:
        return "create"
    # Other labels, splits or another order need a new store, too.
    if not has_images(existing, manifest):
        return "replace"
    return "continue" if existing.format_version == STORE_FORMAT_VERSION else "upgrade"


def _check_stores(
    task: Task,
    existing: FeatureStore | None,
    donors: Iterable[FeatureStore],
    manifest: Manifest,
    settings: Settings,
) -> None:
    """Raise `StoreError` if a store has another provenance or is of another collection."""
    if existing is not None:
        # A finished store may be of any versions: none of its rows is computed again.
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
        # What earlier runs computed may be of other versions, and no row of it is needed.
        return _Unfinished(obsolete=(next_path(output),))
    begun, obsolete_begun = _open_unfinished(next_path(output), settings)
    aside, obsolete_aside = _open_unfinished(set_aside_path(output), settings)
    obsolete = obsolete_begun + obsolete_aside
    donors = () if aside is None else (aside,)
    if begun is None or has_images(begun, manifest):
        return _Unfinished(begun, None, donors, obsolete)
    # The images changed once more. Of two unfinished stores the one with more rows is kept.
    if aside is None or len(aside.rows()) < len(begun.rows()):
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


def _count_rows(
    task: Task,
    existing: FeatureStore | None,
    begun: FeatureStore | None,
    donors: Sequence[FeatureStore],
    manifest: Manifest,
) -> tuple[int, int]:
    """Count the rows that are copied and the rows that are computed."""
    # The store that is continued has the images of the manifest, in its order.
    continued = existing if task in ("continue", "keep") else begun
    if continued is None:
        pending = list(range(len(manifest.images)))
    else:
        pending = (continued.status == PENDING).nonzero()[0].tolist()
    # All other rows of the continued store are finished.
    n_pending = len(pending)
    if existing is not None and task == "upgrade":
        # An upgrade copies failed rows, too.
        pending = [row for row in pending if existing.status[row] == PENDING]
    available: set[str] = set()
    for donor in donors:
        available.update(rows_by_content(donor))
    n_remaining = sum(manifest.images[row].sha256 not in available for row in pending)
    return n_pending - n_remaining, n_remaining
