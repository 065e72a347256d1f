"""Evidence for ids in file names: numbers that count within each id, and words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import gcd
from statistics import median

from .name_fields import EDIT_WORDS, SLICE_WORDS, has_number, is_date, letters_of

LEAST_IN_ORDER = 0.7
"""Least share of the images whose numbers follow each other within a group."""

MOST_IN_ONE = 0.5
"""Largest share of the images in one group."""

MOST_PARTS = 4
"""Largest mean number of parts in which the next number cuts a group.

A patient has few visits or sequences; a site has many patients."""

LEAST_IDS = 5
"""Least number of groups: fewer may be scanners, years or parts of a download."""

NEARLY_ALL_NAMES = 0.9
"""Least share of the images whose names have the form of the others."""

MOST_CLASHES = 0.01
"""Largest share of images that have the id and the rest of another image."""

Rest = tuple[str, ...]
"""Fields of a path that come after the id."""


def share(answers: Iterable[bool]) -> float:
    """Return the share of answers that are True."""
    values = list(answers)
    return sum(values) / len(values) if values else 0.0


def word_of_slices(rests: Sequence[Rest], counters: Sequence[Sequence[int]]) -> str:
    """Return the word that introduces nearly all of the last numbers, if it names slices."""
    words = Counter[str]()
    for rest, numbers in zip(rests, counters, strict=True):
        if numbers:
            k = numbers[-1]
            words[letters_of(rest[k]) or (rest[k - 1].lower() if k else "")] += 1
    word, n = words.most_common(1)[0] if words else ("", 0)
    return word if word in SLICE_WORDS and n >= NEARLY_ALL_NAMES * len(rests) else ""


def are_groups(groups: Sequence[str], rests: Sequence[Rest], n_images: Sequence[int]) -> bool:
    """Return True if ids make several groups of several different images.

    Args:
        groups: id of each file.
        rests: fields after the id.
        n_images: number of images of each file.
    """
    sizes = Counter[str]()
    for group, images in zip(groups, n_images, strict=True):
        sizes[group] += images
    unnamed = sizes.pop("", 0)
    total = sizes.total()
    if total < NEARLY_ALL_NAMES * (total + unnamed) or len(sizes) < LEAST_IDS:
        return False
    if median(sizes.values()) < 2 or max(sizes.values()) > MOST_IN_ONE * total:
        return False
    n = sum(map(bool, groups))
    pairs = {(group, rest) for group, rest in zip(groups, rests, strict=True) if group}
    edited = share(any(letters_of(field) in EDIT_WORDS for field in rest) for rest in rests)
    return n - len(pairs) <= MOST_CLASHES * n and edited <= 1 - NEARLY_ALL_NAMES


def changing_numbers(rests: Sequence[Rest]) -> list[list[int]]:
    """Return the places of the numbers in each rest that are not the same in all."""
    values: dict[int, set[str]] = defaultdict(set)
    for rest in rests:
        for k, field in enumerate(rest):
            values[k].add(field)
    return [
        [k for k, field in enumerate(rest) if has_number(field) and len(values[k]) > 1]
        for rest in rests
    ]


def has_few_parts(
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
    n_parts = sum(map(len, parts.values()))
    owners = Counter(value for texts in parts.values() for value in texts)
    # The second number of "002_S_0295" is that of a patient, and the first one that of a site.
    begin_again = any(n > 1 for n in owners.values()) or all(map(is_date, owners))
    return n_parts <= MOST_PARTS * len(parts) and (n_parts == len(parts) or begin_again)


def order_share(
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


def same_words(groups: Sequence[str], rests: Sequence[Rest], labels: Sequence[str]) -> bool:
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
    return independent and share(rest in frequent for rest in rests) >= LEAST_IN_ORDER
