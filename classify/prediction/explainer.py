"""The explainer: feature maps of new images to explanations of a model's answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelFileError, ParameterError
from ...extract.backbones.receptive_field import receptive_field
from ...extract.backbones.table import Backbone
from ...features.rows.pooling import pool
from ..runs.model_file import FittedHead
from ..trust.explanation.contributions import explain_map
from ..trust.explanation.explanation import Explanation


class Explainer:
    """A fitted head, ready to explain feature maps.

    Args:
        model: the fitted head.
        backbone: the backbone that computes the maps.
        class_name: the class to explain; None takes the predicted one of each image.

    Raises:
        ParameterError: the model has no such class.
        ModelFileError: the model has no background, as files of earlier versions.
    """

    def __init__(self, model: FittedHead, backbone: Backbone, class_name: str | None) -> None:
        if class_name is not None and class_name not in model.classes:
            raise ParameterError(
                f"class {class_name!r} is unknown to the model; it has {', '.join(model.classes)}"
            )
        if model.background is None:
            raise ModelFileError(
                f"model of run {model.run_id}: its file has no mean of the training images, and "
                "maps need it; an earlier version wrote the file; fit the head again"
            )
        # A small damage of the file may be left to here: only explanations need the mean.
        if model.background.mean.shape != backbone.layers[model.layer]:
            raise ModelFileError(
                f"model of run {model.run_id}: the mean of its training images is not of "
                f"{model.layer}; fit the head again"
            )
        self._model = model
        self._background = model.background
        self._number = None if class_name is None else model.classes.index(class_name)
        self._field = receptive_field(backbone, model.layer)

    def explain(self, maps: NDArray[np.float32]) -> list[Explanation]:
        """Explain feature maps of shape (n, height, width, channels).

        Raises:
            ModelFileError: probabilities or contributions are not finite.
        """
        features = pool(maps, self._model.pooling)
        proba = finite_probabilities_of(self._model, features)
        labels = self._model.head.calibration.decide(proba)
        return [
            self._explain(features, shares, int(label))
            for features, shares, label in zip(maps, proba, labels, strict=True)
        ]

    def _explain(
        self, features: NDArray[np.float32], shares: NDArray[np.float64], label: int
    ) -> Explanation:
        model = self._model
        number = label if self._number is None else self._number
        result = explain_map(
            model.head, model.layer, model.pooling, features, self._background.mean, number
        )
        if not np.isfinite(result.cells).all():
            raise _not_numbers(model, "contributions")
        return Explanation(
            path="",
            label=model.classes[label],
            class_name=model.classes[number],
            probability=float(shares[number]),
            logit=result.logit,
            base=result.base,
            contributions=result.cells,
            method=result.method,
            layer=model.layer,
            scale=self._background.scale,
            receptive_field=self._field.joined(result.side),
            features=pool(features[np.newaxis], model.pooling)[0],
            familiarity=model.familiarity(features[np.newaxis]),
        )


def finite_probabilities_of(
    model: FittedHead, features: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the probabilities of a model, of shape (n, n_classes).

    Raises:
        ModelFileError: one is not finite.
    """
    # One image at a time: the low bits of a matrix product depend on its number of rows, and an
    # image must get the same answer alone and among others.
    rows = [model.head.predict_proba(row) for row in features[:, np.newaxis]]
    proba = np.concatenate(rows)
    # Only a forged or damaged model computes such a share.
    if not np.isfinite(proba).all():
        raise _not_numbers(model, "probabilities")
    return proba


def _not_numbers(model: FittedHead, things: str) -> ModelFileError:
    return ModelFileError(
        f"model of run {model.run_id}: its {things} are not numbers; fit the head again"
    )
