"""A prediction as JSON has it: on the command line, in the answers of the server, on its page."""

from __future__ import annotations

from typing import Any

from .prediction import Prediction


def prediction_record(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as a JSON object; only an unreadable image has an error.

    The numbers are unrounded: JSON keeps every digit of a float.

    Examples:
        >>> prediction_record(Prediction("scan.png", "lesion", {"lesion": 0.75, "none": 0.25}))
        {'path': 'scan.png', 'label': 'lesion', 'probabilities': {'lesion': 0.75, 'none': 0.25}}
    """
    record: dict[str, Any] = {
        "path": prediction.path,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
    }
    return record | {"error": prediction.error} if prediction.error else record
