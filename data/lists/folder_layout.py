"""The layout of a folder tree: which of its folders name splits, and which name classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ManifestError, ParameterError
from ..splits import SPLIT_NAMES
from .folder_names import Parts, are_numbered, is_doubled, parse_name, split_names, words_of

LAYOUTS = ("class", "split/class", "class/split")
"""Layouts of a folder tree: the meaning of the top folders, and of the folders in them."""

MOST_LISTED = 6
"""Most folders that a message names."""

_MOST_WRAPPERS = 3


@dataclass(frozen=True)
class FolderLayout:
    """The meaning of the folders of one tree.

    Attributes:
        kind: one of `LAYOUTS`.
        wrapper: folders above the tree itself: ("dataset",) for `FOLDER/dataset/train/...`.
        splits: the split that a folder names, by the folder; a folder that names none is missing.
        depths: number of folders above the classes, by the top folder; a missing one is 1:
            {"train": 2} for `FOLDER/train/train/<class>/...`.
        notes: sentences about what was not written as README says.
    """

    kind: str
    wrapper: Parts = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    depths: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def place(self, parts: Parts) -> tuple[str, Parts, str]:
        """Return the split and the place of an image, and a reason to skip it.

        Args:
            parts: the path of the image.

        Returns:
            "train", "validation", "test" or ""; the path from the class folder on; and "", or the
            reason why the image is skipped.
        """
        below = parts[len(self.wrapper) :]
        # The place of an image beside the wrapper has no folder at all.
        if len(below) < 2 or parts[: len(self.wrapper)] != self.wrapper:
            return "", (), "not in a class folder"
        split = ""
        if self.kind == "class/split":
            split = self.splits.get(below[1], "")
            if not split or len(below) < 3:
                return "", (), "not in a folder of a split"
            below = (below[0], *below[2:])
        if self.kind == "split/class":
            split = self.splits.get(below[0], "")
            below = below[self.depths.get(below[0], 1) :]
        return split, below, "" if len(below) > 1 else "not in a class folder"


def find_layout(root: Path, folders: Iterable[Parts], chosen: str | None = None) -> FolderLayout:
    """Find the layout of a tree by the names of its folders.

    Top folders are taken as splits only if their names say so.

    Args:
        root: the folder, for messages.
        folders: the folders that hold images.
        chosen: one of `LAYOUTS`, which the user chose; None leaves the choice to the names.

    Raises:
        ManifestError: the folders are ambiguous; the message names the layouts to choose from.
        ParameterError: `chosen` is no layout.
    """
    if chosen is not None and chosen not in LAYOUTS:
        raise ParameterError(f"layout must be one of {', '.join(LAYOUTS)}, got {chosen!r}")
    folders = set(folders)
    if chosen == "class":
        return FolderLayout("class")
    wrapper = _wrapper(folders, chosen)
    tree = _Tree(root.joinpath(*wrapper), [parts[len(wrapper) :] for parts in folders])
    layout = {
        None: tree.guess,
        "split/class": tree.split_folders,
        "class/split": tree.split_folders_in_classes,
    }[chosen]()
    if not wrapper:
        return layout
    note = f"the classes and splits are read from {tree.root}"
    return FolderLayout(layout.kind, wrapper, layout.splits, layout.depths, (note, *layout.notes))


def _wrapper(folders: set[Parts], chosen: str | None) -> Parts:
    """Return the folders above a tree with splits; () if the tree starts at the root."""
    for depth in range(1, _MOST_WRAPPERS + 1):
        # An image beside the tree, in a wrapper, is skipped later.
        above = {parts[:depth] for parts in folders if len(parts) >= depth}
        if len(above) != 1:
            return ()
        tree = _Tree(Path(), [parts[depth:] for parts in folders])
        splits = [tree.below[name] for name in tree.names if tree.below[name]]
        # `yes/train/patient1` and `yes/test/patient2` are splits in a class, not a wrapped tree.
        if len(splits) > 1 and len(set.union(*splits)) > 1 and set.intersection(*splits):
            return min(above)
        (parts,) = above
        # `train/yes/test` is a split that the top folder names, not a wrapped class.
        if chosen != "split/class" and not parse_name(parts[-1])[0] and tree.holds_wrapped_classes:
            return parts
    return ()


class _Tree:
    """The top folders of a tree, with the folders in them."""

    def __init__(self, root: Path, folders: Collection[Parts]) -> None:
        self.root = root
        # Folders in each top folder; "" if it holds images, too.
        self.inner: dict[str, set[str]] = defaultdict(set)
        deeper: dict[str, set[str]] = defaultdict(set)
        self._paths: dict[str, set[Parts]] = defaultdict(set)
        for top, *rest in filter(None, folders):
            self._paths[top].add((top, *rest))
            self.inner[top].add(rest[0] if rest else "")
            deeper[top].add(rest[1] if len(rest) > 1 else "")
        self.names = split_names(self.inner)
        self.doubled = {top for top, inner in self.inner.items() if is_doubled(top, inner)}
        # Folders that are the classes, if the top folders are splits.
        self.below = {
            top: (deeper[top] if top in self.doubled else inner) - {""}
            for top, inner in self.inner.items()
        }

    @property
    def holds_wrapped_classes(self) -> bool:
        """True if the top folders are several classes that hold folders of splits."""
        return not self.names and len(self.inner) > 1 and self._are_split_inside()

    def guess(self) -> FolderLayout:
        """Choose the layout that the names say.

        Raises:
            ManifestError: the names do not say it.
        """
        nested = {top for top, below in self.below.items() if below}
        splits = {self.names[top] for top in self.names if top in nested}
        # A class may have the name "test", too. The names mean splits if "train", or two of them,
        # hold folders.
        if (
            "train" in splits
            or len(splits) > 1
            or (splits and self.names.keys() == self.inner.keys())
        ):
            return self.split_folders()
        self._refuse_splits_without_classes(nested)
        if self._are_split_inside():
            self._refuse_splits_in_some({top: self._splits_in(top) for top in self.inner})
            return self.split_folders_in_classes()
        self._refuse_shared_folders()
        return FolderLayout("class")

    def split_folders(self) -> FolderLayout:
        """Take the top folders as splits, and the folders in them as classes.

        Raises:
            ManifestError: some top folders name a split, and others do not.
        """
        nested = {top for top, below in self.below.items() if below}
        unnamed = nested - self.names.keys()
        if self.names and unnamed:
            raise ManifestError(
                f"{self.root}: {_listed(self.names.keys() & nested)} look like splits, but "
                f"{_listed(unnamed)} beside them does not; move it away, list the images in a CSV, "
                "or take all of them as classes with --layout class"
            )
        notes = []
        depths = dict.fromkeys(self.doubled, 2)
        meanings = [f"{top} as {split}" for top, split in sorted(self.names.items())]
        if not self.names:
            notes.append(f"{_listed(nested)} name no split, so that no image has one")
            depths |= self._shared_depths()
        elif not self.names.keys() <= {name for name in self.names if name.lower() in SPLIT_NAMES}:
            notes.append(
                f"folders are read as splits: {', '.join(meanings)}; "
                "--layout class takes them as classes"
            )
        return FolderLayout(
            "split/class",
            splits=self.names,
            depths=depths,
            notes=tuple(notes),
        )

    def split_folders_in_classes(self) -> FolderLayout:
        """Take the top folders as classes, and the folders in them as splits.

        Raises:
            ManifestError: no folder in a class names a split.
        """
        splits: dict[str, str] = {}
        for top in self.inner:
            splits |= self._splits_in(top)
        if not splits:
            raise ManifestError(
                f"{self.root}: no folder in a class names a split; name them train, val and test, "
                "or choose --layout class"
            )
        meanings = ", ".join(f"{name} as {split}" for name, split in sorted(splits.items()))
        note = f"folders in each class are read as splits: {meanings}; --layout class ignores them"
        return FolderLayout("class/split", splits=splits, notes=(note,))

    def _are_split_inside(self) -> bool:
        """Return True if folders in the top folders name "train" and another split."""
        names = [self._splits_in(top) for top in self.inner]
        return any("train" in splits.values() for splits in names) and _n_splits(names) > 1

    def _splits_in(self, top: str) -> dict[str, str]:
        """Return the splits that folders in a class name: "yes_train" in "yes", too."""
        words = set(words_of(top))
        parsed = {name: parse_name(name) for name in self.inner[top]}
        return {
            name: split
            for name, (split, rest) in parsed.items()
            if split and (not rest or set(rest) <= words)
        }

    def _refuse_splits_without_classes(self, nested: set[str]) -> None:
        """Raise ManifestError if the names say "splits", but there are no class folders."""
        tops = self.inner.keys()
        all_named = len(tops) > 1 and self.names.keys() == tops
        train_and_more = "train" in self.names.values() and _n_splits([self.names]) > 1
        if all_named or (train_and_more and not nested):
            raise ManifestError(
                f"{self.root}: {_listed(self.names)} look like splits, but hold no class folders; "
                "add class folders, rename them, or take them as classes with --layout class"
            )

    def _refuse_splits_in_some(self, in_classes: Mapping[str, Mapping[str, str]]) -> None:
        """Raise ManifestError if only some images of the classes are in folders of splits."""
        example, names = max(in_classes.items(), key=lambda item: len(item[1]))
        for top, splits in sorted(in_classes.items()):
            if splits.keys() != self.inner[top]:
                raise ManifestError(
                    f"{self.root}: {_listed(names)} in {example} look like splits, but not all "
                    f"images of {top} are in such folders; choose --layout class to ignore these "
                    "folders, or --layout class/split to skip the images outside them"
                )

    def _refuse_shared_folders(self) -> None:
        """Raise ManifestError if the top folders share most of their folders.

        Either may be the classes: "seen" and "unseen" may both hold "cats" and "dogs", while
        "birds" is in one of them only.
        """
        if depths := self._shared_depths():
            inner = {top: self._names_at(top, depth) for top, depth in depths.items()}
            equal = len({frozenset(names) for names in inner.values()}) == 1
            verb = "hold the same folders" if equal else "share most of their folders"
            names = _listed(set.union(*inner.values()))
            raise ManifestError(
                f"{self.root}: {_listed(inner)} {verb}, {names}; choose --layout class if the "
                f"classes are {_listed(self.inner)}, or --layout split/class if the classes are "
                f"{names}"
            )

    def _shared_depths(self) -> dict[str, int]:
        """Return the depth of the folders that the top folders share; {} if they share few.

        Each of them may hold one folder only around these: `seen/images` and `unseen/images`.
        Top folders without folders are left out.
        """
        depths = {top: 1 for top, inner in self.inner.items() if inner != {""}}
        while True:
            inner = {top: self._names_at(top, depth) for top, depth in depths.items()}
            if _share_most(inner):
                return depths
            # A folder that holds all images itself is no wrapper.
            lone = {
                top
                for top, names in inner.items()
                if len(names - {""}) == len(names) == 1
                and self._names_at(top, depths[top] + 1) != {""}
            }
            if not lone:
                return {}
            depths = {top: depth + (top in lone) for top, depth in depths.items()}

    def _names_at(self, top: str, depth: int) -> set[str]:
        """Return the folders at a depth in a top folder; "" for images above it."""
        return {path[depth] if len(path) > depth else "" for path in self._paths[top]}


def _share_most(inner: Mapping[str, set[str]]) -> bool:
    """Return True if most of the folders in some top folders are in most of these."""
    tops_by_name = Counter(name for names in inner.values() for name in names)
    # More than half of the top folders hold a shared folder: both, if there are two.
    shared = {name: n for name, n in tops_by_name.items() if 2 * n > len(inner)}
    names = tops_by_name.keys() - {""}
    # Top folders with images of their own are classes; a single folder in all cannot be them.
    if "" in shared or len(inner) < 2 or len(names) < 2:
        return False
    equal = min(tops_by_name.values()) == len(inner)
    # Two classes may have a patient1 each, or one patient in both; ten patients may have a 0
    # and a 1 each, which are their classes.
    if not equal and are_numbered(names) and len(names) >= len(inner):
        return False
    return 2 * sum(shared.values()) > tops_by_name.total()


def _n_splits(names: Iterable[Mapping[str, str]]) -> int:
    """Count the different splits that some folders name."""
    return len({split for splits in names for split in splits.values()})


def _listed(names: Iterable[str]) -> str:
    """Return names in their order, the first `MOST_LISTED` of many."""
    ordered = sorted(set(names) - {""})
    more = len(ordered) - MOST_LISTED
    return ", ".join(ordered[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
