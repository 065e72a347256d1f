"""Reasons to doubt an answer about an image: as JSON has them, and in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .familiarity import LIMIT, Familiarity
from .training_lookup import COPY_WARNING, TrainingCopy


def doubts_record(copy: TrainingCopy | None, familiarity: Familiarity | None) -> dict[str, Any]:
    """Return the guards' answers about an image as a JSON object.

    Args:
        copy: the training image that the image is a copy of; None if it was not looked up.
        familiarity: how like the training images the image is; None if that is not known.

    Examples:
        >>> doubts_record(None, Familiarity(99.5))
        {'known': None, 'familiar': False, 'distance_percentile': 99.5}
    """
    return {
        "known": asdict(copy) if copy else None,
        "familiar": familiarity.familiar if familiarity else None,
        "distance_percentile": familiarity.percentile if familiarity else None,
    }


def doubts(copy: TrainingCopy | None, familiarity: Familiarity | None) -> list[str]:
    """Return the reasons not to believe an answer about an image, a sentence each.

    Examples:
        >>> doubts(TrainingCopy(), None)
        []
    """
    reasons = []
    if copy is not None and copy.is_copy:
        reasons.append(f"{COPY_WARNING} ({copy})")
    if familiarity is not None and not familiarity.familiar:
        reasons.append(
            "this image is unlike the training images: its features are farther from theirs than "
            f"those of {LIMIT:.0f} % of them; its answer means nothing"
        )
    return reasons
