"""The secret key of patients' digests, and its file."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ..errors import FreezeframeError, ParameterError
from .output.cache_folder import data_place

KEY_VARIABLE = "FREEZEFRAME_PATIENT_KEY"
"""Environment variable with the path of a key file, for machines that share a key."""

LEAST_KEY_BYTES = 32
"""Least length of a key file without spaces at its ends."""

_MOST_KEY_BYTES = 4096
_KEY_ID_DIGITS = 8


def patient_key() -> bytes:
    """Return the key of this user; the first call ever makes its file.

    The file is `patient-key` in the user's folder of data, with mode 600, or the one that
    `FREEZEFRAME_PATIENT_KEY` names. Digests of two keys cannot be compared.

    Raises:
        ParameterError: the file that the variable names cannot be used.
        FreezeframeError: no key file can be written or read.
    """
    key = existing_key()
    if key is not None:
        return key
    place = data_place("patient-key")
    try:
        _make_key(place)
        return _read_key(place)
    except OSError as error:
        raise FreezeframeError(
            f"{place}: cannot be written ({error.strerror or error}), and PatientIDs are hidden "
            f"by the key in it; set {KEY_VARIABLE} to a file of {LEAST_KEY_BYTES} random bytes, "
            "or give --ignore-patient-ids: patients are then unknown"
        ) from None


def existing_key() -> bytes | None:
    """Return the key of this user; None before the first digest.

    Raises:
        ParameterError: the file that `FREEZEFRAME_PATIENT_KEY` names cannot be used.
    """
    named = os.environ.get(KEY_VARIABLE)
    place = Path(named).absolute() if named else data_place("patient-key")
    try:
        return _read_key(place)
    except FileNotFoundError:
        if not named:
            return None
        problem = "no such file"
    except OSError as error:
        problem = error.strerror or str(error)
    except ValueError as error:
        problem = str(error)
    where = f"{KEY_VARIABLE}: {named}" if named else str(place)
    raise ParameterError(
        f"{where}: is no key of patients' digests ({problem}); "
        f"a key file holds {LEAST_KEY_BYTES} random bytes or more"
    )


def key_id(key: bytes) -> str:
    """Return a short name of a key, which does not show the key: 8 hexadecimal digits."""
    return hmac.digest(key, b"freezeframe key id", hashlib.sha256).hex()[:_KEY_ID_DIGITS]


# The list of a large set asks once for each image.
@lru_cache(maxsize=4)
def _read_key(place: Path) -> bytes:
    """Read a key file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short or too long.
    """
    if place.exists() and not place.is_file():
        raise ValueError("not a regular file")
    with place.open("rb") as file:
        key = file.read(_MOST_KEY_BYTES + 1).strip()
    if len(key) < LEAST_KEY_BYTES:
        raise ValueError(f"{len(key)} bytes are too short")
    if len(key) > _MOST_KEY_BYTES:
        raise ValueError(f"longer than {_MOST_KEY_BYTES} bytes")
    return key


def _make_key(place: Path) -> None:
    """Write a new key, unless another process was first: all must use one key.

    Raises:
        OSError: it cannot be written.
    """
    temporary = place.with_name(f".{place.name}-{secrets.token_hex(8)}.new")
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_hex(LEAST_KEY_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike renaming, a link never replaces the key of another process.
        with suppress(FileExistsError):
            os.link(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
