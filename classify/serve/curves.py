"""Curves and tables of one evaluation: ROC, precision-recall, calibration, confusion, mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scores.evaluation import Evaluation
from ..scores.predictions import Floats
from ..scores.ranking_curve import RankingCurve

BINS = 10
"""Bins of a calibration curve, of equal width."""

MOST_POINTS = 400
"""Most points of a drawn curve; more cannot be seen."""

MOST_MISTAKES = 24


@dataclass(frozen=True)
class ClassCurves:
    """Curves of one class against the rest, each of points (x, y) from 0 to 1.

    Attributes:
        name: name of the class.
        roc: share of the other images called the class, share of its own images called it.
        precision: recall, and the share of right answers at it.
        calibration: mean probability of a bin, and the share of the class in it.
        counts: images of each of these bins.
        share: share of the class among all images.
        roc_point, precision_point: the points of the curves where the head decides.
    """

    name: str
    roc: Floats
    precision: Floats
    calibration: Floats
    counts: list[int]
    share: float
    roc_point: tuple[float, float]
    precision_point: tuple[float, float]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes:
        path, sha256: the image.
        label, predicted: its class, and the answer.
        probability: probability of the answer.
    """

    path: str
    sha256: str
    label: str
    predicted: str
    probability: float


def class_curves(evaluation: Evaluation) -> list[ClassCurves]:
    """Compute the curves of the positive class, or of each of several classes."""
    predictions = evaluation.predictions
    # Each repeat of a cross-validation has its own probabilities of the same images.
    y = np.tile(predictions.y, predictions.proba.shape[0])
    proba = predictions.proba.reshape(-1, predictions.n_classes)
    answers = np.concatenate(predictions.predicted)
    return [
        _curves(evaluation.classes[number], y == number, proba[:, number], answers == number)
        for number in predictions.ranked_classes
    ]


def _curves(
    name: str, positives: NDArray[np.bool_], scores: Floats, chosen: NDArray[np.bool_]
) -> ClassCurves:
    sweep = RankingCurve.of(positives, scores).sweep(np.ones((1, len(scores))))
    hits = np.append(0, sweep.hits_so_far[0])
    called = np.append(0, sweep.called_so_far[0])
    n_hits = max(float(hits[-1]), 1.0)
    n_others = max(float(called[-1] - hits[-1]), 1.0)
    roc = np.column_stack([(called - hits) / n_others, hits / n_hits])
    precision = np.column_stack([hits[1:] / n_hits, hits[1:] / called[1:]])
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    used = np.unique(places)
    bins = [(scores[places == i].mean(), positives[places == i].mean()) for i in used]
    counts = [int((places == i).sum()) for i in used]
    n_chosen = float(chosen.sum())
    n_right = float((chosen & positives).sum())
    return ClassCurves(
        name,
        _thinned(roc),
        _thinned(precision),
        np.array(bins),
        counts,
        share=float(positives.mean()),
        roc_point=((n_chosen - n_right) / n_others, n_right / n_hits),
        # Precision without any such answer is not defined; the curve begins at 1.
        precision_point=(n_right / n_hits, n_right / n_chosen if n_chosen else 1.0),
    )


def _thinned(points: Floats) -> Floats:
    """Return at most `MOST_POINTS` points, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return points
    places = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int))
    return np.asarray(points[places])


def svg_path(points: Floats, side: float) -> str:
    """Return points from 0 to 1 as the path of an SVG square; the y axis points up.

    Examples:
        >>> svg_path(np.array([[0, 0], [1, 0.5]]), 100)
        'M0.0 100.0L100.0 50.0'
    """
    return "M" + "L".join(f"{side * x:.1f} {side * (1 - y):.1f}" for x, y in points)


def confusion_matrix(evaluation: Evaluation) -> list[list[int]]:
    """Count the images of each class (rows) by their answers (columns); the mean over repeats."""
    predictions = evaluation.predictions
    n = predictions.n_classes
    matrix = np.zeros((n, n))
    for predicted in predictions.predicted:
        np.add.at(matrix, (predictions.y, predicted), 1)
    counts: list[list[int]] = np.rint(matrix / len(predictions.predicted)).astype(int).tolist()
    return counts


def confident_mistakes(evaluation: Evaluation) -> list[Mistake]:
    """Return the wrong answers with the highest probabilities, the highest first."""
    predictions = evaluation.predictions
    predicted = predictions.predicted[0]
    chosen = predictions.proba[0][np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != predictions.y)
    order = wrong[np.argsort(-chosen[wrong], kind="stable")][:MOST_MISTAKES]
    return [
        Mistake(
            str(evaluation.paths[row]),
            str(evaluation.sha256s[row]),
            evaluation.classes[predictions.y[row]],
            evaluation.classes[predicted[row]],
            float(chosen[row]),
        )
        for row in order
    ]
