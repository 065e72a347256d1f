"""Model files: a fitted head in one safetensors file, arrays and text only, never pickle."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.capacity import memory_bytes
from ...errors import FreezeframeError, ModelFileError
from ...extract.backbones.table import find_backbone
from ...features.rows.pooling import pool
from ..heads.base import Head
from ..heads.calibration import Calibration
from ..heads.conformal import HELD_OUT, OUT_OF_FOLD, Conformal
from ..heads.table import find_head, make_head
from ..trust.explanation.background import Background, restore_background
from ..trust.guards.familiarity import Familiarity, FeatureDistribution, grid_side, guard_features
from .array_file import (
    DAMAGE,
    StoredArray,
    content_digest,
    in_section,
    of_section,
    one_line,
    read_header,
)

MODEL_FORMAT = "freezeframe-model"
MODEL_FORMAT_VERSION = 4
BACKGROUND = "background"
"""Name of the field and of the section of the file that explanations need."""

READABLE_VERSIONS = ("1", "2", "3", "4")
"""Version 1 has neither a calibration nor scores; the digest of 1 and 2 leaves the version out.

Version 4 has optional fields; their arrays are in sections of their own, named `section:name`.
"""

CONFORMAL = "conformal"
"""Optional field: the rule of "cannot say". Files without it claim nothing."""

DISTRIBUTION = "distribution"
"""Section of the arrays of `FeatureDistribution`."""


@dataclass(frozen=True)
class FittedHead:
    """A fitted head with everything that it needs to predict from images.

    Attributes:
        head: the classifier; its class numbers index `classes`.
        classes: names of the classes.
        layer: the layer whose features it takes.
        pooling: pooling of the features: "flat", "avg" or "max".
        provenance: provenance of the store that it was fitted on.
        training_fingerprint: fingerprint of that store.
        run_id: the run that fitted it.
        scores: its scores on each test set, by column of the leaderboard.
        training_images: digest of the file of its training images, see `TrainingImagesFile`; ""
            before version 4.
        background: mean and scale that explanations need; None in files before version 4.
        distribution: distribution of the training features; None before version 4, for networks on
            pixels, and with too few training images.
    """

    head: Head
    classes: tuple[str, ...]
    layer: str
    pooling: str
    provenance: dict[str, Any]
    training_fingerprint: str
    run_id: str
    scores: list[dict[str, Any]] = field(default_factory=list)
    training_images: str = ""
    background: Background | None = None
    distribution: FeatureDistribution | None = None

    def prediction_set(self, proba: NDArray[np.float64]) -> tuple[str, ...] | None:
        """Return the names of the classes that an image may be of, by the rule of "cannot say".

        Args:
            proba: probabilities of the image, of shape (1, n_classes).

        Returns:
            None if the head has no rule.
        """
        sets = self.head.conformal.sets(proba) if self.head.conformal else None
        if sets is None:
            return None
        return tuple(name for name, member in zip(self.classes, sets[0], strict=True) if member)

    def familiarity(self, maps: NDArray[np.float32]) -> Familiarity | None:
        """Return how like the training images an image is; None if that is not known.

        Args:
            maps: the layer's features of the image, of shape (1, height, width, channels).
        """
        if self.distribution is None:
            return None
        return self.distribution.familiarity(guard_features(maps)[0])


def save_model(path: str | os.PathLike[str], model: FittedHead) -> None:
    """Write a fitted head to a new file, with a digest that reveals a change of any byte.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    from safetensors.numpy import save

    head = model.head
    own = dict(head.arrays)
    if model.background is not None:
        own |= in_section(BACKGROUND, model.background.arrays)
    if model.distribution is not None:
        own |= in_section(DISTRIBUTION, model.distribution.arrays)
    arrays = {name: np.ascontiguousarray(array) for name, array in own.items()}
    # All fields but objects can be written as JSON; `asdict` would copy the head.
    objects = ("head", BACKGROUND, DISTRIBUTION)
    plain = [item.name for item in fields(model) if item.name not in objects]
    text = {name: getattr(model, name) for name in plain}
    text |= {
        BACKGROUND: None if model.background is None else model.background.about,
        "head": head.name,
        "parameters": head.parameters,
        "calibration": asdict(head.calibration),
        CONFORMAL: None if head.conformal is None else asdict(head.conformal),
    }
    about = json.dumps(text, sort_keys=True)
    metadata = {
        "format": MODEL_FORMAT,
        "format_version": str(MODEL_FORMAT_VERSION),
        "about": about,
        "digest": _digest(str(MODEL_FORMAT_VERSION), about, arrays),
    }
    # "x": a model that exists is never overwritten.
    with Path(path).open("xb") as file:
        file.write(save(arrays, metadata))


def load_model(path: str | os.PathLike[str]) -> FittedHead:
    """Read a model file; nothing in it is executed, and no size in it is trusted.

    Raises:
        ModelFileError: the file is missing, is no model file, or was changed since it was written.
        MissingExtraError: the head's library is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such model file; fit-classifier writes runs/<run id>/model.safetensors"
        )
    try:
        stored, metadata = read_header(path)
    # Safetensors reports damage by exceptions of several kinds.
    except Exception as error:
        raise ModelFileError(
            f"{path}: not a model file of freezeframe ({one_line(error)}); "
            "give runs/<run id>/model.safetensors"
        ) from None
    # Nothing of the arrays is in memory yet: a small sparse file can claim to hold gigabytes.
    _check_metadata(path, stored, metadata)
    # The digest only proves that nothing changed, not that the content is sound.
    try:
        about = json.loads(metadata["about"])
        kind = find_head(about["head"])
    except (FreezeframeError, *DAMAGE) as error:
        raise _damage_error(path, error) from None
    if kind.judges:
        raise ModelFileError(
            f"{path}: {kind.name} is a control that judges the {kind.judges} of images and no "
            "features; give the run of another head"
        )
    # A missing library is no damage of the file.
    kind.check_library()
    try:
        arrays = {name: array.read() for name, array in stored.items()}
        return _restore_head(arrays, about)
    except (FreezeframeError, *DAMAGE) as error:
        raise _damage_error(path, error) from None


def _check_metadata(
    path: Path, arrays: Mapping[str, StoredArray], metadata: Mapping[str, str]
) -> None:
    """Raise ModelFileError if a file has another format or version, or was changed."""
    if metadata.get("format") != MODEL_FORMAT:
        raise ModelFileError(
            f"{path}: not a model file of freezeframe; give runs/<run id>/model.safetensors"
        )
    version = metadata.get("format_version")
    if version not in READABLE_VERSIONS:
        raise ModelFileError(
            f"{path}: format version {version!r} is unknown to this freezeframe; update it"
        )
    n_bytes = sum(array.n_bytes for array in arrays.values())
    if n_bytes > (memory := memory_bytes()):
        raise ModelFileError(
            f"{path}: its arrays would take {n_bytes / 1e9:.0f} GB, this machine has "
            f"{memory / 1e9:.0f} GB of memory; take a larger machine or another model"
        )
    if metadata.get("digest") != _digest(version, metadata.get("about", ""), arrays):
        raise ModelFileError(
            f"{path}: changed since it was written, its digest does not match; fit the head again"
        )


def _damage_error(path: Path, error: BaseException) -> ModelFileError:
    return ModelFileError(f"{path}: damaged ({one_line(error)}); fit the head again")


def _restore_head(arrays: Mapping[str, NDArray[Any]], about: dict[str, Any]) -> FittedHead:
    """Build a fitted head from a file's content, and predict with it once.

    Raises:
        FreezeframeError: a name or a hyper-parameter is unknown.
        ValueError: the content does not fit together; so do other kinds in `DAMAGE`.
    """
    head = make_head(about["head"], **about["parameters"])
    head.restore(of_section("", arrays))
    head.calibration = _calibration(about.get("calibration"), len(about["classes"]))
    head.conformal = _conformal(about.get(CONFORMAL))
    model = FittedHead(
        head=head,
        classes=tuple(about["classes"]),
        layer=str(about["layer"]),
        pooling=str(about["pooling"]),
        provenance=dict(about["provenance"]),
        training_fingerprint=str(about["training_fingerprint"]),
        run_id=str(about["run_id"]),
        scores=[dict(scores) for scores in about.get("scores", ())],
        training_images=str(about.get("training_images", "")),
    )
    _check_classes(about["classes"])
    shape = find_backbone(model.provenance["backbone"]).layers[model.layer]
    background = about.get(BACKGROUND)
    if background is not None:
        mean = of_section(BACKGROUND, arrays)
        model = replace(model, background=restore_background(background, mean))
    if late := of_section(DISTRIBUTION, arrays):
        distribution = FeatureDistribution.restore(late, grid_side(shape) ** 2 * shape[2])
        model = replace(model, distribution=distribution)
    # Hostile arrays can pass every check and still not predict.
    with np.errstate(all="ignore"):
        proba = head.predict_proba(pool(np.ones((1, *shape)), model.pooling))
    if proba.shape != (1, len(model.classes)) or not np.isfinite(proba).all():
        raise ValueError("head and classes do not fit together")
    return model


def _check_classes(classes: Any) -> None:
    """Raise ValueError unless classes are a list of different texts that can be printed."""
    texts = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not texts or len(set(classes)) != len(classes):
        raise ValueError("its classes are not a list of different names")
    # Lone surrogates raise here; no terminal and no file could show them.
    "".join(classes).encode()


def _calibration(about: Mapping[str, Any] | None, n_classes: int) -> Calibration:
    """Build a calibration from a file's content; version 1 has none.

    Raises:
        ValueError: a number is impossible, or does not fit the number of classes.
    """
    if about is None:
        return Calibration()
    threshold = about["threshold"]
    numbers = [about["slope"], *about["biases"]]
    if threshold is not None:
        numbers.append(threshold)
    # `type` and not `isinstance`: True is an int, and JSON may hold it.
    if any(type(number) is not float or not math.isfinite(number) for number in numbers):
        raise ValueError("its calibration is not a list of numbers")
    if len(about["biases"]) not in (0, n_classes) or type(about["positive"]) is not int:
        raise ValueError("calibration and classes do not fit together")
    if about["positive"] not in (0, 1):
        raise ValueError("its positive class is neither 0 nor 1")
    if threshold is not None and n_classes != 2:
        raise ValueError("a threshold is for two classes")
    return Calibration(about["slope"], tuple(about["biases"]), threshold, about["positive"])


def _conformal(about: Mapping[str, Any] | None) -> Conformal | None:
    """Build the rule of "cannot say" from a file's content; None if it has none.

    Raises:
        ValueError: a number is impossible.
    """
    if about is None:
        return None
    rule = Conformal(**about)
    shares = [rule.error_rate] + [rule.threshold] * (rule.threshold is not None)
    # The comparisons are False for NaN.
    if any(type(share) is not float or not 0 <= share <= 1 for share in shares):
        raise ValueError("its error rate or its threshold is no share")
    # The number of groups that a rate needs must be finite.
    if not 0 < rule.error_rate < 1 or math.isinf(1 / rule.error_rate):
        raise ValueError("its error rate is impossible")
    if type(rule.n_groups) is not int or rule.source not in (OUT_OF_FOLD, HELD_OUT):
        raise ValueError("its rule of what it cannot say is damaged")
    return rule


def _digest(
    version: str, about: str, arrays: Mapping[str, NDArray[Any]] | Mapping[str, StoredArray]
) -> str:
    """Return the digest of a model file of some version."""
    # Versions 1 and 2 left the version out.
    title = "" if version in ("1", "2") else f"{MODEL_FORMAT} {version}\n"
    return content_digest(title, about, arrays)
