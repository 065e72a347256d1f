"""Lists of images: headers, files that are missing, and files that are no regular files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe import FeatureStore, ManifestError
from freezeframe.__main__ import cli
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import patient_group
from freezeframe.data.formats.regular_file import MAX_FILE_BYTES
from freezeframe.data.formats.table import IMAGE_FORMATS
from freezeframe.data.manifest import listing_lines, read_manifest
from freezeframe.errors import ImageError

PIXELS = ["--backbone", "pixels-8", "--layer", "pixels"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of four small images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "scans" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)
    return tmp_path


def write_list(path: Path, form: str) -> Path:
    """Write a list of all images; the form is that of a path."""
    lines = [
        f"{form.format(label='ab'[number % 2], number=number)},{'ab'[number % 2]}"
        for number in range(8)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["path,label", *lines]))
    return path


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        ("Path,Label", "it has 'Path', 'Label'; rename 'Path' to 'path' and 'Label' to 'label'"),
        ("filename,class", "rename 'filename' to 'path' and 'class' to 'label'"),
        ("path,diagnosis,age", "it has 'path', 'diagnosis', 'age'; rename 'diagnosis' to 'label'"),
        ("Path;Label", "it has 'Path', 'Label'; rename 'Path' to 'path' and 'Label' to 'label'"),
        ("path;label,group", "this one has commas and semicolons; keep one kind"),
        ("path\tlabel;group", "this one has semicolons and tabs; keep one kind"),
        ("scans/a/0.png,a", "looks like an image; put a line path,label above it"),
        ("one,two", "the columns path,label[,split][,group][,patient]; it has 'one', 'two'"),
        ("path,label,label", "two columns are named 'label'; rename one"),
        ("", "it is empty or damaged"),
    ],
)
def test_a_header_that_does_not_fit_is_shown(images: Path, header: str, advice: str) -> None:
    (images / "list.csv").write_text(f"{header}\nscans/a/0.png,a\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(images / "list.csv")
    assert advice in str(caught.value)


@pytest.mark.parametrize("name", ["semicolons", "tabs", "commas"])
def test_delimiters_without_doubt_are_read(images: Path, name: str) -> None:
    cut = {"semicolons": ";", "tabs": "\t", "commas": ","}[name]
    rows = ["path, label,split", "scans/a/0.png,a,train", "scans/b/1.png,b,test"]
    (images / "list.csv").write_text("\n".join(rows).replace(",", cut))
    manifest = read_manifest(images / "list.csv")
    assert [(image.path, image.label, image.split) for image in manifest.images] == [
        ("scans/a/0.png", "a", "train"),
        ("scans/b/1.png", "b", "test"),
    ]
    # The SHA-256 is that of the file.
    content = (images / "scans/a/0.png").read_bytes()
    assert manifest.images[0].sha256 == hashlib.sha256(content).hexdigest()
    expected = () if name == "commas" else (f"{name} are read as the ends of cells",)
    assert manifest.notes == expected


def test_a_delimiter_in_another_column_changes_nothing(images: Path) -> None:
    (images / "list.csv").write_text(
        'path,label,"a;b\nc"\nscans/a/0.png,a,"x;y"\nscans/b/1.png,b\n'
    )
    assert read_manifest(images / "list.csv").classes == {"a": 1, "b": 1}


def test_a_cell_too_many_is_an_error(images: Path) -> None:
    (images / "list.csv").write_text("path,label\nscans/a/0,1.png,a\nscans/b/1.png,b,\n")
    with pytest.raises(ManifestError, match="line 2: has 3 cells, but the header names 2 columns"):
        read_manifest(images / "list.csv")


@pytest.mark.parametrize(
    ("place", "form", "hint"),
    [
        (".", "scans\\{label}\\{number}.png", "replace the backslashes in paths by /, then the"),
        (".", "scan\\{label}\\{number}.png", "replace the backslashes in paths by /"),
        (".", "C:\\data\\{label}\\{number}.png", "drive letters are unknown here; write paths rel"),
        ("lists", "scans/{label}/{number}.png", "the file is in the current folder; move the list"),
        (".", "scan/{label}/{number}.png", ""),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="backslashes and drive letters are right there")
def test_missing_files_are_summed_up_with_a_hint(
    images: Path, place: str, form: str, hint: str
) -> None:
    manifest = read_manifest(write_list(images / place / "list.csv", form))
    first = form.format(label="a", number=0)
    (line,) = listing_lines(manifest)
    folder = images / place
    start = f"note: 8 of 8 listed files do not exist, first {first}, looked for in {folder}, the"
    assert line.replace("\\\\", "\\").startswith(start)
    assert hint in line
    assert manifest.problems[first] == f"no such file: {folder / first}"


def test_a_mended_list_continues_the_store(images: Path) -> None:
    def extract() -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["extract-features", "list.csv", *PIXELS])
        return result.exit_code, result.stderr

    write_list(images / "list.csv", "scan/{label}/{number}.png")
    code, messages = extract()
    assert code == 1
    assert "8 of 8 listed files do not exist, first scan/a/0.png, looked for in" in messages
    assert f"unreadable: scan/a/0.png: no such file: {images}/scan/a/0.png" in messages
    write_list(images / "list.csv", "scans/{label}/{number}.png")
    code, messages = extract()
    assert (code, len(FeatureStore("features.h5").rows())) == (0, 8), messages
    # A list of other images does not replace features that are finished.
    write_list(images / "list.csv", "scan/{label}/{number}.png")
    code, messages = extract()
    assert code == 1
    assert "only 0 of its 8 images are in this folder or list; give another --output" in messages


def sparse(path: Path, head: bytes = b"") -> Path:
    """Make a file that seems larger than the limit, but takes no space."""
    path.write_bytes(head)
    os.truncate(path, 20 * MAX_FILE_BYTES)
    return path


class TestFilesWithoutEnd:
    def test_a_sparse_file_is_not_read(self, images: Path) -> None:
        reason = f"{20 * MAX_FILE_BYTES} bytes are more than the limit of {MAX_FILE_BYTES}"
        sparse(images / "scans/a/zeros.jpg")
        sparse(images / "scans/a/head.png", (images / "scans/a/0.png").read_bytes())
        sparse(images / "scans/a/notes.txt")
        manifest = read_manifest(images / "scans")
        problems = {"a/zeros.jpg": reason, "a/head.png": reason}
        assert manifest.problems == problems
        assert manifest.skipped == (("a/notes.txt", "not an image"),)
        (images / "list.csv").write_text("path,label\nscans/a/zeros.jpg,a\nscans/b/1.png,b\n")
        assert read_manifest(images / "list.csv").problems == {"scans/a/zeros.jpg": reason}
        result = CliRunner().invoke(
            cli, ["extract-features", "scans", *PIXELS, "--max-failed", "50"]
        )
        assert result.exit_code == 0, result.stderr
        assert f"unreadable: a/zeros.jpg: {reason}" in result.stderr

    def test_a_list_that_is_no_text_is_not_read(self, images: Path) -> None:
        with pytest.raises(
            ManifestError, match=r"cannot be read as a CSV file \(\d+ bytes are mor"
        ):
            read_manifest(sparse(images / "list.csv", b"path,label\n"))
        for text in ("path,label\n".encode("utf-16"), b"path,label\ncaf\xe9.png,a\n"):
            (images / "list.csv").write_bytes(text)
            with pytest.raises(ManifestError, match="save it as CSV in UTF-8"):
                read_manifest(images / "list.csv")

    @pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="no such files here")
    def test_files_of_the_system_are_not_read(self, images: Path) -> None:
        # These are regular files of 0 bytes; reading the first waits, and the second has no end.
        for name in ("kmsg", "kpagecount"):
            (images / "scans/a" / f"{name}.png").symlink_to(f"/proc/{name}")
        (images / "scans/b/zero.png").symlink_to("/dev/zero")
        os.mkfifo(images / "scans/b/pipe.png")
        manifest = read_manifest(images / "scans")
        special = "a broken link or special file"
        assert dict(manifest.skipped) == {"b/zero.png": special, "b/pipe.png": special}
        for name in ("a/kmsg.png", "b/zero.png", "b/pipe.png"):
            with pytest.raises(ImageError):
                read_image(images / "scans" / name)
            assert patient_group(images / "scans" / name) == ""


class TestSkippedFiles:
    def test_a_folder_of_formats_that_are_not_read(self, images: Path) -> None:
        for name in ("x/1.nrrd", "x/2.NRRD", "x/3.mgz", "y/4.txt"):
            (images / "other" / name).parent.mkdir(parents=True, exist_ok=True)
            (images / "other" / name).write_bytes(b"?")
        with pytest.raises(ManifestError) as caught:
            read_manifest(images / "other")
        message = str(caught.value)
        assert "no images; expected FOLDER/<class>/<image>; skipped: " in message
        assert "NRRD is not read (.nrrd 2)" in message
        assert "not an image (.txt 1)" in message
        # Each format that is read is named, with the endings of its files.
        for row in IMAGE_FORMATS:
            assert f"{row.name} ({' '.join(row.endings) or 'cjdata'})" in message

    def test_one_class_of_such_files_is_named(self, images: Path) -> None:
        for path in (images / "scans/a").iterdir():
            path.write_bytes(b"?")
            path.rename(path.with_suffix(".nrrd"))
        with pytest.raises(
            ManifestError, match=r"of one class, 'b'; .*NRRD is not read \(\.nrrd 4"
        ):
            read_manifest(images / "scans")

    @pytest.mark.parametrize("command", ["audit", "split", "extract-features"])
    def test_each_command_lists_them(self, images: Path, command: str) -> None:
        for number in range(5):
            (images / "scans/a" / f"{number}.nrrd").write_bytes(b"?")
        arguments = PIXELS if command == "extract-features" else []
        result = CliRunner().invoke(cli, [command, "scans", *arguments])
        line = "skipped, NRRD is not read (.nrrd 5): a/0.nrrd, a/1.nrrd, a/2.nrrd and 2 more"
        assert line in result.stderr.splitlines()
        assert "formats that are read: JPEG (.jpg" in result.stderr


@pytest.mark.parametrize("name", ["Split", "GROUP", "Patient"])
def test_an_optional_column_in_other_letters_is_not_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"path,label,{name}\na.png,x,test\nb.png,y,train\n")
    with pytest.raises(ManifestError, match=f"'{name}' is not read; rename it to '{name.lower()}'"):
        read_manifest(tmp_path / "a.csv")
    # With the column itself, the other one is the user's own.
    (tmp_path / "a.csv").write_text(f"path,label,{name},{name.lower()}\na.png,x,?,\nb.png,y,?,\n")
    assert len(read_manifest(tmp_path / "a.csv").images) == 2
