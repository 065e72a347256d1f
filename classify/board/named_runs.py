"""Runs that a user names by a folder, a file of predictions, or the beginning of a run id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ParameterError
from ..runs.leaderboard import read_rows
from ..runs.prediction_file import PREDICTIONS_NAME
from .run_folders import RunFolders

Rows = Mapping[str, Mapping[str, Mapping[str, str]]]
"""The leaderboard rows of each run by test id, by run id."""


@dataclass(frozen=True)
class NamedRun:
    """A run that is compared.

    Attributes:
        run_id: the name of its folder.
        folder: the folder of its predictions, or the file itself, if that was named.
        rows: its rows in the leaderboard by test id; empty if it has none.
    """

    run_id: str
    folder: Path
    rows: Mapping[str, Mapping[str, str]]

    @property
    def row(self) -> Mapping[str, str]:
        """The first of its rows; empty if it has none."""
        return next(iter(self.rows.values()), {})


def find_runs(texts: Sequence[str], leaderboard: Path, runs: Path) -> list[NamedRun]:
    """Find runs by folders, files of predictions, run ids, or the beginnings of run ids.

    Args:
        texts: one for each run.
        leaderboard: the file whose run ids count; it may be missing.
        runs: the folder of the runs' folders.

    Raises:
        ParameterError: a text names no run or several, or two name the same one.
    """
    rows = read_rows(leaderboard) if leaderboard.exists() else []
    rows_of: dict[str, dict[str, Mapping[str, str]]] = {}
    for row in rows:
        # The first row of a test set counts: later ones do not replace it.
        rows_of.setdefault(row["run_id"], {}).setdefault(row["test_id"], row)
    named = [_find(text, rows_of, leaderboard, runs) for text in texts]
    # Resolved, since a run id and a path may lead to the same folder.
    folders = [run.folder.resolve() for run in named]
    for run, folder in zip(named, folders, strict=True):
        if folders.count(folder) > 1:
            raise ParameterError(f"{run.run_id}: is named twice; give another run")
    return named


def _find(text: str, rows_of: Rows, leaderboard: Path, runs: Path) -> NamedRun:
    """Find one run; raise ParameterError if the text names no single run."""
    path = Path(text)
    # A path comes before a run id: what exists on the disk is never ambiguous.
    if path.exists():
        run_id = _id_of_place(path.resolve())
        return NamedRun(run_id, path, rows_of.get(run_id, {}))
    # A whole run id counts even if it is also the beginning of another one.
    run_id = text if text in rows_of else _complete_id(text, rows_of, leaderboard)
    return NamedRun(run_id, RunFolders(runs).folder(run_id), rows_of[run_id])


def _id_of_place(path: Path) -> str:
    """Return the run id of a folder or of a file of predictions."""
    if path.is_dir():
        return path.name
    return path.parent.name if path.name == PREDICTIONS_NAME else path.stem


def _complete_id(text: str, rows_of: Rows, leaderboard: Path) -> str:
    """Return the only run id that begins with a text."""
    matches = [run_id for run_id in rows_of if run_id.startswith(text)]
    if not matches:
        ids = "no run id begins with it" if rows_of else "there are no runs"
        raise ParameterError(
            f"{text!r}: no folder or file has this name, and in {leaderboard} {ids}; "
            "give a run's folder, or a run id that `leaderboard --format csv` lists"
        )
    if len(matches) > 1:
        # A few ids show the pattern; thousands would hide the message.
        examples = ", ".join(matches[:5]) + ", ..." * (len(matches) > 5)
        raise ParameterError(
            f"{text!r}: is the beginning of {len(matches)} run ids, {examples}; type more of one"
        )
    return matches[0]


def names_of(runs: Sequence[NamedRun]) -> list[str]:
    """Return the shortest names that differ for all runs.

    These are the heads; heads and features; run ids; or folders.
    """
    heads = [run.row.get("head", run.run_id) for run in runs]
    features = [
        f"{head} {run.row.get('layer', '')} {run.row.get('pooling', '')}".rstrip()
        for head, run in zip(heads, runs, strict=True)
    ]
    # Every line of a table has the names, so the first that suffice are taken.
    for names in (heads, features, [run.run_id for run in runs]):
        if len(set(names)) == len(runs):
            return names
    return [str(run.folder) for run in runs]
