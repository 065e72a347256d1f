"""The columns of the leaderboard, in today's schema and in every earlier one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ..scores.metric_names import CLEAN_COLUMNS, PATIENT_COLUMNS
from ..scores.metrics import METRIC_COLUMNS

SCHEMA = 7
"""Number of today's schema. A change of `COLUMNS` takes the next number."""

_LEAKS = ("n_test_leaking", "n_test_clean", "n_test_clean_groups")
_GRADES = ("grade", "clean_grade", "clean_missing")
_SEEDS = ("n_seeds", *(f"seeds_accuracy_{end}" for end in ("mean", "lowest", "highest")))
_NETWORK = ("epochs", "train_images_per_second")

_FIRST = """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive choices n_train n_test n_test_groups n_test_in_train
"""
_LAST = """
predict_ms_per_image model_bytes store_fingerprint test_fingerprint weights weights_digest seed
version
"""
COLUMNS = (
    *_FIRST.split(),
    *_LEAKS,
    *_GRADES,
    *METRIC_COLUMNS,
    *CLEAN_COLUMNS,
    "clean_recalls",
    *("patient_unit", "n_test_patients"),
    *PATIENT_COLUMNS,
    *_SEEDS,
    *("n_searched", "reduce_seconds", "fit_seconds"),
    *_NETWORK,
    *_LAST.split(),
)
"""Today's columns. One row is one run on one test set; (run_id, test_id) identifies it."""

# Files on disk never change. Nothing here is computed from the metrics of today, so that a new
# metric leaves every old file readable. The names follow the files in tests/golden.
_LITERALS = {
    1: """
schema run_id time head layer pooling hyperparameters data_set test_set split classes positive
n_train n_test n_test_in_train accuracy accuracy_low accuracy_high balanced_accuracy sensitivity
specificity macro_f1 mcc roc_auc fit_seconds predict_ms_per_image store_fingerprint test_fingerprint
weights weights_digest seed version
""",
    2: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive n_train n_test n_test_groups n_test_in_train accuracy accuracy_low
accuracy_high balanced_accuracy balanced_accuracy_low balanced_accuracy_high sensitivity
sensitivity_low sensitivity_high specificity specificity_low specificity_high ppv ppv_low ppv_high
npv npv_low npv_high f1 f1_low f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high
average_precision average_precision_low average_precision_high log_loss log_loss_low log_loss_high
brier brier_low brier_high ece ece_low ece_high n_searched reduce_seconds fit_seconds
predict_ms_per_image model_bytes store_fingerprint test_fingerprint weights weights_digest seed
version
""",
    3: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive n_train n_test n_test_groups n_test_in_train n_test_leaking
n_test_clean n_test_clean_groups accuracy accuracy_low accuracy_high balanced_accuracy
balanced_accuracy_low balanced_accuracy_high sensitivity sensitivity_low sensitivity_high
specificity specificity_low specificity_high ppv ppv_low ppv_high npv npv_low npv_high f1 f1_low
f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high average_precision
average_precision_low average_precision_high log_loss log_loss_low log_loss_high brier brier_low
brier_high ece ece_low ece_high clean_accuracy clean_accuracy_low clean_accuracy_high
clean_balanced_accuracy clean_balanced_accuracy_low clean_balanced_accuracy_high clean_sensitivity
clean_sensitivity_low clean_sensitivity_high clean_specificity clean_specificity_low
clean_specificity_high clean_ppv clean_ppv_low clean_ppv_high clean_npv clean_npv_low clean_npv_high
clean_f1 clean_f1_low clean_f1_high clean_mcc clean_mcc_low clean_mcc_high clean_roc_auc
clean_roc_auc_low clean_roc_auc_high clean_average_precision clean_average_precision_low
clean_average_precision_high clean_log_loss clean_log_loss_low clean_log_loss_high clean_brier
clean_brier_low clean_brier_high clean_ece clean_ece_low clean_ece_high n_searched reduce_seconds
fit_seconds predict_ms_per_image model_bytes store_fingerprint test_fingerprint weights
weights_digest seed version
""",
    4: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive n_train n_test n_test_groups n_test_in_train n_test_leaking
n_test_clean n_test_clean_groups accuracy accuracy_low accuracy_high balanced_accuracy
balanced_accuracy_low balanced_accuracy_high sensitivity sensitivity_low sensitivity_high
specificity specificity_low specificity_high ppv ppv_low ppv_high npv npv_low npv_high f1 f1_low
f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high average_precision
average_precision_low average_precision_high log_loss log_loss_low log_loss_high brier brier_low
brier_high ece ece_low ece_high clean_accuracy clean_accuracy_low clean_accuracy_high
clean_balanced_accuracy clean_balanced_accuracy_low clean_balanced_accuracy_high clean_sensitivity
clean_sensitivity_low clean_sensitivity_high clean_specificity clean_specificity_low
clean_specificity_high clean_ppv clean_ppv_low clean_ppv_high clean_npv clean_npv_low clean_npv_high
clean_f1 clean_f1_low clean_f1_high clean_mcc clean_mcc_low clean_mcc_high clean_roc_auc
clean_roc_auc_low clean_roc_auc_high clean_average_precision clean_average_precision_low
clean_average_precision_high clean_log_loss clean_log_loss_low clean_log_loss_high clean_brier
clean_brier_low clean_brier_high clean_ece clean_ece_low clean_ece_high n_searched reduce_seconds
fit_seconds epochs train_images_per_second predict_ms_per_image model_bytes store_fingerprint
test_fingerprint weights weights_digest seed version
""",
    5: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive choices n_train n_test n_test_groups n_test_in_train n_test_leaking
n_test_clean n_test_clean_groups accuracy accuracy_low accuracy_high balanced_accuracy
balanced_accuracy_low balanced_accuracy_high sensitivity sensitivity_low sensitivity_high
specificity specificity_low specificity_high ppv ppv_low ppv_high npv npv_low npv_high f1 f1_low
f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high average_precision
average_precision_low average_precision_high log_loss log_loss_low log_loss_high brier brier_low
brier_high ece ece_low ece_high clean_accuracy clean_accuracy_low clean_accuracy_high
clean_balanced_accuracy clean_balanced_accuracy_low clean_balanced_accuracy_high clean_sensitivity
clean_sensitivity_low clean_sensitivity_high clean_specificity clean_specificity_low
clean_specificity_high clean_ppv clean_ppv_low clean_ppv_high clean_npv clean_npv_low clean_npv_high
clean_f1 clean_f1_low clean_f1_high clean_mcc clean_mcc_low clean_mcc_high clean_roc_auc
clean_roc_auc_low clean_roc_auc_high clean_average_precision clean_average_precision_low
clean_average_precision_high clean_log_loss clean_log_loss_low clean_log_loss_high clean_brier
clean_brier_low clean_brier_high clean_ece clean_ece_low clean_ece_high n_searched reduce_seconds
fit_seconds epochs train_images_per_second predict_ms_per_image model_bytes store_fingerprint
test_fingerprint weights weights_digest seed version
""",
    6: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive choices n_train n_test n_test_groups n_test_in_train n_test_leaking
n_test_clean n_test_clean_groups grade clean_grade clean_missing accuracy accuracy_low accuracy_high
balanced_accuracy balanced_accuracy_low balanced_accuracy_high sensitivity sensitivity_low
sensitivity_high specificity specificity_low specificity_high ppv ppv_low ppv_high npv npv_low
npv_high f1 f1_low f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high average_precision
average_precision_low average_precision_high log_loss log_loss_low log_loss_high brier brier_low
brier_high ece ece_low ece_high clean_accuracy clean_accuracy_low clean_accuracy_high
clean_balanced_accuracy clean_balanced_accuracy_low clean_balanced_accuracy_high clean_sensitivity
clean_sensitivity_low clean_sensitivity_high clean_specificity clean_specificity_low
clean_specificity_high clean_ppv clean_ppv_low clean_ppv_high clean_npv clean_npv_low clean_npv_high
clean_f1 clean_f1_low clean_f1_high clean_mcc clean_mcc_low clean_mcc_high clean_roc_auc
clean_roc_auc_low clean_roc_auc_high clean_average_precision clean_average_precision_low
clean_average_precision_high clean_log_loss clean_log_loss_low clean_log_loss_high clean_brier
clean_brier_low clean_brier_high clean_ece clean_ece_low clean_ece_high clean_recalls patient_unit
n_test_patients patient_accuracy patient_accuracy_low patient_accuracy_high
patient_balanced_accuracy patient_balanced_accuracy_low patient_balanced_accuracy_high
patient_sensitivity patient_sensitivity_low patient_sensitivity_high patient_specificity
patient_specificity_low patient_specificity_high patient_ppv patient_ppv_low patient_ppv_high
patient_npv patient_npv_low patient_npv_high patient_f1 patient_f1_low patient_f1_high patient_mcc
patient_mcc_low patient_mcc_high patient_roc_auc patient_roc_auc_low patient_roc_auc_high
patient_average_precision patient_average_precision_low patient_average_precision_high
patient_log_loss patient_log_loss_low patient_log_loss_high patient_brier patient_brier_low
patient_brier_high patient_ece patient_ece_low patient_ece_high n_searched reduce_seconds
fit_seconds epochs train_images_per_second predict_ms_per_image model_bytes store_fingerprint
test_fingerprint weights weights_digest seed version
""",
    7: """
schema run_id time head layer pooling hyperparameters calibration threshold data_set test_set
test_id split classes positive choices n_train n_test n_test_groups n_test_in_train n_test_leaking
n_test_clean n_test_clean_groups grade clean_grade clean_missing accuracy accuracy_low accuracy_high
balanced_accuracy balanced_accuracy_low balanced_accuracy_high sensitivity sensitivity_low
sensitivity_high specificity specificity_low specificity_high ppv ppv_low ppv_high npv npv_low
npv_high f1 f1_low f1_high mcc mcc_low mcc_high roc_auc roc_auc_low roc_auc_high average_precision
average_precision_low average_precision_high log_loss log_loss_low log_loss_high brier brier_low
brier_high ece ece_low ece_high clean_accuracy clean_accuracy_low clean_accuracy_high
clean_balanced_accuracy clean_balanced_accuracy_low clean_balanced_accuracy_high clean_sensitivity
clean_sensitivity_low clean_sensitivity_high clean_specificity clean_specificity_low
clean_specificity_high clean_ppv clean_ppv_low clean_ppv_high clean_npv clean_npv_low clean_npv_high
clean_f1 clean_f1_low clean_f1_high clean_mcc clean_mcc_low clean_mcc_high clean_roc_auc
clean_roc_auc_low clean_roc_auc_high clean_average_precision clean_average_precision_low
clean_average_precision_high clean_log_loss clean_log_loss_low clean_log_loss_high clean_brier
clean_brier_low clean_brier_high clean_ece clean_ece_low clean_ece_high clean_recalls patient_unit
n_test_patients patient_accuracy patient_accuracy_low patient_accuracy_high
patient_balanced_accuracy patient_balanced_accuracy_low patient_balanced_accuracy_high
patient_sensitivity patient_sensitivity_low patient_sensitivity_high patient_specificity
patient_specificity_low patient_specificity_high patient_ppv patient_ppv_low patient_ppv_high
patient_npv patient_npv_low patient_npv_high patient_f1 patient_f1_low patient_f1_high patient_mcc
patient_mcc_low patient_mcc_high patient_roc_auc patient_roc_auc_low patient_roc_auc_high
patient_average_precision patient_average_precision_low patient_average_precision_high
patient_log_loss patient_log_loss_low patient_log_loss_high patient_brier patient_brier_low
patient_brier_high patient_ece patient_ece_low patient_ece_high n_seeds seeds_accuracy_mean
seeds_accuracy_lowest seeds_accuracy_highest n_searched reduce_seconds fit_seconds epochs
train_images_per_second predict_ms_per_image model_bytes store_fingerprint test_fingerprint weights
weights_digest seed version
""",
}
COLUMNS_BY_SCHEMA = {schema: tuple(names.split()) for schema, names in _LITERALS.items()}
"""Columns of every schema that was released, by its number."""

SCHEMAS = {COLUMNS: SCHEMA} | {columns: schema for schema, columns in COLUMNS_BY_SCHEMA.items()}
"""Number of the schema by its columns: a file is recognised by its header, not by its number."""

INTEGERS = (
    *("n_train", "n_test", "n_test_groups", "n_test_in_train", *_LEAKS),
    *("n_test_patients", "n_seeds", "n_searched", "epochs", "model_bytes", "seed"),
)
_FLOATS = (
    "macro_f1",
    *_SEEDS[1:],
    "threshold",
    "reduce_seconds",
    "fit_seconds",
    "train_images_per_second",
    "predict_ms_per_image",
)
NUMBERS = frozenset((*INTEGERS, *METRIC_COLUMNS, *CLEAN_COLUMNS, *PATIENT_COLUMNS, *_FLOATS))
"""Columns of numbers, any of which may be empty; all others but "schema" hold text."""

# At most 18 digits fit into 64 bits; `int` would also accept spaces and signs.
_INTEGER = re.compile(r"\d{0,18}", re.ASCII)


def wrong_number(row: Mapping[str, str]) -> str | None:
    """Return the first column of numbers that holds something else; None if all are numbers."""
    # An empty cell is a number that is not defined or was not recorded.
    for name, cell in row.items():
        if name in NUMBERS and cell:
            try:
                float(cell)
            except ValueError:
                return name
    return next((name for name in INTEGERS if not _INTEGER.fullmatch(row.get(name, ""))), None)


def upgrade_row(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row of an older schema in today's columns; columns that it lacks are empty.

    Schema 1 has the mean F1 over the classes. `f1` means that with more than two classes; with two,
    `f1` is the positive class's, so the cell stays empty.

    Raises:
        ValueError: the classes are not JSON; the text is the cell.
    """
    cells = dict(row)
    # Only schema 1 has this column.
    if "macro_f1" in row:
        try:
            classes = json.loads(row["classes"] or "[]")
        except (ValueError, RecursionError):
            raise ValueError(row["classes"]) from None
        cells["f1"] = row["macro_f1"] if isinstance(classes, list) and len(classes) > 2 else ""
    return {name: cells.get(name, "") for name in COLUMNS} | {"schema": str(SCHEMA)}
