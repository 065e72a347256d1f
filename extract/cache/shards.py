"""Feature stores as a cache: features are found by the content of their image, and new ones are only added.

What is computed at once becomes a store of its own, a shard, whose finished rows can be read while
it is still filled, and also if it never is. Then stores are joined so that each has more rows than
all smaller ones together, as the digits of a binary counter: so they are few, and in the life of
the cache a row is copied log2(n) times at most.
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

import filelock
import numpy as np
from numpy.typing import NDArray

from ...data.formats.images import read_image, read_image_bytes, resize_image
from ...data.formats.limits import scale_to_bytes
from ...data.formats.table import HEAD_BYTES, image_kind
from ...data.manifest import Image, Manifest
from ...data.output.files import cache_folder, whole_file
from ...data.output.terminal import printable
from ...errors import ImageError, StoreError
from ...features.copying import copy_rows
from ...features.layout import IDENTITY_COLUMNS
from ...features.new_store import create_store
from ...features.pooling import pool
from ...features.store import FeatureStore
from ...features.writer import StoreWriter
from ..backbones.table import find_backbone
from ..extraction import extract_features
from ..preflight import check_alike
from ..settings import Settings, deciding_fields, versions

Picture = Path | NDArray[Any]
"""An image file, or an image's pixels: grey or uint8 RGB."""

COMMAND = "FrozenFeatures"
"""In the provenance of stores that are a cache; others are never written to."""

ADVICE = "give another store"

_BLOCK_BYTES = 16 * 2**20
"""Of features, read at a time."""


def default_path(settings: Settings) -> Path:
    decided = {"layers": settings.layers} | deciding_fields(settings) | versions(settings)
    key = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{settings.backbone}-{settings.layers[0]}-{key}.h5"


def content(picture: Picture, settings: Settings) -> bytes:
    """What an image is known by: its file's bytes, or those of a BMP file of the pixels that the backbone will see.

    Raises:
        ImageError: the file cannot be read, or is no image.
    """
    if isinstance(picture, Path):
        with suppress(ImageError, OSError, ValueError, MemoryError):
            data = read_image_bytes(picture)
            if image_kind(data[:HEAD_BYTES]):
                return data
        read_image(picture)  # raises, and tells why
        raise ImageError(f"{printable(str(picture))}: changed while it was read")
    from PIL import Image as pillow  # noqa: N813

    pixels = resize_image(
        _rgb(picture), *find_backbone(settings.backbone).input_size, settings.resize
    )
    pillow.fromarray(pixels).save(file := BytesIO(), "BMP")
    return file.getvalue()


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """An image as uint8 RGB of shape (height, width, 3), by the rules for files."""
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    grey = pixels.reshape(pixels.shape[:2])
    if grey.dtype == bool:
        grey = grey * np.uint8(255)
    return np.repeat(
        (grey if grey.dtype == np.uint8 else scale_to_bytes(grey))[..., np.newaxis], 3, axis=2
    )


@contextmanager
def _told_of_a_cache() -> Iterator[None]:
    """Tell of a damaged store that nothing is lost with it."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{str(error).partition(';')[0]}; it is a cache, delete it") from None


class FeatureCache:
    """Stores of one provenance that hold features by content: one that is given and only read, and those that grow.

    Args:
        path: the store that grows; it and its shards, in the folder `<path>.shards`, belong to the
            cache.
        settings: resolved, with one layer.
        given: a store that is only read.
    """

    def __init__(self, path: Path, settings: Settings, given: FeatureStore | None = None) -> None:
        self.path = path
        self.settings = settings
        self._given = [given] if given is not None else []
        self._shards = path.with_name(f"{path.name}.shards")
        self._pixels = self._shards / "pixels"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other process writes, and keep others from it; the lock is that of `store_lock`.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{self.path}.lock"):
                yield
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot write here ({error.strerror or error}); {ADVICE}"
            ) from None

    def read(self, sha256s: Sequence[str], pooling: str) -> NDArray[np.float32] | None:
        """Features of images by content, of shape (n, n_features); None if some are missing.

        Raises:
            StoreError: a store is damaged, of another provenance, or, without the lock, was joined
                with others.
        """
        layer = self.settings.layers[0]
        places = self._places(sha256s)
        if len(places) < len(set(sha256s)):
            return None
        numbers: dict[Path, list[int]] = {}
        for number, sha256 in enumerate(sha256s):
            numbers.setdefault(places[sha256][0].path, []).append(number)
        shape = find_backbone(self.settings.backbone).layers[layer]
        features = np.empty(
            (len(sha256s), *pool(np.empty((0, *shape)), pooling).shape[1:]), np.float32
        )
        step = max(1, _BLOCK_BYTES // (4 * math.prod(shape)))
        for chosen in numbers.values():
            store = places[sha256s[chosen[0]]][0]
            with nullcontext() if store in self._given else _told_of_a_cache():
                for part in (chosen[start : start + step] for start in range(0, len(chosen), step)):
                    features[part] = store.features(
                        layer, [places[sha256s[number]][1] for number in part], pooling
                    )
        return features

    def compute(self, pictures: Mapping[str, Picture], workers: int | None) -> None:
        """Compute those images, by content, whose features are missing; call under `lock`.

        Raises:
            ImageError: one cannot be read; all others are kept.
            StoreError: the cache cannot be written, or holds features made with other versions of
                the libraries.
            FreezeframeError: as `extract_features`.
        """
        known = self._places(list(pictures))
        missing = {sha256: picture for sha256, picture in pictures.items() if sha256 not in known}
        if not missing:
            return
        for store in self._stores():
            check_alike(
                store, self.settings, with_versions=True, advice=f"{ADVICE}, or delete this one"
            )
        shard = self._shards / f"{secrets.token_hex(8)}.h5"
        self._clear()
        self._pixels.mkdir()
        try:
            images = tuple(
                Image(self._file(picture, sha256), sha256, "")
                for sha256, picture in missing.items()
            )
            manifest = Manifest(self.path, self._pixels, images)
            done = extract_features(
                manifest, shard, self.settings, workers=workers, command=COMMAND, groups=False
            )
        finally:
            self._clear()
        with suppress(
            StoreError, OSError
        ):  # no room, say: the features are there, and joined another time
            self._join()
        for path, reason in done.failed:
            given = next(
                picture
                for image, picture in zip(images, missing.values(), strict=True)
                if image.path == path
            )
            name = (
                printable(str(given)) if isinstance(given, Path) else "an image given as an array"
            )
            raise ImageError(
                f"{name}: {reason}" + f" (and {len(done.failed) - 1} more)" * (len(done.failed) > 1)
            )

    def _stores(self) -> list[FeatureStore]:
        """The stores that grow, as they are now."""
        paths = [path for path in (self.path, *sorted(self._shards.glob("*.h5"))) if path.exists()]
        with _told_of_a_cache():
            stores = [FeatureStore(path) for path in paths]
        for store in stores:
            check_alike(store, self.settings, with_versions=False, advice=ADVICE)
        return stores

    def _places(self, sha256s: Sequence[str]) -> dict[str, tuple[FeatureStore, int]]:
        """Where features of images are, by content: a store and a row."""
        wanted = set(sha256s)
        found: dict[str, tuple[FeatureStore, int]] = {}
        for store in (*self._given, *self._stores()):
            for row in store.rows().tolist():
                if (sha256 := str(store.sha256s[row])) in wanted:
                    found.setdefault(sha256, (store, row))
        return found

    def _file(self, picture: Picture, sha256: str) -> str:
        """Path of an image file: absolute, or in the folder of pixels, where what has no path that can be kept goes."""
        if isinstance(picture, Path):
            with suppress(UnicodeEncodeError):
                return str(picture.absolute()).encode().decode()
        (self._pixels / sha256).write_bytes(content(picture, self.settings))
        return sha256

    def _clear(self) -> None:
        """Remove what is of use only while something is computed, of a process that was killed, too."""
        shutil.rmtree(self._pixels, ignore_errors=True)
        for pattern in ("joined", ".*.new", "*.lock"):
            for left in self._shards.glob(pattern):
                left.unlink(missing_ok=True)

    def _join(self) -> None:
        """Join stores until each has more rows than all smaller ones together; the largest is at `path`."""
        sizes = {store: len(store.rows()) for store in self._stores()}
        for store in [store for store, size in sizes.items() if not size]:
            store.path.unlink()
            del sizes[store]
        main = [store for store in sizes if store.path == self.path]
        stores = [
            *sorted((store for store in sizes if store not in main), key=sizes.__getitem__),
            *main,
        ]
        counts = [sizes[store] for store in stores]
        joined = stores
        if main:
            joined = stores[
                : 1 + max(i for i in range(len(stores)) if counts[i] <= sum(counts[:i]) or i == 0)
            ]
        if len(joined) == 1 and not main:
            joined[0].path.replace(self.path)
        elif len(joined) > 1:
            ours = not main or main[0] in joined
            self._write_joined(
                joined[::-1], self.path if ours else self._shards / f"{secrets.token_hex(8)}.h5"
            )

    def _write_joined(self, stores: Sequence[FeatureStore], path: Path) -> None:
        """Make one store of several; a crash at any instant leaves either them or it, or both."""
        rows: dict[FeatureStore, list[int]] = {store: [] for store in stores}
        seen: set[str] = set()
        for store in stores:
            for row in store.rows().tolist():
                if (sha256 := str(store.sha256s[row])) not in seen:
                    seen.add(sha256)
                    rows[store].append(row)
        columns = dict.fromkeys(IDENTITY_COLUMNS, [""] * len(seen))
        columns["path"] = [str(store.paths[row]) for store in stores for row in rows[store]]
        columns["sha256"] = [str(store.sha256s[row]) for store in stores for row in rows[store]]
        with whole_file(path, temporary=self._shards / "joined") as unfinished:
            layers = {
                name: find_backbone(self.settings.backbone).layers[name]
                for name in self.settings.layers
            }
            create_store(unfinished, columns, layers, stores[0].provenance)
            with StoreWriter(unfinished) as writer:
                begin = 0
                for store, chosen in rows.items():
                    copy_rows(
                        store, chosen, writer, range(begin, begin + len(chosen)), skip_damaged=True
                    )
                    begin += len(chosen)
        for store in stores:
            if store.path != path:
                store.path.unlink(missing_ok=True)
