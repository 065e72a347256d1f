"""After the last image: what images are recognised by, where a store does not know it, and which show the same."""

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
from .pipeline import Source, cpu_cores, decode_source, told_unread

Afterwards = Callable[[str, int, int], None]
"""Called with what is done, in words, how much of it is finished, and how much there is."""

_BLOCK = 128
"""Images that are read before their fingerprints are written; what a crash can lose."""


def recognise(
    store: FeatureStore, manifest: Manifest, tell: Afterwards | None = None
) -> list[tuple[str, str]]:
    """Add to a finished store the fingerprints that it lacks, and then the numbers of its near-duplicate groups.

    Fingerprints are missing where features were copied from a store that has none; their files are
    read again. What was done before, by a run that was stopped, is not done again.

    Args:
        store: rows in the order of the manifest, under its lock.
        manifest: the images.
        tell: called now and then.

    Returns:
        (path, reason) of every image that cannot be read any more: its row stays without a
        fingerprint.

    Raises:
        StoreError: the store cannot be written.
    """
    if store.fingerprinted:
        return []
    with StoreWriter(store.path) as writer:
        unread = _add_fingerprints(store, manifest, writer, tell)
        store = FeatureStore(store.path)
        rows = store.rows()[store.pixels[store.rows()] != ""]
        if not store.duplicates[rows].all():
            writer.put_duplicates(_groups(store, rows, tell))
    return unread


def _add_fingerprints(
    store: FeatureStore, manifest: Manifest, writer: StoreWriter, tell: Afterwards | None
) -> list[tuple[str, str]]:
    rows = [int(row) for row in store.rows() if not store.pixels[row]]
    unread = []
    with ThreadPoolExecutor(cpu_cores()) as pool:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            images = [manifest.images[row] for row in block]
            sources = [
                Source(row, manifest.root / i.path, i.sha256)
                for row, i in zip(block, images, strict=True)
            ]
            found = dict(zip(block, pool.map(_fingerprint, sources), strict=True))
            unread += [
                (manifest.images[row].path, told)
                for row, told in found.items()
                if isinstance(told, str)
            ]
            known = {
                row: (f.pixels, f.thumbnail) for row, f in found.items() if not isinstance(f, str)
            }
            writer.put_late_fingerprints(known)
            if tell is not None:
                tell("reading images again", start + len(block), len(rows))
    return unread


def _fingerprint(source: Source) -> Fingerprint | str:
    """The fingerprint of an image, or why there is none."""
    try:
        return fingerprint(decode_source(source))
    except FreezeframeError as error:
        return str(error)
    except (OSError, MemoryError) as error:
        return told_unread(error)


def _groups(
    store: FeatureStore, rows: NDArray[np.intp], tell: Afterwards | None
) -> NDArray[np.uint32]:
    """The number of the near-duplicate group of each of the rows, from 1 on; 0 of all others."""
    from ..data.duplicates.pairs import duplicate_groups

    def compared(finished: int, total: int) -> None:
        if tell is not None:
            tell("comparing images", finished, total)

    numbers = np.zeros(len(store), np.uint32)
    found = duplicate_groups(
        store.sha256s[rows].tolist(),
        store.pixels[rows].tolist(),
        store.thumbnails(rows),
        progress=compared,
    )
    numbers[rows] = found + 1
    return numbers
