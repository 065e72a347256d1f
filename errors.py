"""The tree of errors. It stands below everything: it imports nothing.

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
        super().__init__(
            f"{purpose} needs {library}, which is not installed: pip install 'freezeframe[{extra}]'"
        )


class WeightsError(FreezeframeError):
    """Backbone weights are missing, unreadable, or not the pinned ones."""


class StoreError(FreezeframeError):
    """A feature store is broken, unfinished, in use, or of another provenance."""


class ModelFileError(FreezeframeError):
    """A file is no fitted head of ours, or was changed since it was written."""


class LeakError(FreezeframeError):
    """More than half of a test set has relatives among the training images; its scores were written all the same."""

    exit_code = 3
