"""The settings by which the features of a model's training images were computed."""

from __future__ import annotations

from dataclasses import replace

from ...errors import ModelFileError, ParameterError
from ...extract.settings import Settings
from ..runs.model_file import FittedHead


def model_settings(model: FittedHead, weights: str, engine: str) -> Settings:
    """Return the settings by which the features of a head's training images were computed.

    Args:
        model: the fitted head.
        weights: source of the weights.
        engine: engine that computes instead; "auto" takes that of the training images.
    """
    provenance = model.provenance
    try:
        random = str(provenance["weights_source"]).startswith("random")
        settings = Settings(
            layers=(model.layer,),
            backbone=provenance["backbone"],
            weights="random" if random else weights,
            seed=provenance["weights_seed"],
            resize=provenance["resize"],
            # Another engine or batch size would change the low bits of the features.
            engine=provenance["engine"],
            precision=provenance["precision"],
            batch_size=provenance["batch_size"],
        )
    except (KeyError, TypeError, AttributeError, ParameterError) as error:
        raise ModelFileError(
            f"model of run {model.run_id}: its provenance is damaged or unknown here ({error}); "
            "fit the head again"
        ) from None
    if engine not in ("auto", settings.engine):
        # Precision and batch size are settings of Keras alone.
        precision = settings.precision if engine == "keras" else "float32"
        settings = replace(settings, engine=engine, precision=precision, batch_size=None)
    return settings.resolved()
