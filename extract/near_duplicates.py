"""The last step of an extraction: missing fingerprints, then groups of near-duplicates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..data.fingerprints import Fingerprint, fingerprint
from ..data.manifest import Manifest
from ..errors import FreezeframeError
from ..features.store import FeatureStore
from ..features.writer import StoreWriter
from .engines.devices import cpu_cores
from .pipeline import ImageSource, decode_source, unread_reason

OnStep = Callable[[str, int, int], None]
"""Function that is called with the name of the step, the number of finished things, and of all."""

IMAGES_A_WRITE = 128
"""Number of images that are read before a write; a crash loses at most their fingerprints."""


def recognises_all(store: FeatureStore) -> bool:
    """Return True if a store has all fingerprints and near-duplicate groups, undamaged."""
    return store.fingerprinted and store.grouped and not len(store.damaged_rows("fingerprint"))


def recognise(
    store: FeatureStore, manifest: Manifest, progress: OnStep | None = None
) -> list[tuple[str, str]]:
    """Add missing fingerprints to a finished store, then group near-duplicates.

    Fingerprints are missing where features were copied from a store without them, or where they
    are damaged. The files of these rows are read again. The fingerprints of an earlier run that was
    stopped are kept.

    Args:
        store: a store with its rows in the order of the manifest; the caller holds its lock.
        manifest: the images.
        progress: called now and then.

    Returns:
        (path, reason) of every image that cannot be read any more; its row has no fingerprint.

    Raises:
        StoreError: the store cannot be written.
    """
    if recognises_all(store):
        return []
    damaged = store.damaged_rows("fingerprint")
    with StoreWriter(store.path) as writer:
        # No row may keep a group without a fingerprint: that would be damage.
        if len(damaged):
            writer.put_duplicates(np.zeros(len(store), np.uint32))
        for row in damaged.tolist():
            writer.forget_fingerprint(row)
        store = FeatureStore(store.path)
        unread = _add_fingerprints(store, manifest, writer, progress)
        # The store is opened again, with the fingerprints that were just written.
        store = FeatureStore(store.path)
        rows = store.rows()[store.pixels[store.rows()] != ""]
        # One row without a group, or with a damaged one, is enough to group all again.
        if not store.grouped:
            writer.put_duplicates(_number_groups(store, rows, progress))
    return unread


def _add_fingerprints(
    store: FeatureStore, manifest: Manifest, writer: StoreWriter, progress: OnStep | None
) -> list[tuple[str, str]]:
    """Read again the files of rows without a fingerprint; return (path, reason) of the failures."""
    rows = [int(row) for row in store.rows() if not store.pixels[row]]
    unread = []
    with ThreadPoolExecutor(cpu_cores()) as pool:
        for start in range(0, len(rows), IMAGES_A_WRITE):
            block = rows[start : start + IMAGES_A_WRITE]
            sources = []
            for row in block:
                image = manifest.images[row]
                sources.append(ImageSource(row, manifest.root / image.path, image.sha256))
            # A file that is missing now may be back next time: its row keeps no fingerprint.
            fingerprints = {}
            for row, result in zip(block, pool.map(_read_fingerprint, sources), strict=True):
                if isinstance(result, str):
                    unread.append((manifest.images[row].path, result))
                else:
                    fingerprints[row] = (result.pixels, result.thumbnail)
            writer.put_late_fingerprints(fingerprints)
            if progress is not None:
                progress("reading images again", start + len(block), len(rows))
    return unread


def _read_fingerprint(source: ImageSource) -> Fingerprint | str:
    """Return the fingerprint of an image, or the reason why it cannot be read."""
    try:
        return fingerprint(decode_source(source)[0])
    except FreezeframeError as error:
        return str(error)
    except (OSError, MemoryError) as error:
        return unread_reason(error)


def _number_groups(
    store: FeatureStore, rows: NDArray[np.intp], progress: OnStep | None
) -> NDArray[np.uint32]:
    """Return the near-duplicate group of each row, numbered from 1; 0 for all other rows."""
    from ..data.duplicates.pairs import duplicate_groups

    def report(finished: int, total: int) -> None:
        if progress is not None:
            progress("comparing images", finished, total)

    groups = duplicate_groups(
        store.sha256s[rows].tolist(),
        store.pixels[rows].tolist(),
        store.thumbnails(rows),
        progress=report,
    )
    numbers = np.zeros(len(store), np.uint32)
    numbers[rows] = groups + 1
    return numbers
