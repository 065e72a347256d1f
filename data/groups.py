"""Names of groups and patients, and the sets in which a name means the same.

Images of one group or one patient must stay on one side of a split. A name from a list's own
column `group` counts in that list alone: two lists may both have a "group-1". A name that the user
asked for, and the digest of a patient, mean the same in all sets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

OWN = "own"
"""Scope of a name that means something in its own list only."""

COMMON = "common"
"""Scope of a name that means the same group in all sets."""

PATIENTS_IGNORED = "PatientID ignored"
"""Text in the source of groups of a list or store that was made without patients."""

NEARLY_ALL = 0.8
"""Least share of the images with one patient or group that is named as the cause of a problem."""

PATIENT_DIGEST = re.compile("patient-[0-9a-f]{16}")
"""Name that `patient_group` makes: a digest, which means the same in all sets."""


def one_patient_problem(patients: Sequence[str], part: str = "") -> str:
    """Describe a set whose images nearly all have one patient; return "" for any other set.

    Args:
        patients: digest of each image's patient; "" for none.
        part: end of the subject of the sentence, such as " of class lesion".

    Examples:
        >>> one_patient_problem(["patient-1", "patient-2"])
        ''
    """
    count, _ = _most_frequent(patients)
    return count and (
        f"{count} images{part} have the same PatientID, as anonymised files may have; "
        "if they are of several patients, use --ignore-patient-ids"
    )


def one_group_problem(groups: Sequence[str], part: str = "") -> str:
    """Describe a set whose images are nearly all of one group; return "" for any other set.

    Args:
        groups: name of each image's group; "" for none.
        part: see `one_patient_problem`.

    Examples:
        >>> one_group_problem(["north", "north", "north", "north", ""]).partition(";")[0]
        "4 of 5 images are of the group 'north'"
    """
    count, name = _most_frequent(groups)
    return count and (
        f"{count} images{part} are of the group {name!r}; if they are independent, "
        "correct the column or expression that names the groups"
    )


def _most_frequent(names: Sequence[str]) -> tuple[str, str]:
    """Return a count such as "11 of 12" and the name that nearly all have; "" for no such name."""
    counts = Counter(filter(None, names))
    if not counts:
        return "", ""
    name, n = counts.most_common(1)[0]
    if n < 2 or n < NEARLY_ALL * len(names):
        return "", ""
    return (f"all {n}" if n == len(names) else f"{n} of {len(names)}"), name


@dataclass(frozen=True, eq=False)
class GroupNames:
    """The names that relate the images of one set, each a sequence with one text per image.

    Attributes:
        groups: name of the group; "" for none.
        scopes: `OWN`, `COMMON`, or "" without a group, or if it is unknown whether other sets mean
            the same group.
        patients: digest of the patient; "" for none.
    """

    groups: Sequence[str]
    scopes: Sequence[str]
    patients: Sequence[str]

    def take(self, numbers: Sequence[int]) -> GroupNames:
        """Return the names of some of the images, by their places."""
        columns = (self.groups, self.scopes, self.patients)
        return GroupNames(*([column[number] for number in numbers] for column in columns))

    def common_groups(self) -> list[str]:
        """Return the groups whose names mean the same in all sets; "" for all others."""
        pairs = zip(self.groups, self.scopes, strict=True)
        return [group if scope == COMMON else "" for group, scope in pairs]

    def common_patients(self) -> list[str]:
        """Return the patient of each image, also where a list has its digest as the group."""
        pairs = zip(self.groups, self.patients, strict=True)
        return [
            patient or (group if PATIENT_DIGEST.fullmatch(group) else "")
            for group, patient in pairs
        ]

    def uncertain_groups(self) -> list[str]:
        """Return the groups of unknown scope; "" for all others.

        Stores of older formats do not keep the scope. The digest of a patient is always common.
        """
        pairs = zip(self.groups, self.scopes, strict=True)
        return [
            group if not scope and not PATIENT_DIGEST.fullmatch(group) else ""
            for group, scope in pairs
        ]
