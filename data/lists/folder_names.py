"""The names of folders: the split that a name may mean, and the words that say nothing more."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from ..splits import SPLIT_NAMES

AFFIXES = frozenset(
    [
        "set",
        "sets",
        "data",
        "dataset",
        "datasets",
        "image",
        "images",
        "img",
        "imgs",
        "pic",
        "pics",
        "picture",
        "pictures",
        "file",
        "files",
        "folder",
        "folders",
        "dir",
        "split",
        "splits",
        "part",
        "sample",
        "samples",
        "seg",
    ]
)
"""Words beside the name of a split that say nothing more: "training_set", "seg_train"."""

_GLUED = re.compile(rf"({'|'.join(SPLIT_NAMES)})({'|'.join(AFFIXES)})")

Parts = tuple[str, ...]
"""Names of the folders on the way to an image, from the root on."""


def split_names(tops: Iterable[str]) -> dict[str, str]:
    """Return the split that each folder names; a folder that names none is missing.

    Words beside the name of a split count as its affix if they are `AFFIXES`, or if a folder of
    another split has them, too: `brain_train` and `brain_test`.
    """
    parsed = {top: parse_name(top) for top in tops}
    splits_by_rest: dict[Parts, set[str]] = defaultdict(set)
    for split, rest in parsed.values():
        splits_by_rest[rest] |= {split} - {""}
    return {
        top: split
        for top, (split, rest) in parsed.items()
        if split and (not rest or len(splits_by_rest[rest]) > 1)
    }


def parse_name(name: str) -> tuple[str, Parts]:
    """Return the split in a folder's name, "" without one, and the words that are no affixes."""
    splits = []
    rest = []
    for word in words_of(name):
        glued = _GLUED.fullmatch(word)
        if split := SPLIT_NAMES.get(glued[1] if glued else word):
            splits.append(split)
        elif word not in AFFIXES and not word.isdigit():
            rest.append(word)
    return (splits[0], tuple(rest)) if len(splits) == 1 else ("", tuple(rest))


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: "TrainSet-2" gives train, set, 2."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"\d+|[^\W\d_]+", spaced.lower())


def is_doubled(top: str, inner: set[str]) -> bool:
    """Return True if a top folder holds one folder only, which says nothing new."""
    if len(inner) != 1 or "" in inner:
        return False
    (name,) = inner
    split, rest = parse_name(name)
    return name.lower() == top.lower() or (not rest and split in ("", parse_name(top)[0]))


def are_numbered(names: Iterable[str]) -> bool:
    """Return True if names differ in their numbers only: "patient_01" and "patient_02"."""
    return len({re.sub(r"\d+", "", name) for name in names}) == 1
