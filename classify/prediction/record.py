"""A prediction as JSON has it: on the command line, in the answers of the server, on its page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .prediction import Prediction


def prediction_record(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a JSON object; only an unreadable image has an error.

    The numbers are unrounded: JSON keeps every digit of a float. `known` is None if the image was
    not looked up among the training images, `familiar` if it is not known how far it is from them.
    Only a file of several frames has their number; the first one is predicted.

    Examples:
        >>> record = prediction_record(Prediction("scan.png", "lesion", {"lesion": 1.0}))
        >>> record["label"], record["probabilities"], record["known"]
        ('lesion', {'lesion': 1.0}, None)
    """
    copy = prediction.training_copy
    familiarity = prediction.familiarity
    record: dict[str, Any] = {
        "path": prediction.path,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "known": asdict(copy) if copy else None,
        "familiar": familiarity.familiar if familiarity else None,
        "distance_percentile": familiarity.percentile if familiarity else None,
    }
    if prediction.frames > 1:
        record["frames"] = prediction.frames
    if prediction.error:
        record["error"] = prediction.error
    return record
