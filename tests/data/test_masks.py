"""Tests of masks that label images: each image has its own, of its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freezeframe import ManifestError, ParameterError
from freezeframe.data.manifest import Manifest, read_manifest
from freezeframe.data.output.slice_choice import SliceChoice

LABELS = ["negative", "positive"]


def save(path: Path, seed: int, *, mask: bool = False, side: int = 12) -> None:
    """Write a picture, or a mask that an odd seed marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 250, (side, side)).astype(np.uint8)
    if mask:
        pixels = np.zeros((side, side), np.uint8)
        pixels[:2, :2] = 255 * (seed % 2)
    Image.fromarray(pixels).save(path)


def labelled(source: Path, masks: Path | str, **options: Any) -> Manifest:
    return read_manifest(source, choice=SliceChoice(label_from_mask=str(masks)), **options)


@pytest.mark.parametrize(
    "form", ["../images/{}.png", "{root}/images/{}.png", "up/../../images/{}.png"]
)
def test_a_list_outside_its_images_finds_the_masks_and_not_the_images(
    tmp_path: Path, form: str
) -> None:
    (tmp_path / "lists" / "up").mkdir(parents=True)
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", number)
        save(tmp_path / "masks" / f"{number}.png", number, mask=True)
    paths = [form.format(number, root=tmp_path) for number in range(4)]
    listed = tmp_path / "lists" / "list.csv"
    listed.write_text("\n".join(["path", *paths]))
    manifest = labelled(listed, tmp_path / "masks")
    assert [image.label for image in manifest.images] == LABELS * 2


def test_masks_repeat_the_end_of_the_path_of_their_image(tmp_path: Path) -> None:
    for patient in range(2):
        for number in range(2):
            name = f"p{patient}/{number}.png"
            save(tmp_path / "images" / "set" / name, number)
            save(tmp_path / "masks" / name, number + patient, mask=True)
    manifest = labelled(tmp_path / "images", tmp_path / "masks")
    assert [image.label for image in manifest.images] == [*LABELS, *reversed(LABELS)]


def test_a_mask_of_two_images_is_refused(tmp_path: Path) -> None:
    for patient in range(2):
        save(tmp_path / "images" / f"p{patient}" / "1.png", patient)
    save(tmp_path / "masks" / "1.png", 1, mask=True)
    with pytest.raises(ManifestError, match=r"1.png: is named as p0/1.png and as p1/1.png; put"):
        labelled(tmp_path / "images", tmp_path / "masks")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "1.png", 1)
    save(tmp_path / "masks" / "1.png", 1, mask=True, side=6)
    with pytest.raises(ManifestError, match="a mask of 6 x 6 pixels for an image of 12 x 12"):
        labelled(tmp_path / "images", tmp_path / "masks")
    # An image that cannot be read has no size; its problem is reported when it is read.
    (tmp_path / "images" / "1.png").write_bytes(b"damaged")
    assert labelled(tmp_path / "images", tmp_path / "masks", least_classes=1).classes == {
        "positive": 1
    }


@pytest.mark.parametrize("shape", [(5, 6, 9), (5, 6, 3), (6, 5, 4)])
def test_a_mask_of_a_volume_of_another_size_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    nib = pytest.importorskip("nibabel")
    for folder, sides in (("images", (5, 6, 4)), ("masks", shape)):
        (tmp_path / folder).mkdir()
        voxels = np.ones(sides, np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / folder / "v.nii")
    sides = " x ".join(map(str, reversed(shape)))
    with pytest.raises(ManifestError, match=f"a mask of {sides} pixels for an image of 4 x 6 x 5"):
        labelled(tmp_path / "images", tmp_path / "masks")


def test_images_are_not_their_own_masks(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", number)
    listed = tmp_path / "list.csv"
    listed.write_text("path\nimages/0.png\nimages/1.png\n")
    with pytest.raises(ManifestError, match=r"0.png: is the image itself; name the folder of the"):
        labelled(listed, tmp_path / "images")


def test_no_pixel_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="with at least 0 pixels, each image is positive"):
        SliceChoice(label_from_mask="masks:0")
