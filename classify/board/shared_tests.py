"""Test sets that several runs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import FreezeframeError
from ..runs.prediction_file import BY_PATIENT_NAME, read_predictions
from ..scores.evaluation import Evaluation
from ..scores.grades import grade_text
from .named_runs import NamedRun, names_of


@dataclass(frozen=True)
class SharedTestSet:
    """A test set that several runs share.

    Attributes:
        images: the evaluation of each run.
        patients: the evaluation of each run whose rows are patients; fewer than the runs if some
            have none.
        grades: grade of each run's scores, see `grade_text`.
    """

    images: Sequence[Evaluation]
    patients: Sequence[Evaluation]
    grades: Sequence[str]

    @property
    def paired_patients(self) -> Sequence[Evaluation]:
        """The evaluations by patient if every run has one for the same patients, else none."""
        same = {frozenset(evaluation.images()) for evaluation in self.patients}
        complete = len(self.patients) == len(self.images) and len(same) == 1
        return self.patients if complete else ()


def shared_test_sets(runs: Sequence[NamedRun]) -> list[SharedTestSet]:
    """Return the test sets that all runs share.

    Raises:
        FreezeframeError: predictions are missing or broken, or the runs share no test set.
    """
    by_run = [read_predictions(run.folder) for run in runs]
    shared = [
        test_id for test_id in by_run[0] if all(test_id in evaluations for evaluations in by_run)
    ]
    if not shared:
        _refuse_other_labels(runs, by_run)
        tested = [
            f"{run.run_id} on {_test_sets(evaluations)}"
            for run, evaluations in zip(runs, by_run, strict=True)
        ]
        raise FreezeframeError(
            f"the runs share no test images: {', '.join(tested)}; "
            "fit both with the same --test stores, or with the same split"
        )
    by_patient = [_by_patient(run) for run in runs]
    return [
        SharedTestSet(
            [evaluations[test_id] for evaluations in by_run],
            [evaluations[test_id] for evaluations in by_patient if test_id in evaluations],
            [_grade(run, by_run[number][test_id]) for number, run in enumerate(runs)],
        )
        for test_id in shared
    ]


def _by_patient(run: NamedRun) -> dict[str, Evaluation]:
    """Return the evaluations of a run whose rows are patients, by test id."""
    if not (run.folder / BY_PATIENT_NAME).is_file():
        return {}
    return read_predictions(run.folder, BY_PATIENT_NAME)


def _grade(run: NamedRun, evaluation: Evaluation) -> str:
    """Write the grade of a run's scores on a test set."""
    # A run without a row does not know whether patients are parted.
    counts = {
        "n_test": len(evaluation.paths),
        "n_test_leaking": int(evaluation.leaking.sum()),
        "n_test_clean": int(evaluation.clean.sum()),
    }
    grade = run.rows.get(evaluation.test_id, {}).get("grade", "")
    return grade_text({**counts, "grade": grade})


def _refuse_other_labels(
    runs: Sequence[NamedRun], by_run: Sequence[Mapping[str, Evaluation]]
) -> None:
    """Raise FreezeframeError if the runs share images, but not their labels."""
    first, *further = [_tested_images(evaluations) for evaluations in by_run]
    for images, evaluation in first.items():
        same = [evaluation, *(tested[images] for tested in further if images in tested)]
        if len(same) == len(runs):
            classes = [
                f"{', '.join(result.classes)} in {name}"
                for name, result in zip(names_of(runs), same, strict=True)
            ]
            raise FreezeframeError(
                f"the runs were tested on the same images of {evaluation.test_set}, but these have "
                f"other labels: {' and '.join(classes)}; fit both with the same --classes"
            )


def _tested_images(evaluations: Mapping[str, Evaluation]) -> dict[frozenset[str], Evaluation]:
    """Return the evaluations of one run by their images, whatever the labels are."""
    return {
        frozenset(image for image, _ in evaluation.images()): evaluation
        for evaluation in evaluations.values()
    }


def _test_sets(evaluations: Mapping[str, Evaluation]) -> str:
    """Name the test sets of one run."""
    return ", ".join(
        f"{evaluation.test_set} ({evaluation.split}, {len(evaluation.paths)} images)"
        for evaluation in evaluations.values()
    )
