"""The positive class of two: the one that sensitivity is computed for."""

from __future__ import annotations

import re
from collections.abc import Sequence

NEGATIONS = frozenset(
    {
        "no",
        "non",
        "not",
        "none",
        "normal",
        "healthy",
        "control",
        "controls",
        "negative",
        "neg",
        "without",
        "absent",
    }
    | {"benign", "false", "0", "notumor", "notumour"}
)
"""A class whose name's first word is one of these is taken for the negative class of two."""


def guess_positive(classes: Sequence[str]) -> str:
    """Which of two classes a sensitivity speaks of: the one whose name is not a negation, else the last by name.

    Examples:
        >>> guess_positive(["brain_tumor", "no_tumor"]), guess_positive(["clear", "nodule"])
        ('brain_tumor', 'nodule')
    """
    affirmative = [
        name for name in classes if re.split(r"[\W_]+", name.lower())[0] not in NEGATIONS
    ]
    return affirmative[0] if len(affirmative) == 1 else max(classes)
