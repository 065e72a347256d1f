"""A prediction as JSON has it: on the command line, in the answers of the server, on its page."""

from __future__ import annotations

from typing import Any

from ..trust.guards.doubts import doubts_record
from .prediction import Prediction


def prediction_record(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a JSON object; only an unreadable image has an error.

    The numbers are unrounded: JSON keeps every digit of a float. `known` is None if the image was
    not looked up among the training images, `familiar` if it is not known how far it is from them.
    `cannot_say` is True if `prediction_set`, the classes that the image may be of, is not the label
    alone; both are None if the head has no error rate. Only a file of several frames has their
    number; the first one is predicted.

    Examples:
        >>> record = prediction_record(Prediction("scan.png", "lesion", {"lesion": 1.0}))
        >>> record["label"], record["probabilities"], record["known"]
        ('lesion', {'lesion': 1.0}, None)
    """
    possible = prediction.prediction_set
    record: dict[str, Any] = {
        "path": prediction.path,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "cannot_say": prediction.cannot_say,
        "prediction_set": None if possible is None else list(possible),
        **doubts_record(prediction.training_copy, prediction.familiarity),
    }
    if prediction.frames > 1:
        record["frames"] = prediction.frames
    if prediction.error:
        record["error"] = prediction.error
    return record
