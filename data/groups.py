"""Names of groups and patients, and the sets in which a name means the same.

Images of one group or one patient must stay on one side of a split. A name from a list's own
column `group` counts in that list alone: two lists may both have a "group-1". All other names are
names of patients, which mean the same in all sets: those of a column `patient`, those that the user
asked for by `--group-column` or `--group-regex`, and the digests of PatientIDs.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FreezeframeError, ParameterError

OWN = "own"
"""Scope of a name that means something in its own list only."""

COMMON = "common"
"""Scope of a group that means the same in all sets; earlier stores have it, new ones do not."""

PATIENTS_IGNORED = "PatientID ignored"
"""Text in the source of groups of a list or store that was made without patients."""

PATIENTS_RISK = "images of one patient may be both trained and tested on"
"""End of the sentences that say that PatientIDs are ignored."""

NEARLY_ALL = 0.8
"""Least share of the images with one patient or group that is named as the cause of a problem."""

SEPARATOR = " + "
"""Text between the names of one image: a list and a file may both name its patient."""

_DIGEST = re.compile("patient-[0-9a-f]{16}")
"""Name that `patient_digest` makes."""


def patient_digest(name: str) -> str:
    """Return a name for a patient that does not show the identifier.

    It is not anonymous: a person with a list of identifiers can compute their digests and compare.
    Texts that look the same have one digest: accents may be letters of their own in one file, and
    part of a letter in another one.

    Examples:
        >>> patient_digest("p07")
        'patient-4d2c05dcce202ad9'
    """
    text = _plain(unicodedata.normalize("NFC", name))
    return f"patient-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:16]}"


def is_digest(name: str) -> bool:
    """Return True for a name that `patient_digest` made."""
    return _DIGEST.fullmatch(name) is not None


def join_names(names: Iterable[str]) -> str:
    """Return the names of one image as one text, without the empty ones.

    Examples:
        >>> join_names(["study 7", "", "p07", "study 7"])
        'study 7 + p07'
    """
    return SEPARATOR.join(dict.fromkeys(filter(None, map(_plain, names))))


def _plain(name: str) -> str:
    """Return a name with single spaces, and without a separator in it."""
    return " ".join(name.split()).replace(SEPARATOR, "+")


def split_names(text: str) -> list[str]:
    """Return the names that `join_names` joined."""
    return [name for name in text.split(SEPARATOR) if name]


def without_digests(text: str) -> str:
    """Return the names of one image without the digests of PatientIDs."""
    return join_names(name for name in split_names(text) if not is_digest(name))


def one_name_problem(names: Sequence[Collection[str]], part: str = "") -> str:
    """Describe a set whose images nearly all have one name; return "" for any other set.

    Args:
        names: names of each image's groups and patients.
        part: end of the subject of the sentence, such as " of class lesion".

    Examples:
        >>> one_name_problem([{"north"}, {"north"}, {"north"}, {"north"}, set()]).partition(";")[0]
        "4 of 5 images are of the group or patient 'north'"
        >>> one_name_problem([{"p1"}, {"p2"}])
        ''
    """
    counts = Counter(name for texts in names for name in texts)
    if not counts:
        return ""
    name, n = counts.most_common(1)[0]
    if n < 2 or n < NEARLY_ALL * len(names):
        return ""
    images = f"{f'all {n}' if n == len(names) else f'{n} of {len(names)}'} images{part}"
    if is_digest(name):
        return (
            f"{images} have the same PatientID, as anonymised files may have; "
            "if they are of several patients, use --ignore-patient-ids"
        )
    return (
        f"{images} are of the group or patient {name!r}; if they are independent, "
        "correct the column or expression that names the groups"
    )


@dataclass(frozen=True, eq=False)
class GroupNames:
    """The names that relate the images of one set, each a sequence with one text per image.

    Attributes:
        groups: name of the group; "" for none.
        scopes: `OWN`, `COMMON`, or "" without a group, or if it is unknown whether other sets mean
            the same group.
        patients: names of the patient, see `join_names`; "" for none.
    """

    groups: Sequence[str]
    scopes: Sequence[str]
    patients: Sequence[str]

    def take(self, numbers: Sequence[int]) -> GroupNames:
        """Return the names of some of the images, by their places."""
        columns = (self.groups, self.scopes, self.patients)
        return GroupNames(*([column[number] for number in numbers] for column in columns))

    def without_patient_ids(self) -> GroupNames:
        """Return the names without those of PatientIDs."""
        return replace(self, patients=[without_digests(text) for text in self.patients])

    def patient_names(self) -> list[str]:
        """Return the names of each image's patient, also where an earlier store has it as group."""
        pairs = zip(self.groups, self.patients, strict=True)
        return [patient or (group if is_digest(group) else "") for group, patient in pairs]

    def common_keys(self) -> list[frozenset[str]]:
        """Return the names of each image that mean the same in all sets, as digests.

        A PatientID of a file is known by its digest only. So a list that names the patient itself
        is compared by digest, too.
        """
        return [
            frozenset(name if is_digest(name) else patient_digest(name) for name in names)
            for names in self._common_names()
        ]

    def uncertain_groups(self) -> list[str]:
        """Return the groups of unknown scope; "" for all others.

        Stores of older formats do not keep the scope. The digest of a patient is always common.
        """
        pairs = zip(self.groups, self.scopes, strict=True)
        return [group if not scope and not is_digest(group) else "" for group, scope in pairs]

    def texts(self) -> list[frozenset[str]]:
        """Return all names of each image, of any scope."""
        pairs = zip(self.groups, self.patients, strict=True)
        return [frozenset({group, *split_names(patients)} - {""}) for group, patients in pairs]

    def _common_names(self) -> list[set[str]]:
        columns = zip(self.groups, self.scopes, self.patients, strict=True)
        names = []
        for group, scope, patients in columns:
            # A PatientID may hold the separator, so the whole text is a name, too.
            common = {patients, *split_names(patients)} - {""}
            if scope == COMMON or is_digest(group):
                common.add(group)
            names.append(common)
        return names


@contextmanager
def cause_named(
    source: Path,
    labels: Sequence[str] | NDArray[Any],
    groups: NDArray[np.intp],
    names: GroupNames,
) -> Iterator[None]:
    """Name the patient or group that has nearly all images, if a split within fails because of it.

    Args:
        source: the list, folder or store that is split, for the message.
        labels: class of each row, of shape (n,).
        groups: group number of each row, of shape (n,).
        names: groups and patients of the rows.

    Raises:
        FreezeframeError: a class has too few independent images.
    """
    try:
        yield
    except ParameterError:
        raise
    except FreezeframeError as error:
        problem = _one_name_problem(np.asarray(labels), groups, names)
        if not problem:
            raise
        raise FreezeframeError(f"{source}: cannot be split: {problem}") from error


def _one_name_problem(labels: NDArray[Any], groups: NDArray[np.intp], names: GroupNames) -> str:
    """Describe how nearly all images of the set or of its rarest class have one patient or group.

    It returns "" if they have several.
    """
    # The class with the fewest independent images is the one that a split fails by.
    classes = np.unique(labels)
    rarest = min(classes, key=lambda label: len(np.unique(groups[labels == label])))
    texts = names.texts()
    members = [texts[row] for row in np.flatnonzero(labels == rarest)]
    in_class = one_name_problem(members, f" of class {rarest}")
    return in_class and (one_name_problem(texts) or in_class)
