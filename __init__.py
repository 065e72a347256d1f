"""Freezeframe: freeze the backbone, look at every image once, trust every score after.

A frozen VGG16 runs once over a folder of images and its features are kept in one HDF5 file; classifiers ("heads")
are then fitted on those features in seconds and scored in a CSV leaderboard.

Everything that can go wrong in a way a user can mend is a `FreezeframeError`, told in one line::

    FreezeframeError          exit code 1: the work cannot be done with what is on the disk
    ├── ParameterError        exit code 2: an argument has a value it cannot have (is a ValueError too)
    ├── ImageError            a file that is no readable image
    ├── ManifestError         a folder or CSV that no list of labelled images can be made from
    ├── MissingExtraError     a library of an optional extra is not installed
    ├── WeightsError          weights that are missing, or are not the pinned ones
    ├── StoreError            a feature store that is broken, unfinished, in use or of another provenance
    ├── ModelFileError        a file that is no fitted head of ours, or was changed
    └── LeakError             exit code 3: most of a test set has relatives in training; all scores were written
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


class FreezeframeError(Exception):
    """Base of all errors a user can mend. The command line prints its text on one line and ends with `exit_code`."""

    exit_code = 1


class ParameterError(FreezeframeError, ValueError):
    """An argument has a value that it cannot have."""

    exit_code = 2


class ImageError(FreezeframeError):
    """A file cannot be read as an image."""


class ManifestError(FreezeframeError):
    """No list of labelled images can be made from a folder or CSV."""


class MissingExtraError(FreezeframeError):
    """A library is needed that an optional extra installs."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install 'freezeframe[{extra}]'")


class WeightsError(FreezeframeError):
    """Backbone weights are missing, unreadable, or not the pinned ones."""


class StoreError(FreezeframeError):
    """A feature store is broken, unfinished, in use, or of another provenance."""


class ModelFileError(FreezeframeError):
    """A file is no fitted head of ours, or was changed since it was written."""


class LeakError(FreezeframeError):
    """More than half of a test set has relatives among the training images; its scores were written all the same."""

    exit_code = 3


def printable(text: str) -> str:
    """Text in which whatever a terminal might obey is spelled out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


# Public names load on first use, so that `import freezeframe` stays instant and pulls in no heavy library.
_PUBLIC = {
    "FeatureStore": ".features.store",
    "FrozenFeatures": ".extract.frozen_features",
    "ReducedSearchCV": ".classify.linear_search",
    "read_image": ".data.images",
}

if TYPE_CHECKING:
    from .classify.linear_search import ReducedSearchCV as ReducedSearchCV
    from .data.images import read_image as read_image
    from .extract.frozen_features import FrozenFeatures as FrozenFeatures
    from .features.store import FeatureStore as FeatureStore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
