"""Cards of models: what each is, what it was fitted on, and how well it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..runs.model_file import FittedHead
from ..scores.grades import clean_grade, row_grade
from ..scores.metric_names import BY_PATIENT
from ..trust.explanation.explanation import Explanation
from .service import ServedModel

SHARES = ("sensitivity", "specificity", "accuracy", "roc_auc")
"""Scores on a card, each with its interval."""

OF_TWO = ("sensitivity", "specificity")
"""Those that say something about one answer only where there are two classes."""


def model_record(model: ServedModel) -> dict[str, Any]:
    """Return the facts of a model as a JSON object."""
    head = model.predictor.model
    calibration = head.head.calibration
    threshold = None
    if len(head.classes) == 2:
        # Without a threshold the likelier of two classes is predicted.
        value = 0.5 if calibration.threshold is None else calibration.threshold
        threshold = {"class": positive_class(head), "value": value}
    return {
        "name": model.name,
        "head": head.head.name,
        "classes": list(head.classes),
        "positive": positive_class(head),
        "threshold": threshold,
        "layer": head.layer,
        "pooling": head.pooling,
        "engine": model.predictor.engine,
        "input_size": list(model.predictor.input_size),
        "provenance": {name: last_name(head.provenance.get(name)) for name in PROVENANCE},
        "cannot_say": _promise(head),
        "guards": {
            "copies": not model.predictor.not_looked_up,
            "unfamiliar": head.distribution is not None,
        },
        "explains": model.explains,
        "neighbours": model.pictures is not None,
        "scores": [score_record(scores, len(head.classes)) for scores in head.scores],
    }


def _promise(head: FittedHead) -> dict[str, Any] | None:
    """Return the error rate of a head that may say "cannot say"; None if it claims none."""
    rule = head.head.conformal
    if rule is None or rule.threshold is None:
        return None
    return {"error_rate": rule.error_rate, "n_groups": rule.n_groups}


def explanation_record(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as a JSON object."""
    assert explanation.contributions is not None
    note = (
        f"The cells lead from {explanation.base:+.3f}, the logit of the mean training picture, to "
        f"{explanation.logit:+.3f}, the logit of {explanation.class_name} "
        f"({explanation.method}, off by {explanation.completeness_error:.1g})."
    )
    return {
        "path": explanation.path,
        "label": explanation.label,
        "class": explanation.class_name,
        "probability": explanation.probability,
        "logit": explanation.logit,
        "base": explanation.base,
        "contributions": explanation.contributions.tolist(),
        "completeness_error": explanation.completeness_error,
        "method": explanation.method,
        "layer": explanation.layer,
        "scale": explanation.scale,
        "note": f"{note} {explanation.field_text}",
        **explanation.doubts_record,
    }


PROVENANCE = ("source", "backbone", "weights_source", "weights_digest", "resize")
"""Facts of the training features that a card has."""


def last_name(source: str | None) -> str | None:
    """Return the last name of a path: visitors need not know the folders above it.

    Examples:
        >>> last_name("/home/ada/scans"), last_name("imagenet"), last_name(None)
        ('scans', 'imagenet', None)
    """
    return source and PurePath(source).name


def positive_class(head: FittedHead) -> str | None:
    """Return the class that sensitivity is about; None where no class is special, or unknown."""
    if len(head.classes) != 2:
        return None
    # Files of older versions do not have the name.
    names = {str(scores["positive"]) for scores in head.scores if scores.get("positive")}
    if len(names) == 1:
        return names.pop()
    calibration = head.head.calibration
    return None if calibration.threshold is None else head.classes[calibration.positive]


def score_record(scores: Mapping[str, Any], n_classes: int) -> dict[str, Any]:
    """Return the scores of one test set: on images without a relative in training, if possible.

    With more than two classes, sensitivity and specificity are means over the classes, from which
    no PPV of an answer follows: they are left out.
    """
    clean = scores.get("clean_accuracy") is not None
    prefix = "clean_" if clean else ""
    n_test = scores.get("n_test_clean" if clean else "n_test")
    return {
        "test_set": scores.get("test_set", ""),
        "split": scores.get("split", ""),
        "clean": clean,
        "grade": clean_grade(scores) if clean else row_grade(scores),
        "by_patient": _by_patient(scores, n_classes),
        "n_train": scores.get("n_train"),
        "n_images": n_test,
        "n_groups": scores.get("n_test_clean_groups" if clean else "n_test_groups"),
        "n_leaking": scores.get("n_test_leaking"),
        **_intervals(scores, prefix, n_classes),
    }


def _intervals(
    scores: Mapping[str, Any], prefix: str, n_classes: int
) -> dict[str, list[float] | None]:
    """Return each of `SHARES` of some units, by its name."""
    return {
        name: None if n_classes > 2 and name in OF_TWO else _interval(scores, prefix + name)
        for name in SHARES
    }


def _by_patient(scores: Mapping[str, Any], n_classes: int) -> dict[str, Any] | None:
    """Return the scores by patient of one test set; None without any."""
    n = scores.get("n_test_patients")
    if not n:
        return None
    intervals = _intervals(scores, BY_PATIENT, n_classes)
    return {"unit": str(scores.get("patient_unit", "")), "n": int(n), **intervals}


def _interval(scores: Mapping[str, Any], name: str) -> list[float] | None:
    """Return a score with the ends of its 95 % interval; None where it is not defined."""
    ends = [scores.get(column) for column in (name, f"{name}_low", f"{name}_high")]
    values = [float(end) for end in ends if isinstance(end, int | float)]
    return values if len(values) == 3 else None
