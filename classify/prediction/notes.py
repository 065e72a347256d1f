"""Marks and notes on answers not to believe, in words."""

from __future__ import annotations

from collections.abc import Sequence

from ...data.output.terminal import counted
from ..trust.explanation.explanation import Explanation
from ..trust.guards.familiarity import LIMIT, NOT_KNOWN
from ..trust.guards.training_lookup import COPY_WARNING
from .prediction import Prediction

MOST_COPIES = 10
"""Most copies of training images that are named one by one."""


def answer_marks(answer: Prediction | Explanation) -> str:
    """Return the reasons not to believe an answer, in few words; "" if there are none."""
    reasons = {"copy of a training image": is_copy, "unlike the training images": is_unfamiliar}
    return ", ".join(mark for mark, holds in reasons.items() if holds(answer))


CANNOT_SAY = "cannot say"


def set_text(prediction: Prediction) -> str:
    """Write the classes that an image without an answer may be of; "" for an image with one."""
    if not prediction.cannot_say:
        return ""
    return " or ".join(prediction.prediction_set or ()) or "no class is likely enough"


def set_notes(predictions: Sequence[Prediction], error_rate: float | None) -> list[str]:
    """Return the line on images without an answer, and on how often the other answers are wrong.

    Args:
        predictions: of readable images.
        error_rate: that of the head; None if it claims none.
    """
    n = sum(prediction.cannot_say is True for prediction in predictions)
    if error_rate is None or not predictions:
        return []
    return [
        f"{CANNOT_SAY}: {n} of {counted(len(predictions), 'image')}; of images like the training "
        f"images, at most {100 * error_rate:g} % get a wrong answer"
    ]


def is_copy(answer: Prediction | Explanation) -> bool:
    """Return True if a copy of the image was trained on."""
    return answer.training_copy is not None and answer.training_copy.is_copy


def is_unfamiliar(answer: Prediction | Explanation) -> bool:
    """Return True if the image is unlike the training images."""
    return answer.familiarity is not None and not answer.familiarity.familiar


def answer_notes(
    answers: Sequence[Prediction] | Sequence[Explanation], hidden: str = ""
) -> list[str]:
    """Return lines on copies, on images unlike the training images, or that this is not known.

    Args:
        answers: answers about readable images.
        hidden: what is not shown of an image unlike the training images, and how to see it.
    """
    copies = [answer for answer in answers if is_copy(answer)]
    lines = [
        f"{answer.path}: {COPY_WARNING} ({answer.training_copy})" for answer in copies[:MOST_COPIES]
    ]
    if len(copies) > MOST_COPIES:
        lines.append(f"and {len(copies) - MOST_COPIES} more copies of training images")
    n = sum(map(is_unfamiliar, answers))
    if any(answer.familiarity is None for answer in answers):
        lines.append(NOT_KNOWN)
    elif n:
        lines.append(
            f"{n} of {len(answers)} images {'is' if n == 1 else 'are'} unlike the training images: "
            f"the features are farther from theirs than those of {LIMIT:.0f} % of them{hidden}"
        )
    return lines
