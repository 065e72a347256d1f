"""A step of a study: a command of this package, what it reads and what it leaves."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .inputs import ImageFiles, file_state, versions


@dataclass(frozen=True)
class Step:
    """A command of this package that a study runs in its folder.

    Attributes:
        name: name of the step, its log and its line in steps.csv.
        title: what it does, in plain words.
        arguments: the command and its arguments; paths within the study are relative.
        sources: image sets that it reads.
        files: files of the study that it reads.
        outputs: files that it leaves in the study.
        needs: names of the steps without which it cannot be run.
        kind: steps of one kind take similar times for each image.
        leaderboard: the step's own leaderboard; "" for a step that fits nothing.
        printed: name of the file that takes what the command prints; "" for its log.
        shown: True to show what it prints to the user.
        always: True to run it even if nothing changed.
        late: returns further arguments when the step's turn has come, from what earlier steps left;
            None if there is nothing to do.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    files: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    kind: str = ""
    leaderboard: str = ""
    printed: str = ""
    shown: bool = False
    always: bool = False
    late: Callable[[], Sequence[str] | None] | None = field(default=None, compare=False)

    @property
    def command(self) -> str:
        """The command line, as a shell takes it in the folder of the study."""
        line = shlex.join(["freezeframe", *self.arguments])
        return f"{line} > {shlex.quote(self.printed)}" if self.printed else line

    def with_late_arguments(self) -> Step | None:
        """Return the step with all its arguments; None if there is nothing to do."""
        if self.late is None:
            return self
        more = self.late()
        return None if more is None else replace(self, arguments=(*self.arguments, *more))

    def key(self, folder: Path, sets: Mapping[Path, ImageFiles]) -> str:
        """Return a digest of the command, the versions and everything that the step reads.

        Args:
            folder: folder of the study.
            sets: the files of each image set.
        """
        facts = [
            self.command,
            versions(),
            [sets[source].digest for source in self.sources],
            [file_state(folder / name) for name in self.files],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def is_there(self, folder: Path) -> bool:
        """Return True if all its outputs exist."""
        return all((folder / name).exists() for name in self.outputs)
