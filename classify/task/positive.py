"""The positive class of two: the one that sensitivity is computed for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import ParameterError

_NEGATORS = frozenset(["no", "non", "not", "nil", "without", "wo", "un", "never"])
"""Words that negate the word after them: "no tumour", "not fractured"."""

_NEGATIVE_WORDS = """
absent absence asymptomatic background benign blank clean clear cn control controls ctl ctrl empty
false genuine good hc healthy intact nc neg negative negatives negation nofinding nofindings
none norm normal normals nothing notumor notumour null ok okay other others pass passed regular rest
safe stable typical unaffected undamaged unexposed unharmed uninfected uninjured unremarkable
untreated well wildtype wt 0 00
"""
NEGATIVE_WORDS = frozenset(_NEGATIVE_WORDS.split())
"""Words that name what is found where nothing is wrong; ADNI's CN and NC are normal controls."""

_ABSENCES = ("free", "less")
"""Last words that negate those before them: "tumour free"."""

_AFFIRMATIVE_WORDS = frozenset(["abnormal", "atypical", "irregular"])
"""Negations of negative words that are written as one word."""

_NO_NEGATIONS = frozenset(["nonsense"])
"""Words that begin like a negation and are none."""

_BORDERS = re.compile(
    # fooBar, FOOBar, foo12, 12foo
    r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)


def choose_positive(classes: Sequence[str], option: str | None = None) -> tuple[str | None, str]:
    """Choose the positive class: the requested one, else by the names, else the last by alphabet.

    Args:
        classes: names of the classes.
        option: the requested class, if any.

    Returns:
        The class, and what chose it: "option", "name" or "alphabet". None and "" if there are not
        two classes.

    Raises:
        ParameterError: the requested class does not exist, or there are more than two classes.

    Examples:
        >>> choose_positive(["brain_tumor", "no_tumor"]), choose_positive(["cat", "dog"])
        (('brain_tumor', 'name'), ('dog', 'alphabet'))
    """
    if option is not None and option not in classes:
        raise ParameterError(f"positive must be one of {', '.join(classes)}, got {option!r}")
    if len(classes) != 2:
        if option is not None:
            raise ParameterError(
                f"positive is for two classes, but there are {len(classes)}; leave it out"
            )
        return None, ""
    if option is not None:
        return option, "option"
    named = named_positive(classes)
    return (named, "name") if named else (max(classes), "alphabet")


def named_positive(classes: Sequence[str]) -> str | None:
    """Return the class of two whose opposite is a negation by its name; None if no name says it.

    A name is a negation if it has a negating word ("no", "without", ...) or prefix (NonDemented),
    or a word for what is well ("healthy", "benign", ...). Where such a word is negated itself, the
    name is an affirmation ("unhealthy", "not normal"). Words that both names share do not count.

    Examples:
        >>> named_positive(["CT_NonCOVID", "CT_COVID"]), named_positive(["healthy", "unhealthy"])
        ('CT_COVID', 'unhealthy')
        >>> named_positive(["nodule", "uniform"]) is None
        True
    """
    first, second = _without_shared(*map(_words, classes))
    signs = (_sign(first, second), _sign(second, first))
    if signs[0] == signs[1]:
        return None
    return classes[0] if signs[0] > signs[1] else classes[1]


def _words(name: str) -> list[str]:
    """Split a name into words, in small letters: "CT_NonCOVID" has ct, non and covid."""
    # HER2+ and HER2-
    text = re.sub(r"\+$", " positive", re.sub(r"-$", " negative", name))
    return re.findall(r"[^\W_]+", _BORDERS.sub(" ", text).lower())


def _without_shared(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Leave out words that both names begin or end with; each name keeps one word."""
    while min(len(first), len(second)) > 1 and first[0] == second[0]:
        first, second = first[1:], second[1:]
    while min(len(first), len(second)) > 1 and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    return first, second


def _sign(words: Sequence[str], opposite: Sequence[str]) -> int:
    """Return -1 for a name that is a negation, 1 for the negation of one, else 0."""
    if len(words) > 1 and words[-1] in _ABSENCES:
        return -1
    parts = [part for word in words for part in _split_prefix(word, opposite)]
    sign = 0
    negated = False
    for place, part in enumerate(parts):
        if part in _NEGATORS:
            # A negated negative word says nothing until that word is seen.
            if parts[place + 1 : place + 2] and parts[place + 1] in NEGATIVE_WORDS:
                sign = sign or 1
            else:
                sign = -1
        elif part in NEGATIVE_WORDS and not negated:
            sign = -1
        elif part in _AFFIRMATIVE_WORDS:
            sign = sign or 1
        negated = part in _NEGATORS
    return sign


def _split_prefix(word: str, opposite: Sequence[str]) -> list[str]:
    """Split a negating prefix off: "nontumor" has non and tumor; "nodule" is one word.

    Short prefixes begin many words. They count only before a word of the opposite name, or before
    a negative word.
    """
    if word in NEGATIVE_WORDS or word in _NO_NEGATIONS:
        return [word]
    for prefix in ("without", "non", "not", "no", "un"):
        rest = word.removeprefix(prefix)
        sure = prefix in ("without", "non") and len(rest) > 2
        if rest and rest != word and (sure or rest in opposite or rest in NEGATIVE_WORDS):
            return [prefix, rest]
    for ending in _ABSENCES:
        if word.removesuffix(ending) in opposite and word not in opposite:
            return ["no", word.removesuffix(ending)]
    return [word]
