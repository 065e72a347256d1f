"""Tests of manifests from folders and CSV files."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from freezeframe import ManifestError
from freezeframe.data.manifest import read_manifest


def test_a_folder_of_classes_is_listed(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.classes == {"healthy": 12, "tumour": 12}
    assert [image.path for image in manifest.images] == sorted(
        image.path for image in manifest.images
    )
    first = manifest.images[0]
    assert first.path == "healthy/00.png"
    assert first.sha256 == hashlib.sha256((folder / "healthy/00.png").read_bytes()).hexdigest()
    assert (first.label, first.split, first.group) == ("healthy", "", "")
    assert manifest.skipped == ()


def test_deeper_folders_belong_to_their_class(folder: Path) -> None:
    (folder / "tumour" / "patient 1").mkdir()
    shutil.move(folder / "tumour" / "00.png", folder / "tumour" / "patient 1" / "00.png")
    labels = {image.path: image.label for image in read_manifest(folder).images}
    assert labels["tumour/patient 1/00.png"] == "tumour"


def test_a_folder_of_splits_is_listed(folder: Path, tmp_path: Path) -> None:
    for name in ("Train", "val", "testing"):
        shutil.copytree(folder, tmp_path / "split" / name)
    manifest = read_manifest(tmp_path / "split")
    assert {image.split for image in manifest.images} == {"train", "validation", "test"}
    assert manifest.classes == {"healthy": 36, "tumour": 36}
    assert manifest.images[0].path == "Train/healthy/00.png"


def test_a_class_may_be_called_test(folder: Path) -> None:
    (folder / "tumour").rename(folder / "test")
    assert read_manifest(folder).classes == {"healthy": 12, "test": 12}


def test_names_that_differ_only_in_their_endings_are_two_images(folder: Path) -> None:
    (folder / "tumour" / "01.jpg").write_bytes((folder / "tumour" / "02.png").read_bytes())
    paths = [image.path for image in read_manifest(folder).images]
    assert "tumour/01.jpg" in paths
    assert "tumour/01.png" in paths


def test_a_tree_that_contains_itself_is_counted_once(folder: Path) -> None:
    shutil.copytree(folder, folder / "brain_dataset")
    (folder / "brain_dataset" / "tumour" / "new.png").write_bytes(
        (folder / "healthy/00.png").read_bytes() + b"\0"
    )
    manifest = read_manifest(folder)
    assert manifest.classes == {"healthy": 12, "tumour": 12}
    skipped = dict(manifest.skipped)
    assert len(skipped) == 25
    assert skipped["brain_dataset/healthy/00.png"] == "in a copy of the folder inside itself"
    assert (
        skipped["brain_dataset/tumour/new.png"]
        == "in a copy of the folder inside itself, and nowhere else"
    )


def test_copies_of_the_tree_are_detected_at_any_depth(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "tree")
    shutil.copytree(tmp_path / "tree", folder / "all")
    shutil.copytree(folder / "all", folder / "all" / "all")
    shutil.copytree(tmp_path / "tree" / "tumour", folder / "copy" / "tumour")
    shutil.copy(folder / "tumour" / "00.png", folder / "all" / "sheet.png")
    manifest = read_manifest(folder)
    assert manifest.classes == {"healthy": 12, "tumour": 12}
    assert len(manifest.skipped) == 48 + 12 + 1


@pytest.mark.parametrize(
    ("layout", "classes"),
    [
        (
            ["train/yes/1", "train/no/1", "holdout/yes/1", "holdout/no/1"],
            "train look like splits, but holdout",
        ),
        (["train/1", "test/1"], "test, train look like splits, but hold no class folders"),
        (["train/1", "car/1", "bus/1"], {"bus": 1, "car": 1, "train": 1}),
        (["test/p1/1", "test/p2/1", "control/1"], {"control": 1, "test": 2}),
        (["Training/yes/1", "Training/no/1"], {"no": 1, "yes": 1}),
        (["train/yes/1", "train/no/1", "test/yes/1", "val/1"], {"no": 1, "yes": 2}),
        (["yes/p1/1", "no/p1/1"], {"no": 1, "yes": 1}),
    ],
)
def test_folder_names_are_splits_or_classes(
    folder: Path, tmp_path: Path, layout: list[str], classes: dict[str, int] | str
) -> None:
    for number, name in enumerate(layout):
        path = tmp_path / "tree" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / "tumour" / "00.png").read_bytes() + bytes([number]))
    if isinstance(classes, str):
        with pytest.raises(ManifestError, match=classes):
            read_manifest(tmp_path / "tree")
    else:
        assert read_manifest(tmp_path / "tree").classes == classes


def test_a_second_folder_of_classes_with_new_images_is_refused(folder: Path) -> None:
    for label in ("healthy", "tumour"):
        (folder / "unsure" / label).mkdir(parents=True)
        (folder / "unsure" / label / "x.png").write_bytes(
            (folder / label / "00.png").read_bytes() + b"\0"
        )
    with pytest.raises(
        ManifestError, match="unsure holds folders named as the classes, but other images; move"
    ):
        read_manifest(folder)


def test_a_stray_file_or_folder_does_not_turn_splits_into_classes(
    folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "split"
    for name in ("train", "test"):
        shutil.copytree(folder, root / name)
    shutil.copy(folder / "tumour" / "00.png", root / "train" / "sheet.png")
    (root / "pictures").mkdir()
    shutil.copy(folder / "tumour" / "00.png", root / "pictures" / "sheet.png")
    manifest = read_manifest(root)
    assert {image.split for image in manifest.images} == {"train", "test"}
    assert manifest.classes == {"healthy": 24, "tumour": 24}
    assert dict(manifest.skipped) == dict.fromkeys(
        ["train/sheet.png", "pictures/sheet.png"], "not in a class folder"
    )
    shutil.copytree(folder, root / "extra")
    with pytest.raises(
        ManifestError, match="test, train look like splits, but extra beside them does not"
    ):
        read_manifest(root)


def test_a_link_to_a_folder_above_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    shutil.copy(folder / "tumour" / "00.png", tmp_path / "private" / "secret.png")
    (folder / "tumour" / "up").symlink_to(tmp_path)
    manifest = read_manifest(folder)
    assert manifest.classes == {"healthy": 12, "tumour": 12}
    assert dict(manifest.skipped) == {
        "tumour/up": "a link to a folder that is listed already or holds this one"
    }


def test_loops_of_links_end(folder: Path) -> None:
    (folder / "tumour" / "again").symlink_to(folder)
    (folder / "healthy" / "self").symlink_to(folder / "healthy")
    (folder / "healthy" / "broken.png").symlink_to(folder / "nowhere.png")
    manifest = read_manifest(folder)
    assert manifest.classes == {"healthy": 12, "tumour": 12}
    assert {path for path, _ in manifest.skipped} == {
        "tumour/again",
        "healthy/self",
        "healthy/broken.png",
    }


def test_a_linked_class_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "tumour", tmp_path / "elsewhere")
    (folder / "tumour").symlink_to(tmp_path / "elsewhere")
    assert read_manifest(folder).classes == {"healthy": 12, "tumour": 12}


def test_files_that_are_not_images_are_skipped_and_listed(folder: Path) -> None:
    (folder / "tumour" / "notes.txt").write_text("hello")
    (folder / "tumour" / ".hidden.png").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "loose.png").write_bytes((folder / "tumour/00.png").read_bytes())
    (folder / "tumour" / "no ending").write_bytes((folder / "tumour/00.png").read_bytes())
    (folder / "tumour" / "broken.jpg").write_bytes(b"this is no JPEG")
    manifest = read_manifest(folder)
    assert dict(manifest.skipped) == {
        "tumour/notes.txt": "not an image",
        "tumour/.hidden.png": "hidden",
        "__MACOSX": "hidden",
        "loose.png": "not in a class folder",
    }
    # The first is an image by its content. The second is damaged, and extraction reports it.
    assert {"tumour/no ending", "tumour/broken.jpg"} <= {image.path for image in manifest.images}


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_name_that_is_not_utf8_is_skipped_and_listed(folder: Path) -> None:
    raw = os.fsencode(folder / "tumour") + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes((folder / "tumour/00.png").read_bytes())
    assert read_manifest(folder).skipped == (
        ("tumour/caf\ufffd.png", "its name is not valid UTF-8; rename it"),
    )


def test_errors_of_folders_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere: no such folder or file; check the path"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty: no images; expected FOLDER/<class>/<image>$"):
        read_manifest(tmp_path / "empty")
    with pytest.raises(
        ManifestError, match=r"no images in class folders; expected FOLDER/<class>/<image>"
    ):
        read_manifest(folder / "tumour")
    with pytest.raises(
        ManifestError,
        match=r"of one class, 'scans'; two are needed \(is .*scans the folder you mean\?\)",
    ):
        read_manifest(tmp_path)


def test_a_csv_is_listed(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffpath,label,split,group,remark\n"
        "scans/healthy/00.png,well,train,p1,x\n"
        '"scans/tumour/00.png",ill,VAL,p2,"a, b"\n'
        "scans/tumour/missing.png,ill,,,\n"
        "scans/tumour/00.png,ill,val,p2,\n",
        encoding="utf-8",
    )
    manifest = read_manifest(table)
    assert [
        (image.path, image.label, image.split, image.group, bool(image.sha256))
        for image in manifest.images
    ] == [
        ("scans/healthy/00.png", "well", "train", "p1", True),
        ("scans/tumour/00.png", "ill", "validation", "p2", True),
        ("scans/tumour/missing.png", "ill", "", "", False),
    ]
    assert manifest.skipped == (("scans/tumour/00.png", "listed twice"),)
    assert (manifest.source, manifest.root) == (table, tmp_path)


def test_a_path_too_long_for_the_system_is_an_unreadable_image(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{'a' * 5000},x\nb.png,y\n")
    assert [image.sha256 for image in read_manifest(tmp_path / "list.csv").images] == ["", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name the columns"),
        ("file,label\na,b\n", "must name the columns"),
        ("path,label\n", "no images; list at least one below the header"),
        ("path,label\na.png,\n", "line 2: path and label must not be empty"),
        ("path,label\na.png\n", "line 2: path and label must not be empty"),
        (
            "path,label,split\na.png,x,dev\n",
            "line 2: split must be train, validation, test or empty, got 'dev'",
        ),
        (
            "path,label\na.png,x\na.png,y\n",
            "line 3: a.png is listed twice with different labels, splits or groups; keep one line",
        ),
        (
            "path,label,group\na.png,x,p1\n./a.png,x,p2\n",
            "line 3: a.png is listed twice with different labels, splits or groups; keep one line",
        ),
        ('path,label\na.png,"y\0"\n', "line 2: holds a null byte|cannot be read as a CSV"),
        ('path,label\na.png,"x\nb.png,y\n', "cannot be read as a CSV file"),
        ("path,label\na.png,x\nb.png,x\n", "all 2 images are of one class"),
        ("path,label\n.,x\n", "line 2: . is not a regular file; list image files only"),
    ],
)
def test_invalid_csv_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "list.csv")


def test_a_binary_file_is_not_a_csv(folder: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read as a CSV file"):
        read_manifest(folder / "tumour" / "00.png")


def test_real_folders_are_listed(datasets: Path) -> None:
    navoneel = read_manifest(datasets / "navoneel")
    assert navoneel.classes == {"no": 98, "yes": 155}
    edureka = read_manifest(datasets / "edureka4600")
    assert edureka.classes == {"brain_tumor": 2513, "no_tumor": 2087}
    sha256s = {image.sha256 for image in edureka.images}
    assert len(sha256s) == 4056
    assert sum(image.sha256 in sha256s for image in navoneel.images) == 248
