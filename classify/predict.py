"""Predicting the class of image files with a fitted head."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelFileError, ParameterError
from ..extract.backbones.table import find_backbone
from ..extract.backbones.weights import made_with
from ..extract.filling import make_engine
from ..extract.pipeline import Engine, Source, run
from ..extract.settings import Settings
from ..features.pooling import pool
from .runs.model_file import FittedHead


@dataclass(frozen=True)
class Prediction:
    """What a head says of one image.

    Attributes:
        path: the image file, as given.
        label: the likeliest class, or what the head's threshold says; "" if the image could not be
            read.
        probabilities: of each class, by name.
        error: why the image could not be read; "" if it could.
    """

    path: str
    label: str
    probabilities: dict[str, float]
    error: str = ""


def predict_images(
    model: FittedHead, paths: Sequence[str | os.PathLike[str]], *, weights: str = "imagenet"
) -> list[Prediction]:
    """Predict images, through the very backbone and preprocessing that the head was fitted behind.

    Args:
        model: from `freezeframe.classify.runs.model_file.load_model`.
        paths: image files; unreadable ones get a prediction with `error` set.
        weights: where to take the backbone's weights from, as for `Settings`; ignored for a random
            backbone.

    Raises:
        ModelFileError: the model names a backbone, layer or resizing that is not known here.
        WeightsError: the weights are not those that the head was fitted behind.

    Examples:
        >>> model = load_model("runs/20261123-101500-logreg-5f3a1c/model.safetensors")  # doctest: +SKIP
        >>> predict_images(model, ["scan.png"])[0].label                                # doctest: +SKIP
        'lesion'
    """
    settings = _settings(model, weights)
    found: dict[int, Prediction] = {}
    sources = []
    for number, path in enumerate(paths):
        if Path(path).is_file():
            sources.append(Source(number, Path(path)))
        else:
            found[number] = Prediction(os.fspath(path), "", {}, "no such file")
    if not sources:
        return list(found.values())  # at once, without a backbone
    engine = _engine(model, settings)
    for batch in run(engine, sources, find_backbone(settings.backbone).input_size, settings.resize):
        for row, reason in batch.failed + batch.unread:
            found[row] = Prediction(os.fspath(paths[row]), "", {}, reason)
        if batch.rows:
            proba = model.head.predict_proba(pool(batch.features[model.layer], model.pooling))
            decided = model.head.calibration.decide(proba)
            for row, p, number in zip(batch.rows, proba.tolist(), decided.tolist(), strict=True):
                probabilities = dict(zip(model.classes, p, strict=True))
                found[row] = Prediction(os.fspath(paths[row]), model.classes[number], probabilities)
    return [found[row] for row in range(len(paths))]


def _settings(model: FittedHead, weights: str) -> Settings:
    made = model.provenance
    try:
        return Settings(
            layers=(model.layer,),
            backbone=made["backbone"],
            weights="random" if str(made["weights_source"]).startswith("random") else weights,
            seed=made["weights_seed"],
            resize=made["resize"],
            engine=made["engine"],
            precision=made["precision"],
            batch_size=made["batch_size"],
        ).resolved()
    except (KeyError, TypeError, AttributeError, ParameterError) as error:
        raise ModelFileError(
            f"model of run {model.run_id}: its provenance is of no use here ({error})"
        ) from None


def _engine(model: FittedHead, settings: Settings) -> Engine:
    return make_engine(settings, made_with(model.provenance, settings.weights), settings.layers)
