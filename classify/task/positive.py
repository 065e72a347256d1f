"""The positive class of two: the one that sensitivity is computed for."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NEGATIVE_WORDS = """
absent benign control controls false healthy neg negative no non none normal not notumor notumour
without 0
"""
NEGATIONS = frozenset(_NEGATIVE_WORDS.split())
"""First words of the names of negative classes."""


def guess_positive(classes: Sequence[str]) -> str:
    """Guess the positive class: the one whose name is not a negation, else the last by name.

    Examples:
        >>> guess_positive(["brain_tumor", "no_tumor"]), guess_positive(["clear", "nodule"])
        ('brain_tumor', 'nodule')
    """
    affirmative = [
        name for name in classes if re.split(r"[\W_]+", name.lower())[0] not in NEGATIONS
    ]
    return affirmative[0] if len(affirmative) == 1 else max(classes)
