"""The split of a training store: by its own splits, else by a hold-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.groups import cause_named
from ...data.splits import hold_out
from ...errors import FreezeframeError
from .part import HeldOutPart, Part

HOLD_OUT = "hold-out"
"""First word of the split of a hold-out."""

RANDOM = "random"
"""First word of the split of a hold-out that takes no notice of relatives."""


@dataclass(frozen=True)
class StoreSplit:
    """The rows of one store, split into a training part and test sets.

    Attributes:
        train: the training part.
        validation: True for the training rows that choose hyper-parameters, of shape (n_train,).
        tests: the test sets.
    """

    train: Part
    validation: NDArray[np.bool_]
    tests: tuple[HeldOutPart, ...]

    @classmethod
    def without_validation(cls, train: Part, *tests: HeldOutPart) -> StoreSplit:
        """Return a split without validation rows."""
        return cls(train, np.zeros(len(train.rows), dtype=bool), tests)


def split_store(
    whole: Part, *, further_tests: bool, test_size: float, seed: int, random: bool = False
) -> StoreSplit:
    """Split the training store by its own splits, else by a hold-out.

    Args:
        whole: all rows of the store.
        further_tests: True if there are test stores or cross-validation.
        test_size: share of the hold-out.
        seed: seed of the hold-out.
        random: hold out images whatever their splits and relatives are.
    """
    if random:
        return _held_out(whole, np.arange(len(whole.rows)), RANDOM, test_size, seed)
    path = whole.store.path
    splits = whole.store.splits[whole.rows]
    names = sorted(set(map(str, splits)) - {""})
    if names and "train" not in names:
        raise FreezeframeError(
            f"{path}: its images are split into {', '.join(names)}, but none are for training; "
            "name one split train"
        )
    if names:
        split = _split_by_names(whole, splits, further_tests)
        if split.tests or further_tests:
            return split
        # A training split without any test set is treated like a store without splits.
        whole = split.train
    if further_tests:
        return StoreSplit.without_validation(whole)
    return _held_out(whole, whole.groups, HOLD_OUT, test_size, seed)


def _held_out(
    whole: Part, groups: NDArray[np.intp], name: str, test_size: float, seed: int
) -> StoreSplit:
    """Hold out rows that no group joins with training rows.

    Args:
        whole: the rows to split.
        groups: group number of each row, of shape (n_rows,).
        name: first word of the split.
        test_size: share of the hold-out.
        seed: seed of the hold-out.
    """
    path = whole.store.path
    if len(set(whole.labels)) < 2:
        raise FreezeframeError(
            f"{path}: two classes are needed, but all its images are {str(whole.labels[0])!r}; "
            "add images of another class"
        )
    with cause_named(path, whole.labels, groups, whole.names):
        train, test = hold_out(whole.labels, groups, test_size=test_size, seed=seed)
    n_rows = len(whole.rows)
    # A share of less than one image still holds out one of each class: name what is held out.
    share = test_size if test_size * n_rows >= 1 else len(test) / n_rows
    held_out = HeldOutPart(whole.take(test), f"{name} {_percent(share)}")
    return StoreSplit.without_validation(whole.take(train), held_out)


def _split_by_names(whole: Part, splits: NDArray[np.str_], further_tests: bool) -> StoreSplit:
    """Split the rows of a store by the names of their splits, of shape (n_rows,)."""
    train = splits == "train"
    validation = splits == "validation"
    test = splits == "test"
    # Without a test set the validation split is the test, so it must not choose anything.
    if not test.any() and not further_tests and validation.any():
        held_out = HeldOutPart(whole.take(validation), "validation")
        return StoreSplit.without_validation(whole.take(train), held_out)
    tests = (HeldOutPart(whole.take(test), "test"),) if test.any() else ()
    # Rows of the test split or of none are not trained on.
    used = train | validation
    return StoreSplit(whole.take(used), validation[used], tests)


def _percent(share: float) -> str:
    """Write a share in whole percents; a small one with a digit, so that it is never 0 %."""
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.2g}%"
