"""The training images of a head, as digests and thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ....data.fingerprints import THUMBNAIL
from ...task.part import Part

DIGEST_SIZE = 32
"""Bytes of a SHA-256."""


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Digests and thumbnails of the images that a head was fitted on; no image is kept whole.

    Attributes:
        sha256s: SHA-256 of each file, uint8 of shape (n, 32); zeros where unknown.
        pixels: SHA-256 of each decoded image, of the same shape; zeros where unknown.
        thumbnails: uint8 of shape (n, 64, 64); zeros where the pixels are unknown.
        numbers: class number of each image, uint32 of shape (n,).
        classes: names of the classes.
        paths: path of each image in its store.
    """

    sha256s: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    numbers: NDArray[np.uint32]
    classes: Sequence[str]
    paths: Sequence[str]

    @classmethod
    def of_part(cls, part: Part, classes: Sequence[str]) -> Self:
        """Read the fingerprints of a training part from its store.

        Args:
            part: the rows that the head is fitted on.
            classes: names of its classes, sorted.

        Raises:
            StoreError: a fingerprint does not match its checksum.
        """
        thumbnails = np.zeros((len(part.rows), THUMBNAIL, THUMBNAIL), np.uint8)
        with_pixels = np.flatnonzero(part.pixels != "")
        thumbnails[with_pixels] = part.store.thumbnails(part.rows[with_pixels])
        return cls(
            _digests(part.sha256s.tolist()),
            _digests(part.pixels.tolist()),
            thumbnails,
            np.searchsorted(classes, part.labels).astype(np.uint32),
            classes,
            part.store.paths[part.rows].tolist(),
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that a file keeps; paths are one text, in which a zero byte ends each path."""
        paths = "".join(f"{path}\0" for path in self.paths).encode()
        return {
            "sha256s": self.sha256s,
            "pixels": self.pixels,
            "thumbnails": self.thumbnails,
            "labels": self.numbers,
            "paths": np.frombuffer(paths, np.uint8),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> Self:
        """Build the images from a file's arrays.

        Raises:
            ValueError: the arrays do not fit together; a missing one is a KeyError.
        """
        *paths, rest = arrays["paths"].tobytes().decode().split("\0")
        n = len(paths)
        shapes = {
            "sha256s": ((n, DIGEST_SIZE), np.uint8),
            "pixels": ((n, DIGEST_SIZE), np.uint8),
            "thumbnails": ((n, THUMBNAIL, THUMBNAIL), np.uint8),
            "labels": ((n,), np.uint32),
        }
        for name, (shape, dtype) in shapes.items():
            if arrays[name].shape != shape or arrays[name].dtype != dtype:
                raise ValueError(f"{name} has dtype {arrays[name].dtype}, {arrays[name].shape}")
        if rest or (n and arrays["labels"].max() >= len(classes)):
            raise ValueError("its paths or labels are incomplete")
        return cls(
            arrays["sha256s"],
            arrays["pixels"],
            arrays["thumbnails"],
            arrays["labels"],
            classes,
            paths,
        )


def _digests(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return hexadecimal digests as bytes, of shape (n, 32); "" becomes zeros."""
    empty = "0" * (2 * DIGEST_SIZE)
    joined = bytes.fromhex("".join(text or empty for text in texts))
    return np.frombuffer(joined, np.uint8).reshape(len(texts), DIGEST_SIZE)
