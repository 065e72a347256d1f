"""Facts on scores: of the chosen head, beside it, under stress, and where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ....data.output.terminal import decimals, number, percent
from ...board.choices import is_control
from ...board.tables import p_text
from ...runs.robustness import ROBUSTNESS_NAME
from ...scores.clean import leak_count
from ...scores.metric_names import BY_PATIENT, CLEAN, is_clean, plain_metric
from ..report.choice import IMAGE_CONTROLS, is_candidate, is_external
from ..report.findings.outcome import Evidence
from ..report.findings.table import FINDING_COLUMNS, FINDINGS
from ..report.study import COMPARISONS, LEADERBOARD_NAME, STEPS_NAME, Row
from ..report.tables import Line
from .citation import CANDIDATES, Citation, FileLine, code, is_defined
from .facts import Facts, row_line
from .image_facts import MOST_NAMES

FINDINGS_FILE = "report/findings.csv"
COMPARED_KEY = ("test_id", "metric", "first_run", "second_run")

ABSTRACT_SCORES = ("accuracy", "sensitivity", "specificity", "roc_auc")
ANSWERS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
PROBABILITIES = ("roc_auc", "average_precision", "log_loss", "brier", "ece")
MOST_STATED = 6
"""Most rows of the leaderboard, or lines of compare.csv, that one fact is about."""

_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "roc_auc": "area under the ROC curve",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}


def summary(facts: Facts) -> Iterator[Evidence]:
    """State the scores of an abstract."""
    yield from _scores(facts, ABSTRACT_SCORES)


def accuracy(facts: Facts) -> Iterator[Evidence]:
    """State the accuracy alone."""
    yield from _scores(facts, ("accuracy",))


def answers(facts: Facts) -> Iterator[Evidence]:
    """State the scores of the head's answers."""
    yield from _scores(facts, ANSWERS)


def probabilities(facts: Facts) -> Iterator[Evidence]:
    """State the scores of the head's probabilities: discrimination and calibration."""
    yield from _scores(facts, PROBABILITIES)


def _scores(facts: Facts, names: Sequence[str]) -> Iterator[Evidence]:
    """State scores of the chosen row: on the clean images where others leak."""
    row, cite = facts.row, Citation()
    count, more = leak_count(row.cells)
    prefix = CLEAN if count and is_defined(row, f"{CLEAN}accuracy") else ""
    listed = _listed(cite, row, [f"{prefix}{name}" for name in names])
    if not listed:
        return
    if prefix:
        where = f"On the {cite.plain(row, 'n_test_clean')} test images without a known relative "
        where += "in training"
    elif count:
        where = "On all test images, of which some have a relative in training, so that this says "
        where += "nothing about new images"
    else:
        where = "On the test images" + ", whose relatives in training are unknown" * more
    means = "" if row.has("positive") else " Scores of a class are means over the classes."
    yield cite.evidence(f"{where}: {listed}; 95 % intervals.{means}")


def _listed(cite: Citation, line: FileLine, names: Sequence[str]) -> str:
    """Write scores with their words: "accuracy 77 % [61, 88], Brier score 0.158 [...]"."""
    return ", ".join(
        f"{_WORDS[plain_metric(name)]} {cite.metric(line, name)}"
        for name in names
        if is_defined(line, name)
    )


def measures(facts: Facts) -> Iterator[Evidence]:
    """State which scores there are."""
    row, cite = facts.row, Citation()
    names = [name for name in (*ANSWERS, *PROBABILITIES) if is_defined(row, name)]
    for name in names:
        cite.plain(row, name)
    if names:
        words = ", ".join(_WORDS[name] for name in names)
        yield cite.evidence(f"Measures with 95 % intervals in the leaderboard: {words}.")


def by_patient(facts: Facts) -> Iterator[Evidence]:
    """State the scores by patient."""
    row, cite = facts.row, Citation()
    listed = _listed(cite, row, [f"{BY_PATIENT}{name}" for name in (*ANSWERS, "roc_auc")])
    if listed and row.has("patient_unit"):
        yield cite.evidence(
            f"With one observation for each {cite.name(row, 'patient_unit')}: {listed}."
        )


def baseline(facts: Facts) -> Iterator[Evidence]:
    """State the score of the commonest class on the same images."""
    if facts.baseline and is_defined(row_line(facts.baseline), "accuracy"):
        line, cite = row_line(facts.baseline), Citation()
        yield cite.evidence(
            "Always naming the commonest class, on the same images: accuracy "
            f"{cite.metric(line, 'accuracy')}."
        )


def internal(facts: Facts) -> Iterator[Evidence]:
    """State the accuracy of the chosen head on parts of the set that it was trained on."""
    rows = [row for row in facts.same_head if not is_external(row)]
    yield from _by_test_set(rows)


def external(facts: Facts) -> Iterator[Evidence]:
    """State the accuracy of the chosen head on other sets."""
    rows = [row for row in facts.same_head if is_external(row)]
    yield from _by_test_set(rows)


def _by_test_set(rows: Sequence[Row]) -> Iterator[Evidence]:
    defined = [row for row in rows if is_defined(row_line(row), "accuracy")]
    for row in defined[:MOST_STATED]:
        line, cite = row_line(row), Citation()
        grade = f" (grade {cite.name(line, 'grade')})" if line.has("grade") else ""
        clean = ""
        if leak_count(row)[0] and is_defined(line, f"{CLEAN}accuracy"):
            clean = (
                f"; {cite.metric(line, f'{CLEAN}accuracy')} on the "
                f"{cite.plain(line, 'n_test_clean')} images without a known relative in training"
            )
        n = f"{cite.plain(line, 'n_test')} images of " if line.has("n_test") else ""
        yield cite.evidence(
            f"On {n}{cite.name(line, 'test_set')}, {cite.name(line, 'split')}: accuracy "
            f"{cite.metric(line, 'accuracy')}{clean}{grade}."
        )


def controls(facts: Facts) -> Iterator[Evidence]:
    """State what heads score that must score nothing: shuffled labels, no content of the image."""
    for row in facts.same_images:
        line, cite = row_line(row), Citation()
        if row["head"] in IMAGE_CONTROLS and is_defined(line, "balanced_accuracy"):
            yield cite.evidence(
                f"Control, {cite.name(line, 'head')} on the same images, which sees size and "
                "format of the file or the border of the image alone: balanced accuracy "
                f"{cite.metric(line, 'balanced_accuracy')}."
            )
    for row in filter(is_control, facts.study.rows):
        line, cite = row_line(row), Citation()
        if is_defined(line, "roc_auc"):
            yield cite.evidence(
                f"Control, {cite.name(line, 'head')} fitted on shuffled labels "
                f"({cite.name(line, 'split')}): area under the ROC curve "
                f"{cite.metric(line, 'roc_auc')}; a guess has 50 %."
            )
            break


def stress(facts: Facts) -> Iterator[Evidence]:
    """State how the score falls when images that look alike are kept on one side."""
    for row in facts.same_head:
        levels, judged = facts.study.stress(row), facts.study.judged_level(row)
        if not levels or not judged:
            continue
        cite = Citation()
        file = f"runs/{row['run_id']}/stress.csv"
        first, last = (
            FileLine(file, {"level": level["level"]}, level)
            for level in (levels[0], levels[judged])
        )
        yield cite.evidence(
            f"Stress test, {cite.plain(first, 'n_folds')} folds: accuracy "
            f"{cite.metric(first, 'accuracy')} in {_whole(cite, first)} groups, "
            f"{cite.metric(last, 'accuracy')} when images that look alike are kept together in "
            f"{_whole(cite, last)} groups."
        )
        return


def stress_or_controls(facts: Facts) -> Iterator[Evidence]:
    """State the stress test and the controls, whichever there are."""
    yield from stress(facts)
    yield from controls(facts)


def edits(facts: Facts) -> Iterator[Evidence]:
    """State which edit of test images changes the accuracy of the chosen head most."""
    for row in facts.same_head:
        needed = ("n_images", "accuracy_change", "lower", "upper")
        file = f"runs/{row['run_id']}/{ROBUSTNESS_NAME}"
        lines = [
            FileLine(file, {name: line[name] for name in ("edit", "strength")}, line)
            for line in (facts.study.robustness(row) or [])[1:]
        ]
        lines = [line for line in lines if line.has("edit", *needed)]
        if not lines:
            continue
        cite = Citation()
        line = max(lines, key=lambda line: abs(number(line.cells["accuracy_change"])))
        strength = f" ({cite.name(line, 'strength')})" if line.has("strength") else ""
        change, low, high = (percent(cite.plain(line, name)) for name in needed[1:])
        yield cite.evidence(
            f"Of the edits of {cite.plain(line, 'n_images')} test images without a known relative "
            f"in training, {cite.name(line, 'edit')}{strength} changes the accuracy most: by "
            f"{change} points [{low}, {high}]."
        )
        return


def _whole(cite: Citation, level: FileLine) -> str:
    """Write the number of groups of a stress level; it is a mean over repeats."""
    return decimals(cite.plain(level, "n_groups"), 0)


def comparisons(facts: Facts) -> Iterator[Evidence]:
    """State the differences between the chosen head and others on the same images."""
    run, test_id = (facts.choice.row[name] for name in ("run_id", "test_id"))
    rows = {row["run_id"]: row_line(row) for row in facts.same_images}
    pairs = [
        line
        for line in facts.study.accuracy_pairs(test_id)
        if run in (line["first_run"], line["second_run"])
        and line["first_run"] in rows
        and line["second_run"] in rows
        and line["difference"]
        and line["p_holm"]
    ]
    for pair in pairs[:MOST_STATED]:
        yield _comparison(pair, rows[pair["first_run"]], rows[pair["second_run"]])


def _comparison(pair: Line, *rows: FileLine) -> Evidence:
    """State the difference of a pair of runs, whose rows follow, and what it shows."""
    cite = Citation()
    line = FileLine(COMPARISONS, {name: pair[name] for name in COMPARED_KEY}, pair)
    first, second = (f"{cite.name(row, 'head')} ({cite.name(row, 'layer')})" for row in rows)
    difference, low, high = (
        percent(cite.plain(line, name)) for name in ("difference", "low", "high")
    )
    p = p_text(number(cite.plain(line, "p_holm")))
    margin = (
        f" Outcome for the first, with a margin of {percent(cite.plain(line, 'margin'))} points: "
        f"{cite.name(line, 'outcome')}."
        if line.has("margin", "outcome")
        else ""
    )
    clean = ", on the test images without a known relative in training," * is_clean(pair["metric"])
    return cite.evidence(
        f"Accuracy{clean} of {first} less that of {second}: {difference} points [{low}, {high}], "
        f"p {p} after Holm (test: {cite.name(line, 'test')}).{margin}"
    )


def heads_compared(facts: Facts) -> Iterator[Evidence]:
    """State how many pairs of head and layer were scored in the whole study."""
    cite = Citation()
    pairs = {(row["head"], row["layer"]) for row in filter(is_candidate, facts.study.rows)}
    n = cite.counted(LEADERBOARD_NAME, {}, CANDIDATES, len(pairs))
    yield cite.evidence(
        f"{n} {'pair' if n == 1 else 'pairs'} of head and layer {'is' if n == 1 else 'are'} scored "
        "in the study, baselines and controls aside."
    )


def confusion(facts: Facts) -> Iterator[Evidence]:
    """State how many test images of each class are called another."""
    evaluation = facts.study.evaluation(facts.choice.row)
    if evaluation is None:
        return
    predictions, cite = evaluation.predictions, Citation()
    n = len(evaluation.classes)
    numbers = predictions.y * n + predictions.predicted[0]
    counts = np.bincount(numbers, minlength=n * n).reshape(n, n)
    np.fill_diagonal(counts, 0)
    parts = []
    for cell in np.argsort(-counts.ravel(), kind="stable")[:MOST_NAMES]:
        label, answer = (evaluation.classes[place] for place in divmod(int(cell), n))
        # Of two classes, none wrong is a result, too.
        if counts.flat[cell] or (n == 2 and label != answer):
            key = {"test_id": evaluation.test_id, "repeat": "1"}
            key |= {"label": label, "predicted": answer}
            wrong = cite.counted(facts.predictions_file, key, "lines", int(counts.flat[cell]))
            parts.append(f"{code(label)} called {code(answer)} {wrong}")
    if parts:
        more = ", and rarer ones" * (int(np.count_nonzero(counts)) > MOST_NAMES)
        yield cite.evidence(f"Mistakes on all test images: {', '.join(parts)}{more}.")


def explained(facts: Facts) -> Iterator[Evidence]:
    """State that the surest mistakes were explained by maps."""
    for step in facts.study.steps or []:
        if (step["step"], step["status"]) == ("explain", "done"):
            line, cite = FileLine(STEPS_NAME, {"step": "explain"}, step), Citation()
            yield cite.evidence(
                "Maps of evidence of the surest mistakes are in the folder `explain/` (step "
                f"{cite.name(line, 'status')})."
            )


def weaknesses(facts: Facts) -> Iterator[Evidence]:
    """State what the report found."""
    for finding in facts.findings:
        kind, cite = finding.kind, Citation()
        cells = dict.fromkeys(FINDING_COLUMNS, "")
        cells |= {"title": kind.title, "severity": finding.severity}
        line = FileLine(FINDINGS_FILE, {"code": kind.code}, cells)
        yield cite.evidence(f"{cite.plain(line, 'title')} ({cite.plain(line, 'severity')}).")


def few_images(facts: Facts) -> Iterator[Evidence]:
    """State the finding that there are too few independent images, if it is one."""
    few = FINDINGS["few-independent-images"]
    for statement, finding in zip(weaknesses(facts), facts.findings, strict=True):
        if finding.kind is few:
            yield statement
