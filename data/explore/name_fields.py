"""The fields of file names, and the words that say what a number in a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PATIENT_WORDS = frozenset(
    ["pat", "patient", "pid", "sub", "subj", "subject", "case", "participant"]
)
"""Words before the number of a patient: "sub-01", "patient12". A single letter says too little."""

OTHER_WORDS = frozenset(
    [
        *("batch", "fold", "part", "set", "split", "train", "test", "val", "validation"),
        *("dataset", "site", "center", "centre", "hospital", "scanner", "class", "grade"),
        *("type", "stage", "label", "level", "category", "cat", "page", "fig", "figure"),
        *("screenshot", "year", "image", "img", "im", "pic", "picture", "photo", "file"),
        *("slice", "frame", "tile", "patch", "row", "col", "column", "x", "y", "z"),
    ]
)
"""Words before a number that is no patient's."""

SLICE_WORDS = frozenset(["slice", "slices", "slc", "sl", "z"])
"""Words before the number of a slice."""

EDIT_WORDS = frozenset(
    [
        *("aug", "augmented", "flip", "flipped", "rot", "rotated", "rotate", "copy"),
        *("crop", "cropped", "mirror", "mirrored", "noise", "blur", "blurred", "bright"),
        *("zoom", "shift", "checkpoint"),
    ]
)
"""Words in the names of edited copies of one picture."""

_ENDING = re.compile(r"(\.nii)?\.[A-Za-z]\w{0,4}(?=#|$)")
_FIELD = re.compile(r"([\W_]*)([^\W_]+)")
_UNIT = re.compile(r"([\W_]*)([^\W\d_]*\d+|[^\W\d_]+)")
_DATE = re.compile(r"(19|20)\d\d((0[1-9]|1[0-2])([0-2]\d|3[01]))?")


@dataclass(frozen=True)
class NamePart:
    """A folder's name, or a file's name without its ending.

    Attributes:
        text: the whole name.
        separators: the text before each field.
        fields: runs of letters and digits, from left to right.
    """

    text: str
    separators: tuple[str, ...]
    fields: tuple[str, ...]


def read_parts(path: str, glued: bool) -> list[NamePart]:
    """Cut a path into the parts between its slashes, and each part into fields.

    Args:
        path: a path with "/" between its parts; the last one may end with the number of a slice.
        glued: cut fields between a digit and the letter after it, too.

    Examples:
        >>> read_parts("tumor/p03_pre_z07.png", False)[1].fields
        ('p03', 'pre', 'z07')
        >>> read_parts("p03z07.png", True)[0].fields
        ('p03', 'z07')
    """
    *folders, file = path.split("/")
    parts = []
    for text in (*folders, _ENDING.sub("", file)):
        pairs = (_UNIT if glued else _FIELD).findall(text)
        separators = tuple(separator for separator, _ in pairs)
        parts.append(NamePart(text, separators, tuple(field for _, field in pairs)))
    return parts


def letters_of(field: str) -> str:
    """Return the letters before the number of a field, in lower case: "p" for "p03"."""
    return re.split(r"\d", field, maxsplit=1)[0].lower()


def has_number(field: str) -> bool:
    """Return True if a field has a digit."""
    return any(character.isdigit() for character in field)


def is_date(field: str) -> bool:
    """Return True for a year or a date, such as "2019" or "19960909"."""
    return _DATE.fullmatch(field) is not None


def field_pattern(fields: Iterable[str]) -> str:
    r"""Return a regular expression that matches all these fields, and is easy to read.

    Examples:
        >>> field_pattern(["p03", "p11"]), field_pattern(["CS", "HT"]), field_pattern(["7", "12"])
        ('p\\d+', '[A-Z]+', '\\d+')
    """
    texts = set(fields)
    if len(texts) == 1:
        return literal_pattern(texts.pop())
    beginnings = {re.split(r"\d", text, maxsplit=1)[0] for text in texts}
    if len(beginnings) == 1:
        (beginning,) = beginnings
        if all(re.fullmatch(r"\d+", text[len(beginning) :]) for text in texts):
            return literal_pattern(beginning) + r"\d+"
    for pattern in ("[A-Z]+", "[a-z]+", "[A-Za-z]+", "[A-Z0-9]+", "[A-Za-z0-9]+"):
        if all(re.fullmatch(pattern, text) for text in texts):
            return pattern
    return r"[^\W_]+"


def separator_pattern(separators: Iterable[str]) -> str:
    """Return a regular expression that matches all these separators."""
    texts = set(separators)
    return literal_pattern(texts.pop()) if len(texts) == 1 else r"[^A-Za-z0-9/]*"


def literal_pattern(text: str) -> str:
    r"""Return a regular expression for a text; `re.escape` adds more backslashes than it needs.

    Examples:
        >>> literal_pattern("sub-01 (a)")
        'sub-01 \\(a\\)'
    """
    return re.sub(r"[.^$*+?{}\[\]\\|()]", r"\\\g<0>", text)
