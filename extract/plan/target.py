"""The store that a plan writes: created with pending rows, filled from other stores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ...data.manifest import Manifest
from ...data.output.capacity import check_free
from ...data.output.terminal import printable
from ...errors import StoreError
from ...features.copies.copying import copied_bytes, copy_rows, row_bytes
from ...features.layout import IDENTITY_COLUMNS, LAYER_DTYPES
from ...features.new_store import create_store
from ...features.store import FeatureStore
from ...features.writer import StoreWriter
from ..backbones.weights import Weights, load_weights
from ..provenance import deciding_fields, versions
from .plan import Plan
from .preflight import ROOM_ADVICE, check_alike, rows_by_content


def create_pending(plan: Plan, manifest: Manifest, command: str) -> Weights:
    """Create a plan's target with all rows pending.

    Args:
        plan: the plan.
        manifest: the images.
        command: command line that provenance records.

    Returns:
        The weights; they are loaded because provenance records their source.

    Raises:
        StoreError: the disk has no room, or the file cannot be written.
        WeightsError: the weights are missing or not the pinned ones.
    """
    settings = plan.settings
    images = manifest.images
    backbone = settings.network
    shapes = {name: backbone.layers[name] for name in plan.layers}
    itemsize = np.dtype(LAYER_DTYPES[settings.dtype]).itemsize
    # The file is sparse: without this check the disk would fill up much later.
    n_bytes = len(images) * row_bytes(shapes.values(), itemsize)
    check_free(plan.target, n_bytes, ROOM_ADVICE)
    weights, source = load_weights(settings.weights, settings.seed, backbone)
    history = {
        "weights_source": source,
        "weights_seed": settings.seed,
        "source": printable(str(manifest.source.resolve())),
        "group_source": printable(manifest.group_source),
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    provenance = deciding_fields(settings) | versions(settings) | history
    create_store(plan.target, _identity(manifest), shapes, provenance)
    return weights


def _identity(manifest: Manifest) -> dict[str, list[str]]:
    """Return the columns that never change, so that they are written when a store is created."""
    return {name: [getattr(image, name) for image in manifest.images] for name in IDENTITY_COLUMNS}


def upgrade_store(old: FeatureStore, target: Path, manifest: Manifest) -> int:
    """Copy a store of an earlier format into one of today's format.

    The new store keeps the provenance of the old one. Its features were computed with the library
    versions there, not with those that are installed now. Its groups are those of the manifest,
    which knows more about them.

    Args:
        old: the store.
        target: path of the new store; if an unfinished one exists, it is continued.
        manifest: the images, which are those of the store, in its order.

    Returns:
        The number of rows that were copied; damaged rows stay pending.

    Raises:
        StoreError: the disk has no room, the file cannot be written, or HDF5 cannot represent a
            name or a provenance field.
    """
    if not target.exists():
        check_free(target, copied_bytes(old), ROOM_ADVICE)
        rows = _identity(manifest)
        provenance = old.provenance | {"group_source": printable(manifest.group_source)}
        layers = {}
        for name, (height, width, channels) in old.layers.items():
            layers[name] = (height, width, channels)
        try:
            create_store(target, rows, layers, provenance)
        # Earlier formats allowed names and provenance that HDF5 cannot represent.
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            reason = " ".join(str(error).split())[:150]
            raise StoreError(f"{old.path}: cannot be copied ({reason})") from None
    with StoreWriter(target) as writer:
        numbers = writer.pending.tolist()
        return copy_rows(old, numbers, writer, numbers, skip_damaged=True)


def forget_damaged(plan: Plan) -> bool:
    """Make rows pending again whose status is damaged, in the store that a plan continues.

    Returns:
        True if there was such a row; the plan must then be made again.

    Raises:
        StoreError: these rows would get other library versions than the others.
    """
    store = plan.existing if plan.task == "continue" else plan.begun
    damaged = () if store is None else store.damaged_rows("status")
    if store is None or not len(damaged):
        return False
    # In a finished store nobody looked at the versions yet.
    check_alike(store, plan.settings, with_versions=True)
    with StoreWriter(store.path) as writer:
        writer.forget(map(int, damaged))
    return True


def fill_from_donors(target: Path, donors: Sequence[FeatureStore]) -> int:
    """Copy finished rows of the same files into the pending rows of a store.

    Args:
        target: path of the store.
        donors: stores that rows are copied from, in this order.

    Returns:
        The number of rows that were copied; damaged rows stay pending.
    """
    store = FeatureStore(target)
    n_copied = 0
    for donor in donors:
        # By content, not by path: files may have been renamed or moved.
        available = rows_by_content(donor)
        with StoreWriter(target) as writer:
            rows = []
            places = []
            for place in map(int, writer.pending):
                row = available.get(str(store.sha256s[place]))
                if row is not None:
                    rows.append(row)
                    places.append(place)
            n_copied += copy_rows(donor, rows, writer, places, skip_damaged=True)
    return n_copied


def check_upgraded(plan: Plan) -> None:
    """Raise `StoreError` if pending rows of an upgraded store would get other library versions."""
    if not FeatureStore(plan.target).complete and plan.existing is not None:
        check_alike(plan.existing, plan.settings, with_versions=True)
