"""Labels of the images of a list: by masks, and enough of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ...errors import ImageError, ManifestError
from ..formats.image_file import file_of, read_image, read_mask, read_volume_header
from ..formats.volumes.slice_path import SERIES, split_slice
from ..output.slice_choice import SliceChoice
from ..output.terminal import counted
from .folder_tree import skipped_details

MASK_LABELS = ("negative", "positive")
"""Labels of images whose masks have too few pixels, and of the others."""


def check_classes(
    source: Path, classes: Mapping[str, int], least: int, skipped: Iterable[tuple[str, str]]
) -> None:
    """Raise ManifestError if images are of too few classes.

    Args:
        source: the folder or list, for the message.
        classes: number of images of each class.
        least: the smallest number of classes to accept.
        skipped: path and reason of each file that was skipped.
    """
    if len(classes) >= least:
        return
    ((label, n_images),) = classes.items()
    message = f"{source}: all {n_images} images are of one class, {label!r}; two are needed"
    # The user may have passed the folder above the one with the classes.
    if (source / label).is_dir():
        message += f" (is {source / label} the folder you mean?)"
    raise ManifestError(message + skipped_details(skipped))


def labels_from_masks(
    root: Path, paths: Sequence[str], choice: SliceChoice
) -> tuple[list[str], tuple[str, ...]]:
    """Label images by their masks.

    Args:
        root: the folder that paths are relative to.
        paths: the images; see `find_masks`.
        choice: the folder of the masks, and the least number of pixels.

    Returns:
        One of `MASK_LABELS` for each image; and a note on images without a mask, which are
        negative.

    Raises:
        ManifestError: no image has a mask, or a mask does not fit its image.
        ImageError: a mask cannot be read.
    """
    folder = choice.masks
    assert folder is not None
    masks = find_masks(folder, paths)
    if not masks:
        raise ManifestError(
            f"--label-from-mask {folder}: no file in it is named as an image, such as {paths[0]}; "
            "check the folder"
        )
    labels = dict.fromkeys(paths, MASK_LABELS[0])
    sizes: dict[str, tuple[int, ...]] = {}
    for path, mask in masks.items():
        inside = read_mask(mask)
        _check_fit(str(root / path), mask, sizes)
        labels[path] = MASK_LABELS[int(inside.sum()) >= choice.least_pixels]
    n_missing = len(paths) - len(masks)
    if not n_missing:
        return [*labels.values()], ()
    note = f"{counted(n_missing, 'image')} without a mask in {folder} count as {MASK_LABELS[0]}"
    return [*labels.values()], (note,)


def find_masks(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """Return the paths of images' masks in a folder; images without a mask are left out.

    A mask has the path of its image below the folder, or the end of this path: its name at least.
    Of a slice, it is the same slice of a mask of the volume.

    Args:
        folder: folder of the masks.
        paths: the images, each once.

    Raises:
        ManifestError: two images have one mask.
    """
    masks = {}
    images: dict[str, str] = {}
    for path in paths:
        mask = _find_mask(folder, path)
        if mask is None:
            continue
        # Names such as `1.png` may be in the folder of each patient.
        if images.setdefault(mask, path) != path:
            raise ManifestError(
                f"{mask}: is named as {images[mask]} and as {path}; put the mask of each into a "
                "folder named as that of the image"
            )
        masks[path] = mask
    return masks


def _find_mask(folder: Path, path: str) -> str | None:
    """Return the path of an image's mask in a folder; None if it has no mask."""
    # A path may lead out of the folder of its list; joined to this folder, it would name the image.
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for start in range(len(parts)):
        mask = str(folder.joinpath(*parts[start:]))
        if Path(file_of(mask)).is_file():
            return mask
    return None


def _check_fit(image: str, mask: str, sizes: dict[str, tuple[int, ...]]) -> None:
    """Raise ManifestError if a mask is the image itself, or of another size.

    Args:
        image: path of the image.
        mask: path of the mask.
        sizes: sizes of volumes that were read before, by file; new ones are added.
    """
    same = False
    with suppress(OSError, ValueError):
        same = Path(file_of(image)).samefile(file_of(mask))
    if same:
        raise ManifestError(f"{mask}: is the image itself; name the folder of the masks")
    # The problem of an image is reported when it is read.
    with suppress(ImageError, OSError, ValueError):
        expected, size = _size(image, sizes), _size(mask, sizes)
        if expected != size:
            texts = (" x ".join(map(str, sides)) for sides in (size, expected))
            raise ManifestError(
                f"{mask}: a mask of {' pixels for an image of '.join(texts)}; save it in the size "
                "of the image"
            )


def _size(path: str, sizes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the sides of a slice's volume, or height and width of a picture."""
    file, name = split_slice(path)
    if name is None or name.axis == SERIES:
        return read_image(path).shape[:2]
    if file not in sizes:
        header = read_volume_header(file)
        sizes[file] = () if header is None else header.shape
    return sizes[file]
