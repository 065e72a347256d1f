"""The folders of runs, and the predictions in them, each file read once."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import FreezeframeError
from ..runs.prediction_file import BY_PATIENT_NAME, PREDICTIONS_NAME, read_predictions
from ..scores.evaluation import Evaluation


class RunFolders:
    """Predictions of runs by their ids, each file read once.

    Attributes:
        runs: the folder of the runs' folders.
        problems: messages about files that exist but cannot be used.
    """

    def __init__(self, runs: str | os.PathLike[str]) -> None:
        self.runs = Path(runs)
        self.problems: list[str] = []
        self._evaluations: dict[tuple[str, str], dict[str, Evaluation]] = {}

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises:
            FreezeframeError: the id would lead out of the folder of runs.
        """
        # A run id comes from a file that anybody may have edited.
        if not run_id or Path(run_id).name != run_id or run_id == "..":
            raise FreezeframeError(
                f"run_id {run_id!r}: cannot be the name of a folder; correct it in the leaderboard"
            )
        return self.runs / run_id

    def evaluation(
        self, run_id: str, test_id: str, *, by_patient: bool = False
    ) -> Evaluation | None:
        """Return a run's evaluation on a test set; None where its file is missing or broken.

        Args:
            run_id: id of the run.
            test_id: id of the test set.
            by_patient: True for the evaluation whose rows are patients.
        """
        name = BY_PATIENT_NAME if by_patient else PREDICTIONS_NAME
        key = (run_id, name)
        if key not in self._evaluations:
            # A file that cannot be read is not tried again for the next row.
            self._evaluations[key] = {}
            try:
                folder = self.folder(run_id)
                if (folder / name).exists():
                    self._evaluations[key] = read_predictions(folder, name)
            except (FreezeframeError, OSError) as error:
                self.problems.append(str(error))
        return self._evaluations[key].get(test_id)
