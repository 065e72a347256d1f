"""The settings of a study, and the TOML file that repeats it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...data.formats.regular_file import read_regular
from ...errors import FreezeframeError, ImageError, ParameterError

SETTINGS_FILE = "run.toml"
"""Name of the file in a study's folder that repeats it."""

LOCK_FILE = ".lock"
"""Name of the file in a study's folder that one process holds."""

QUICK_IMAGES = 100
"""Most images of each class of a quick study."""

QUICK_HEADS = ("logreg", "xgboost", "majority")

_KIND_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of texts",
}


@dataclass(frozen=True)
class StudySettings:
    """The settings of a study; each field is an option of `freezeframe run`.

    Attributes:
        source: folder or list of the images to train on; "" for the built-in demo set.
        test: further image sets to test on.
        output: folder of the study.
        quick: take few images, one layer and few heads.
        model: heads to fit; "all" for those of any layer.
        layer: layers of the features, the deepest last.
        seed: seed of splits and fits.
        classes: new names of classes, as `--classes` takes them.
        drop_class: classes that are left out.
        positive: class that sensitivity is computed for; "" lets names decide.
        group_column: column of lists that names patients; "" for none.
        group_regex: expression that finds patients in paths; "" for none.
        ignore_patient_ids: ignore the PatientIDs of DICOM files.
        layout: meaning of folders in a folder; "" lets names decide.
        slices: slices of volumes.
        axis: axis that volumes are cut across.
        label_from_mask: folder of masks that label images; "" for none.
        backbone: the frozen network.
        weights: its weights.
        engine: what computes the features.
        reuse: stores to copy features from.
        margin: least difference between heads that matters, in percentage points.
        seeds: number of seeds for heads that draw.
        strict: codes of findings that end with exit code 3.
    """

    source: str = ""
    test: tuple[str, ...] = ()
    output: str = ""
    quick: bool = False
    model: tuple[str, ...] = ("all",)
    layer: tuple[str, ...] = ("block3_pool", "block5_pool")
    seed: int = 0
    classes: tuple[str, ...] = ()
    drop_class: tuple[str, ...] = ()
    positive: str = ""
    group_column: str = ""
    group_regex: str = ""
    ignore_patient_ids: bool = False
    layout: str = ""
    slices: str = "all"
    axis: str = "axial"
    label_from_mask: str = ""
    backbone: str = "vgg16"
    weights: str = "imagenet"
    engine: str = "auto"
    reuse: tuple[str, ...] = ()
    margin: float = 2.0
    seeds: int = 1
    strict: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that heads are fitted on, the deepest first; a quick study takes one."""
        deepest_first = self.layer[::-1]
        return deepest_first[:1] if self.quick else deepest_first

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that are fitted; a quick study takes few unless some are named."""
        return QUICK_HEADS if self.quick and self.model == ("all",) else self.model

    def to_toml(self) -> str:
        """Return the settings as TOML, one a line, named as the options."""
        # A JSON text, number or list of texts is written as TOML writes it.
        lines = [
            f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in asdict(self).items()
        ]
        return "\n".join(["# freezeframe run --config run.toml repeats this study", *lines, ""])


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings that a TOML file names, by field of `StudySettings`.

    Paths become absolute; relative ones start from the folder of the file.

    Raises:
        ParameterError: the file is missing or no TOML, or a key or value is wrong; the text names
            it.
    """
    try:
        table = tomllib.loads(read_regular(path).decode())
    except (OSError, ImageError) as error:
        raise ParameterError(f"--config {path}: cannot be read ({error})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterError(f"--config {path}: is no TOML ({error}); correct it") from None
    kinds = {field.name: type(field.default) for field in fields(StudySettings)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in kinds or "_" in key:
            keys = ", ".join(name.replace("_", "-") for name in kinds)
            raise ParameterError(f"--config {path}: unknown key {key!r}; use {keys}")
        values[name] = _checked(path, key, value, list if kinds[name] is tuple else kinds[name])
    return values | _absolute(path.absolute().parent, values)


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:
    """Return a value of the right type; lists become tuples."""
    # TOML writes a whole number without a point.
    if kind is float and type(value) is int:
        return float(value)
    # For Python, true is a number.
    right = type(value) is kind
    if kind is list and right:
        right = all(isinstance(member, str) for member in value)
    if not right:
        raise ParameterError(f"--config {path}: {key} must be {_KIND_NAMES[kind]}, got {value!r}")
    return tuple(value) if kind is list else value


def _absolute(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are paths, from the folder of their file on."""
    changed: dict[str, Any] = {}
    for name in ("source", "output", "label_from_mask"):
        if values.get(name):
            changed[name] = str(folder / values[name])
    for name in ("test", "reuse"):
        if name in values:
            changed[name] = tuple(str(folder / member) for member in values[name])
    weights = values.get("weights", "")
    if weights not in ("", "imagenet", "random"):
        changed["weights"] = str(folder / weights)
    return changed


def earlier_source(folder: Path) -> str | None:
    """Return the source of the study that a folder holds; None if it is no study.

    Raises:
        FreezeframeError: its settings cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return None
    try:
        return str(read_settings(path).get("source", ""))
    except ParameterError as error:
        raise FreezeframeError(f"{error}; or move {path} away") from None
