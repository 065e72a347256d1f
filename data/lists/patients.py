"""Patients that the paths and the files of a list name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import ParameterError
from ..formats.image_file import file_of
from ..formats.images import patient_group


def compile_expression(expression: str | None) -> re.Pattern[str] | None:
    """Compile the regular expression that finds patients in paths; None stays None.

    Raises:
        ParameterError: it is no regular expression.
    """
    if expression is None:
        return None
    try:
        return re.compile(expression)
    except re.error as error:
        raise ParameterError(
            f"--group-regex: {expression!r} is not a regular expression ({error}); correct it"
        ) from None


def matching_part(expression: re.Pattern[str], path: str) -> str:
    """Return the first non-empty group of a match, or the whole match; "" without a match.

    Examples:
        >>> matching_part(re.compile("(p[0-9]+)_"), "tumor/p03_pre_z07.png")
        'p03'
    """
    match = expression.search(path)
    if match is None:
        return ""
    return next((part for part in match.groups() if part), match[0])


def patients_in_files(root: Path, paths: Iterable[str]) -> list[str]:
    """Return the patient that the file of each image names, see `patient_group`; "" for none.

    Args:
        root: folder that the paths are relative to.
        paths: the images; slices of one volume have one file, which is read once.
    """
    names: dict[str, str] = {}
    patients = []
    for path in paths:
        file = file_of(root / path)
        if file not in names:
            names[file] = patient_group(file)
        patients.append(names[file])
    return patients
