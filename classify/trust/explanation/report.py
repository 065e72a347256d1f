"""The report of explanations: a picture for each image, one file of arrays and one of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ....data.output.json import json_text
from ....data.output.reports import ReportFolder
from .explanation import Explanation

ARRAYS_FILE = "explanations.npz"
NUMBERS_FILE = "explanations.json"

_MOST_OF_A_STEM = 80


class ExplanationReport:
    """A folder of explanations, which is filled one image after the other.

    Args:
        folder: the folder; files of earlier reports in it are replaced, other files are not.

    Attributes:
        rows: each explanation, without its picture, and the name of its file; "" for an image that
            was not read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = ReportFolder(folder, "explain", {})
        self._pictures: set[str] = set()
        self._records: list[dict[str, Any]] = []
        self.rows: list[tuple[Explanation, str]] = []

    def check(self, sources: Sequence[Path]) -> None:
        """Raise if the report cannot be written; called before the images are read.

        Raises:
            ParameterError: see `ReportFolder.check`.
        """
        self._folder.check([ARRAYS_FILE, NUMBERS_FILE], sources)

    def add(self, explanation: Explanation, more: Mapping[str, Any] | None = None) -> None:
        """Write the pictures of an image; nothing is written for an image that was not read.

        Args:
            explanation: the explanation.
            more: further entries about the image for the file of numbers.

        Raises:
            ParameterError, FreezeframeError: see `ReportFolder.write`.
        """
        name = ""
        if not explanation.error:
            name = self._new_name(explanation.path)
            self._folder.write(name, explanation.overlay())
            self._folder.write(map_name(name), explanation.map_picture())
        # The picture is written: without it thousands of explanations fit into memory.
        explanation = replace(explanation, picture=None, features=None)
        self.rows.append((explanation, name))
        self._records.append(_record(explanation, name) | dict(more or {}))

    def _new_name(self, path: str) -> str:
        """Return a file name for an image, unlike those of all images before."""
        # Names become names of files on any system, whose letters may not have a case.
        stem = re.sub(r"[^\w\-]+", "_", PurePath(path).stem)[:_MOST_OF_A_STEM].strip("_") or "image"
        name = f"{stem}.png"
        number = 1
        # An image may be named as the map of another one is.
        while self._pictures & {name.casefold(), map_name(name).casefold()}:
            number += 1
            name = f"{stem}-{number}.png"
        self._pictures |= {name.casefold(), map_name(name).casefold()}
        return name

    def finish(self, about: dict[str, Any]) -> None:
        """Write the arrays and the numbers of all images.

        Args:
            about: what is the same for all images: model, layer, scale, ...

        Raises:
            ParameterError, FreezeframeError: see `ReportFolder.write`.
        """
        # The name of the command comes first: by it the next report recognises the file.
        text = json_text({"written_by": self._folder.name, **about, "images": self._records})
        self._folder.write(NUMBERS_FILE, text + "\n")
        self._folder.write(ARRAYS_FILE, self._arrays())

    def _arrays(self) -> bytes:
        """Return an npz file of the images that were read, in the order of the numbers."""
        readable = [explanation for explanation, _ in self.rows if not explanation.error]
        file = BytesIO()
        # Without compression, the name of the command is near the beginning in plain bytes.
        np.savez(
            file,
            written_by=np.bytes_(self._folder.name),
            path=np.array([explanation.path for explanation in readable], np.str_),
            class_name=np.array([explanation.class_name for explanation in readable], np.str_),
            logit=np.array([explanation.logit for explanation in readable], np.float64),
            base=np.array([explanation.base for explanation in readable], np.float64),
            contributions=np.array(
                [explanation.contributions for explanation in readable], np.float64
            ),
        )
        return file.getvalue()


def map_name(picture: str) -> str:
    """Return the file name of the map without words beside a picture.

    Examples:
        >>> map_name("scan.png")
        'scan-map.png'
    """
    return f"{picture.removesuffix('.png')}-map.png"


def _record(explanation: Explanation, picture: str) -> dict[str, Any]:
    """Return the numbers of one image as JSON has them."""
    if explanation.contributions is None:
        return {"path": explanation.path, "error": explanation.error}
    return {
        "path": explanation.path,
        "picture": picture,
        "map": map_name(picture),
        "label": explanation.label,
        "class": explanation.class_name,
        "probability": explanation.probability,
        "logit": explanation.logit,
        "base": explanation.base,
        "sum_of_contributions": float(explanation.contributions.sum()),
        "completeness_error": explanation.completeness_error,
        "field": explanation.field_text,
        **explanation.doubts_record,
    }
