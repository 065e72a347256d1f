"""Labelled images in a folder tree.

The tree is `FOLDER/<class>/...` or `FOLDER/{train,val,test}/<class>/...`; see `find_layout`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import ImageError, ManifestError
from ..formats.images import label_in_file
from ..formats.regular_file import file_sha256, open_regular
from ..formats.table import HEAD_BYTES, has_image_ending, image_kind
from ..formats.unread import read_formats, unread_reason
from ..output.encodings import name_problem
from .folder_layout import FolderLayout, find_layout
from .skipped import skipped_sentence

_FILES_TRIED = 5
_LABELS_NOTE = "classes are those that the files name; --layout class takes the folders"

Skipped = list[tuple[str, str]]
"""Paths that are skipped because they are no images of the tree, each with the reason."""


@dataclass(frozen=True, slots=True)
class TreeImage:
    """One image of a folder tree.

    Attributes:
        path: path below the root.
        sha256: SHA-256 of the file, hexadecimal; "" if it cannot be read.
        class_path: parts of the path, from the class folder on, without the folder of a split.
        split: "train", "validation", "test" or "".
        problem: why the file cannot be read; "" if it can.
    """

    path: PurePosixPath
    sha256: str
    class_path: tuple[str, ...]
    split: str
    problem: str = ""

    @property
    def label(self) -> str:
        """Name of the class folder."""
        return self.class_path[0]


def read_folder_tree(
    root: Path, layout: str | None = None, masks: Path | None = None
) -> tuple[list[TreeImage], Skipped, tuple[str, ...]]:
    """Find the images below a folder; folder names give their splits and classes.

    Args:
        root: the folder.
        layout: see `find_layout`.
        masks: folder of the masks that label the images; then folders are no classes, and images
            below this one are skipped. None for images in class folders.

    Returns:
        The images; the paths that are skipped, each with the reason; and notes about the layout.

    Raises:
        ManifestError: the folder has no images, or its folders are ambiguous.
    """
    skipped: Skipped = []
    files = _image_files(root, skipped)
    if masks is not None:
        return _unlabelled(root, files, skipped, masks), skipped, ()
    if layout is None and any(label_in_file(root / path) for path, *_ in files[:_FILES_TRIED]):
        return _labelled_by_files(root, files, skipped), skipped, (_LABELS_NOTE,)
    tree_layout = find_layout(root, (path.parts[:-1] for path, *_ in files), layout)
    images = _label(tree_layout, files, skipped)
    images = _drop_nested_copies(root, images, skipped)
    if not images:
        place = " in class folders" if files else ""
        raise ManifestError(
            f"{root}: no images{place}; expected FOLDER/<class>/<image>{skipped_details(skipped)}"
        )
    return images, skipped, tree_layout.notes


def _labelled_by_files(
    root: Path, files: Sequence[tuple[PurePosixPath, str, str]], skipped: Skipped
) -> list[TreeImage]:
    """Return the images whose files name their class, whatever their folders are called."""
    images = []
    for path, sha256, problem in files:
        label = label_in_file(root / path)
        if label:
            images.append(TreeImage(path, sha256, (label, *path.parts), "", problem))
        else:
            skipped.append((str(path), "names no class, as other files here do"))
    return images


def _unlabelled(
    root: Path, files: Sequence[tuple[PurePosixPath, str, str]], skipped: Skipped, masks: Path
) -> list[TreeImage]:
    """Return the images that are no masks, with "" as their class.

    Raises:
        ManifestError: there are none.
    """
    images = []
    for path, sha256, problem in files:
        if (root / path).resolve().is_relative_to(masks.resolve()):
            skipped.append((str(path), "a mask"))
        else:
            images.append(TreeImage(path, sha256, ("",), "", problem))
    if not images:
        raise ManifestError(f"{root}: no images{skipped_details(skipped)}; check the folder")
    return images


def skipped_details(skipped: Iterable[tuple[str, str]]) -> str:
    """Return the end of an error about missing images: what was skipped, which formats are read."""
    sentence = skipped_sentence(skipped)
    return f"; {sentence}; formats that are read: {read_formats()}" if sentence else ""


def find_images(root: Path) -> tuple[list[Path], Skipped]:
    """Find the images below a folder at any depth, whatever their folders are called.

    Returns:
        The paths of the images, sorted; and the paths that are skipped, each with the reason.

    Raises:
        ManifestError: there are no images.
    """
    skipped: Skipped = []
    images = []
    for path in _walk(root, skipped):
        # A damaged file with the ending of an image is reported when it is read.
        if has_image_ending(path.name) or _begins_as_image(path):
            images.append(path)
        else:
            skipped.append((_relative_text(path, root), unread_reason(path.name)))
    if not images:
        raise ManifestError(
            f"{root}: no images; give a folder with images{skipped_details(skipped)}"
        )
    return sorted(images), skipped


def _begins_as_image(path: Path) -> bool:
    try:
        with open_regular(path) as (file, n_bytes):
            return image_kind(file.read(min(HEAD_BYTES, n_bytes))) is not None
    except (OSError, ImageError):
        # Nothing says that it is an image.
        return False


def _image_files(root: Path, skipped: Skipped) -> list[tuple[PurePosixPath, str, str]]:
    """List the image files below a folder, with their SHA-256 or the reason why it is unknown."""
    files: list[tuple[PurePosixPath, str, str]] = []
    for path in _walk(root, skipped):
        relative = _relative_text(path, root)
        is_image, sha256, problem = _check_file(path)
        # Manifests and stores keep paths as text; this name could not be written as text.
        if relative != path.relative_to(root).as_posix():
            is_image, problem = False, name_problem(path.relative_to(root).as_posix())
        if is_image:
            files.append((PurePosixPath(relative), sha256, problem))
        else:
            skipped.append((relative, problem))
    return files


def _walk(root: Path, skipped: Skipped) -> Iterator[Path]:
    """Yield every visible file below a folder.

    Links are followed, but no folder is walked more than once; real folders come before links.
    """
    pending = deque([root])
    # A link to a folder above the root would add the files beside the root.
    visited = {_identity(folder) for folder in root.resolve().parents}
    while pending:
        folder = pending.popleft()
        try:
            identity = _identity(folder)
            if identity in visited:
                reason = "a link to a folder that is listed already or holds this one"
                skipped.append((_relative_text(folder, root), reason))
                continue
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot be opened ({error.strerror})"
            skipped.append((_relative_text(folder, root), reason))
            continue
        visited.add(identity)
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                skipped.append((_relative_text(path, root), "hidden"))
            # Real folders go first, so that a link to one of them is skipped, not the folder.
            elif entry.is_dir(follow_symlinks=False):
                pending.appendleft(path)
            elif entry.is_dir():
                pending.append(path)
            elif entry.is_file():
                yield path
            else:
                skipped.append((_relative_text(path, root), "a broken link or special file"))


def _identity(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a folder, the same for all links to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _relative_text(path: Path, root: Path) -> str:
    """Return a path below the root as valid text, whatever bytes its name has."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _check_file(path: Path) -> tuple[bool, str, str]:
    """Return True if a file counts as an image, its SHA-256, and what is wrong with it, or "".

    A file with the ending of an image counts as an image even if it is damaged, so that extraction
    reports it.
    """
    named_as_image = has_image_ending(path.name)
    try:
        with open_regular(path) as (file, n_bytes):
            head = file.read(min(HEAD_BYTES, n_bytes))
            if image_kind(head) is None and not named_as_image:
                return False, "", unread_reason(path.name)
            return True, file_sha256(file, n_bytes), ""
    except ImageError as error:
        return True, "", str(error)
    except OSError as error:
        return named_as_image, "", f"cannot be read ({error.strerror})"


def _label(
    layout: FolderLayout, files: Sequence[tuple[PurePosixPath, str, str]], skipped: Skipped
) -> list[TreeImage]:
    """Read the split and the class of each file from the folders that hold it."""
    images = []
    for path, sha256, problem in files:
        split, class_path, reason = layout.place(path.parts)
        if reason:
            skipped.append((str(path), reason))
        else:
            images.append(TreeImage(path, sha256, class_path, split, problem))
    return images


def _drop_nested_copies(root: Path, images: list[TreeImage], skipped: Skipped) -> list[TreeImage]:
    """Return the images without those in a copy of the tree inside itself.

    Some published folders hold `FOLDER/yes`, `FOLDER/no` and once more `FOLDER/all/yes`,
    `FOLDER/all/no`. A folder is a copy, and no class, if most of its images repeat images of other
    classes: the same bytes, under the same names from the class folder on, at any depth.
    """
    listed = {(image.class_path, image.sha256) for image in images}
    totals = Counter(image.label for image in images)
    repeat_counts = Counter[str]()
    repeats: dict[PurePosixPath, bool] = {}
    for image in images:
        parts = image.class_path
        tails = (parts[start:] for start in range(1, len(parts) - 1))
        # Files that cannot be read may differ, whatever their names.
        repeats[image.path] = bool(image.sha256) and any(
            (tail, image.sha256) in listed for tail in tails
        )
        repeat_counts[image.label] += repeats[image.path]
    # One copied file in a class proves nothing, so most of them must be repeats.
    copies = {label for label, count in repeat_counts.items() if 2 * count > totals[label]}
    _refuse_wrappers(root, images, copies)
    for image in images:
        if image.label in copies:
            reason = "in a copy of the folder inside itself"
            if not repeats[image.path]:
                reason += ", and nowhere else"
            skipped.append((str(image.path), reason))
    return [image for image in images if image.label not in copies]


def _refuse_wrappers(root: Path, images: list[TreeImage], copies: set[str]) -> None:
    """Raise ManifestError for a folder that holds all classes beside it, but with other images."""
    # Names of the folders in each class folder; "" for images that are in none of them.
    inner: dict[str, set[str]] = defaultdict(set)
    for image in images:
        _, first, *rest = image.class_path
        inner[image.label].add(first if rest else "")
    for label, names in sorted(inner.items()):
        if label not in copies and len(names) > 1 and names <= inner.keys() - {label}:
            raise ManifestError(
                f"{root}: {label} holds folders named as the classes, but other images; "
                "move it away, or list the images in a CSV"
            )
