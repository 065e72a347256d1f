"""A regular expression for `--group-regex`, proposed where file names look like patients' ids."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from statistics import median

from ..splits import SPLIT_NAMES
from .name_fields import (
    EDIT_WORDS,
    OTHER_WORDS,
    PATIENT_WORDS,
    NamePart,
    field_pattern,
    has_number,
    is_date,
    letters_of,
    literal_pattern,
    read_parts,
    separator_pattern,
)

LEAST_IDS = 5
"""Least number of groups: fewer may be scanners, years or parts of a download."""

NEARLY_ALL_NAMES = 0.9
"""Least share of the images whose names have the form of the others."""

LEAST_IN_ORDER = 0.7
"""Least share of the images whose numbers follow each other within a group."""

MOST_IN_ONE = 0.5
"""Largest share of the images in one group."""

MOST_CLASHES = 0.01
"""Largest share of images that have the id and the rest of another image."""

MOST_PARTS = 4
"""Largest mean number of parts in which the next number cuts a group.

A patient has few visits or sequences; a site has many patients."""

Rest = tuple[str, ...]
"""Fields of a path that come after the id."""


@dataclass(frozen=True)
class NamePattern:
    """A regular expression that may find the patient in each path, with its evidence.

    Attributes:
        expression: text for `--group-regex`.
        groups: name that the expression finds in each path; "" where it does not match.
        example: one of the paths that match.
        in_order: share of the images whose numbers follow each other within their group; None if
            words follow the id, and no numbers.
    """

    expression: str
    groups: tuple[str, ...]
    example: str
    in_order: float | None

    @property
    def example_group(self) -> str:
        """Name that the expression finds in the example."""
        return _matching_text(self.expression, self.example)


def propose_pattern(paths: Sequence[str], labels: Sequence[str]) -> NamePattern | None:
    r"""Propose an expression that finds patients in paths; None if names may be no ids.

    A wrong expression is worse than none, so every doubt ends in None. The function cuts each
    path into fields at its separators: "p03_pre_z07.png" has p03, pre and z07. Then it looks for
    the first number that changes in the names of folders, and of files; a number that a word such
    as `sub` introduces goes before. The name up to that number is an id if:

    - it makes at least 5 groups, half of them of several images, and none of half of all images;
    - the rest of the name *counts* in each group: numbers follow each other, and begin again in
      the next group. A running number does not begin again. If the rest has no numbers, the same
      few words follow most ids, as in "12_left.png", and no word belongs to one class only;
    - no two images have one id and one rest, as two patients with one number would;
    - the text before the number is the same whenever the number is: `t1_012` and `t2_012` may be
      one patient or two;
    - the next number, if more follow, makes few parts: visits or sequences, and not the patients
      of a site;
    - it is no date, and no word means a batch, a class, or an edited copy.

    Args:
        paths: paths of the images, with "/" between parts.
        labels: class of each image.

    Examples:
        >>> slices = [f"p{p:02}_z{z:02}.png" for p in range(1, 7) for z in range(9)]
        >>> propose_pattern(slices, ["a"] * 54).expression
        '(?:^|/)(p\\d+)_[^/]*$'
        >>> propose_pattern([f"Cancer ({n}).jpg" for n in range(60)], ["a"] * 60)
    """
    names = [read_parts(path, glued=False) for path in paths]
    # Names without separators, such as "p03z07", are cut between a digit and a letter.
    if _share(len(name[-1].fields) == 1 for name in names) >= NEARLY_ALL_NAMES:
        names = [read_parts(path, glued=True) for path in paths]
    for level in _levels(names, labels):
        pattern = _propose_at(level, names, paths, labels)
        # A doubt at one level may be solved by the next: folders of sites hold those of patients.
        if pattern is not None:
            return pattern
    return None


def _propose_at(
    level: int, names: Sequence[Sequence[NamePart]], paths: Sequence[str], labels: Sequence[str]
) -> NamePattern | None:
    """Propose an expression for the names at one level; see `propose_pattern`."""
    place = _id_place([name[level] for name in names])
    if place is None:
        return None
    named, k = place
    expression = _expression([name[level] for name in names], level, k)
    groups = [_matching_text(expression, path) for path in paths]
    rests = [_rest(name, level, k) for name in names]
    if not _are_groups(groups, rests):
        return None
    counters = _changing_numbers(rests)
    order = _order(groups, rests, counters, begin_again=not named)
    counts = named or order >= LEAST_IN_ORDER
    if counts and not (named or _has_few_parts(groups, rests, counters)):
        return None
    if not (counts or _same_words(groups, rests, labels)):
        return None
    example = next(path for path, group in zip(paths, groups, strict=True) if group)
    return NamePattern(expression, tuple(groups), example, order if counts else None)


def _share(answers: Iterable[bool]) -> float:
    """Return the share of answers that are True."""
    values = list(answers)
    return sum(values) / len(values) if values else 0.0


def _matching_text(expression: str, path: str) -> str:
    """Return the name that an expression of `_expression` finds in a path; "" for none."""
    match = re.search(expression, path)
    return match[1] if match else ""


def _rest(name: Sequence[NamePart], level: int, k: int) -> Rest:
    """Return the fields after field k of the part at a level."""
    later = name[level + 1 :] if level < -1 else ()
    return (*name[level].fields[k + 1 :], *(field for part in later for field in part.fields))


def _levels(names: Sequence[Sequence[NamePart]], labels: Sequence[str]) -> Iterator[int]:
    """Yield the places of folders that are no classes or splits, the top one first; then -1.

    Places are counted from the end of the path, so that -1 is the file's name.
    """
    words = {*labels, *SPLIT_NAMES}
    for level in range(-min(map(len, names)), 0):
        if level == -1 or not words & {name[level].text for name in names}:
            yield level


def _id_place(parts: Sequence[NamePart]) -> tuple[bool, int] | None:
    """Return True if a word introduces the id, and the field that ends it; None without an id.

    Args:
        parts: the names of one level.
    """
    columns = [
        [part.fields[k] for part in parts if len(part.fields) > k]
        for k in range(max(len(part.fields) for part in parts))
    ]
    changing = []
    for k, column in enumerate(columns):
        with_number = [field for field in column if has_number(field)]
        usual = len(with_number) >= NEARLY_ALL_NAMES * len(parts)
        if usual and len(set(with_number)) >= LEAST_IDS:
            changing.append(k)
    named = [k for k in changing if _introduced(columns, k) & PATIENT_WORDS]
    # Later numbers are visits and slices, so only the first one is tried.
    for k in (named or changing)[:1]:
        dates = _share(map(is_date, columns[k]))
        if dates < MOST_IN_ONE and not _introduced(columns, k) & OTHER_WORDS:
            leads: dict[str, set[Rest]] = defaultdict(set)
            for part in parts:
                if len(part.fields) > k:
                    leads[part.fields[k]].add(part.fields[:k])
            if _share(len(texts) > 1 for texts in leads.values()) <= MOST_CLASHES:
                return bool(named), k
    return None


def _introduced(columns: Sequence[Sequence[str]], k: int) -> set[str]:
    """Return the words that introduce nearly all the numbers of a field."""
    own = Counter(map(letters_of, columns[k]))
    before = Counter(field.lower() for field in columns[k - 1]) if k else Counter[str]()
    # A word of an earlier field counts only if the number has none of its own.
    counts = own if own.most_common(1)[0][0] else before
    return {word for word, n in counts.items() if n >= NEARLY_ALL_NAMES * len(columns[k])}


def _expression(parts: Sequence[NamePart], level: int, k: int) -> str:
    """Return an expression whose group is the name at a level, up to its field k."""
    long = [part for part in parts if len(part.fields) > k]
    longer = [part for part in long if len(part.fields) > k + 1]
    # The few names of another form must not make the expression match anything.
    if len(longer) >= NEARLY_ALL_NAMES * len(long):
        long = longer
    pieces = []
    for number in range(k + 1):
        pieces.append(separator_pattern(part.separators[number] for part in long))
        pieces.append(field_pattern(part.fields[number] for part in long))
    after = ""
    if longer:
        separators = {part.separators[k + 1] for part in longer}
        same = len(longer) == len(long) and len(separators) == 1
        # A number that letters follow directly has no separator to end it.
        after = literal_pattern(separators.pop()) if same else "(?![A-Za-z0-9])"
        after += "[^/]*"
    return f"(?:^|/)({''.join(pieces)}){after}{'/[^/]*' * (-1 - level)}$"


def _are_groups(groups: Sequence[str], rests: Sequence[Rest]) -> bool:
    """Return True if ids make several groups of several different images."""
    sizes = Counter(filter(None, groups))
    n = sizes.total()
    if n < NEARLY_ALL_NAMES * len(groups) or len(sizes) < LEAST_IDS:
        return False
    if median(sizes.values()) < 2 or max(sizes.values()) > MOST_IN_ONE * n:
        return False
    pairs = {(group, rest) for group, rest in zip(groups, rests, strict=True) if group}
    edited = _share(any(letters_of(field) in EDIT_WORDS for field in rest) for rest in rests)
    return n - len(pairs) <= MOST_CLASHES * n and edited <= 1 - NEARLY_ALL_NAMES


def _changing_numbers(rests: Sequence[Rest]) -> list[list[int]]:
    """Return the places of the numbers in each rest that are not the same in all."""
    values: dict[int, set[str]] = defaultdict(set)
    for rest in rests:
        for k, field in enumerate(rest):
            values[k].add(field)
    return [
        [k for k, field in enumerate(rest) if has_number(field) and len(values[k]) > 1]
        for rest in rests
    ]


def _has_few_parts(
    groups: Sequence[str], rests: Sequence[Rest], counters: Sequence[Sequence[int]]
) -> bool:
    """Return True if the next number of the names, before the last one, is that of a visit.

    Args:
        groups: id of each image.
        rests: fields after the id.
        counters: places of the numbers that change in each rest.
    """
    values: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for group, rest, numbers in zip(groups, rests, counters, strict=True):
        for k in numbers[:-1]:
            values[k][group].add(rest[k])
    if not values:
        return True
    parts = values[min(values)]
    return sum(map(len, parts.values())) <= MOST_PARTS * len(parts)


def _order(
    groups: Sequence[str],
    rests: Sequence[Rest],
    counters: Sequence[Sequence[int]],
    begin_again: bool,
) -> float:
    """Return the share of images whose last numbers follow each other within their group.

    Args:
        groups: id of each image.
        rests: fields after the id.
        counters: places of the numbers that change in each rest; the last one counts.
        begin_again: the result is 0 if the numbers do not begin again in other groups.
    """
    series: dict[tuple[str, Rest], list[int]] = defaultdict(list)
    for group, rest, numbers in zip(groups, rests, counters, strict=True):
        if group and numbers:
            k = numbers[-1]
            words = (*rest[:k], letters_of(rest[k]), *rest[k + 1 :])
            series[group, words].append(int(re.findall(r"\d+", rest[k])[-1]))
    n = sum(map(bool, groups))
    values = {value for run in series.values() for value in run}
    if begin_again and len(values) > n / 2:
        return 0.0
    step = gcd(*(b - a for run in series.values() for a, b in pairwise(sorted(run)))) or 1
    runs = [run for run in series.values() if len(run) > 1]
    return sum(len(run) for run in runs if max(run) - min(run) == step * (len(run) - 1)) / n


def _same_words(groups: Sequence[str], rests: Sequence[Rest], labels: Sequence[str]) -> bool:
    """Return True if the same words follow most ids, and say nothing of the class."""
    n_groups = len(set(filter(None, groups)))
    counts = Counter(rests)
    frequent = {rest for rest, n in counts.items() if n >= n_groups / 2}
    classes: dict[Rest, set[str]] = defaultdict(set)
    for rest, label in zip(rests, labels, strict=True):
        classes[rest].add(label)
    # A name that the id ends is complete: the words of the others name its masks or edits.
    if () in frequent or not frequent:
        return False
    independent = len(set(labels)) == 1 or any(len(classes[rest]) > 1 for rest in frequent)
    return independent and _share(rest in frequent for rest in rests) >= LEAST_IN_ORDER
