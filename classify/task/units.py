"""Units of a part that are more than an image: patients, or the groups that a list declares."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.groups import GroupNames
from ...data.manifest import NAME_DIGITS
from ...data.splits import join_groups
from .part import Part

PATIENT = "patient"
GROUP = "group"

_GROUP_OF_COPIES = re.compile(rf"group-[0-9a-f]{{{NAME_DIGITS}}}")
"""Name that `split` gives to images that only copies relate."""


@dataclass(frozen=True, eq=False)
class Units:
    """The unit of each row of a part.

    Copies and near-duplicates make no unit: nobody is scored by them.

    Attributes:
        name: `PATIENT`, or `GROUP` where no patient is known and a list declares groups.
        numbers: unit of each row, from 0 on in order of first appearance, intp of shape
            (n_rows,); -1 for a row without one.
    """

    name: str
    numbers: NDArray[np.intp]

    @property
    def texts(self) -> list[str]:
        """Name of each row's unit, "patient 1" say, which shows no identifier; "" without one."""
        return [f"{self.name} {number + 1}" if number >= 0 else "" for number in self.numbers]


def units_of(part: Part) -> Units | None:
    """Return the patients of a part, else its declared groups; None if it has neither.

    Groups are units only if every row has one.

    Names of one row are of one patient: a list and a file may both name it.

    Examples:
        >>> names = GroupNames([""] * 4, [""] * 4, ["p1", "p2", "", "p1 + study 7"])
        >>> units_of_names(names).numbers.tolist()
        [0, 1, -1, 0]
    """
    return units_of_names(part.names)


def units_of_names(names: GroupNames) -> Units | None:
    """Return the units that these names make; see `units_of`."""
    patients = names.patient_keys()
    groups = _declared_groups(names)
    if any(patients):
        name, keys = PATIENT, patients
    # A group of a few related images among others is no unit that a score could be about.
    elif all(groups):
        # Unlike the name of a patient, that of a group is one text: images are grouped by it.
        name, keys = GROUP, [frozenset({group}) for group in groups]
    else:
        return None
    named = np.array([bool(key) for key in keys])
    numbers = np.full(len(keys), -1, dtype=np.intp)
    numbers[named] = join_groups([key for key in keys if key])
    return Units(name, numbers)


def _declared_groups(names: GroupNames) -> list[str]:
    """Return the group of each row, "" where it has none or copies alone made it."""
    return ["" if _GROUP_OF_COPIES.fullmatch(group) else group for group in names.groups]
