"""Labels of the images of a list: by masks, and enough of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import ManifestError
from ..formats.image_file import file_of, read_mask
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
    paths: Sequence[str], choice: SliceChoice
) -> tuple[list[str], tuple[str, ...]]:
    """Label images by their masks.

    Args:
        paths: the images, relative to the folder of their list. A mask has the path of its image
            in the folder of masks, or only its name; of a volume, it is the same slice.
        choice: the folder, and the least number of pixels.

    Returns:
        One of `MASK_LABELS` for each image; and a note on images without a mask, which are
        negative.

    Raises:
        ManifestError: no image has a mask.
        ImageError: a mask cannot be read.
    """
    masks = choice.masks
    assert masks is not None
    labels = []
    n_missing = 0
    for path in paths:
        mask = find_mask(masks, path)
        n_missing += mask is None
        pixels = 0 if mask is None else int(read_mask(mask).sum())
        labels.append(MASK_LABELS[pixels >= choice.least_pixels])
    if n_missing == len(paths):
        raise ManifestError(
            f"--label-from-mask {masks}: no file in it is named as an image, such as {paths[0]}; "
            "check the folder"
        )
    if not n_missing:
        return labels, ()
    note = f"{counted(n_missing, 'image')} without a mask in {masks} count as {MASK_LABELS[0]}"
    return labels, (note,)


def find_mask(folder: Path, path: str) -> str | None:
    """Return the path of an image's mask in a folder; None if it has no mask.

    Args:
        folder: folder of the masks, which may repeat the folders of the images.
        path: path of the image, relative to its list.
    """
    for name in (path, Path(path).name):
        mask = str(folder / name)
        if Path(file_of(mask)).is_file():
            return mask
    return None
