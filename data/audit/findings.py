"""The findings of an audit in sentences, for the terminal and the report page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..groups import OTHER_KEY, PATIENTS_IGNORED, one_name_problem, split_names
from ..inspection.facts import frames_lines, reasons_text
from ..output.terminal import counted
from ..splits import join_groups
from .audit import Audit
from .class_changes import dropped_text
from .crossings import Crossing
from .image_pairs import GROUP, LEVEL_NAMES
from .image_set import NOT_COMPUTED, ImageSet

TEST_SIZE = 0.2
"""Share of test images in the random split whose leak is predicted."""

NO_LEAKS = "no copies on two sides of a split or in two sets; no picture has two labels"
"""The sentence for an audit without headlines."""


def headlines(audit: Audit) -> list[tuple[str, str]]:
    """Return the findings that matter most, as (kind, sentence).

    The kinds are "LEAK", for images with relatives in parts that must not share any, "CONFLICT",
    for pictures with two labels, "UNREAD", for images that nobody looked at, and "UNKNOWN", for
    groups or patients that may be the same in two sets.
    """
    lines = [
        ("LEAK", _crossing_sentence(crossing)) for crossing in audit.crossings if crossing.n_related
    ]
    conflicts = [pair.first for pair in audit.pairs if audit.is_conflict(pair)]
    # Ten copies with two labels are many pairs but one picture, so pictures are counted.
    if conflicts:
        pictures = np.unique(audit.pictures[conflicts])
        images = int(np.isin(audit.pictures, pictures).sum())
        lines.append(("CONFLICT", conflict_sentence(len(pictures), images)))
    lines += [("UNREAD", text) for images in audit.sets for text in _unread_sentences(images)]
    lines += [("UNKNOWN", text) for text in _key_sentences(audit)]
    return lines + [("UNKNOWN", text) for text in _uncertain_sentences(audit)]


def _key_sentences(audit: Audit) -> Iterator[str]:
    """Yield a sentence for each two sets, or one set, with digests of patients of two keys."""
    for first, second in audit.incomparable_patients:
        names = dict.fromkeys([audit.sets[second].name, audit.sets[first].name])
        yield f"patients of {' and '.join(names)} cannot be compared: {OTHER_KEY}"


def _uncertain_sentences(audit: Audit) -> Iterator[str]:
    """Yield a sentence for each two sets whose groups may be the same."""
    for (first, second), names in audit.uncertain_groups.items():
        pair = (audit.sets[second], audit.sets[first])
        old = [images.name for images in pair if images.has_uncertain_groups]
        yield (
            f"{counted(len(names), 'group')} of {audit.sets[second].name} may be of "
            f"{audit.sets[first].name}, too: the older store of {' and '.join(old)} does not keep "
            "whether a name means the same group in all sets; run extract-features again"
        )


def conflict_sentence(n_pictures: int, n_images: int) -> str:
    """Write how many pictures have two labels: "1 picture has two labels, 2 images in all"."""
    verb = "has" if n_pictures == 1 else "have"
    return (
        f"{counted(n_pictures, 'picture')} {verb} two labels, {counted(n_images, 'image')} in all"
    )


def _unread_sentences(images: ImageSet) -> Iterator[str]:
    """Yield a sentence on the images of a set that nobody looked at; none if there are none."""
    unread = [place for place, pixels in enumerate(images.pixels) if not pixels]
    if not unread:
        return
    reasons = [images.unread_reason(place) for place in unread]
    # Files that could not be opened have no digest of their bytes; a list may still group them.
    related = [any(names) for names in zip(images.groups, images.names.patients, strict=True)]
    counts_of = (
        ("bytes", sum(bool(images.sha256s[place]) for place in unread)),
        ("groups", sum(related[place] for place in unread)),
    )
    evidence = [
        f"the {name}" + (f" of {n}" if n < len(unread) else "") for name, n in counts_of if n
    ]
    compared = "these are not compared at all"
    if evidence:
        compared = f"of these, only {' and '.join(evidence)} are compared"
    advice = ["run extract-features again"] if NOT_COMPUTED in reasons else []
    if set(reasons) != {NOT_COMPUTED}:
        advice.insert(0, "check the files")
    verb = "was" if len(unread) == 1 else "were"
    yield (
        f"{len(unread)} of {counted(len(images), 'image')} of {images.name} {verb} not looked at "
        f"({reasons_text(reasons)}): {compared}; {', then '.join(advice)}"
    )


def _crossing_sentence(crossing: Crossing) -> str:
    """Return a sentence on the images of a part with a relative in the reference, by evidence."""
    levels = ", ".join(f"{n} {LEVEL_NAMES[level]}" for level, n in crossing.levels.items())
    # An image of the same patient does not occur twice, so it is called a relative.
    verb = "have a relative in" if GROUP in crossing.levels else "also occur in"
    unread = _unread_counts(crossing)
    at_least = "at least " if unread and crossing.n_related < crossing.n else ""
    return (
        f"{at_least}{crossing.n_related} of {crossing.n} {crossing.part} {verb} "
        f"{crossing.reference} ({levels}){unread}"
    )


def _no_crossing_sentence(crossing: Crossing, patients_unknown: bool) -> str:
    """Return a sentence on a part without known relatives in the reference.

    Args:
        crossing: the part and the reference.
        patients_unknown: True if patients cannot be compared.
    """
    part = crossing.part
    looked_at = crossing.n - crossing.n_unread
    # Where nobody looked, "none" would be an all-clear that no picture supports.
    if not looked_at or crossing.n_reference == crossing.n_reference_unread:
        sentence = f"relatives of {crossing.n} {part} in {crossing.reference} are unknown"
    elif crossing.n_unread or crossing.n_reference_unread or patients_unknown:
        subject = f"the {looked_at} {part} that were looked at" if crossing.n_unread else ""
        subject = subject or f"{crossing.n} {part}"
        sentence = f"none of {subject} has a known relative in {crossing.reference}"
    else:
        sentence = f"none of {crossing.n} {part} has a relative in {crossing.reference}"
    return sentence + _unread_counts(crossing)


def _unread_counts(crossing: Crossing) -> str:
    """Return how many images of both parts nobody looked at, as the end of a sentence."""
    counts = (
        (crossing.n_unread, f"of {crossing.n} {crossing.part}"),
        (crossing.n_reference_unread, f"of {crossing.n_reference} in {crossing.reference}"),
    )
    listed = ", ".join(f"{n} {part}" for n, part in counts if n)
    return f"; not looked at: {listed}" if listed else ""


def remarks(audit: Audit) -> list[str]:
    """Return the counts of each set, the leak of a random split, and the limits of the audit."""
    lines: list[str] = []
    for number, images in enumerate(audit.sets):
        rows = audit.set_numbers == number
        lines += _set_remarks(images, audit.pictures[rows], audit.groups[rows])
    for crossing in audit.crossings:
        if not crossing.n_related:
            lines.append(_no_crossing_sentence(crossing, bool(audit.incomparable_patients)))
    for first, second in combinations(range(len(audit.sets)), 2):
        if not audit.comparable(first, second):
            lines.append(
                f"labels of {audit.sets[second].name} and {audit.sets[first].name} are not "
                "compared: each set has classes that the other lacks; rename classes with "
                "--classes OLD=NEW,... or leave them out with --drop-class CLASS"
            )
    return lines


def _set_remarks(
    images: ImageSet, pictures: NDArray[np.intp], groups: NDArray[np.intp]
) -> Iterator[str]:
    """Describe one set.

    Args:
        images: the set.
        pictures: see `Audit`, for the images of this set.
        groups: see `Audit`, for the images of this set.
    """
    # An unknown digest is empty; it is not counted as a file.
    sha256s = [sha256 for sha256 in images.sha256s if sha256]
    n_files = len(set(sha256s))
    readable = np.array(images.pixels, dtype=object) != ""
    n_unread = int((~readable).sum())
    unread = f" ({n_unread} not looked at)" if n_unread else ""
    yield (
        f"{images.name}: {counted(len(images), 'image')}{unread}, "
        f"{counted(n_files, 'distinct file')} "
        f"({len(sha256s) - n_files} redundant), "
        f"{len(set(images.pixels) - {''})} with distinct pixels, "
        f"{counted(len(np.unique(pictures[readable])), 'different picture')}"
    )
    if images.left_out:
        yield f"{images.name}: {dropped_text(images.left_out)}"
    yield from (f"{images.name}: {line}" for line in frames_lines(Counter(images.frames)))
    names = [group for group in images.groups if group]
    if names:
        n_names = counted(len(set(names)), "given group")
        yield f"{images.name}: {counted(len(names), 'image')} of {n_names}"
    patients = [patient for patient in images.patients if patient]
    if patients:
        # A patient may have several names, and then the images of all of them are one patient's.
        keys = [frozenset(split_names(patient)) for patient in patients]
        n_patients = len(np.unique(join_groups(keys)))
        total = counted(n_patients, "patient")
        yield f"{images.name}: {counted(len(patients), 'image')} of {total}"
        # A file that could not be opened has no patient that anybody knows.
        pairs = zip(images.patients, images.pixels, strict=True)
        used = [split_names(patient) for patient, pixels in pairs if patient or pixels]
        problem = one_name_problem(used)
        if problem:
            yield f"{images.name}: {problem}"
    if PATIENTS_IGNORED in images.group_source:
        yield f"{images.name}: PatientIDs are ignored; one patient may be on both sides"
    # An image that nobody looked at counts as alone, although it may have relatives.
    at_least = "" if readable.all() else "at least "
    # Only a set without a split will be split at random.
    if not any(images.splits) and len(np.unique(groups)) < len(groups):
        yield (
            f"{images.name}: a random split would put relatives of {at_least}"
            f"{_share(expected_leak(groups))} of its test images ({_share(TEST_SIZE)} of all) "
            "into the training part; freezeframe split keeps groups together"
        )


def expected_leak(groups: NDArray[np.intp], test_size: float = TEST_SIZE) -> float:
    """Return the share of a random split's test images with a group member in training.

    Each image is a test image with probability `test_size`, independently of the others. So an
    image of a group of g has no relative in training with probability test_size ** (g - 1).

    Args:
        groups: group number of each image, of shape (n,).
        test_size: share of test images.

    Examples:
        >>> expected_leak(np.array([0, 0, 1, 2]))
        0.4
    """
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # The mean is over images: a large group counts with each of its images.
    return float(np.mean(1 - test_size ** (sizes[numbers] - 1.0)))


def _share(share: float) -> str:
    """Format a share in per cent; with a decimal, if it is near none or all."""
    # Without the decimal, 0.4 % would look like none and 99.6 % like all.
    return f"{100 * share:.0f} %" if 0.01 < share < 0.99 else f"{100 * share:.1f} %"
