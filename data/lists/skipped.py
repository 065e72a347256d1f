"""The text about files that a folder or list has, but that are skipped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from ..output.terminal import counts_by_name

MAX_PATHS = 3
"""Skipped files that a line names for each reason."""

_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})


def skipped_lines(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each reason, with the number of files by their endings, and some paths.

    Args:
        skipped: path and reason of each skipped file.

    Examples:
        >>> skipped_lines([("a/x.txt", "not an image"), ("a/y.txt", "not an image")])
        ['skipped, not an image (.txt 2): a/x.txt, a/y.txt']
    """
    lines = []
    for reason, paths in _by_reason(skipped).items():
        n_more = len(paths) - MAX_PATHS
        more = f" and {n_more} more" if n_more > 0 else ""
        lines.append(f"{_count(reason, paths)}: {', '.join(paths[:MAX_PATHS])}{more}")
    return [f"skipped, {line}" for line in lines]


def skipped_sentence(skipped: Iterable[tuple[str, str]]) -> str:
    """Return the reasons and the number of files by their endings; "" if none are skipped."""
    counts = [_count(reason, paths) for reason, paths in _by_reason(skipped).items()]
    return f"skipped: {', '.join(counts)}" if counts else ""


def _by_reason(skipped: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    paths = defaultdict[str, list[str]](list)
    for path, reason in skipped:
        # A reason may end with details of the single file.
        paths[reason.partition(":")[0]].append(path)
    return paths


def _count(reason: str, paths: Iterable[str]) -> str:
    endings = Counter(_ending(path) for path in paths)
    return f"{reason} ({counts_by_name(dict(endings.most_common()))})"


def _ending(path: str) -> str:
    """Return the ending of a file's name in lower case; of a compressed file, the last two."""
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes[-2:]]
    if suffixes and suffixes[-1] not in _COMPRESSED:
        suffixes = suffixes[-1:]
    return "".join(suffixes) or "no ending"
