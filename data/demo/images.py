"""The built-in demo set: drawings that look like axial MRI head slices, with and without a lesion.

For a user without data. No patient was ever involved: every picture is drawn by a seeded generator,
and a finding on them means nothing for medicine. All but the lesion is drawn from the same
distributions for both classes, so that neither size, file format, brightness nor artefacts give the
class away; some lesions are too faint to be found.
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
from ..output.files import cache_folder
from ..version import VERSION
from .drawing import draw_slice

#: Raise it whenever `draw_slice` or `make_demo_images` would draw another picture from the same seed.
DEMO_VERSION = 1
CLASSES = ("no_lesion", "lesion")
PER_CLASS = 120

NOTICE = """\
SYNTHETIC IMAGES: drawings, not scans.

Every picture in this folder was drawn by the random generator of freezeframe {version} (demo set {demo}, seed {seed}).
They show no patient, come from no scanner and have no clinical meaning: nothing learnt from them holds for medicine.
They exist to try the tool on, {per_class} pictures per class; the "lesion" is a painted blob, at times hardly visible.

On purpose, {copies} files of each class are exact copies of another one of that class, as in many real collections:
"""


def make_demo_images(
    out: str | os.PathLike[str], *, per_class: int = PER_CLASS, seed: int = 0
) -> Path:
    """Draw `per_class` slices into each of `out`/lesion and `out`/no_lesion; `out`/SYNTHETIC.txt tells what they are.

    Most are grey PNG, some JPEG, a few RGB. One in 30 of each class is an exact copy of another of
    that class, as in real collections. `out` appears whole or not at all. Equal seeds give equal
    files, to the byte with equal versions of the libraries.

    Raises:
        ParameterError: `per_class` is below 10, `seed` negative, or `out` exists and is no empty
            folder.
        FreezeframeError: the folder cannot be written.
    """
    if per_class < 10:
        raise ParameterError(f"per_class of make_demo_images must be 10 or more, got {per_class}")
    if seed < 0:
        raise ParameterError(f"seed of make_demo_images must be 0 or more, got {seed}")
    out = Path(out).resolve()
    try:
        with _whole(out) as folder:
            _draw_all(folder, per_class, seed)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FreezeframeError(
            f"the demo images cannot be written to {out}: {reason}; name another folder"
        ) from error
    return out


def demo_folder() -> Path:
    """The demo set in the user's cache folder: drawn on first use, and again if files were lost from it."""
    folder = cache_folder() / f"demo-{DEMO_VERSION}"
    if _complete(folder):
        return folder
    if folder.exists():  # Moved away first: nobody may take the remains for the set.
        remains = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):  # Another process moved it.
            folder.rename(remains)
        shutil.rmtree(remains, ignore_errors=True)
    try:
        return make_demo_images(folder, per_class=PER_CLASS)
    except ParameterError:
        if not _complete(folder):
            raise
        return folder  # Another process drew it meanwhile.


def _complete(folder: Path) -> bool:
    counts = [sum(1 for _ in (folder / label).glob("slice_*.*")) for label in CLASSES]
    return (folder / "SYNTHETIC.txt").is_file() and counts == [PER_CLASS, PER_CLASS]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` at the end, or vanishes if anything goes wrong."""
    taken = ParameterError(
        f"{out} exists already and is no empty folder: name another, or remove it first"
    )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise taken
    folder = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    try:
        yield folder
        if out.is_dir() and not any(
            out.iterdir()
        ):  # Windows renames onto no folder, not even an empty one.
            out.rmdir()
        try:
            folder.rename(out)
        except OSError as error:
            raise (taken if out.exists() else error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draw_all(folder: Path, per_class: int, seed: int) -> None:
    from PIL import Image

    copies = per_class // 30 or 1
    notice = NOTICE.format(
        version=VERSION, demo=DEMO_VERSION, seed=seed, per_class=per_class, copies=copies
    )
    names: list[str] = []
    for label in CLASSES:
        (folder / label).mkdir()
    for number in range(per_class - copies):
        # Drawn once for both classes: neither format nor mode can tell them apart.
        storage = np.random.default_rng([seed, number, 2])
        names.append(f"slice_{number + 1:04d}{'.jpg' if storage.random() < 0.2 else '.png'}")
        mode, quality = "RGB" if storage.random() < 0.08 else "L", int(storage.integers(80, 96))
        for index, label in enumerate(CLASSES):
            pixels = draw_slice(np.random.default_rng([seed, number, index]), label == "lesion")
            Image.fromarray(pixels).convert(mode).save(folder / label / names[-1], quality=quality)
    originals = np.random.default_rng([seed, per_class, 3]).choice(
        per_class - copies, size=copies, replace=False
    )
    for number, original in enumerate(originals, start=per_class - copies + 1):
        name = f"slice_{number:04d}{Path(names[original]).suffix}"
        for label in CLASSES:
            shutil.copyfile(folder / label / names[original], folder / label / name)
            notice += f"{label}/{name} = {label}/{names[original]}\n"
    (folder / "SYNTHETIC.txt").write_text(notice, encoding="utf-8")
