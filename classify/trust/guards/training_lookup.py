"""The lookup of an image among the training images, by bytes, pixels and likeness."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....data.duplicates.lookup import PictureLookup
from ....data.duplicates.symmetries import SYMMETRY_NAMES
from ....data.fingerprints import Fingerprint
from ....extract.engines.devices import cpu_cores
from ...task.relatives import LEVELS, UNKNOWN
from .training_images import TrainingImages

NO_COPY = "none"
"""Level of an image that is no copy of a training image."""

COPY_WARNING = "the model was trained on a copy of this image: its answer proves nothing"


@dataclass(frozen=True)
class TrainingCopy:
    """The training image that an image is a copy of, if there is one.

    Attributes:
        level: "bytes", "pixels" or "near", as in `LEVELS`; `NO_COPY`; `UNKNOWN` if no copy is
            found, but training images without a fingerprint may be copies.
        path: path of the training image, as in its store; "" without a copy.
        label: its class; "" without a copy.
        symmetry: the way in which the training image shows the picture, one of `SYMMETRY_NAMES`;
            "" without a copy.
    """

    level: str = NO_COPY
    path: str = ""
    label: str = ""
    symmetry: str = ""

    @property
    def is_copy(self) -> bool:
        """True if a copy of the image was trained on."""
        return self.level in LEVELS

    def __str__(self) -> str:
        """Return the relation in words, with the training image."""
        if not self.is_copy:
            return "maybe a copy" if self.level == UNKNOWN else ""
        turned = f", {self.symmetry}" if self.symmetry != SYMMETRY_NAMES[0] else ""
        return f"{LEVELS[self.level]} as training image {self.path}, labelled {self.label}{turned}"


class TrainingLookup:
    """Training images, indexed once, among which images are looked up one by one.

    Several threads may look images up at once.

    Args:
        images: the training images of a head.
    """

    def __init__(self, images: TrainingImages) -> None:
        self._images = images
        self._sha256s = _first_places(images.sha256s)
        self._pixels = _first_places(images.pixels)
        self._complete = bool(images.pixels.any(axis=1).all())
        # One thumbnail of each content is enough.
        self._places = np.array(list(self._pixels.values()), np.intp)
        self._pictures: PictureLookup | None = None
        self._lock = threading.Lock()
        # One core is left to the engine that computes meanwhile. No thread starts before its work.
        self._threads = ThreadPoolExecutor(max(1, cpu_cores() - 1))

    def load(self) -> None:
        """Index the thumbnails now, so that the first image does not wait for it."""
        with self._lock:
            if self._pictures is None:
                self._pictures = PictureLookup(self._images.thumbnails[self._places])

    def start(self, sha256: str, image: Fingerprint) -> Future[TrainingCopy]:
        """Look an image up in a thread, beside the caller's own work; see `find`."""
        return self._threads.submit(self.find, sha256, image)

    def find(self, sha256: str, image: Fingerprint) -> TrainingCopy:
        """Look an image up.

        Args:
            sha256: SHA-256 of its file, hexadecimal; "" for an image without a file.
            image: its fingerprint.
        """
        for level, places, digest in (
            ("bytes", self._sha256s, sha256),
            ("pixels", self._pixels, image.pixels),
        ):
            place = places.get(bytes.fromhex(digest))
            if place is not None:
                return self._copy(level, place, 0)
        self.load()
        assert self._pictures is not None
        match = self._pictures.find(image.thumbnail)
        if match is not None:
            return self._copy("near", int(self._places[match.place]), match.symmetry)
        return TrainingCopy(NO_COPY if self._complete else UNKNOWN)

    def _copy(self, level: str, place: int, symmetry: int) -> TrainingCopy:
        images = self._images
        label = images.classes[int(images.numbers[place])]
        return TrainingCopy(level, images.paths[place], label, SYMMETRY_NAMES[symmetry])


def _first_places(digests: NDArray[np.uint8]) -> dict[bytes, int]:
    """Return the first place of each digest; zeros are no digest."""
    places: dict[bytes, int] = {}
    for place in np.flatnonzero(digests.any(axis=1)).tolist():
        places.setdefault(digests[place].tobytes(), place)
    return places
