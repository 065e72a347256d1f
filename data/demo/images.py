"""The demo set: drawings that look like axial MRI head slices, with and without a lesion.

It is for users without data. A seeded generator draws every picture: no patient is involved, and a
result on these pictures means nothing for medicine. Everything except the lesion has the same
distributions in both classes, so size, file format, brightness and artefacts give no class away.
Some lesions are too faint to be detected.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ...errors import FreezeframeError, ParameterError
from ..output.cache_folder import cache_place
from ..output.version import VERSION
from .drawing import draw_slice

DEMO_VERSION = 1
"""Increase it when `draw_slice` or `make_demo_images` draws another picture from the same seed."""

CLASSES = ("no_lesion", "lesion")
PER_CLASS = 120

NOTICE_FILE = "SYNTHETIC.txt"
NOTICE = """\
SYNTHETIC IMAGES: drawings, not scans.

The random generator of freezeframe {version} drew every picture in this folder
(demo set {demo}, seed {seed}). They show no patient, come from no scanner and have
no clinical meaning: nothing learnt from them holds for medicine. They exist to try the tool on,
{per_class} pictures per class; the "lesion" is a painted blob, at times hardly visible.

On purpose, {copies} files of each class are exact copies of another one of that class, as in many
real collections:
"""

_JPEG_SHARE = 0.2
_RGB_SHARE = 0.08


def make_demo_images(
    out: str | os.PathLike[str], *, per_class: int = PER_CLASS, seed: int = 0
) -> Path:
    """Draw `per_class` slices into each of the folders `out`/lesion and `out`/no_lesion.

    Most files are grey PNG, some are JPEG, a few are RGB. One in 30 of each class is an exact copy
    of another of that class, as in real collections; `out`/SYNTHETIC.txt lists the copies. `out`
    appears whole or not at all. Equal seeds give equal files, to the byte with equal versions of
    the libraries.

    Args:
        out: the new folder; an empty folder is accepted, too.
        per_class: number of images of each class, at least 10.
        seed: seed of the drawings, at least 0.

    Returns:
        The absolute path of the folder.

    Raises:
        ParameterError: `per_class` or `seed` is too small, or `out` exists and is not an empty
            folder.
        FreezeframeError: the folder cannot be written.
    """
    if per_class < 10:
        raise ParameterError(f"per_class of make_demo_images must be 10 or more, got {per_class}")
    if seed < 0:
        raise ParameterError(f"seed of make_demo_images must be 0 or more, got {seed}")
    out = Path(out).resolve()
    try:
        with _whole_folder(out) as folder:
            _draw_all(folder, per_class, seed)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FreezeframeError(
            f"{out}: the demo images cannot be written ({reason}); choose another folder"
        ) from error
    return out


def demo_folder() -> Path:
    """Return the demo set in the user's cache folder.

    The set is drawn on first use, and drawn again if files are missing.
    """
    folder = cache_place(f"demo-{DEMO_VERSION}")
    if _is_complete(folder):
        return folder
    if folder.exists():
        # Moved away first, so that no process uses the incomplete folder.
        remains = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
        # Another process may move it first.
        with suppress(FileNotFoundError):
            folder.rename(remains)
        shutil.rmtree(remains, ignore_errors=True)
    try:
        return make_demo_images(folder, per_class=PER_CLASS)
    except ParameterError:
        # Another process may have drawn it meanwhile.
        if not _is_complete(folder):
            raise
        return folder


def _is_complete(folder: Path) -> bool:
    """Return True if the notice and all images exist."""
    counts = [len(list((folder / label).glob("slice_*.*"))) for label in CLASSES]
    return (folder / NOTICE_FILE).is_file() and counts == [PER_CLASS, PER_CLASS]


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success rename it to `out`, on error delete it."""
    conflict = ParameterError(
        f"{out}: exists already and is not an empty folder; choose another folder"
    )
    if out.exists() and not _is_empty_folder(out):
        raise conflict
    # A random name, so that two processes can draw the same set at once.
    folder = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    try:
        yield folder
        # Windows renames onto no existing folder, not even onto an empty one.
        if _is_empty_folder(out):
            out.rmdir()
        try:
            folder.rename(out)
        except OSError as error:
            raise (conflict if out.exists() else error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _draw_all(folder: Path, per_class: int, seed: int) -> None:
    """Draw the images of both classes, copy some of them, and write the notice."""
    n_copies = per_class // 30 or 1
    n_drawn = per_class - n_copies
    for label in CLASSES:
        (folder / label).mkdir()
    names = [_draw_pair(folder, number, seed) for number in range(n_drawn)]
    notice = NOTICE.format(
        version=VERSION, demo=DEMO_VERSION, seed=seed, per_class=per_class, copies=n_copies
    )
    # This generator draws nothing else, so the copies do not change the drawings.
    rng = np.random.default_rng([seed, per_class, 3])
    originals = rng.choice(n_drawn, size=n_copies, replace=False)
    for number, original in enumerate(originals, start=n_drawn + 1):
        name = f"slice_{number:04d}{Path(names[original]).suffix}"
        for label in CLASSES:
            shutil.copyfile(folder / label / names[original], folder / label / name)
            notice += f"{label}/{name} = {label}/{names[original]}\n"
    (folder / NOTICE_FILE).write_text(notice, encoding="utf-8")


def _draw_pair(folder: Path, number: int, seed: int) -> str:
    """Draw one image of each class, and return their name, which is the same."""
    from PIL import Image

    # Drawn once for both classes, so that format and mode do not give the class away.
    storage = np.random.default_rng([seed, number, 2])
    ending = ".jpg" if storage.random() < _JPEG_SHARE else ".png"
    mode = "RGB" if storage.random() < _RGB_SHARE else "L"
    quality = int(storage.integers(80, 96))
    name = f"slice_{number + 1:04d}{ending}"
    for index, label in enumerate(CLASSES):
        rng = np.random.default_rng([seed, number, index])
        pixels = draw_slice(rng, lesion=label == "lesion")
        Image.fromarray(pixels).convert(mode).save(folder / label / name, quality=quality)
    return name
