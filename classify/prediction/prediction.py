"""The prediction of one image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..trust.guards.familiarity import Familiarity
from ..trust.guards.training_lookup import TrainingCopy


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of one image.

    Attributes:
        path: path of the image file, as passed; "" for bytes and arrays.
        label: the likeliest class, or the one that the head's threshold decides for; "" if the
            image could not be read.
        probabilities: probability of each class, by name.
        error: why the image could not be read; "" if it could.
        features: float32 of shape (n_features,), pooled, as the head takes them; None if the image
            could not be read.
        fingerprint: SHA-256 of the decoded image's size and pixels, in hexadecimal digits, as in a
            feature store: copies saved without loss share it. "" if the image could not be read.
        frames: number of frames in the file, of which the first is predicted.
        familiarity: how like the training images the image is; None if that is not known.
        training_copy: the training image that the image is a copy of, if there is one; None if it
            was not looked up.
        prediction_set: names of the classes that the image may be of, by the head's error rate;
            None if the head claims none.
    """

    path: str
    label: str
    probabilities: dict[str, float]
    error: str = ""
    features: NDArray[np.float32] | None = field(default=None, repr=False)
    fingerprint: str = ""
    frames: int = 1
    familiarity: Familiarity | None = None
    training_copy: TrainingCopy | None = None
    prediction_set: tuple[str, ...] | None = None

    @property
    def cannot_say(self) -> bool | None:
        """True if the label alone is not the set, so that it may be another; None if unknown."""
        return None if self.prediction_set is None else self.prediction_set != (self.label,)
