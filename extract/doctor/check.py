"""A check: one thing that the doctor looked at, and how to mend it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATUSES = ("ok", "warning", "broken", "missing")
"""Values of `Check.status`, each a word that makes sense to a reader."""


@dataclass(frozen=True)
class Check:
    """One thing that the doctor looked at.

    Attributes:
        code: stable name, by which a program finds the check.
        status: one of `STATUSES`. "broken" is there and does not work; "missing" is not there.
        seen: what was seen, in one line.
        why: why it matters; empty if it is ok.
        mend: the command or the change that mends it; empty if it is ok, or `extras` mend it.
        extras: extras whose installation mends it.
        blocks: True if the main job cannot run because of it.
        facts: numbers and names behind `seen`, for programs.
    """

    code: str
    status: str
    seen: str
    why: str = ""
    mend: str = ""
    extras: tuple[str, ...] = ()
    blocks: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def shell_path(path: str | os.PathLike[str]) -> str:
    """Write a path for a shell, with ~ for the home folder, so that it names no user.

    Examples:
        >>> shell_path("/data/my scans")
        "'/data/my scans'"
    """
    path = Path(path)
    # `Path.home()` would raise an error for a user without a home.
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    if home.is_absolute() and home != Path(home.anchor) and path.is_relative_to(home):
        rest = path.relative_to(home).as_posix()
        return "~" if rest == "." else f"~/{shlex.quote(rest)}"
    return shlex.quote(str(path))
