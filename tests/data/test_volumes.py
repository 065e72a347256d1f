"""Tests of volumes: their slices are images, turned, scaled and named alike whatever the file."""

from __future__ import annotations

import gzip
import itertools
import struct
import sys
import threading
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from freezeframe import (
    FeatureStore,
    ImageError,
    ManifestError,
    MissingExtraError,
    ParameterError,
    read_image,
)
from freezeframe.__main__ import cli
from freezeframe.data.formats.image_file import open_image, read_mask
from freezeframe.data.formats.volumes import memory, nifti
from freezeframe.data.formats.volumes.slice_path import split_slice
from freezeframe.data.formats.volumes.volume import (
    Orientation,
    check_volume,
    scale_volume,
    take_slice,
)
from freezeframe.data.inspection.facts import frames_lines
from freezeframe.data.inspection.inspect import inspect_images
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.slice_choice import AXES, SliceChoice

from .test_more_volumes import AXIAL, enhanced, save_pages, save_series

nib: Any = pytest.importorskip("nibabel")

# Right, front and head are the directions of the axes.
RAS = np.diag([1.0, 1.0, 1.0, 1.0])


def save(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = RAS, kind: str = "1") -> Path:
    """Write voxels into a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib_image = nib.Nifti2Image if kind == "2" else nib.Nifti1Image
    nib.save(nib_image(voxels, affine), path)
    return path


def from_pictures(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the RAS voxels whose axial slices are some pictures, of (slices, rows, columns)."""
    return pictures[:, ::-1, ::-1].transpose(2, 1, 0)


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def refused(path: Path | str) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(str(path))
    return text.removeprefix(f"{path}: ")


# Names


def test_a_path_names_a_slice(tmp_path: Path) -> None:
    for text in ("a.nii#7", "a.nii#coronal-7", "b#2/a.nii.gz#0"):
        file, name = split_slice(tmp_path / text)
        assert name is not None
        assert name.path(file) == str(tmp_path / text)
    for text in ("a.png", "a#b.png", "a.nii#axial-7", "a.nii#-1", "#7"):
        assert split_slice(text) == (text, None)


def test_a_file_whose_name_ends_as_a_slice_is_that_file(tmp_path: Path) -> None:
    pixels = noise(8, 9)
    for label, name in (("a", "scan#3"), ("b", "scan#4"), ("b", "scan#5.png")):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "set" / label / name, "PNG")
    manifest = read_manifest(tmp_path / "set")
    assert [image.path for image in manifest.images] == ["a/scan#3", "b/scan#4", "b/scan#5.png"]
    assert not any(image.group for image in manifest.images)
    assert (read_image(tmp_path / "set" / "a" / "scan#3")[..., 0] == pixels).all()
    assert not any(facts.reason for facts in inspect_images(manifest, cache=False))


def test_a_slice_and_a_file_of_one_path_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "set" / "a" / "v.nii", noise(4, 5, 3))
    Image.fromarray(noise(8, 9)).save(tmp_path / "set" / "a" / "v.nii#1", "PNG")
    with pytest.raises(ManifestError, match=r"v.nii#1: is listed twice"):
        read_manifest(tmp_path / "set", least_classes=1)


# Orientation


def orientations() -> list[NDArray[np.float64]]:
    """Return an affine for each of the 48 orders and directions of axes, each a little oblique."""
    tilt = np.array([[1, 0.1, -0.2], [-0.1, 1, 0.15], [0.2, -0.15, 1]])
    affines = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = tilt @ (np.eye(3)[list(order)] * signs) * [1.0, 0.5, 3.0]
            affines.append(affine)
    return affines


def test_all_orientations_give_the_slices_that_nibabel_gives(tmp_path: Path) -> None:
    voxels = noise(5, 6, 7)
    for affine in orientations():
        canonical = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(voxels, affine)).dataobj)
        turned = Orientation.from_affine(affine).turn(voxels)
        assert (turned == canonical.transpose(2, 1, 0)[:, ::-1, ::-1]).all()
        assert Orientation.from_affine(affine).shape(voxels.shape) == turned.shape


def test_one_head_in_two_orientations_has_the_same_slices(tmp_path: Path) -> None:
    voxels = noise(5, 6, 7, dtype=np.int16)
    first = save(tmp_path / "ras.nii", voxels)
    other = nib.Nifti1Image(voxels, RAS).as_reoriented(nib.orientations.axcodes2ornt("PIL"))
    second = save(tmp_path / "pil.nii.gz", np.asarray(other.dataobj), other.affine, kind="2")
    for axis, n in zip(AXES, (7, 6, 5), strict=True):
        for index in range(n):
            name = f"#{index}" if axis == "axial" else f"#{axis}-{index}"
            assert (read_image(f"{first}{name}") == read_image(f"{second}{name}")).all()


def test_slices_are_seen_as_radiologists_see_them() -> None:
    # A voxel of the patient's right, front, head.
    voxels = np.zeros((4, 5, 6), np.uint8)
    voxels[3, 4, 5] = 255
    stack = Orientation.from_affine(RAS).turn(voxels)
    places = {
        # The right side is on the left, the front on top.
        "axial": (5, (0, 0)),
        # The right side is on the left, the head on top.
        "coronal": (4, (0, 0)),
        # The front is on the left, the head on top.
        "sagittal": (3, (0, 0)),
    }
    for axis, (index, place) in places.items():
        picture = take_slice(stack, axis, index)
        assert picture[place].tolist() == [255] * 3
        assert picture.sum() == 3 * 255
        assert picture.flags.c_contiguous
        assert picture.flags.writeable
    # The left, back, feet end of the same axes.
    voxels[:] = 0
    voxels[0, 0, 0] = 255
    stack = Orientation.from_affine(RAS).turn(voxels)
    for axis in AXES:
        assert take_slice(stack, axis, 0)[-1, -1].tolist() == [255] * 3


def test_a_volume_without_directions_is_refused(tmp_path: Path) -> None:
    for number in (0.0, np.nan):
        with pytest.raises(ImageError, match="without three directions"):
            Orientation.from_affine(np.diag([1.0, number, 1.0]))
    with pytest.raises(ImageError, match="two axes in one direction"):
        Orientation.from_affine(np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]]) + 1e-9)


def test_headers_with_impossible_codes_are_read_as_nibabel_reads_them(tmp_path: Path) -> None:
    voxels = noise(4, 5, 6)
    image = nib.Nifti1Image(voxels, np.array([[0, -2, 0, 0], [3, 0, 0, 0], [0, 0, 1, 0], [0] * 4]))
    for fields in (
        {"sform_code": -7},
        {"sform_code": 0, "pixdim": [1, -2, 0, 3, 0, 0, 0, 0]},
        {"sform_code": 0, "qform_code": 99},
        {"sform_code": 0, "qform_code": 1, "pixdim": [0, 2, -2, 3, 0, 0, 0, 0]},
    ):
        content = bytearray(image.to_bytes())
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        (tmp_path / "v.nii").write_bytes(content)
        seen = nib.as_closest_canonical(nib.load(tmp_path / "v.nii"))
        expected = np.asarray(seen.dataobj)[::-1, ::-1].transpose(2, 1, 0)
        pictures = [read_image(f"{tmp_path / 'v.nii'}#{index}")[..., 0] for index in range(6)]
        assert (np.stack(pictures) == expected).all(), fields


# Scaling


def test_a_volume_is_scaled_as_a_whole(tmp_path: Path) -> None:
    voxels = noise(30, 31, 7, dtype=np.int16) * (1 + np.arange(7, dtype=np.int16))
    path = save(tmp_path / "v.nii", voxels)
    low, high = np.percentile(voxels[voxels != 0], (0.5, 99.5))
    expected = np.rint(np.clip((voxels - low) / (high - low), 0, 1) * 255)
    for index in range(7):
        picture = read_image(f"{path}#{index}")
        assert (picture == expected[::-1, ::-1, index].T[..., None]).all()


def test_bytes_and_colours_stay_as_they_are(tmp_path: Path) -> None:
    pictures = noise(3, 8, 9)
    path = save(tmp_path / "v.nii.gz", from_pictures(pictures))
    colours = noise(6, 5, 4, 3)
    packed = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    colour_path = save(tmp_path / "c.nii", packed)
    for index in range(3):
        assert (read_image(f"{path}#{index}")[..., 0] == pictures[index]).all()
        picture = read_image(f"{colour_path}#{index}")
        assert (picture == colours[::-1, ::-1, index].transpose(1, 0, 2)).all()
    assert open_image(f"{colour_path}#0").mode() == "RGB"
    assert open_image(f"{path}#0").mode() == "uint8"


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8", "<u2", "<i4", "<i1"])
def test_types_and_slopes_give_one_picture(tmp_path: Path, dtype: str) -> None:
    levels = np.clip(noise(8, 9, 4), 0, 120).astype(dtype)
    image = nib.Nifti1Image(levels, RAS)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    path = tmp_path / "v.nii"
    expected = scale_volume(levels.astype(np.int16))
    # No slope; another unit; another unit with a background of 7; dark is bright.
    for slope, intercept in ((None, None), (0.5, 0), (3, 7), (-2, 0)):
        image = nib.Nifti1Image(levels, RAS, header)
        image.set_data_dtype(dtype)
        image.header.set_slope_inter(slope, intercept)
        data = image.header.binaryblock[:348] + bytes(4) + levels.tobytes(order="F")
        data = bytearray(data)
        data[108:112] = struct.pack(f"{header.endianness}f", 352)
        data[112:120] = struct.pack(f"{header.endianness}2f", slope or 0, intercept or 0)
        path.write_bytes(data)
        picture = read_image(f"{path}#2")[..., 0]
        if slope == 3:
            expected_here = scale_volume(levels.astype(np.int16), -7 / 3)
        elif slope == -2:
            expected_here = scale_volume(-2 * levels.astype(np.int16))
        else:
            expected_here = expected
        assert np.abs(picture.astype(int) - expected_here[::-1, ::-1, 2].T).max() <= 1


def test_odd_levels_are_scaled() -> None:
    assert scale_volume(np.zeros((2, 3), np.int16)).max() == 0
    assert scale_volume(np.full((2, 3), np.nan, np.float32)).max() == 0
    assert scale_volume(np.full((2, 3), 7, np.int16)).min() == 255
    assert scale_volume(np.array([0, np.inf, -np.inf, 1, 2, np.nan])).tolist() == [
        0,
        255,
        0,
        0,
        255,
        0,
    ]
    huge = np.array([-8e307, 1, 8e307])
    assert scale_volume(huge).tolist() == [0, 128, 255]


# Lists


def head_set(root: Path, n_slices: int = 6) -> Path:
    """Write four volumes of two classes, each with blank slices at its ends."""
    for label, seed in (("a", 1), ("b", 2)):
        for number in range(2):
            pictures = noise(n_slices, 16, 18, seed=10 * seed + number)
            pictures[[0, -1]] = 3
            save(root / label / f"p{number}.nii.gz", from_pictures(pictures))
    return root


def test_slices_of_a_folder_are_images_of_its_classes(tmp_path: Path) -> None:
    manifest = read_manifest(head_set(tmp_path / "set", n_slices=11))
    paths = [image.path for image in manifest.images]
    assert paths[:3] == ["a/p0.nii.gz#0", "a/p0.nii.gz#1", "a/p0.nii.gz#2"]
    # Slices are sorted by number, not by letters.
    assert paths[10] == "a/p0.nii.gz#10"
    assert manifest.classes == {"a": 22, "b": 22}
    assert {image.group for image in manifest.images} == {
        f"{label}/p{number}.nii.gz" for label in "ab" for number in range(2)
    }
    assert manifest.group_source == "volumes"
    assert len({image.sha256 for image in manifest.images}) == 44
    facts = inspect_images(manifest, cache=False)
    assert {(fact.kind, fact.mode, fact.height, fact.width, fact.frames) for fact in facts} == {
        ("NIfTI", "uint8", 16, 18, 1)
    }


@pytest.mark.parametrize(
    ("slices", "axis", "expected"),
    [
        ("all", "axial", ["0", "1", "2", "3", "4", "5"]),
        ("content", "axial", ["1", "2", "3", "4"]),
        ("middle:2", "axial", ["2", "3"]),
        ("middle:99", "axial", ["0", "1", "2", "3", "4", "5"]),
        ("every:4", "axial", ["0", "4"]),
        ("middle:1", "coronal", ["coronal-7"]),
        ("every:10", "sagittal", ["sagittal-0", "sagittal-10"]),
    ],
)
def test_slices_are_chosen_and_keep_their_names(
    tmp_path: Path, slices: str, axis: str, expected: list[str]
) -> None:
    source = head_set(tmp_path / "set")
    manifest = read_manifest(source, choice=SliceChoice(slices, axis))
    names = [image.path.partition("#")[2] for image in manifest.images if "a/p0" in image.path]
    assert names == expected
    whole = {image.path: image.sha256 for image in read_manifest(source).images}
    if axis == "axial":
        assert all(whole[image.path] == image.sha256 for image in manifest.images)
    else:
        assert whole.keys().isdisjoint(image.path for image in manifest.images)
        assert set(whole.values()).isdisjoint(image.sha256 for image in manifest.images)


def test_content_counts_from_the_same_end_on_each_axis(tmp_path: Path) -> None:
    stack = np.zeros((6, 7, 8), np.uint8)
    stack[1, 2, 3] = 200
    path = save(tmp_path / "set" / "a" / "v.nii", from_pictures(stack))
    for axis in AXES:
        manifest = read_manifest(
            path.parents[1], choice=SliceChoice("content", axis), least_classes=1
        )
        (image,) = manifest.images
        assert read_image(path.parents[1] / image.path).max() == 200


@pytest.mark.parametrize("text", ["some", "middle", "middle:0", "every:", "every:-1", "middle:1.5"])
def test_an_unknown_choice_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="--slices must be all, content, middle:N or every:K"):
        SliceChoice(text)
    with pytest.raises(ParameterError, match="--axis must be one of axial"):
        SliceChoice(axis="oblique")


def test_a_list_has_a_row_a_volume_or_a_row_a_slice(tmp_path: Path) -> None:
    head_set(tmp_path)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\na/p0.nii.gz,sick\nb/p0.nii.gz#4,well\n./b/p0.nii.gz#2,sick\n")
    manifest = read_manifest(listed, choice=SliceChoice("middle:2"))
    assert [(image.path, image.label, image.group) for image in manifest.images] == [
        ("a/p0.nii.gz#2", "sick", "a/p0.nii.gz"),
        ("a/p0.nii.gz#3", "sick", "a/p0.nii.gz"),
        ("b/p0.nii.gz#2", "sick", "b/p0.nii.gz"),
        ("b/p0.nii.gz#4", "well", "b/p0.nii.gz"),
    ]
    folder = {image.path: image.sha256 for image in read_manifest(tmp_path).images}
    assert all(folder[image.path] == image.sha256 for image in manifest.images)


def test_slices_of_one_volume_have_one_group(tmp_path: Path) -> None:
    head_set(tmp_path)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label,group\na/p0.nii.gz#1,sick,x\na/p0.nii.gz#2,well,y\n")
    with pytest.raises(ManifestError, match=r"groups 'x' and 'y'; give them one group"):
        read_manifest(listed)
    listed.write_text("path,label,group\na/p0.nii.gz,sick,x\na/p0.nii.gz#2,well,x\n")
    with pytest.raises(ManifestError, match=r"a/p0.nii.gz#2: is listed twice"):
        read_manifest(listed)


def test_patients_come_from_the_names_of_volumes(tmp_path: Path) -> None:
    head_set(tmp_path)
    manifest = read_manifest(tmp_path, group_regex=r"/(p\d)")
    assert {image.patient for image in manifest.images} == {"p0", "p1"}


def test_a_damaged_volume_is_listed_and_not_read(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    path = source / "a" / "p0.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    manifest = read_manifest(source)
    assert "a/p0.nii.gz" in {image.path for image in manifest.images}
    facts = inspect_images(manifest, cache=False)
    (reason,) = [fact.reason for fact in facts if fact.reason]
    assert reason


def test_a_volume_that_changed_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", from_pictures(noise(3, 8, 9)))
    before = open_image(f"{path}#1").sha256
    pictures = noise(3, 8, 9, seed=1)
    save(path, from_pictures(pictures))
    opened = open_image(f"{path}#1")
    assert (opened.pixels()[..., 0] == pictures[1]).all()
    assert opened.sha256 != before


def test_a_volume_is_decoded_once_for_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    read = nifti.NiftiReader.read

    def counted(self: Any, data: bytes, **options: Any) -> NDArray[np.uint8]:
        decoded.append(threading.get_ident())
        return read(self, data, **options)

    monkeypatch.setattr(nifti.NiftiReader, "read", counted)
    manifest = read_manifest(head_set(tmp_path / "set", n_slices=40))
    inspect_images(manifest, cache=False)
    assert len(decoded) == 4


def test_memory_of_volumes_is_bounded() -> None:
    volumes = memory.VolumeMemory(most_bytes=2500)
    kept = memory.DecodedVolume("", 0, "NIfTI", stack=np.zeros((10, 10, 10), np.uint8))
    calls = []

    def get(key: str) -> None:
        volumes.get(key, lambda: calls.append(key) or kept)  # type: ignore[func-returns-value]

    for key in "abababcbca":
        get(key)
    # Two fit; the one that was used longest ago goes first.
    assert calls == ["a", "b", "c", "a"]


def test_the_first_of_several_volumes_is_read_and_counted(tmp_path: Path) -> None:
    """Times, directions or sequences of one head are a fourth axis."""
    voxels = noise(8, 9, 5, 3, dtype=np.int16)
    for label in "ab":
        save(tmp_path / "set" / label / "v.nii.gz", voxels)
        voxels = voxels + 1
    first = save(tmp_path / "first.nii.gz", voxels[..., 0] - 1)
    read = [read_image(tmp_path / "set" / "b" / f"v.nii.gz#{index}") for index in range(5)]
    assert all(
        (picture == read_image(f"{first}#{index}")).all() for index, picture in enumerate(read)
    )
    facts = inspect_images(read_manifest(tmp_path / "set"), cache=False)
    assert frames_lines(Counter(fact.frames for fact in facts)) == [
        "first of 3 frames taken: 10 images"
    ]


def test_a_blank_volume_is_reported(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    blank = save(source / "a" / "empty.nii.gz", np.zeros((8, 9, 5), np.int16))
    manifest = read_manifest(source, choice=SliceChoice("content"))
    assert len(manifest.images) == 16
    assert manifest.skipped == (("a/empty.nii.gz", "no slice that is not blank"),)
    for path in source.rglob("p*"):
        path.write_bytes(blank.read_bytes())
    for masks in ([], ["--label-from-mask", str(source / "a")]):
        command = ["explore", str(source), "--slices", "content", *masks]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 1
        assert result.output.splitlines() == [
            f"error: {source}: no volume has a slice that is not blank; choose others with --slices"
        ]


# Masks


def test_labels_come_from_masks_of_volumes(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    for volume in sorted(source.rglob("*.nii.gz")):
        # Labels of parts of a tumour, of which the smallest number is 1 pixel's.
        mask = np.zeros((6, 16, 18), np.int16)
        mask[2, 3, 4:6] = (1, 4)
        mask[3, 3, 4] = 2
        relative = volume.relative_to(source)
        save(tmp_path / "masks" / relative, from_pictures(mask))
    choice = SliceChoice(label_from_mask=f"{tmp_path / 'masks'}:2")
    labels = {image.path: image.label for image in read_manifest(source, choice=choice).images}
    positive = [path for path, label in labels.items() if label == "positive"]
    assert positive == ["a/p0.nii.gz#2", "a/p1.nii.gz#2", "b/p0.nii.gz#2", "b/p1.nii.gz#2"]
    choice = SliceChoice(label_from_mask=str(tmp_path / "masks"))
    assert read_manifest(source, choice=choice).classes == {"negative": 16, "positive": 8}
    inside = read_mask(f"{tmp_path / 'masks' / 'a/p0.nii.gz'}#2")
    assert np.argwhere(inside).tolist() == [[3, 4], [3, 5]]
    # As a picture, the same file is scaled.
    picture = read_image(f"{tmp_path / 'masks' / 'a/p0.nii.gz'}#2")
    assert picture[3, 4:6, 0].tolist() == [0, 255]


def test_labels_come_from_masks_of_pictures(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "flat" / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(8, 9, seed=number)).save(tmp_path / "flat" / f"{number}.png")
        if number:
            mask = np.zeros((8, 9), np.uint8)
            mask[0, :number] = 1
            Image.fromarray(mask).save(tmp_path / "flat" / "masks" / f"{number}.png")
    choice = SliceChoice(label_from_mask=f"{tmp_path / 'flat' / 'masks'}:2")
    manifest = read_manifest(tmp_path / "flat", choice=choice)
    labels = [(image.path, image.label) for image in manifest.images]
    assert labels == [
        ("0.png", "negative"),
        ("1.png", "negative"),
        ("2.png", "positive"),
        ("3.png", "positive"),
    ]
    assert {reason for _, reason in manifest.skipped} == {"a mask"}
    (note,) = manifest.notes
    assert note.startswith("1 image without a mask in ")
    # A list needs no labels then.
    listed = tmp_path / "flat" / "list.csv"
    listed.write_text("path,group\n1.png,x\n2.png,y\n")
    labels = [(image.label, image.group) for image in read_manifest(listed, choice=choice).images]
    assert labels == [("negative", "x"), ("positive", "y")]


def test_masks_that_fit_no_image_are_an_error(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    choice = SliceChoice(label_from_mask=str(tmp_path / "masks"))
    with pytest.raises(ManifestError, match="no file in it is named as an image, such as a/p0"):
        read_manifest(source, choice=choice)
    with pytest.raises(ParameterError, match="--layout: folders are no classes"):
        read_manifest(source, layout="class", choice=choice)


# Strange files


@pytest.mark.parametrize(
    ("shape", "voxel_bytes"),
    [((2**14, 2**7, 2**7), 5), ((2**14 + 1, 2**7, 2**7), 1), ((2**7, 2**7, 2**14 + 1), 1)],
)
def test_limits_of_voxels_and_bytes(shape: tuple[int, int, int], voxel_bytes: int) -> None:
    check_volume((2**14, 2**7, 2**7), 4)
    with pytest.raises(ImageError, match="more than the limit of 268435456 voxels or 1073741824 b"):
        check_volume(shape, voxel_bytes)


def test_a_volume_of_too_many_slices_has_no_images(tmp_path: Path) -> None:
    for n in (2**14, 2**14 + 1):
        save(tmp_path / str(n) / "a" / "v.nii", np.zeros((1, 1, n), np.uint8))
    choice = SliceChoice("every:10000")
    whole = read_manifest(tmp_path / str(2**14), least_classes=1, choice=choice)
    assert [image.path for image in whole.images] == ["a/v.nii#0", "a/v.nii#10000"]
    refused_set = read_manifest(tmp_path / str(2**14 + 1), least_classes=1, choice=choice)
    (facts,) = inspect_images(refused_set, cache=False)
    assert facts.reason == "a volume of 16385 slices, more than the limit of 16384"


def raw(shape: tuple[int, ...] = (4, 5, 6), voxels: bytes | None = None, **fields: Any) -> bytes:
    """Return a NIfTI-1 file of bytes with any fields in its header."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    for name, value in fields.items():
        header[name] = value
    if voxels is None:
        voxels = bytes(int(np.prod(shape[:3])))
    return bytes(header.binaryblock) + bytes(4) + voxels


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (raw(voxels=bytes(119)), "NIfTI that is truncated"),
        (gzip.compress(raw(voxels=bytes(119))), "NIfTI that is truncated"),
        (
            gzip.compress(raw((20, 20, 9), noise(3600).tobytes()))[:-99],
            "NIfTI that cannot be decoded",
        ),
        (gzip.compress(raw(), mtime=0)[:-8] + bytes(8), "NIfTI that cannot be decoded: CRC check"),
        (raw((4, 5, 6, 0)), "NIfTI of 4 x 5 x 6 x 0 voxels, which is no volume"),
        (raw((7,)), "NIfTI of 7 voxels, which is no volume"),
        (raw((4, 5, 6, 32767, 32767)), "x 32767 x 32767 voxels, which is no volume"),
        (raw((4, 0, 6)), "NIfTI of 4 x 0 x 6 voxels, which is no volume"),
        (raw((4, -5, 6), b""), "NIfTI of 4 x -5 x 6 voxels, which is no volume"),
        (raw((2000, 2000, 2000), b""), "are more than the limit of 268435456 voxels"),
        (raw((32767, 8000, 1), b""), "8000 x 32767 pixels are more than the limit"),
        (raw(datatype=32), "NIfTI of complex64 voxels, which are not supported"),
        (raw(datatype=-1), "NIfTI that cannot be decoded"),
        (raw(vox_offset=0), "NIfTI whose voxels are said to begin at byte 0"),
        (raw(vox_offset=1e30), "NIfTI whose voxels are said to begin at byte"),
        (raw(vox_offset=np.nan), "NIfTI that cannot be decoded"),
        (raw(sform_code=1), "a volume without three directions in the body"),
        (raw(sform_code=1, srow_x=np.nan), "a volume without three directions in the body"),
        (raw(qform_code=1, quatern_b=9), "NIfTI that cannot be decoded"),
    ],
)
def test_a_damaged_or_hostile_file_is_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "v.nii"
    path.write_bytes(data)
    assert reason in refused(f"{path}#0")
    # A path of the whole volume is refused, too, and never an error of another kind.
    refused(path)


def test_a_path_of_a_volume_names_no_slice(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", noise(4, 5, 6))
    assert refused(path) == "NIfTI volume of 6 slices; name one of them, as in FILE#3"
    assert refused(f"{path}#6") == "has no axial slice 6; its 6 slices are counted from 0"
    Image.fromarray(noise(8, 9)).save(tmp_path / "a.png")
    assert refused(f"{tmp_path / 'a.png'}#0") == "has no slices; leave out # and the number"
    assert refused(f"{tmp_path / 'b.nii'}#0") == "No such file or directory"


@pytest.mark.parametrize("claimed", [(800, 800, 400), (4, 5, 6)])
def test_a_gzip_bomb_takes_no_memory(tmp_path: Path, claimed: tuple[int, ...]) -> None:
    """Nothing of 80 MB behind a small header is unpacked; a large header alone reserves none."""
    behind = bytes(80_000_000) if claimed == (4, 5, 6) else b""
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(raw(claimed, behind), 1))
    tracemalloc.start()
    try:
        if claimed == (4, 5, 6):
            assert read_image(f"{path}#0").shape == (5, 4, 3)
        else:
            assert refused(f"{path}#0") == "NIfTI that is truncated"
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = head_set(tmp_path / "set")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'freezeframe\[nifti\]'"):
        read_manifest(source)
    result = CliRunner().invoke(cli, ["explore", str(source), "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "error: reading NIfTI files needs nibabel, which is not installed: "
        "pip install 'freezeframe[nifti]'"
    ]


# Commands


def save_as(kind: str, folder: Path, name: str, stack: NDArray[np.uint8]) -> list[str]:
    """Write a volume in some format, and return the paths of its slices, from the feet up."""
    places = [[0.0, 0.0, 5.0 * index] for index in range(len(stack))]
    patient = name.partition("_")[0]
    folder.mkdir(exist_ok=True)
    if kind == "series":
        files = save_series(folder / name, stack, list(range(len(stack))), PatientID=patient)
        return [f"{name}/{file}#series" for file in files]
    if kind == "dicom":
        content = enhanced(stack[::-1].copy(), AXIAL, places[::-1], PatientID=patient)
        (folder / name).write_bytes(content)
    elif kind == "tiff":
        save_pages(folder / name, list(stack))
    else:
        name += ".nii.gz"
        save(folder / name, from_pictures(stack))
    return [f"{name}#{index}" for index in range(len(stack))]


@pytest.mark.parametrize(
    ("kind", "patients"),
    [
        ("nifti", 4),
        *(
            pytest.param(kind, 11, marks=pytest.mark.slow)
            for kind in ("nifti", "dicom", "series", "tiff")
        ),
    ],
)
def test_progression_as_volumes_has_the_slices_and_scores_of_its_pictures(
    tmp_path: Path, datasets: Path, kind: str, patients: int
) -> None:
    """From explore to a leaderboard, a list of PNG files and volumes of them are one set."""
    import pandas as pd

    listed = pd.read_csv(datasets / "progression" / "list.csv")
    listed["name"] = [Path(path).name for path in listed["path"]]
    listed["volume"] = [name.rpartition("_z")[0] for name in listed["name"]]
    listed = listed[listed["group"] <= f"patient-{patients:02}"].sort_values("name")
    pictures, volumes = [], []
    for volume, rows in listed.groupby("volume"):
        stack = [np.asarray(Image.open(datasets / "progression" / path)) for path in rows["path"]]
        paths = save_as(kind, tmp_path / "volumes", volume, np.stack(stack))
        for index, (name, pixels) in enumerate(zip(rows["name"], stack, strict=True)):
            (tmp_path / "pictures").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name)
            row = rows.iloc[index]
            pictures.append((name, row["label"], row["group"]))
            volumes.append((paths[index], row["label"], row["group"]))
    tables = {}
    for name, rows in (("pictures", pictures), ("volumes", volumes)):
        list_path = tmp_path / name / "list.csv"
        pd.DataFrame(rows, columns=["path", "label", "group"]).to_csv(list_path, index=False)
        commands = [
            ["explore", list_path, "--output", tmp_path / f"{name}-report"],
            [
                *("extract-features", list_path, "--output", tmp_path / f"{name}.h5"),
                *("--backbone", "pixels-8", "--layer", "pixels"),
            ],
            [
                *("fit-classifier", tmp_path / f"{name}.h5", "--layer", "pixels"),
                *("--model", "naive-bayes", "--cv", "3", "--leaderboard", tmp_path / f"{name}.csv"),
            ],
        ]
        # The plots of explore take longer than all else.
        for command in commands if patients == 11 else commands[1:]:
            result = CliRunner().invoke(cli, list(map(str, command)), catch_exceptions=False)
            assert result.exit_code == 0, result.output
        tables[name] = pd.read_csv(tmp_path / f"{name}.csv")
        if patients == 11:
            explored = pd.read_csv(tmp_path / f"{name}-report" / "explore.csv")
            tables[f"{name}-facts"] = explored.drop(columns=["path", "format", "mode", "bytes"])
    if patients == 11:
        pd.testing.assert_frame_equal(tables["pictures-facts"], tables["volumes-facts"])
    stores = [FeatureStore(tmp_path / f"{name}.h5") for name in ("pictures", "volumes")]
    assert (stores[0].pixels == stores[1].pixels).all()
    assert (stores[0].features("pixels") == stores[1].features("pixels")).all()
    # Only names, times and digests of the two stores differ.
    first, second = (tables[name].iloc[0] for name in ("pictures", "volumes"))
    scores = [column for column in first.index if column.startswith(("accuracy", "auc", "f1"))]
    assert len(scores) > 5
    assert first[scores].equals(second[scores])


def test_a_store_is_extended_by_more_slices_and_refuses_another_axis(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    store = tmp_path / "features.h5"
    pixels = ["--backbone", "pixels-8", "--layer", "pixels", "--output", str(store)]

    def extract(*options: str) -> Any:
        return CliRunner().invoke(cli, ["extract-features", str(source), *options, *pixels])

    assert extract("--slices", "middle:4").exit_code == 0
    before = FeatureStore(store)
    paths, features = before.paths.tolist(), before.features("pixels")[:]
    more = extract()
    assert more.exit_code == 0, more.output
    assert "16 images were copied from earlier stores" in more.output
    after = FeatureStore(store)
    assert len(after) == 24
    rows = [after.paths.tolist().index(path) for path in paths]
    assert (after.features("pixels")[rows] == features).all()
    other = extract("--axis", "coronal")
    assert other.exit_code == 1
    assert "only 0 of its 24 images are in this folder or list" in other.output


def test_a_split_parts_no_volume(tmp_path: Path) -> None:
    source = head_set(tmp_path / "set")
    listed = tmp_path / "lists" / "split.csv"
    listed.parent.mkdir()
    result = CliRunner().invoke(
        cli,
        # Blank slices are alike, and would join all volumes.
        [
            *("split", str(source), "--output", str(listed)),
            *("--test", "0.5", "--slices", "content"),
        ],
    )
    assert result.exit_code == 0, result.output
    sides: dict[str, set[str]] = {}
    for image in read_manifest(listed).images:
        sides.setdefault(image.path.partition("#")[0], set()).add(image.split)
    assert len(sides) == 4
    assert sorted(map(sorted, sides.values())) == [["test"], ["test"], ["train"], ["train"]]
