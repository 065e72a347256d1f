"""Feature stores as a cache: features are found by the content of their image.

Each call writes the images that it computes into a new store, a shard. The finished rows of a shard
can be read at any time, even if a crash left the shard unfinished.

After each call the cache joins stores until each has more rows than all smaller ones together. So
there are few stores, and a row is copied at most log2(n) times. The rule is that of a binary
counter, whose digits stand for the stores.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.formats.image_file import open_image, read_image
from ...data.formats.images import read_image_bytes, resize_image
from ...data.formats.limits import scale_to_bytes
from ...data.manifest import Image, Manifest
from ...data.output.cache_folder import cache_place
from ...data.output.files import whole_file
from ...data.output.locks import file_lock
from ...data.output.terminal import printable
from ...errors import ImageError, StoreError
from ...features.copies.copying import copy_rows
from ...features.layout import IDENTITY_COLUMNS
from ...features.new_store import write_pending
from ...features.rows.pooling import pool
from ...features.store import FeatureStore
from ...features.writer import StoreWriter
from ..extraction import extract_features
from ..plan.preflight import check_alike
from ..provenance import deciding_fields, versions
from ..settings import Settings

Picture = Path | NDArray[Any]
"""An image file, or an image's pixels: grey or uint8 RGB."""

COMMAND = "FrozenFeatures"
"""Command in the provenance of cache stores; no other store is ever written to."""

ADVICE = "give another store"

READ_BYTES = 16 * 2**20
"""Bytes of features that are read at a time."""


def default_path(settings: Settings) -> Path:
    """Return the path of the cache in the user's cache folder, one for each set of settings.

    Args:
        settings: resolved settings with one layer.
    """
    fields = {"layers": settings.layers} | deciding_fields(settings) | versions(settings)
    key = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
    return cache_place(f"features/{settings.backbone}-{settings.layers[0]}-{key}.h5")


def digest(picture: Picture, settings: Settings) -> str:
    """Return the SHA-256 that identifies an image in the cache, hexadecimal.

    Raises:
        ImageError: the file cannot be read, or is no image.
    """
    if not isinstance(picture, Path):
        return hashlib.sha256(content(picture, settings)).hexdigest()
    # Only the first bytes are checked here; a broken image fails when it is computed.
    with suppress(ImageError, OSError, ValueError, MemoryError):
        opened = open_image(picture)
        if opened.kind:
            return opened.sha256
    # Reading the file again raises an error with the reason.
    read_image(picture)
    raise ImageError(f"{printable(str(picture))}: changed while it was read")


def content(picture: Picture, settings: Settings) -> bytes:
    """Return the bytes of a file; for an array, of a BMP file of what the backbone will see."""
    if isinstance(picture, Path):
        return read_image_bytes(picture)
    from PIL import Image as pillow  # noqa: N813

    # Resizing comes first: images that look the same to the backbone share a row.
    pixels = resize_image(_to_rgb(picture), *settings.network.input_size, settings.resize)
    file = BytesIO()
    pillow.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def _to_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert an image to uint8 RGB of shape (height, width, 3), by the rules for files."""
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    grey = pixels.reshape(pixels.shape[:2])
    if grey.dtype == bool:
        grey = grey * np.uint8(255)
    if grey.dtype != np.uint8:
        grey = scale_to_bytes(grey)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


@contextmanager
def _cache_advice() -> Iterator[None]:
    """Replace the advice of a `StoreError`: a damaged cache can be deleted without loss."""
    try:
        yield
    except StoreError as error:
        problem = str(error).partition(";")[0]
        raise StoreError(f"{problem}; it is a cache, delete it") from None


class FeatureCache:
    """A cache of features by the content of their image, in stores of one provenance.

    Args:
        path: path of the main store. The cache also owns the folder `<path>.shards`.
        settings: resolved settings with one layer.
        read_only: a store that the cache reads but never changes.
    """

    def __init__(
        self, path: Path, settings: Settings, read_only: FeatureStore | None = None
    ) -> None:
        self.path = path
        self.settings = settings
        self._read_only = [read_only] if read_only is not None else []
        self._shards = path.with_name(f"{path.name}.shards")
        self._pixels = self._shards / "pixels"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other process writes, then hold the lock that `store_lock` uses.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
            # Unlike `store_lock`, this waits: processes of a cross-validation share the cache.
            with file_lock(Path(f"{self.path}.lock"), seconds=-1):
                yield
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot write here ({error.strerror or error}); {ADVICE}"
            ) from None

    def read(self, sha256s: Sequence[str], pooling: str) -> NDArray[np.float32] | None:
        """Read features of images by content.

        Args:
            sha256s: SHA-256 of each image's content, of length n.
            pooling: one of `POOLINGS`.

        Returns:
            Features of shape (n, n_features); None if some are missing.

        Raises:
            StoreError: a store is damaged or of another provenance. Without the lock, another
                process may also have joined the store with others.
        """
        places = self._find(sha256s)
        # The same image may be requested several times.
        if len(places) < len(set(sha256s)):
            return None
        numbers_by_store: dict[FeatureStore, list[int]] = {}
        for number, sha256 in enumerate(sha256s):
            numbers_by_store.setdefault(places[sha256][0], []).append(number)
        layer = self.settings.layers[0]
        shape = self.settings.network.layers[layer]
        n_features = pool(np.empty((0, *shape)), pooling).shape[1:]
        features = np.empty((len(sha256s), *n_features), np.float32)
        step = max(1, READ_BYTES // (4 * math.prod(shape)))
        for store, numbers in numbers_by_store.items():
            with nullcontext() if store in self._read_only else _cache_advice():
                # Layers are large: pooling block by block keeps the memory small.
                for start in range(0, len(numbers), step):
                    part = numbers[start : start + step]
                    rows = [places[sha256s[number]][1] for number in part]
                    features[part] = store.features(layer, rows, pooling)
        return features

    def compute(self, pictures: Mapping[str, Picture], workers: int | None) -> None:
        """Compute the images whose features are missing; call under `lock`.

        Args:
            pictures: the images, by the SHA-256 of their content.
            workers: number of processes of the engine mnn; None takes one for each core.

        Raises:
            ImageError: an image cannot be read; the features of all others are kept.
            StoreError: the cache cannot be written, or its features were made with other versions
                of the libraries.
            FreezeframeError: as `extract_features`.
        """
        existing = self._find(list(pictures))
        missing = {
            sha256: picture for sha256, picture in pictures.items() if sha256 not in existing
        }
        if not missing:
            return
        for store in self._stores():
            check_alike(
                store, self.settings, with_versions=True, advice=f"{ADVICE}, or delete this one"
            )
        failed = self._extract_shard(missing, workers)
        # A full disk loses no features: a later call joins the stores.
        with suppress(StoreError, OSError):
            self._join()
        if failed:
            (name, reason), *more = failed
            and_more = f" (and {len(more)} more)" if more else ""
            raise ImageError(f"{name}: {reason}{and_more}")

    def _extract_shard(
        self, pictures: Mapping[str, Picture], workers: int | None
    ) -> list[tuple[str, str]]:
        """Compute images into a new shard; return (name, reason) of those that cannot be read."""
        shard = self._shards / f"{secrets.token_hex(8)}.h5"
        # A process that was killed may have left its files.
        self._clear()
        self._pixels.mkdir()
        try:
            names = {}
            images = []
            for sha256, picture in pictures.items():
                path = self._file(picture, sha256)
                images.append(Image(path, sha256, ""))
                is_file = isinstance(picture, Path)
                names[path] = printable(str(picture)) if is_file else "an image given as an array"
            extraction = extract_features(
                Manifest(self.path, self._pixels, tuple(images)),
                shard,
                self.settings,
                workers=workers,
                command=COMMAND,
                groups=False,
            )
        finally:
            self._clear()
        return [(names[path], reason) for path, reason in extraction.failed]

    def _stores(self) -> list[FeatureStore]:
        """Open the stores that grow."""
        paths = [path for path in (self.path, *sorted(self._shards.glob("*.h5"))) if path.exists()]
        with _cache_advice():
            stores = [FeatureStore(path) for path in paths]
        for store in stores:
            check_alike(store, self.settings, with_versions=False, advice=ADVICE)
        return stores

    def _find(self, sha256s: Sequence[str]) -> dict[str, tuple[FeatureStore, int]]:
        """Return the store and row of each image, by content; missing images have no entry."""
        requested = set(sha256s)
        places: dict[str, tuple[FeatureStore, int]] = {}
        for store in (*self._read_only, *self._stores()):
            for row in store.rows().tolist():
                sha256 = str(store.sha256s[row])
                if sha256 in requested:
                    places.setdefault(sha256, (store, row))
        return places

    def _file(self, picture: Picture, sha256: str) -> str:
        """Return the absolute path of an image file, or the name of a copy in the pixels folder.

        The copy is written for an array, and for a file whose path is no valid text.
        """
        if isinstance(picture, Path):
            with suppress(UnicodeEncodeError):
                # A store keeps paths as UTF-8; a file name of other bytes raises here.
                return str(picture.absolute()).encode().decode()
        (self._pixels / sha256).write_bytes(content(picture, self.settings))
        return sha256

    def _clear(self) -> None:
        """Remove temporary files, also those of a process that was killed."""
        shutil.rmtree(self._pixels, ignore_errors=True)
        # The lock on the cache is held, so nobody writes these files.
        for pattern in (".*.new", "*.lock"):
            for path in self._shards.glob(pattern):
                path.unlink(missing_ok=True)

    def _join(self) -> None:
        """Join stores until each has more rows than all smaller ones together.

        The largest is at `path`.
        """
        sizes = {store: len(store.rows()) for store in self._stores()}
        # A process that was killed early leaves a shard without finished rows.
        for store in [store for store, size in sizes.items() if not size]:
            store.path.unlink()
            del sizes[store]
        main = [store for store in sizes if store.path == self.path]
        shards = [store for store in sizes if store not in main]
        stores = [*sorted(shards, key=sizes.__getitem__), *main]
        joined = stores
        # Take all stores up to the largest that is not above the sum of the smaller ones.
        if main:
            counts = [sizes[store] for store in stores]
            too_small = [i for i in range(len(stores)) if i == 0 or counts[i] <= sum(counts[:i])]
            joined = stores[: 1 + max(too_small)]
        # The first shard becomes the main store without a copy.
        if len(joined) == 1 and not main:
            joined[0].path.replace(self.path)
        elif len(joined) > 1:
            includes_main = not main or main[0] in joined
            shard = self._shards / f"{secrets.token_hex(8)}.h5"
            self._write_joined(joined[::-1], self.path if includes_main else shard)

    def _write_joined(self, stores: Sequence[FeatureStore], path: Path) -> None:
        """Write one store from several.

        A crash at any instant leaves the several stores, the new one, or both.
        """
        rows: dict[FeatureStore, list[int]] = {store: [] for store in stores}
        seen: set[str] = set()
        for store in stores:
            for row in store.rows().tolist():
                sha256 = str(store.sha256s[row])
                if sha256 not in seen:
                    seen.add(sha256)
                    rows[store].append(row)
        columns = dict.fromkeys(IDENTITY_COLUMNS, [""] * len(seen))
        columns["path"] = [str(store.paths[row]) for store in stores for row in rows[store]]
        columns["sha256"] = [str(store.sha256s[row]) for store in stores for row in rows[store]]
        network = self.settings.network
        layers = {name: network.layers[name] for name in self.settings.layers}
        with whole_file(path) as unfinished:
            write_pending(unfinished, columns, layers, stores[0].provenance)
            with StoreWriter(unfinished) as writer:
                first = 0
                for store, chosen in rows.items():
                    places = range(first, first + len(chosen))
                    copy_rows(store, chosen, writer, places, skip_damaged=True)
                    first += len(chosen)
        # The new store has its final name and all rows, so the old ones can go.
        for store in stores:
            if store.path != path:
                store.path.unlink(missing_ok=True)
