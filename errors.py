"""The tree of errors. This module is below everything: it imports nothing.

Every error that a user can correct is a `FreezeframeError`; its message is one line. The command
line prints the message and ends with the exit code::

    FreezeframeError          exit code 1: the work cannot be done; the message says why
    ├── ParameterError        exit code 2: an argument has an impossible value; also a ValueError
    ├── ImageError            a file cannot be read as an image
    ├── ManifestError         a folder or CSV gives no list of labelled images
    ├── MissingExtraError     a library of an optional extra is not installed
    ├── WeightsError          weights are missing, or are not the pinned ones
    ├── StoreError            a feature store is damaged, unfinished, in use, or does not match
    │   └── MissingFactError  it keeps no thumbnail of an image: an older version wrote it
    ├── ModelFileError        a file is not a model file, or was changed
    └── LeakError             exit code 3: more than half of a test set has relatives in training,
                              or a strict audit found a leak or an image that nobody looked at,
                              or a strict report a finding; all results were written

A `FreezeframeWarning` is no error: the work is done all the same.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Replace control characters, which a terminal would obey, by their escape sequences.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class FreezeframeError(Exception):
    """Base class of all errors that a user can correct.

    Its text is printable: a message may quote a file of a stranger, and a traceback shows it.

    Attributes:
        exit_code: exit code of the command line.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message without control characters."""
        return printable(super().__str__())


class ParameterError(FreezeframeError, ValueError):
    """An argument with an impossible value."""

    exit_code = 2


class ImageError(FreezeframeError):
    """A file that cannot be read as an image."""


class ManifestError(FreezeframeError):
    """A folder or CSV that gives no list of labelled images."""


class MissingExtraError(FreezeframeError):
    """A missing library that an optional extra installs.

    Args:
        library: name of the library.
        extra: name of the extra.
        purpose: the action that needs the library, as subject of the message.
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed: pip install 'freezeframe[{extra}]'"
        )


class WeightsError(FreezeframeError):
    """Weights of a backbone that are missing, unreadable, or not the pinned ones."""


class StoreError(FreezeframeError):
    """A feature store that is damaged, unfinished, in use, or of another provenance."""


class MissingFactError(StoreError):
    """A feature store of an older version, which keeps less about an image."""


class ModelFileError(FreezeframeError):
    """A file that is not a model file, or was changed since it was written."""


class LeakError(FreezeframeError):
    """A test set that leaks, or that may leak; all results were written."""

    exit_code = 3


class FreezeframeWarning(UserWarning):
    """Base class of all warnings; the command line prints each on one line."""


class LockWarning(FreezeframeWarning):
    """A warning that the file system of a folder has no locks."""


class CacheWarning(FreezeframeWarning):
    """A warning that a temporary folder takes the place of the user's own."""


class WorkerWarning(FreezeframeWarning):
    """A warning that fewer worker processes computed features than were to."""
