"""Extraction: from a manifest to a finished feature store: begun, gone on with, or made from what others computed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..data.manifest import Manifest
from ..data.output.terminal import printable
from ..errors import ParameterError, StoreError
from ..features.copying import copy_rows
from ..features.index import begins_as_store
from ..features.layout import (
    DONE,
    FAILED,
    IDENTITY_COLUMNS,
    LAYER_DTYPES,
    PENDING,
    STORE_FORMAT_VERSION,
)
from ..features.new_store import create_store
from ..features.store import FeatureStore
from ..features.writer import StoreWriter, store_lock
from .backbones.table import find_backbone
from .backbones.weights import Weights, load_weights
from .filling import Progress, Tell, check_read, fill
from .near_duplicates import Afterwards, recognise
from .preflight import (
    check_alike,
    check_free,
    check_room,
    check_same_collection,
    has_room,
    other_images,
    row_bytes,
)
from .settings import Settings, deciding_fields, versions
from .signals import stop_on_signals


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        store: the finished store.
        reused: rows copied from an earlier store or from those given to be reused.
        progress: what was computed in this run, and the time spent per stage.
        failed: (path, reason) of every image that could not be read.
        seconds: from the first image to the last, the start of the engine included.
        recognised: whether fingerprints or near-duplicate groups were found in this run.
        outdated: bytes that a finished store of an earlier format needs to be brought up to date,
            for which there is no room; 0 of any other.
        unrecognised: (path, reason) of every image whose features were taken from an earlier store
            and whose file could not be read again, so that it is not known which others show the
            same.
    """

    store: FeatureStore
    reused: int
    progress: Progress
    failed: list[tuple[str, str]]
    seconds: float
    recognised: bool = False
    outdated: int = 0
    unrecognised: list[tuple[str, str]] = field(default_factory=list)

    @property
    def computed(self) -> int:
        """Rows dealt with in this run that were not copied from another store."""
        return self.progress.finished


def extract_features(
    manifest: Manifest,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = None,
    command: str = "",
    groups: bool = True,
    progress: Tell | None = None,
    afterwards: Afterwards | None = None,
) -> Extraction:
    """Compute the features of all images that are not finished in the store `output`, which is made if missing.

    Rows finished by an earlier run, stopped in whatever way, are never computed again. A finished
    store is recognised without loading the backbone. If images were added, removed, changed or
    relabelled since, a new store is built beside the old one from its rows, and takes its place
    when it is finished. So is a store of an earlier version of the format brought to today's; of
    its images nothing is computed again.

    After the last image the near-duplicates are looked for; a run that was stopped before that is
    made up for by the next one, which needs no backbone for it.

    The first SIGINT or SIGTERM lets the batch in hand be finished, then `KeyboardInterrupt` is
    raised.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: start anew, replacing what is there.
        reuse: other stores; rows of the same files are taken from them.
        workers: processes of the engine mnn; by default one a core.
        command: kept in the store's provenance.
        groups: look for near-duplicates when all features are there.
        progress: told after every batch.
        afterwards: told what is done after the features are there, and how far it is.

    Raises:
        StoreError: a store has another provenance (the text names the field), is in use, cannot be
            written, would not fit on the disk, or is not complete because files could not be read
            this time.
        WeightsError: the weights are missing or not the pinned ones.
        MissingExtraError: the engine is not installed.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> extract_features(read_manifest("brain-mri"), "features.h5").store  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    output = Path(output).resolve()  # a link to a store stays a link
    with store_lock(output):
        old = _old_store(output, overwrite)
        settings = (settings or Settings()).resolved(old.provenance if old else None)
        donors = [_donor(path, output) for path in reuse]
        if workers and settings.engine != "mnn":
            raise ParameterError(f"workers are for the engine mnn, not for {settings.engine}")
        same_images = old is not None and not other_images(old, manifest)
        if old is not None:
            finished = same_images and old.complete
            check_alike(old, settings, with_versions=not finished)
        for donor in donors:
            check_alike(donor, settings, with_versions=True)
        if old is not None and not same_images:
            check_same_collection(old, manifest)
        outdated = old is not None and old.format_version != STORE_FORMAT_VERSION
        if old is not None and outdated and finished and not has_room(output, _copied_bytes(old)):
            return replace(_finished(old, 0), outdated=_copied_bytes(old))
        target = output if old is None or (same_images and not outdated) else _next(output)
        layers = (
            tuple(old.layers)
            if old
            else find_backbone(settings.backbone).check_layers(settings.layers)
        )
        weights, reused = None, 0
        if old is not None and same_images and outdated:
            donors = [*([] if old.complete else _begun(output, manifest, settings)), *donors]
            reused = _upgrade(old, target, settings)
        elif old is not None and target != output:
            donors = [*_begun(output, manifest, settings), old, *donors]
        if old is None or not target.exists():
            weights = _create(target, manifest, settings, layers, command)
        reused += _take_over(FeatureStore(target), donors)
        for left in (_next(output), _before(output)):
            if left != target:
                left.unlink(missing_ok=True)
        done = _finish(
            FeatureStore(target), output, manifest, settings, weights, reused, workers, progress
        )
        if not groups or done.store.fingerprinted:
            return done
        unrecognised = recognise(done.store, manifest, afterwards)
        return replace(done, store=FeatureStore(output), recognised=True, unrecognised=unrecognised)


def _donor(path: str | os.PathLike[str], output: Path) -> FeatureStore:
    if Path(path).resolve() == output:
        raise ParameterError(
            f"{path}: is the output itself, whose rows are kept anyway unless it is overwritten"
        )
    return FeatureStore(path)


def _old_store(output: Path, overwrite: bool) -> FeatureStore | None:
    """The store to be gone on with; what is there and no store of ours is not touched."""
    if not output.exists():
        return None
    if not overwrite:
        return FeatureStore(output)
    if not output.is_file() or not begins_as_store(output):
        raise StoreError(
            f"{output}: not a feature store, so it is not overwritten; remove it, or give another --output"
        )
    return None


def _finish(
    store: FeatureStore,
    output: Path,
    manifest: Manifest,
    settings: Settings,
    weights: Weights | None,
    reused: int,
    workers: int | None,
    tell: Tell | None,
) -> Extraction:
    """Compute what is pending, and give the store its place."""
    start, done = time.perf_counter(), Progress(0)
    if not store.complete:
        check_room(store)
        weights = (
            weights
            or load_weights(settings.weights, settings.seed, find_backbone(settings.backbone))[0]
        )
        with stop_on_signals() as stop:
            done = fill(store, manifest, settings, weights, workers=workers, stop=stop, tell=tell)
        if stop.asked and done.finished < done.total:
            raise KeyboardInterrupt
    seconds = time.perf_counter() - start
    check_read(output, manifest, done)
    if pending := int((FeatureStore(store.path).status == PENDING).sum()):
        raise StoreError(f"{output}: {pending} images were not finished; the same command goes on")
    store.path.replace(output)
    return replace(_finished(FeatureStore(output), reused), progress=done, seconds=seconds)


def _finished(store: FeatureStore, reused: int) -> Extraction:
    """A finished store in which nothing was computed."""
    failed = [
        (str(store.paths[row]), str(store.reasons[row]))
        for row in (store.status == FAILED).nonzero()[0]
    ]
    return Extraction(store, reused, Progress(0), failed, 0.0)


def _create(
    path: Path, manifest: Manifest, settings: Settings, layers: Sequence[str], command: str
) -> Weights:
    """Make a store with all rows pending; the weights that its provenance names."""
    backbone = find_backbone(settings.backbone)
    shapes = {name: backbone.layers[name] for name in layers}
    itemsize = np.dtype(LAYER_DTYPES[settings.dtype]).itemsize
    check_free(path, len(manifest.images) * row_bytes(shapes.values(), itemsize))
    weights, source = load_weights(settings.weights, settings.seed, backbone)
    story = {
        "weights_source": source,
        "weights_seed": settings.seed,
        "source": printable(str(manifest.source.resolve())),
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    rows = {name: [getattr(image, name) for image in manifest.images] for name in IDENTITY_COLUMNS}
    create_store(path, rows, shapes, deciding_fields(settings) | versions(settings) | story)
    return weights


def _copied_bytes(old: FeatureStore) -> int:
    """What the finished rows of a store take in a new one."""
    return len(old.rows()) * row_bytes(
        old.layers.values(), old.memmap(next(iter(old.layers))).itemsize
    )


def _upgrade(old: FeatureStore, target: Path, settings: Settings) -> int:
    """Make a store of today's version of the format of the rows of an earlier one; how many of them were copied.

    It keeps the provenance: that is what its features were made with, by whatever versions of the
    libraries.
    """
    if old.complete:
        target.unlink(
            missing_ok=True
        )  # what others computed may be of other versions, and nothing needs it
    if not target.exists():
        check_free(target, _copied_bytes(old))
        columns = (old.paths, old.sha256s, old.labels, old.splits, old.groups)
        rows = {
            name: column.tolist() for name, column in zip(IDENTITY_COLUMNS, columns, strict=True)
        }
        try:
            layers = {
                name: (height, width, depth) for name, (height, width, depth) in old.layers.items()
            }
            create_store(target, rows, layers, old.provenance)
        except (
            ValueError,
            TypeError,
            KeyError,
            OverflowError,
        ) as error:  # names and provenance that HDF5 cannot keep
            raise StoreError(
                f"{old.path}: cannot be copied ({' '.join(str(error).split())[:150]})"
            ) from None
    with StoreWriter(target) as writer:
        numbers = writer.pending.tolist()
        copied = copy_rows(old, numbers, writer, numbers, skip_damaged=True)
    if not FeatureStore(target).complete:
        check_alike(old, settings, with_versions=True)
    return copied


def _next(output: Path) -> Path:
    """Where the new store is built while the old one stands."""
    return output.with_name(f".{output.name}.next")


def _before(output: Path) -> Path:
    """Where a new store goes that was not finished and is not wanted any more, while rows are taken from it."""
    return output.with_name(f".{output.name}.before")


def _begun(output: Path, manifest: Manifest, settings: Settings) -> list[FeatureStore]:
    """What earlier runs began to build beside the old store, to take rows from; one of these images is gone on with."""
    usable = {}
    for path in (_next(output), _before(output)):
        try:
            store = FeatureStore(path)
            check_alike(store, settings, with_versions=True)
            usable[path] = store
        except StoreError:
            path.unlink(missing_ok=True)
    begun, before = usable.get(_next(output)), usable.get(_before(output))
    if begun is not None and other_images(begun, manifest):
        if before is None or len(before.rows()) < len(begun.rows()):
            begun.path.replace(_before(output))
            before = FeatureStore(_before(output))
        else:
            begun.path.unlink()
    return [before] if before is not None else []


def _take_over(store: FeatureStore, donors: Sequence[FeatureStore]) -> int:
    """Copy finished rows of the same files from other stores; how many."""
    taken = 0
    for donor in donors:
        rows_by_file = {
            sha256: row
            for row, sha256 in enumerate(donor.sha256s)
            if donor.status[row] == DONE and sha256
        }
        with StoreWriter(store.path) as writer:
            to = [int(row) for row in writer.pending if str(store.sha256s[row]) in rows_by_file]
            rows = [rows_by_file[str(store.sha256s[row])] for row in to]
            taken += copy_rows(donor, rows, writer, to, skip_damaged=True)
    return taken
