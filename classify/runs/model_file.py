"""Fitted heads on the disk: one safetensors file, arrays and text only, never pickle."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ModelFileError
from ...extract.backbones.table import find_backbone
from ...features.pooling import pool
from ..heads.base import Head
from ..heads.calibration import Calibration
from ..heads.table import find_head, make_head

FORMAT = "freezeframe-model"
FORMAT_VERSION = 2
READABLE = ("1", "2")
"""Version 1 had neither a calibration nor scores."""

DAMAGE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What taking over a file's content can raise if the content is not ours."""


@dataclass(frozen=True)
class FittedHead:
    """A fitted head with all that is needed to predict from images.

    Attributes:
        head: the classifier; its class numbers index `classes`.
        classes: names of the classes.
        layer: whose features it takes.
        pooling: "flat", "avg" or "max".
        provenance: of the store it was fitted on.
        training_fingerprint: fingerprint of that store.
        run_id: the run that fitted it.
        scores: how it did on each test set, by the names of the leaderboard's columns.
    """

    head: Head
    classes: tuple[str, ...]
    layer: str
    pooling: str
    provenance: dict[str, Any]
    training_fingerprint: str
    run_id: str
    scores: list[dict[str, Any]] = field(default_factory=list)


def save_model(path: str | os.PathLike[str], model: FittedHead) -> None:
    """Write a fitted head to a new file, which tells a change of any of its bytes (see `load_model`)."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in model.head.arrays.items()}
    text = {name: value for name, value in _shallow(model).items() if name != "head"}
    head = model.head
    text |= {
        "head": head.name,
        "parameters": head.parameters,
        "calibration": asdict(head.calibration),
    }
    about = json.dumps(text, sort_keys=True)
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "about": about}
    metadata["digest"] = _digest(arrays, about)
    with Path(path).open("xb") as file:
        file.write(save(arrays, metadata))


def load_model(path: str | os.PathLike[str]) -> FittedHead:
    """Read a fitted head. Nothing in the file is executed; sizes are checked by safetensors against the file.

    Raises:
        ModelFileError: the file is missing, is no model of ours, or was changed since it was
            written.
        MissingExtraError: the head's library is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such model file; fit-classifier writes runs/<run id>/model.safetensors"
        )
    try:
        arrays, metadata = _read(path)
    except Exception as error:  # safetensors reports damage in several ways
        reason = " ".join(str(error).split())[:120]
        raise ModelFileError(f"{path}: not a model file of freezeframe ({reason})") from None
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"{path}: not a model file of freezeframe")
    if metadata.get("format_version") not in READABLE:
        raise ModelFileError(
            f"{path}: format version {metadata.get('format_version')!r} is unknown to this freezeframe"
        )
    if metadata.get("digest") != _digest(arrays, metadata.get("about", "")):
        raise ModelFileError(f"{path}: changed since it was written; its digest does not match")
    try:
        about = json.loads(metadata["about"])
        check_library = find_head(about["head"]).check_library
    except (FreezeframeError, *DAMAGE) as error:
        raise ModelFileError(f"{path}: damaged ({' '.join(str(error).split())[:120]})") from None
    check_library()
    try:
        return _restored(arrays, about)
    except (FreezeframeError, *DAMAGE) as error:
        raise ModelFileError(f"{path}: damaged ({' '.join(str(error).split())[:120]})") from None


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _restored(arrays: dict[str, NDArray[Any]], about: dict[str, Any]) -> FittedHead:
    head = make_head(about["head"], **about["parameters"])
    head.restore(arrays)
    head.calibration = _calibration(about.get("calibration"), len(about["classes"]))
    model = FittedHead(
        head=head,
        classes=tuple(about["classes"]),
        layer=str(about["layer"]),
        pooling=str(about["pooling"]),
        provenance=dict(about["provenance"]),
        training_fingerprint=str(about["training_fingerprint"]),
        run_id=str(about["run_id"]),
        scores=[dict(found) for found in about.get("scores", ())],
    )
    named = isinstance(about["classes"], list) and all(
        isinstance(name, str) for name in model.classes
    )
    if not named or len(set(model.classes)) != len(model.classes):
        raise ValueError("its classes are no list of different names")
    "".join(model.classes).encode()  # raises for what no terminal and no file can show
    shape = find_backbone(model.provenance["backbone"]).layers[model.layer]
    with np.errstate(all="ignore"):
        proba = head.predict_proba(pool(np.ones((1, *shape)), model.pooling))
    if proba.shape != (1, len(model.classes)) or not np.isfinite(proba).all():
        raise ValueError("head and classes do not fit together")
    return model


def _calibration(about: Mapping[str, Any] | None, n_classes: int) -> Calibration:
    if about is None:
        return Calibration()
    threshold = about["threshold"]
    numbers = [about["slope"], *about["biases"], *([] if threshold is None else [threshold])]
    if any(type(number) is not float or not math.isfinite(number) for number in numbers):
        raise ValueError("its calibration is no list of numbers")
    if len(about["biases"]) not in (0, n_classes) or type(about["positive"]) is not int:
        raise ValueError("calibration and classes do not fit together")
    if about["positive"] not in (0, 1):
        raise ValueError("its positive class is none of two")
    if threshold is not None and n_classes != 2:
        raise ValueError("a threshold is for two classes")
    return Calibration(about["slope"], tuple(about["biases"]), threshold, about["positive"])


def _shallow(model: FittedHead) -> dict[str, Any]:
    return {field.name: getattr(model, field.name) for field in fields(model)}


def _digest(arrays: dict[str, NDArray[Any]], about: str) -> str:
    """SHA-256 over the text and each array: name, dtype, shape and bytes."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
