"""Files of stress tests: the scores of a head while more and more similar images are kept together.

`stress.csv` in a run's folder has one line for each level, the most groups first. Its columns:

    head, n_folds            the head, and the number of folds of each level
    level                    0 for known relatives alone, then 1, 2, ...
    n_groups, largest_group  number of groups, and of images in the largest
    accuracy, roc_auc        scores, each with the ends of its 95 % interval by group
    grade                    grade of the scores; older files do not have this column
"""

from __future__ import annotations

STRESS_NAME = "stress.csv"
STRESS_COLUMNS = (
    *("head", "n_folds", "level", "n_groups", "largest_group"),
    *("accuracy", "accuracy_low", "accuracy_high", "roc_auc", "roc_auc_low", "roc_auc_high"),
    "grade",
)

GROUPS_A_FOLD = 4
"""Groups in each fold of the judged level.

Of the numbers tried, it came nearest to patients on three sets, see `stress_check.py`.
"""
