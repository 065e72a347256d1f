"""A regular expression for `--group-regex`, proposed where file names look like patients' ids."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..splits import SPLIT_NAMES
from .name_evidence import (
    LEAST_IDS,
    LEAST_IN_ORDER,
    MOST_CLASHES,
    MOST_IN_ONE,
    NEARLY_ALL_NAMES,
    Rest,
    are_groups,
    changing_numbers,
    has_few_parts,
    order_share,
    same_words,
    share,
    word_of_slices,
)
from .name_fields import (
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

_SLICE = re.compile(r"#((coronal-|sagittal-)?\d+|series)$")


@dataclass(frozen=True)
class NamePattern:
    """A regular expression that may find the patient in each path, with its evidence.

    Attributes:
        expression: text for `--group-regex`.
        groups: name that the expression finds in each path; "" where it does not match.
        example: one of the paths that match.
        in_order: share of the images whose numbers follow each other within their group; None if
            something else is the evidence.
        word: word before each number that names patients, or slices after the id; "" for none.
    """

    expression: str
    groups: tuple[str, ...]
    example: str
    in_order: float | None
    word: str = ""

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
      A word such as `slice` before the last number is evidence enough, too;
    - no two images have one id and one rest, as two patients with one number would;
    - the text before the number is the same whenever the number is: `t1_012` and `t2_012` may be
      one patient or two;
    - the next number, if more follow, makes few parts: visits or sequences, which begin again in
      other ids, and not the patients of a site;
    - it is no date, and no word means a batch, a class, or an edited copy.

    Args:
        paths: paths of the images, with "/" between parts. Slices of one volume count as one
            image, since their own numbers say nothing about its name.
        labels: class of each image.

    Examples:
        >>> slices = [f"p{p:02}_z{z:02}.png" for p in range(1, 7) for z in range(9)]
        >>> propose_pattern(slices, ["a"] * 54).expression
        '(?:^|/)(p\\d+)_[^/]*$'
        >>> propose_pattern([f"Cancer ({n}).jpg" for n in range(60)], ["a"] * 60)
    """
    # The first slice of each volume, and its label.
    files = {_SLICE.sub("", path): label for path, label in zip(paths, labels, strict=True)}
    sizes = Counter(_SLICE.sub("", path) for path in paths)
    names = [read_parts(path, glued=False) for path in files]
    # Names without separators, such as "p03z07", are cut between a digit and a letter.
    if share(len(name[-1].fields) == 1 for name in names) >= NEARLY_ALL_NAMES:
        names = [read_parts(path, glued=True) for path in files]
    for level in _levels(names, [*files.values()]):
        pattern = _propose_at(level, names, files, sizes)
        # A doubt at one level may be solved by the next: folders of sites hold those of patients.
        if pattern is not None:
            groups = tuple(_matching_text(pattern.expression, path) for path in paths)
            return replace(pattern, groups=groups)
    return None


def _propose_at(
    level: int,
    names: Sequence[Sequence[NamePart]],
    files: Mapping[str, str],
    sizes: Mapping[str, int],
) -> NamePattern | None:
    """Propose an expression for the names at one level; see `propose_pattern`.

    Args:
        level: place of the part of each name, from its end.
        names: the parts of each file's path.
        files: label of each file, by path.
        sizes: number of images of each file, by path.
    """
    place = _id_place([name[level] for name in names])
    if place is None:
        return None
    named, k = place
    expression = _expression([name[level] for name in names], level, k)
    groups = [_matching_text(expression, path) for path in files]
    rests = [_rest(name, level, k) for name in names]
    # One volume a name says as little as one picture, unless a word says what the number is.
    n_images = [sizes[path] if named else 1 for path in files]
    if not are_groups(groups, rests, n_images):
        return None
    counters = changing_numbers(rests)
    order = order_share(groups, rests, counters, begin_again=not named)
    in_order = order if order >= LEAST_IN_ORDER else None
    # A word that names slices says that the number before it is none.
    word = named or word_of_slices(rests, counters)
    counts = bool(word) or in_order is not None
    if counts and not (named or has_few_parts(groups, rests, counters)):
        return None
    if not (counts or same_words(groups, rests, [*files.values()])):
        return None
    example = next(path for path, group in zip(files, groups, strict=True) if group)
    return NamePattern(expression, (), example, in_order, word)


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


def _id_place(parts: Sequence[NamePart]) -> tuple[str, int] | None:
    """Return the word that introduces the id, and the field that ends it; None without an id.

    The word is "" if it says nothing about patients.

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
        dates = share(map(is_date, columns[k]))
        if dates < MOST_IN_ONE and not _introduced(columns, k) & OTHER_WORDS:
            leads: dict[str, set[Rest]] = defaultdict(set)
            for part in parts:
                if len(part.fields) > k:
                    # "yes3" and "no3" have one number, as "yes_3" and "no_3" do.
                    letters = letters_of(part.fields[k])
                    number = part.fields[k][len(letters) :]
                    leads[number].add((*part.fields[:k], letters))
            if share(len(texts) > 1 for texts in leads.values()) <= MOST_CLASHES:
                words = sorted(_introduced(columns, k) & PATIENT_WORDS)
                return (words[0] if words else ""), k
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
    elif level == -1:
        # The ending of the file, and the number of a slice.
        after = r"\.[^/]*"
    return f"(?:^|/)({''.join(pieces)}){after}{'/[^/]*' * (-1 - level)}$"
