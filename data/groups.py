"""Names of groups and patients, and the sets in which a name means the same.

Images of one group or one patient must stay on one side of a split. A name from a list's own
column `group` counts in that list alone: two lists may both have a "group-1". A name that the user
asked for, and the digest of a patient, mean the same in all sets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

OWN = "own"
"""Scope of a name that means something in its own list only."""

COMMON = "common"
"""Scope of a name that means the same group in all sets."""

PATIENTS_IGNORED = "PatientID ignored"
"""Text in the source of groups of a list or store that was made without patients."""

PATIENT_DIGEST = re.compile("patient-[0-9a-f]{16}")
"""Name that `patient_group` makes: a digest, which means the same in all sets."""


def one_patient_problem(patients: Sequence[str]) -> str:
    """Describe a set whose images all have one patient; return "" for any other set.

    Args:
        patients: digest of each image's patient; "" for none.

    Examples:
        >>> one_patient_problem(["patient-1", "patient-2"])
        ''
    """
    if len(patients) < 2 or "" in patients or len(set(patients)) > 1:
        return ""
    return (
        f"all {len(patients)} images have the same PatientID, as anonymised files may have; "
        "if they are of several patients, use --ignore-patient-ids"
    )


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
