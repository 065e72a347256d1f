"""Files of stress tests: the scores of a head while more and more similar images are kept together.

`stress.csv` in a run's folder has one line for each level, the most groups first. Its columns:

    head, n_folds            the head, and the number of folds of each level
    level                    0 for known relatives alone, then 1, 2, ...
    n_groups, largest_group  number of groups, and of images in the largest
    accuracy, roc_auc        scores, each with the ends of its 95 % interval by group
    grade                    grade of the scores; older files do not have this column
"""

from __future__ import annotations

from collections.abc import Sequence

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


def judged_level(n_groups: Sequence[float], n_folds: float) -> int:
    """Return the number of the level that is compared with the first; 0 without one.

    It is the last one with at least `GROUPS_A_FOLD` groups in each fold.

    Args:
        n_groups: number of groups of each level, the most groups first.
        n_folds: number of folds of each level.

    Examples:
        >>> judged_level([300, 80, 20, 7], 5), judged_level([12, 5], 5)
        (2, 0)
    """
    large = [place for place, n in enumerate(n_groups) if n >= GROUPS_A_FOLD * n_folds]
    return large[-1] if large else 0
