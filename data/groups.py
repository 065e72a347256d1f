"""Names of groups and patients, and the sets in which a name means the same.

Images of one group or one patient must stay on one side of a split. A name from a list's own
column `group` counts in that list alone: two lists may both have a "group-1". All other names are
names of patients, which mean the same in all sets: those of a column `patient`, those that the user
asked for by `--group-column` or `--group-regex`, and the digests of PatientIDs.
"""

from __future__ import annotations

import hashlib
import hmac
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
from .patient_key import existing_key, key_id, patient_key

OWN = "own"
"""Scope of a name that means something in its own list only."""

COMMON = "common"
"""Scope of a group that means the same in all sets; earlier stores have it, new ones do not."""

PATIENTS_IGNORED = "PatientID ignored"
"""Text in the source of groups of a list or store that was made without patients."""

PATIENTS_RISK = "images of one patient may be both trained and tested on"
"""End of the sentences that say that PatientIDs are ignored."""

OTHER_KEY = (
    "their PatientIDs have digests of different keys, or of an earlier version; name one key file "
    "in FREEZEFRAME_PATIENT_KEY and run split and extract-features again"
)
"""End of the sentences on patients that cannot be compared."""

NEARLY_ALL = 0.8
"""Least share of the images with one patient or group that is named as the cause of a problem."""

SEPARATOR = " + "
"""Text between the names of one image: a list and a file may both name its patient."""

CLEAR = "clear"
"""Kind of a name that is no digest, in place of the name of a key."""

_DIGEST = re.compile("patient-(?:([0-9a-f]{8})-)?[0-9a-f]{16}")
"""Name that `patient_digest` makes; lists and stores of earlier versions have no name of a key."""


def patient_digest(name: str, key: bytes | None = None) -> str:
    """Return a name for a patient that does not show the identifier.

    It is an HMAC-SHA256: without the key, nobody can compute the digests of guessed identifiers and
    compare. The name of the key is part of it, since digests of two keys say nothing about each
    other. Texts that look the same have one digest: accents may be letters of their own in one
    file, and part of a letter in another one.

    Args:
        name: the identifier.
        key: None for the key of this user, see `patient_key`.

    Examples:
        >>> patient_digest("p07", b"a secret of at least 32 bytes...")
        'patient-b17b54af-52f9f0ef695d9f3a'
    """
    key = patient_key() if key is None else key
    digest = hmac.digest(key, _normal(name).encode(errors="replace"), hashlib.sha256)
    return f"patient-{key_id(key)}-{digest.hex()[:16]}"


def _normal(name: str) -> str:
    """Return one text for all texts that look the same."""
    return _plain(unicodedata.normalize("NFC", name))


def _digest_kind(name: str) -> str:
    """Return the name of the key that made a digest, "" for one without, `CLEAR` for a name."""
    match = _DIGEST.fullmatch(name)
    return CLEAR if match is None else match[1] or ""


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
        """Return the names of each image that mean the same in all sets, and their digests.

        A PatientID of a file is known by its digest only. So a name in a list is compared by its
        digests, too: that of this user's key, and the one without a key of earlier versions.
        """
        return _compared_by(self._common_names())

    def patient_keys(self) -> list[frozenset[str]]:
        """Return the names of each image's patient, and their digests; see `common_keys`."""
        return _compared_by([set(split_names(text)) for text in self.patient_names()])

    def incomparable(self, reference: GroupNames) -> list[bool]:
        """Return True for each image whose patients cannot be compared with all of the reference.

        Digests of two keys say nothing about each other, and neither do a digest of a foreign key
        and a name. An image without a patient is False: it has nothing to compare.
        """
        rows = self._kinds()
        both = {*rows}, {*reference._kinds()} - {frozenset()}
        key = existing_key() if any(CLEAR in kinds for kinds in both[0] | both[1]) else None
        own = "" if key is None else key_id(key)
        doubtful = {
            kinds: any(not _any_comparable(kinds, kinds_2, own) for kinds_2 in both[1])
            for kinds in both[0]
        }
        return [bool(kinds) and doubtful[kinds] for kinds in rows]

    def _kinds(self) -> list[frozenset[str]]:
        """Return the kinds of the names of each image's patients, see `_digest_kind`."""
        kinds: dict[str, frozenset[str]] = {}
        texts = self.patient_names()
        for text in set(texts):
            kinds[text] = frozenset(map(_digest_kind, split_names(text)))
        return [kinds[text] for text in texts]

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


def _any_clear(names: Collection[str]) -> bool:
    """Return True if one of the names is no digest."""
    return not all(map(is_digest, names))


def _compared_by(rows: Sequence[set[str]]) -> list[frozenset[str]]:
    """Return the texts that the names of each row are compared by."""
    # Sets without names in the clear need no key.
    key = existing_key() if any(map(_any_clear, rows)) else None
    keys: dict[str, frozenset[str]] = {}
    compared = []
    for names in rows:
        for name in names - keys.keys():
            keys[name] = _keys_of(name, key)
        compared.append(frozenset[str]().union(*(keys[name] for name in names)))
    return compared


def _keys_of(name: str, key: bytes | None) -> frozenset[str]:
    """Return the texts that a name is compared by."""
    if is_digest(name):
        return frozenset({name})
    text = _normal(name)
    plain = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
    keyed = {patient_digest(text, key)} if key is not None else set()
    return frozenset({text, f"patient-{plain}", *keyed})


def _any_comparable(first: frozenset[str], second: frozenset[str], own: str) -> bool:
    """Return True if a name of one image can be compared with one of another image.

    Args:
        first: kinds of the names of one image.
        second: kinds of those of the other image.
        own: name of this user's key; "" without one.
    """
    digests, digests_2 = first - {CLEAR}, second - {CLEAR}
    # One image may have a name in a list, too, but most others have digests only.
    if digests and digests_2:
        return bool(digests & digests_2)
    if CLEAR in first & second:
        return True
    # A digest can be made of a name in the clear, if its key is at hand; none needs no key.
    return bool((digests | digests_2) & {"", own})


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
