"""Tests of volumes in DICOM, TIFF and MATLAB files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from freezeframe import ImageError, ManifestError, read_image
from freezeframe.data.formats.image_file import open_image, read_mask, read_volume_header
from freezeframe.data.formats.volumes import tiff_pages, volume
from freezeframe.data.formats.volumes.placement import place_frames
from freezeframe.data.formats.volumes.volume import scale_volume
from freezeframe.data.groups import patient_digest
from freezeframe.data.inspection.inspect import inspect_images
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.slice_choice import SliceChoice

AXIAL = [1, 0, 0, 0, 1, 0]


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def slices_of(path: Path, n: int, axis: str = "") -> NDArray[np.uint8]:
    return np.stack([read_image(f"{path}#{axis}{index}")[..., 0] for index in range(n)])


# DICOM


def enhanced(
    pixels: NDArray[Any],
    directions: list[float],
    positions: list[list[float]],
    slopes: list[float] | None = None,
    **tags: Any,
) -> bytes:
    """Return an enhanced MR file of frames, with their places in functional groups."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    def item(**values: Any) -> Any:
        made = Dataset()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    header.PatientID = "patient seven"
    header.NumberOfFrames, header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 8 * pixels.itemsize
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    plane = item(ImageOrientationPatient=directions)
    header.SharedFunctionalGroupsSequence = Sequence(
        [item(PlaneOrientationSequence=Sequence([plane]))]
    )
    groups = []
    for index, position in enumerate(positions):
        place = item(ImagePositionPatient=position)
        group = item(PlanePositionSequence=Sequence([place]))
        if slopes:
            rescale = item(RescaleSlope=slopes[index], RescaleIntercept=0, RescaleType="US")
            group.PixelValueTransformationSequence = Sequence([rescale])
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = Sequence(groups)
    header.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(file := io.BytesIO(), enforce_file_format=True)
    return file.getvalue()


def test_frames_of_an_enhanced_file_are_ordered_by_their_places(tmp_path: Path) -> None:
    pictures = noise(5, 6, 8)
    order = [3, 0, 4, 1, 2]
    positions = [[0.0, 0.0, 10.0 + 3 * index] for index in order]
    (tmp_path / "v.dcm").write_bytes(enhanced(pictures[order], AXIAL, positions))
    assert (slices_of(tmp_path / "v.dcm", 5) == pictures).all()
    # Coronal slices count from the back, and have the head on top.
    assert (
        slices_of(tmp_path / "v.dcm", 6, "coronal-") == pictures[::-1, ::-1].swapaxes(0, 1)
    ).all()


def test_one_head_in_two_orientations_has_the_same_slices(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    pictures = noise(5, 6, 8, dtype=np.uint16) * 9
    positions = [[0.0, 0.0, 2.0 * index] for index in range(5)]
    (tmp_path / "axial.dcm").write_bytes(enhanced(pictures, AXIAL, positions))
    # The same head in sagittal frames from the left, rows from the head down, columns backwards.
    frames = pictures[::-1, :, ::-1].transpose(2, 0, 1)[:, :, ::-1]
    places = [[7.0 - index, 5.0, 8.0] for index in range(8)]
    content = enhanced(np.ascontiguousarray(frames), [0, -1, 0, 0, 0, -1], places)
    (tmp_path / "sagittal.dcm").write_bytes(content)
    voxels = pictures[:, ::-1, ::-1].transpose(2, 1, 0)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "v.nii")
    expected = slices_of(tmp_path / "v.nii", 5)
    assert (slices_of(tmp_path / "axial.dcm", 5) == expected).all()
    assert (slices_of(tmp_path / "sagittal.dcm", 5) == expected).all()
    assert len(np.unique(expected)) > 50


def test_grey_levels_of_frames_pass_their_slopes(tmp_path: Path) -> None:
    pictures = noise(3, 6, 8, dtype=np.int16) + 1
    positions = [[0.0, 0.0, 1.0 * index] for index in range(3)]
    content = enhanced(pictures, AXIAL, positions, slopes=[1.0, 2.0, 0.5])
    (tmp_path / "v.dcm").write_bytes(content)
    levels = pictures * np.array([1, 2, 0.5], np.float32)[:, None, None]
    assert (slices_of(tmp_path / "v.dcm", 3) == scale_volume(levels)).all()
    pictures[1, 2:4, 5] = 7
    content = enhanced(
        pictures, AXIAL, positions, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=7
    )
    (tmp_path / "v.dcm").write_bytes(content)
    levels = np.where(pictures == 7, np.nan, -pictures.astype(np.float32))
    assert (slices_of(tmp_path / "v.dcm", 3) == scale_volume(levels)).all()


def test_frames_without_a_place_each_keep_their_order(tmp_path: Path) -> None:
    pictures = noise(3, 6, 8)
    (tmp_path / "v.dcm").write_bytes(enhanced(pictures, AXIAL, [[0.0, 0.0, 5.0]] * 3))
    assert (slices_of(tmp_path / "v.dcm", 3) == pictures).all()
    assert place_frames([AXIAL, [0, 1, 0, 0, 0, -1]], [[0, 0, 0], [0, 0, 1]]) is None
    assert place_frames([AXIAL, None], [[0, 0, 0], [0, 0, 1]]) is None
    assert place_frames([AXIAL] * 2, [[0, 0, 0], [0, 0, np.nan]]) is None


def test_a_real_multi_frame_file_has_its_slices_and_its_patient(tmp_path: Path) -> None:
    """RT Dose, which pydicom ships: 15 frames of 32 bits."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    path = Path(pydicom.data.get_testdata_file("rtdose.dcm", download=False))
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "dose.dcm").write_bytes(path.read_bytes())
    manifest = read_manifest(tmp_path / "set", least_classes=1)
    assert [image.path for image in manifest.images] == [f"a/dose.dcm#{i}" for i in range(15)]
    header = pydicom.dcmread(path)
    assert {image.patient for image in manifest.images} == {patient_digest(header.PatientID)}
    levels = header.pixel_array.astype(np.float32) * np.float32(header.DoseGridScaling)
    expected = scale_volume(header.pixel_array)
    assert (slices_of(tmp_path / "set" / "a" / "dose.dcm", 15) == expected).all()
    assert levels.shape == expected.shape
    facts = inspect_images(manifest, cache=False)
    assert {(fact.kind, fact.mode, fact.frames) for fact in facts} == {("DICOM", "MONOCHROME2", 1)}
    # The frames have no places, so there is no other axis.
    with pytest.raises(ManifestError, match=r"dose.dcm: its pages have no places in the body"):
        read_manifest(tmp_path / "set", choice=SliceChoice(axis="coronal"))


def save_series(
    folder: Path, pictures: NDArray[Any], order: list[int], uid: str = "1.2.3", **tags: Any
) -> list[str]:
    """Write pictures, from the feet up, as files of a series whose names have another order."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for place, picture in enumerate(pictures):
        content = enhanced(picture[np.newaxis], AXIAL, [[0.0, 0.0, 0.0]])
        header = pydicom.dcmread(io.BytesIO(content))
        del header.NumberOfFrames, header.PerFrameFunctionalGroupsSequence
        del header.SharedFunctionalGroupsSequence
        header.SeriesInstanceUID = uid
        header.ImageOrientationPatient = AXIAL
        header.ImagePositionPatient = [0.0, 0.0, 2.5 * place]
        # A window that differs from slice to slice would make each picture different.
        header.WindowCenter, header.WindowWidth = 100 + place, 50
        for name, value in tags.items():
            setattr(header, name, value)
        names.append(f"IM{order[place]:03}")
        header.save_as(folder / names[-1], enforce_file_format=True)
    return names


def test_files_of_a_series_are_slices_of_a_volume(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    pictures = noise(5, 6, 8, dtype=np.uint16) * np.arange(1, 6, dtype=np.uint16)[:, None, None]
    names = save_series(tmp_path / "set" / "a" / "mr", pictures, [3, 0, 4, 1, 2])
    save_series(tmp_path / "set" / "a" / "mr", pictures[:3], [7, 8, 9], uid="1.2.4")
    # A scout image is in no series.
    save_series(tmp_path / "set" / "b", pictures[:1], [0], uid="1.2.5")
    nib.save(
        nib.Nifti1Image(pictures[:, ::-1, ::-1].transpose(2, 1, 0), np.eye(4)), tmp_path / "v.nii"
    )
    expected = slices_of(tmp_path / "v.nii", 5)
    for place, name in enumerate(names):
        picture = read_image(tmp_path / "set" / "a" / "mr" / f"{name}#series")
        assert (picture[..., 0] == expected[place]).all()
    manifest = read_manifest(tmp_path / "set")
    assert [(image.path, image.group) for image in manifest.images] == [
        *((f"a/mr/{name}#series", f"a/mr/{names[0]}") for name in sorted(names)),
        *((f"a/mr/IM{number:03}#series", "a/mr/IM007") for number in (7, 8, 9)),
        ("b/IM000", ""),
    ]
    assert {image.patient for image in manifest.images} == {patient_digest("patient seven")}
    facts = inspect_images(manifest, cache=False)
    assert not any(fact.reason for fact in facts)
    assert len({image.sha256 for image in manifest.images}) == 9
    middle = read_manifest(tmp_path / "set", choice=SliceChoice("middle:1"))
    assert [image.path for image in middle.images] == [
        f"a/mr/{names[2]}#series",
        "a/mr/IM008#series",
        "b/IM000",
    ]
    with pytest.raises(ManifestError, match="is a slice of the axial series"):
        read_manifest(tmp_path / "set", choice=SliceChoice(axis="sagittal"))


def test_a_list_names_files_of_a_series(tmp_path: Path) -> None:
    names = save_series(tmp_path / "mr", noise(4, 6, 8, dtype=np.uint16), [0, 1, 2, 3])
    listed = tmp_path / "list.csv"
    lines = [f"mr/{names[0]},a", f"mr/{names[3]}#series,b"]
    listed.write_text("\n".join(["path,label", *lines]))
    manifest = read_manifest(listed)
    assert [image.path for image in manifest.images] == ["mr/IM000#series", "mr/IM003#series"]
    before = [image.sha256 for image in manifest.images]
    assert not any(fact.reason for fact in inspect_images(manifest, cache=False))
    # A file that changes in place does so, too.
    change(tmp_path / "mr" / names[1], ImagePositionPatient=[0, 0, 99.5])
    moved = [image.sha256 for image in read_manifest(listed).images]
    assert set(before).isdisjoint(moved)
    # One more slice changes the scale of all, so all are other images.
    save_series(tmp_path / "mr", noise(5, 6, 8, dtype=np.uint16, seed=1), [0, 1, 2, 3, 4])
    assert set(before).isdisjoint(image.sha256 for image in read_manifest(listed).images)


def test_a_file_with_a_damaged_place_leaves_its_series(tmp_path: Path) -> None:
    names = save_series(tmp_path, noise(4, 6, 8), [0, 1, 2, 3])
    path = tmp_path / names[1]
    # ImageOrientationPatient gets a type that no edition of the standard has.
    path.write_bytes(path.read_bytes().replace(b"\x20\0\x37\0DS", b"\x20\0\x37\0D["))
    with pytest.raises(ImageError, match="is a file of no series; leave out #series"):
        read_image(f"{path}#series")
    assert read_image(f"{tmp_path / names[0]}#series").shape == (6, 8, 3)


@pytest.mark.parametrize("directions", [AXIAL, [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_series_of_any_plane_and_direction_keeps_its_pictures(
    tmp_path: Path, directions: list[float], sign: int
) -> None:
    pydicom = pytest.importorskip("pydicom", minversion="3")
    pictures = noise(4, 6, 8)
    names = save_series(tmp_path, pictures, [0, 1, 2, 3])
    normal = np.cross(directions[:3], directions[3:])
    for place, name in enumerate(names):
        header = pydicom.dcmread(tmp_path / name)
        header.ImageOrientationPatient = directions
        header.ImagePositionPatient = list(sign * 2.0 * place * normal)
        header.save_as(tmp_path / name)
    for name, picture in zip(names, pictures, strict=True):
        # All three planes are scanned as radiologists look at them.
        assert (read_image(tmp_path / f"{name}#series")[..., 0] == picture).all()


def change(path: Path, **tags: Any) -> None:
    """Change tags of a DICOM file."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    header = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(path)


@pytest.mark.parametrize(
    "tags",
    [
        # Tools that remove identifiers may empty the UID, or write one and the same into all files.
        [{"SeriesInstanceUID": "", "ImagePositionPatient": [0, 0, z]} for z in range(3)],
        [{"PatientID": f"p{z}", "ImagePositionPatient": [0, 0, z]} for z in range(3)],
        [{"ImagePositionPatient": [0, 0, 0]}] * 3,
    ],
)
def test_files_that_may_be_of_several_patients_make_no_series(
    tmp_path: Path, tags: list[dict[str, Any]]
) -> None:
    names = save_series(tmp_path / "a", noise(3, 6, 8), [0, 1, 2])
    for name, values in zip(names, tags, strict=True):
        change(tmp_path / "a" / name, **values)
    manifest = read_manifest(tmp_path, least_classes=1)
    assert [(image.path, image.group) for image in manifest.images] == [
        (f"a/{name}", "") for name in names
    ]


def test_a_series_may_have_several_times_and_planes(tmp_path: Path) -> None:
    """Its files stay in one group, and parallel ones are scaled together."""
    pictures = noise(7, 6, 8, dtype=np.uint16) * np.arange(1, 8, dtype=np.uint16)[:, None, None]
    names = save_series(tmp_path / "a", pictures, [4, 5, 6, 0, 1, 2, 3])
    places = [0, 3, 6, 0, 3, 6]
    for name, z in zip(names, places, strict=False):
        change(tmp_path / "a" / name, ImagePositionPatient=[0, 0, z])
    # A picture of another plane is no slice of that volume, but of the same patient.
    change(tmp_path / "a" / names[6], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    manifest = read_manifest(tmp_path, least_classes=1)
    assert [image.path for image in manifest.images] == [
        *(f"a/IM00{number}#series" for number in (0, 1, 2)),
        "a/IM003",
        *(f"a/IM00{number}#series" for number in (4, 5, 6)),
    ]
    assert len({image.group for image in manifest.images}) == 1
    expected = scale_volume(pictures[:6])
    for place, name in enumerate(names[:6]):
        assert (read_image(tmp_path / "a" / f"{name}#series")[..., 0] == expected[place]).all()
    middle = read_manifest(tmp_path, least_classes=1, choice=SliceChoice("middle:2"))
    # Both times of the middle place, and the picture of the other plane, which is in no volume.
    assert [image.path for image in middle.images] == [
        "a/IM001#series",
        "a/IM003",
        "a/IM005#series",
    ]


def test_slices_of_a_series_are_counted_as_those_of_a_volume(tmp_path: Path) -> None:
    names = save_series(tmp_path / "a", noise(6, 6, 8), [0, 1, 2, 3, 4, 5])
    for name in names:
        # The same pictures mirrored: now the normal of the files points to the feet.
        change(tmp_path / "a" / name, ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    choice = SliceChoice("every:4")
    manifest = read_manifest(tmp_path, least_classes=1, choice=choice)
    assert [image.path for image in manifest.images] == ["a/IM000#series", "a/IM004#series"]


def test_a_large_folder_of_single_files_is_listed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is looked at a few times, not once for each other file."""
    pictures = noise(1, 6, 8)
    for number in range(60):
        save_series(tmp_path / "a", pictures, [number], uid=f"1.2.{number}")
    looked_at = []
    stat = Path.stat

    def counted(self: Path, **options: Any) -> Any:
        looked_at.append(self)
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", counted)
    assert len(read_manifest(tmp_path, least_classes=1).images) == 60
    assert len(looked_at) < 60 * 20


def test_fewer_groups_than_frames_are_one_line(tmp_path: Path) -> None:
    pictures = noise(4, 6, 8)
    content = enhanced(pictures, AXIAL, [[0, 0, z] for z in range(3)], slopes=[2.0] * 3)
    (tmp_path / "v.dcm").write_bytes(content)
    with pytest.raises(ImageError, match="DICOM of 4 frames with functional groups of 3"):
        read_image(tmp_path / "v.dcm#1")


@pytest.mark.parametrize("n", [10**9, 2**31 - 1])
def test_a_claim_of_many_frames_is_refused(tmp_path: Path, n: int) -> None:
    pictures = noise(2, 6, 8)
    content = enhanced(pictures, AXIAL, [[0, 0, 0], [0, 0, 1]], NumberOfFrames=n)
    (tmp_path / "v.dcm").write_bytes(content)
    for read in (read_image, lambda _: read_volume_header(tmp_path / "v.dcm")):
        with pytest.raises(ImageError, match="are more than the limit of"):
            read(tmp_path / "v.dcm#1")


# TIFF


def save_pages(path: Path, pages: list[NDArray[Any]], **options: Any) -> Path:
    images = [Image.fromarray(page) for page in pages]
    images[0].save(path, "TIFF", save_all=True, append_images=images[1:], **options)
    return path


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_pages_of_one_size_are_slices(tmp_path: Path, dtype: Any, compression: str) -> None:
    pages = noise(4, 7, 9, dtype=dtype)
    path = save_pages(tmp_path / "v.tif", list(pages), compression=compression)
    assert (slices_of(path, 4) == scale_volume(pages)).all()
    with pytest.raises(ImageError, match="has no axial slice 4"):
        read_image(f"{path}#4")


def test_pages_of_colours_are_slices_too(tmp_path: Path) -> None:
    pages = noise(3, 7, 9, 3)
    path = save_pages(tmp_path / "v.tif", list(pages))
    for index in range(3):
        assert (read_image(f"{path}#{index}") == pages[index]).all()


# Pillow reads no BigTIFF with the highest byte first.
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_pages_of_bigtiff_in_any_byte_order(tmp_path: Path, order: str, big: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = noise(3, 8, 9, dtype=np.uint16)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, pages, byteorder=order, bigtiff=big, photometric="minisblack")
    assert (slices_of(path, 3) == scale_volume(pages)).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_colours_of_pages_in_planes_and_not(
    tmp_path: Path, planar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = noise(3, 8, 9, 3, dtype=np.uint16) * 4
    pages[:, 0, 0] = 1023
    stored = pages if planar == "contig" else pages.transpose(0, 3, 1, 2)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)
    for index in range(3):
        assert (read_image(f"{path}#{index}") == pages[index] >> 2).all()
    # Only pages in planes need a copy of the file each, and have a limit of its size.
    monkeypatch.setattr(tiff_pages, "MAX_COPIED_BYTES", 1)
    os.utime(path, (0, 0))
    if planar == "contig":
        assert read_image(f"{path}#1").shape == (8, 9, 3)
    else:
        with pytest.raises(ImageError, match="with more pages in planes than fit"):
            read_image(f"{path}#1")


@pytest.mark.parametrize(
    ("module", "limit", "value", "message"),
    [
        (tiff_pages, "MAX_SLICES", 2, "TIFF of 3 pages, more than the limit of 2"),
        (volume, "MAX_VOXELS", 188, "3 x 7 x 9 voxels of 1 bytes are more than the limit"),
        # The bytes of a pixel are known from the first page.
        (volume, "MAX_VOLUME_BYTES", 377, "3 x 7 x 9 voxels of 2 bytes are more than the limit"),
    ],
)
def test_pages_have_the_limits_of_volumes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    limit: str,
    value: int,
    message: str,
) -> None:
    path = save_pages(tmp_path / "v.tif", list(noise(3, 7, 9, dtype=np.uint16)))
    monkeypatch.setattr(module, limit, value)
    with pytest.raises(ImageError, match=message):
        read_image(f"{path}#1")


def test_pages_in_folders_and_lists(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        save_pages(tmp_path / label / "v.tif", list(noise(3, 7, 9)))
    # A page of another size is a preview, say: the first page is the image.
    save_pages(tmp_path / "b" / "w.tif", [noise(7, 9), noise(3, 4)])
    paths = [image.path for image in read_manifest(tmp_path).images]
    assert paths == [f"{label}/v.tif#{index}" for label in "ab" for index in range(3)] + ["b/w.tif"]
    assert open_image(tmp_path / "b" / "w.tif").frames() == 2


# MATLAB


def cjdata(path: Path, levels: NDArray[Any], label: float = 2, patient: str = "100360") -> Path:
    """Write a file as MATLAB does: a text, then HDF5 with all arrays transposed."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        group["label"] = np.array([[float(label)]])
        group["PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)
        group["image"] = levels.T
        mask = np.zeros_like(levels, np.uint8)
        mask[1, 2:5] = 1
        group["tumorMask"] = mask.T
    with path.open("r+b") as content:
        content.write(
            b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: x".ljust(124) + b"\0\2IM"
        )
    return path


def test_matlab_files_name_their_class_and_patient(tmp_path: Path) -> None:
    levels = noise(30, 20, dtype=np.int16) * 7
    for number, (label, patient) in enumerate(((1, "7"), (2, "8"), (3, "8"))):
        cjdata(tmp_path / "part_1-766" / f"{number}.mat", levels + number, label, patient)
    manifest = read_manifest(tmp_path)
    assert [(image.label, image.patient) for image in manifest.images] == [
        ("meningioma", patient_digest("7")),
        ("glioma", patient_digest("8")),
        ("pituitary", patient_digest("8")),
    ]
    assert manifest.notes == (
        "classes are those that the files name; --layout class takes the folders",
    )
    path = tmp_path / manifest.images[0].path
    assert (read_image(path)[..., 0] == scale_volume(levels)).all()
    assert np.argwhere(read_mask(path)).tolist() == [[1, 2], [1, 3], [1, 4]]
    assert not any(facts.reason for facts in inspect_images(manifest, cache=False))
    chosen = read_manifest(tmp_path, layout="class", least_classes=1)
    assert chosen.classes == {"part_1-766": 3}


def test_strange_matlab_files_are_one_line(tmp_path: Path) -> None:
    import h5py

    path = cjdata(tmp_path / "a.mat", noise(8, 9))
    content = path.read_bytes()
    (tmp_path / "secret").write_bytes(b"x" * 72)
    secret = [(str(tmp_path / "secret"), 0, 72)]
    changes: list[tuple[str, dict[str, Any] | None, str]] = [
        ("image", None, "its cjdata has no image"),
        ("PID", None, "its cjdata has no PID"),
        ("image", {"shape": (8, 9), "external": secret}, "its image is no dataset"),
        ("image", {"shape": (2**20, 2**20), "chunks": True}, "its image has 1099511627776 values"),
        ("PID", {"shape": (10**6,)}, "its PID has 1000000 values"),
        ("image", {"shape": (0, 9)}, "its image has 0 values"),
    ]
    for name, dataset, reason in changes:
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            del file["cjdata"][name]
            if dataset is not None:
                file["cjdata"].create_dataset(name, dtype="u1", **dataset)
        with pytest.raises(ImageError, match=reason):
            read_image(path)
    links: list[tuple[str, Any]] = [
        ("cjdata/image", h5py.ExternalLink(str(tmp_path / "other.mat"), "cjdata/image")),
        ("cjdata/image", h5py.SoftLink("/cjdata/tumorMask")),
        ("cjdata", h5py.ExternalLink(str(tmp_path / "other.mat"), "cjdata")),
    ]
    (tmp_path / "other.mat").write_bytes(content)
    layout = h5py.VirtualLayout((8, 9), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.mat"), "cjdata/image", (8, 9))
    links.append(("cjdata/image", layout))
    for name, link in links:
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            del file[name]
            if isinstance(link, h5py.VirtualLayout):
                file.create_virtual_dataset(name, link)
            else:
                file[name] = link
        with pytest.raises(ImageError, match=r"cjdata has no image|is no dataset|no cjdata"):
            read_image(path)
    path.write_bytes(content[:700])
    with pytest.raises(ImageError, match="MATLAB file that cannot be decoded"):
        read_image(path)
    # The process that reads them still works.
    path.write_bytes(content)
    assert read_image(path).shape == (8, 9, 3)


def test_a_set_of_matlab_files_without_classes_says_so(tmp_path: Path) -> None:
    cjdata(tmp_path / "a.mat", noise(8, 9), label=9)
    with pytest.raises(ManifestError, match="no images in class folders"):
        read_manifest(tmp_path)
