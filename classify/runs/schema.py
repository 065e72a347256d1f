"""The leaderboard's columns, of this version and of all before, which are read for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ..scores.clean import CLEAN_METRICS
from ..scores.metrics import METRICS

SCHEMA = 4
_LEAKS = ("n_test_leaking", "n_test_clean", "n_test_clean_groups")
_NETWORK = ("epochs", "train_images_per_second")
COLUMNS = (
    "schema",
    "run_id",
    "time",
    "head",
    "layer",
    "pooling",
    "hyperparameters",
    "calibration",
    "threshold",
    "data_set",
    "test_set",
    "test_id",
    "split",
    "classes",
    "positive",
    "n_train",
    "n_test",
    "n_test_groups",
    "n_test_in_train",
    *_LEAKS,
    *METRICS,
    *CLEAN_METRICS,
    "n_searched",
    "reduce_seconds",
    "fit_seconds",
    *_NETWORK,
    "predict_ms_per_image",
    "model_bytes",
    "store_fingerprint",
    "test_fingerprint",
    "weights",
    "weights_digest",
    "seed",
    "version",
)
"""Of schema 4. One row stands for one run on one test set: (run_id, test_id) tells it from all others."""

COLUMNS_3 = tuple(name for name in COLUMNS if name not in _NETWORK)
COLUMNS_2 = tuple(name for name in COLUMNS_3 if name not in (*_LEAKS, *CLEAN_METRICS))
COLUMNS_1 = (
    *(
        "schema",
        "run_id",
        "time",
        "head",
        "layer",
        "pooling",
        "hyperparameters",
        "data_set",
        "test_set",
        "split",
    ),
    *(
        "classes",
        "positive",
        "n_train",
        "n_test",
        "n_test_in_train",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
    ),
    *(
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "macro_f1",
        "mcc",
        "roc_auc",
        "fit_seconds",
    ),
    *(
        "predict_ms_per_image",
        "store_fingerprint",
        "test_fingerprint",
        "weights",
        "weights_digest",
        "seed",
        "version",
    ),
)
COLUMNS_BY_SCHEMA = {1: COLUMNS_1, 2: COLUMNS_2, 3: COLUMNS_3, SCHEMA: COLUMNS}

INTEGERS = (
    *("n_train", "n_test", "n_test_groups", "n_test_in_train", *_LEAKS),
    *("n_searched", "epochs", "model_bytes", "seed"),
)
_FLOATS = (
    "macro_f1",
    "threshold",
    "reduce_seconds",
    "fit_seconds",
    "train_images_per_second",
    "predict_ms_per_image",
)
NUMBERS = frozenset((*INTEGERS, *METRICS, *CLEAN_METRICS, *_FLOATS))
"""Columns of numbers, any of which may be empty; all others but "schema" hold text."""

_INTEGER = re.compile(r"\d{0,18}", re.ASCII)


def wrong_number(row: Mapping[str, str]) -> str | None:
    """The first column of numbers that holds something else."""
    for name, cell in row.items():
        if name in NUMBERS and cell:
            try:
                float(cell)
            except ValueError:
                return name
    return next((name for name in INTEGERS if not _INTEGER.fullmatch(row.get(name, ""))), None)


def upgraded(row: Mapping[str, str]) -> dict[str, str]:
    """A row of an older schema in the columns of this one; what that did not know is empty.

    Schema 1 has the mean F1 over the classes, which is what `f1` means with more than two classes;
    with two, `f1` is the positive one's.

    Raises:
        ValueError: the classes are no JSON; the text is what they are.
    """
    known = dict(row)
    if "macro_f1" in row:
        try:
            classes = json.loads(row["classes"] or "[]")
        except (ValueError, RecursionError):
            raise ValueError(row["classes"]) from None
        known["f1"] = row["macro_f1"] if isinstance(classes, list) and len(classes) > 2 else ""
    return {name: known.get(name, "") for name in COLUMNS} | {"schema": str(SCHEMA)}
