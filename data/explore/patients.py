"""The patients of a set: how many, with how many images and classes, or what names suggest."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from ..groups import split_names
from ..manifest import Manifest
from ..output.terminal import counted, rounded_percent
from ..splits import join_groups
from .name_fields import SLICE_WORDS
from .name_pattern import NamePattern, propose_pattern


@dataclass(frozen=True)
class GroupCounts:
    """The images and classes of each patient, or of each group that a list names.

    Attributes:
        noun: "patient" or "group".
        n_images: number of images of the set.
        sizes: number of images of each patient, ascending; images without one are not counted.
        n_mixed: number of patients with images of several classes.
    """

    noun: str
    n_images: int
    sizes: tuple[int, ...]
    n_mixed: int

    @property
    def sentence(self) -> str:
        """Their number, their sizes, and the number that has several classes."""
        sizes = self.sizes
        return (
            f"{counted(len(sizes), self.noun)} in {sum(sizes)} of {self.n_images} images, "
            f"median {median(sizes):g} images a {self.noun} ({sizes[0]} to {sizes[-1]}); "
            f"{self.n_mixed} of {len(sizes)} with several classes"
        )


@dataclass(frozen=True)
class PatientSummary:
    """The known patients and groups of a set, and the expression that its names suggest.

    Attributes:
        patients: the patients that a column, an expression or the files name; None without any.
        groups: the groups that a list names; None without any.
        pattern: an expression that may find patients in the names; None where a patient of each
            image is known, and where names say nothing.
        pattern_groups: the groups that this expression makes.
    """

    patients: GroupCounts | None
    groups: GroupCounts | None
    pattern: NamePattern | None
    pattern_groups: GroupCounts | None

    @property
    def lines(self) -> Iterator[str]:
        """Sentences for the terminal and the page."""
        if self.patients is None:
            yield "patients: unknown; without them, copies can be kept together, not patients"
        yield from (counts.sentence for counts in (self.patients, self.groups) if counts)
        if self.pattern is None or self.pattern_groups is None:
            return
        yield (
            f"names look like ids of patients, such as {self.pattern.example_group!r} in "
            f"{self.pattern.example}: {self.pattern_groups.sentence}; {_order_text(self.pattern)}"
        )
        yield (
            "if these are patients, use this option of explore, audit, split and "
            f"extract-features: --group-regex {shlex.quote(self.pattern.expression)}"
        )


def _order_text(pattern: NamePattern) -> str:
    """Say why the names look like ids."""
    texts = []
    if pattern.word:
        meaning = "slices" if pattern.word in SLICE_WORDS else "patients"
        texts.append(f"the word {pattern.word!r}, which numbers {meaning}, is in nearly all names")
    if pattern.in_order is not None:
        share = rounded_percent(pattern.in_order)
        texts.append(f"the last numbers of {share} of the files follow each other in a group")
    return ", and ".join(texts) or "the same few words follow each id"


def summarise_patients(manifest: Manifest) -> PatientSummary:
    """Count the patients and groups of a manifest; propose an expression if patients are unknown.

    The proposal changes nothing: only the user knows what names mean.
    """
    labels = [image.label for image in manifest.images]
    patients = _count("patient", [split_names(image.patient) for image in manifest.images], labels)
    groups = _count("group", _as_names([image.group for image in manifest.images]), labels)
    pattern = None
    if patients is None or sum(patients.sizes) < len(labels):
        pattern = propose_pattern([image.path for image in manifest.images], labels)
    pattern_groups = _count("group", _as_names(pattern.groups), labels) if pattern else None
    return PatientSummary(patients, groups, pattern, pattern_groups)


def _as_names(texts: Sequence[str]) -> list[list[str]]:
    """Return each text as a list of names; "" is none."""
    return [[text] if text else [] for text in texts]


def _count(noun: str, names: Sequence[Sequence[str]], labels: Sequence[str]) -> GroupCounts | None:
    """Count the groups of images that share a name; None if no image has any.

    Args:
        noun: what a group is.
        names: names of each image.
        labels: class of each image.
    """
    rows = [row for row, texts in enumerate(names) if texts]
    if not rows:
        return None
    # One patient may have several names, such as the digest of an id and a name in a list.
    numbers = join_groups([frozenset(names[row]) for row in rows]).tolist()
    sizes = Counter(numbers)
    pairs = {(number, labels[row]) for number, row in zip(numbers, rows, strict=True)}
    classes = Counter(number for number, _ in pairs)
    n_mixed = sum(n > 1 for n in classes.values())
    return GroupCounts(noun, len(names), tuple(sorted(sizes.values())), n_mixed)
