"""Checks of the places for files: stores, caches, Keras's folder and temporary files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from rich.filesize import decimal

from ...data.output.terminal import first_names
from .check import Check, shell_path
from .probe import Findings

STORE_BYTES = 10**9
"""Free bytes below which there is a warning: block5_pool of 10,000 images."""

CACHE_BYTES = 2 * 10**8
"""Free bytes below which there is a warning: MNN's model takes 59 MB, twice while it is made."""

IMAGE_BYTES = 7 * 7 * 512 * 4
"""Bytes of an image's block5_pool features in float32."""


def store_check() -> Check:
    """Check the folder of the command, where stores go unless --output says otherwise."""
    try:
        folder = Path.cwd()
    except OSError:
        why = "commands write features.h5 into the folder in which they are called"
        seen = "this folder does not exist any more"
        return Check("stores", "broken", seen, why, "cd to a folder that exists", (), True)
    free = _free(folder)
    facts = {"folder": shell_path(folder), "free_bytes": free, "writable": _writable(folder)}
    place = shell_path(folder)
    if not facts["writable"]:
        why = "commands write features.h5 into the folder in which they are called"
        seen = f"{place} cannot be written"
        return Check(
            "stores", "warning", seen, why, "cd to another folder, or --output", facts=facts
        )
    if free is None:
        return Check("stores", "ok", f"{place}, free room is unknown", facts=facts)
    # Two digits: others use this disk, too.
    images = float(f"{free / IMAGE_BYTES:.1e}")
    seen = f"{decimal(free)} free in {place}, for block5_pool of about {images:,.0f} images"
    if free < STORE_BYTES:
        return Check("stores", "warning", seen, "disk is nearly full", "make room", facts=facts)
    return Check("stores", "ok", seen, facts=facts)


def cache_check(findings: Findings, *, needed: bool) -> Check:
    """Check the folder of caches: its size, free room, and if it can be written.

    Args:
        findings: those of the probe "engine".
        needed: True if the engine cannot start without a cache.
    """
    place = findings.facts.get("cache")
    if place is None:
        failure = findings.failures.get("cache")
        return Check("cache", "warning", failure.error if failure else "unknown")
    folder = Path(place["folder"])
    sizes = _sizes(folder)
    free = _free(folder)
    facts = {"folder": shell_path(folder), "bytes": sum(sizes.values()), "free_bytes": free}
    facts["writable"] = _writable(folder)
    mend = "export XDG_CACHE_HOME=FOLDER, with a folder that only you can write"
    if not facts["writable"]:
        why = "the engine mnn keeps its network there" if needed else "caches are made again"
        problem = place["problem"] or f"{shell_path(folder)} cannot be written"
        return Check("cache", "broken", problem, why, mend, (), needed, facts)
    if place["problem"]:
        why = "caches in a temporary folder are lost when it is emptied, and made again"
        return Check("cache", "warning", place["problem"], why, mend, facts=facts)
    largest = [f"{name} {decimal(size)}" for name, size in sizes.most_common() if size]
    contents = f" ({first_names(largest)})" if largest else ""
    seen = f"{decimal(sum(sizes.values()))} in {shell_path(folder)}{contents}"
    if free is not None:
        seen += f", {decimal(free)} free"
    if free is not None and free < CACHE_BYTES:
        return Check(
            "cache", "warning", seen, "caches need room", f"make room, or {mend}", facts=facts
        )
    return Check("cache", "ok", seen, facts=facts)


def keras_folder_check(findings: Findings) -> Check:
    """Check Keras's folder: downloaded weights, and the settings in keras.json.

    Args:
        findings: those of the probe "weights".
    """
    models = findings.facts.get("models")
    if not models:
        seen = "none: this user has no home folder" if models == "" else "not known"
        return Check("keras-folder", "ok", seen)
    folder = Path(models).parent
    n_bytes = sum(_sizes(Path(models)).values())
    facts = {"folder": shell_path(folder), "bytes": n_bytes, "writable": _writable(folder)}
    settings = folder / "keras.json"
    place = shell_path(settings)
    mend = f"rm {place}"
    try:
        if not isinstance(json.loads(settings.read_text(encoding="utf-8")), dict):
            why = "Keras refuses it when it is imported"
            return Check("keras-folder", "broken", f"{place} is no table", why, mend, facts=facts)
    except FileNotFoundError:
        pass
    except OSError as error:
        why = "Keras refuses it when it is imported"
        reason = error.strerror or str(error)
        return Check("keras-folder", "broken", f"{place}: {reason}", why, mend, facts=facts)
    except ValueError as error:
        why = "Keras ignores all settings in it"
        seen = f"{place} is not valid JSON ({error})"
        return Check("keras-folder", "warning", seen, why, mend, facts=facts)
    seen = f"{decimal(n_bytes)} of weights in {shell_path(models)}"
    if not folder.is_dir():
        seen = f"{shell_path(folder)} is not there yet; a download of weights makes it"
    elif not facts["writable"]:
        seen = f"{seen}, cannot be written; downloads go to the cache"
    return Check("keras-folder", "ok", seen, facts=facts)


def temporary_check() -> Check:
    """Check the folder of temporary files."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError:
        why = "without it the messages of failed processes are lost, and caches may have no place"
        mend = "export TMPDIR=FOLDER, with a folder that you can write"
        return Check("temporary", "warning", "no temporary folder can be written", why, mend)
    free = _free(folder)
    facts = {"folder": shell_path(folder), "free_bytes": free}
    room = "unknown" if free is None else decimal(free)
    return Check("temporary", "ok", f"{room} free in {shell_path(folder)}", facts=facts)


def _free(folder: Path) -> int | None:
    """Return the free bytes of a folder's disk, or of the nearest folder above that exists."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def _writable(folder: Path) -> bool:
    """Return True if files can be created in a folder; a read-only disk counts, too."""
    return os.access(folder, os.W_OK | os.X_OK)


def _sizes(folder: Path) -> Counter[str]:
    """Return the bytes of the files below a folder by its entry; unreadable ones count nothing."""
    sizes: Counter[str] = Counter()
    # Errors are passed over: the number is for information.
    for root, _, names in os.walk(folder):
        entry = Path(root).relative_to(folder).parts[:1]
        for name in names:
            try:
                n_bytes = os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except OSError:
                continue
            sizes[entry[0] if entry else name] += n_bytes
    return sizes
