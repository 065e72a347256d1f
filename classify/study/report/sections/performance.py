"""The head of the first sentence in detail: curves, calibration, use, confusion."""

from __future__ import annotations

import math

import numpy as np

from .....data.output import html as pages
from .....data.output.terminal import number
from ....board.tables import metric_with_interval
from ....scores.clean import leak_count
from ....scores.evaluation import Evaluation
from ..calibration import ClassRows, class_lines, class_rows
from ..charts.canvas import Chart
from ..charts.curves import MOST_CLASSES, precision_recall, reliability, roc
from ..charts.utility import THRESHOLDS, decision_curve, prevalence_chart
from ..choice import Choice
from ..findings.outcome import head_name
from ..formulas import CalibrationLine, net_benefit, predictive_values
from ..numbers import share_text
from ..study import Row, Study
from .abstention import abstention_part
from .parts import not_run, show

SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.7)
SHOWN_PREVALENCES = (0.01, 0.05, 0.1, 0.25, 0.5)


def performance_section(study: Study, choice: Choice) -> list[str]:
    """Return the curves and tables of the chosen row."""
    row = choice.row
    parts = [pages.heading(f"The head in detail: {head_name(row)}", anchor="detail")]
    evaluation = study.evaluation(row)
    if evaluation is None:
        return [*parts, not_run("freezeframe fit-classifier training.h5 (predictions.csv)")]
    count, _ = leak_count(row)
    if count:
        text = f"All {row['n_test']} test images are in these curves, the {count} leaking ones too."
        parts.append(pages.paragraph(text))
    classes = class_rows(evaluation)
    defined = [rows for rows in classes if rows.outcomes.any() and not rows.outcomes.all()]
    largest = sorted(defined, key=lambda rows: -int(rows.outcomes.sum()))[:MOST_CLASSES]
    shown = [rows for rows in defined if rows in largest]
    if len(shown) < len(classes):
        text = f"Curves of {len(shown)} of {len(classes)} classes, those of most test images."
        parts.append(pages.paragraph(text))
    lines = class_lines(evaluation)
    if shown:
        parts.append(show([*_ranking(row, shown), _reliability(shown, lines)]))
    # One line is a sentence of the caption.
    parts += [_calibration_table(lines)] if len(lines) > 1 else []
    parts += [
        *abstention_part(study, choice),
        *_use(row, shown, evaluation),
        *_confusion(evaluation),
    ]
    return parts


def _ranking(row: Row, classes: list[ClassRows]) -> list[Chart]:
    against = "" if row["positive"] else " Each class against the rest; scores are their means."
    area = metric_with_interval(row, "roc_auc")
    precision = metric_with_interval(row, "average_precision")
    return [
        roc(
            classes,
            f"Area under the curve {area} %. Up and left is better; the dotted line is a guess."
            f"{against}",
        ),
        precision_recall(
            classes,
            f"Average precision {precision} %. Up and right is better; a "
            f"dotted line is the share of the class, which a guess gets.{against}",
        ),
    ]


def _reliability(classes: list[ClassRows], lines: dict[str, CalibrationLine | None]) -> Chart:
    return reliability(
        classes,
        lines,
        "Of the images with a probability of 0.8, is the share 0.8? On the dotted line "
        "it is. Below the line, probabilities are too high. A slope below 1: they are too extreme. "
        f"Bins without images have no mark.{_calibration_sentence(lines)}",
    )


def _calibration_sentence(lines: dict[str, CalibrationLine | None]) -> str:
    """Return the numbers of one line as a sentence; "" for several, which have a table."""
    if len(lines) > 1:
        return ""
    (line,) = lines.values()
    cells = _calibration_cells(line)
    return f" Calibration intercept {cells[0]} (right: 0), slope {cells[1]} (right: 1)."


def _calibration_cells(line: CalibrationLine | None) -> tuple[str, ...]:
    ends = [line.intercept, line.slope] if line else []
    cells = tuple(f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in ends)
    return cells or ("not defined", "not defined")


def _calibration_table(lines: dict[str, CalibrationLine | None]) -> str:
    rows = [(name, *_calibration_cells(line)) for name, line in lines.items()]
    headings = ("class", "calibration intercept (right: 0)", "calibration slope (right: 1)")
    return pages.table(headings, rows, numbers=(1, 2))


def _use(row: Row, classes: list[ClassRows], evaluation: Evaluation) -> list[str]:
    """Return what answers are worth; for two classes only."""
    if len(evaluation.classes) != 2 or not row["positive"] or not classes:
        text = (
            "Decision curve, PPV and NPV over prevalence are left out: they are about one class "
            "against one other, and there are more classes."
        )
        return [pages.paragraph(text, quiet=True)]
    rows = classes[0]
    decision = decision_curve(
        rows,
        "Net benefit (Vickers and Elkin 2006): right actions per image, less false alarms "
        "weighted by the odds of the threshold. Use the head where its line is the highest.",
    )
    clean = bool(leak_count(row)[0]) and not math.isnan(number(row["clean_sensitivity"]))
    prefix = "clean_" if clean else ""
    prevalence = prevalence_chart(
        row,
        f"Share of right answers where {rows.name} is rarer or commoner than here "
        f"({100 * rows.outcomes.mean():.0f} %). Sensitivity "
        f"{share_text(row, f'{prefix}sensitivity')}, specificity "
        f"{share_text(row, f'{prefix}specificity')}; dotted: with both at an end of their "
        "intervals.",
        prefix,
    )
    tables = [_benefit_table(rows), _prevalence_table(row, prefix)]
    return [show([decision, prevalence]), pages.columns(tables)]


def _benefit_table(rows: ClassRows) -> str:
    everybody = np.ones(len(rows.outcomes))
    head = net_benefit(rows.outcomes, rows.probabilities, THRESHOLDS)
    both = (head, net_benefit(rows.outcomes, everybody, THRESHOLDS))
    places = [int(np.abs(THRESHOLDS - threshold).argmin()) for threshold in SHOWN_THRESHOLDS]
    cells = [
        (f"{THRESHOLDS[place]:.2f}", *(f"{values[place]:.3f}" for values in both), "0")
        for place in places
    ]
    headings = ("threshold", "net benefit", "act on all", "on none")
    return pages.table(headings, cells, numbers=range(4))


def _prevalence_table(row: Row, prefix: str) -> str:
    shares = np.array(SHOWN_PREVALENCES)
    pair = [number(row[f"{prefix}{name}"]) for name in ("sensitivity", "specificity")]
    values = predictive_values(pair[0], pair[1], shares)
    cells = [
        (f"{100 * share:.0f} %", f"{100 * ppv:.1f}", f"{100 * npv:.1f}")
        for share, ppv, npv in zip(shares, *values, strict=True)
    ]
    return pages.table(("prevalence", "PPV, %", "NPV, %"), cells, numbers=range(3))


def _confusion(evaluation: Evaluation) -> list[str]:
    """Return the confusion matrix: images of each class by their answers."""
    from sklearn.metrics import confusion_matrix

    predictions = evaluation.predictions
    labels = range(len(evaluation.classes))
    repeats = [confusion_matrix(predictions.y, row, labels=labels) for row in predictions.predicted]
    counts = np.mean(repeats, axis=0)
    totals = np.maximum(counts.sum(axis=1), 1)
    rows = [
        (name, *(f"{n:.0f} ({100 * n / totals[label]:.0f} %)" for n in counts[label]))
        for label, name in enumerate(evaluation.classes)
    ]
    headings = ("class", *(f"called {name}" for name in evaluation.classes))
    table = pages.table(headings, rows, numbers=range(1, len(headings)))
    heading = pages.heading("Confusion matrix: images by class and answer", level=3)
    # On paper, a block of its own is not cut.
    return [pages.columns([heading + table])]
