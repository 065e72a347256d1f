"""What a head is fitted and scored on: choosing training and test rows of feature stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...data.splits import hold_out
from ...errors import FreezeframeError, ParameterError, StoreError
from ...features.layout import PENDING
from ...features.pooling import POOLINGS
from ...features.store import FeatureStore
from .part import Part
from .positive import guess_positive
from .relatives import near_duplicates

COMPARABLE = (
    "backbone",
    "weights_digest",
    "preprocessing",
    "resize",
    "input_height",
    "input_width",
)
"""Provenance fields in which a training and a test store must agree."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Test:
    """A test set: rows that no head is fitted on.

    Attributes:
        part: its rows.
        split: how it came about: "hold-out 20%", "test", "validation" or "external".
    """

    part: Part
    split: str


@dataclass(frozen=True)
class Task:
    """What heads are fitted and scored on, and which features they use.

    Attributes:
        train: all rows that the final head is fitted on.
        validation: which of them choose hyper-parameters, bool of shape (n_train,); where none do,
            folds are made.
        tests: the test sets.
        n_folds, n_repeats: of cross-validation within `train`; 0 folds: none.
        layer, pooling: which features; pooling None leaves the choice to the head.
        positive: the class that sensitivity speaks of; None with more than two classes.
        seed: of the splits and of the heads.
    """

    train: Part
    validation: NDArray[np.bool_]
    tests: tuple[Test, ...]
    n_folds: int
    n_repeats: int
    layer: str
    pooling: str | None
    positive: str | None
    seed: int

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted(map(str, set(self.train.labels)))


def make_task(
    store: FeatureStore,
    *,
    layer: str | None = None,
    pooling: str | None = None,
    tests: Sequence[FeatureStore] = (),
    classes: Mapping[str, str] | None = None,
    positive: str | None = None,
    test_size: float = 0.2,
    n_folds: int = 0,
    n_repeats: int = 1,
    seed: int = 0,
    tell: Tell | None = None,
) -> Task:
    """Choose training and test rows.

    A store with splits trains on its training split, is tested on its test split, and chooses
    hyper-parameters by its validation split, which is then trained on, too (dense heads only stop
    by it); where there is no other test, the validation split is the test. A store without splits
    trains on all its rows if there are `tests` or `n_folds`, and otherwise is cut by a stratified
    hold-out that keeps relatives on one side (see `Part.groups`).

    Args:
        store: features to train on, complete.
        layer: by default the deepest layer of the store.
        pooling: "flat", "avg" or "max"; by default what suits the head.
        tests: other stores, all of whose rows are tests.
        classes: new names for classes of any store.
        positive: the class that sensitivity speaks of; by default the one that is no negation.
        test_size: share of the hold-out.
        n_folds: of cross-validation; 0: none.
        n_repeats: how often it is repeated, with other folds.
        seed: of the hold-out, the folds and the heads.
        tell: told what is being done, if it takes time.

    Raises:
        StoreError: a store is not finished, or the stores are not comparable (the text names the
            field).
        ParameterError: an unknown layer, pooling, class, or a split that is not possible.
        FreezeframeError: there is one class only, or the stores' classes differ.
    """
    layer = layer or list(store.layers)[-1]
    for each in (store, *tests):
        if layer not in each.layers:
            raise ParameterError(
                f"{each.path} has no layer {layer!r}; it has {', '.join(each.layers)}"
            )
    if pooling is not None and pooling not in POOLINGS:
        raise ParameterError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    if n_folds < 0 or n_folds == 1 or n_repeats < 1:
        raise ParameterError(
            f"cross-validation needs 2 folds and 1 repeat at least, got {n_folds} and {n_repeats}"
        )
    twice = [
        each.path
        for number, each in enumerate(tests)
        if each.path in [other.path for other in tests[:number]]
    ]
    if twice:
        raise ParameterError(f"{twice[0]}: given twice to be tested on")
    renamed = classes or {}
    whole = _part(store, renamed, tell)
    train, validation, own = _own_splits(
        whole, other_tests=bool(tests or n_folds), test_size=test_size, seed=seed
    )
    for other in tests:
        check_comparable(store, other, layer)
    found = (*own, *(Test(_part(other, renamed, tell), "external") for other in tests))
    _check_renamed(renamed, [store, *tests])
    known = sorted(map(str, set(train.labels)))
    _check_classes(store, known, found)
    if positive is not None and positive not in known:
        raise ParameterError(f"positive must be one of {', '.join(known)}, got {positive!r}")
    if len(known) == 2:
        positive = positive or guess_positive(known)
    elif positive is not None:
        raise ParameterError(f"positive is for two classes; there are {len(known)}")
    return Task(train, validation, found, n_folds, n_repeats, layer, pooling, positive, seed)


def _part(store: FeatureStore, renamed: Mapping[str, str], tell: Tell | None) -> Part:
    if not store.complete:
        pending = int((store.status == PENDING).sum())
        raise StoreError(
            f"{store.path}: {pending} of {len(store)} rows are not computed yet; run extract-features again"
        )
    rows = store.rows()
    labels = np.array(
        [renamed.get(str(label), str(label)) for label in store.labels[rows]], dtype=str
    )
    if not len(rows):
        raise StoreError(f"{store.path}: none of its images could be read")
    progress = None if tell is None else partial(_tell_compared, tell, store.path.name)
    return Part.whole(store, labels, near_duplicates(store, progress)[rows])


def _tell_compared(tell: Tell, name: str, finished: int, total: int) -> None:
    tell(f"{name}: comparing pictures: {finished} of {total} pairs")


def _own_splits(
    whole: Part, *, other_tests: bool, test_size: float, seed: int
) -> tuple[Part, NDArray[np.bool_], list[Test]]:
    """Training part, which of its rows validate, and test sets of one store: by its own splits, else by a hold-out."""
    store = whole.store
    splits = store.splits[whole.rows]
    names = sorted(set(map(str, splits)) - {""})
    if names and "train" not in names:
        raise FreezeframeError(
            f"{store.path}: its images are split into {', '.join(names)}, but none are for training"
        )
    if names:
        whole, validation, tests = _by_splits(whole, splits, other_tests)
        if tests or other_tests:
            return whole, validation, tests
    if other_tests:
        return _unvalidated(whole, [])
    if len(set(whole.labels)) < 2:
        raise FreezeframeError(
            f"{store.path}: two classes are needed, all its images are {str(whole.labels[0])!r}"
        )
    first, second = hold_out(whole.labels, whole.groups, test_size=test_size, seed=seed)
    return _unvalidated(whole.take(first), [Test(whole.take(second), f"hold-out {test_size:.0%}")])


def _by_splits(
    whole: Part, splits: NDArray[np.str_], other_tests: bool
) -> tuple[Part, NDArray[np.bool_], list[Test]]:
    tests = [Test(whole.take(splits == "test"), "test")] if (splits == "test").any() else []
    if not tests and not other_tests and (splits == "validation").any():
        return _unvalidated(
            whole.take(splits == "train"), [Test(whole.take(splits == "validation"), "validation")]
        )
    used = (splits == "train") | (splits == "validation")
    return whole.take(used), splits[used] == "validation", tests


def _unvalidated(train: Part, tests: list[Test]) -> tuple[Part, NDArray[np.bool_], list[Test]]:
    return train, np.zeros(len(train.rows), dtype=bool), tests


def check_comparable(store: FeatureStore, test: FeatureStore, layer: str) -> None:
    """Raise StoreError if features of a layer of two stores were made in different ways; the text names the field."""
    if store.layers[layer] != test.layers[layer]:
        raise StoreError(
            f"{test.path}: {layer} has shape {test.layers[layer]}, in {store.path} {store.layers[layer]}"
        )
    for name in COMPARABLE:
        if store.provenance[name] != test.provenance[name]:
            raise StoreError(
                f"{test.path}: made with {name} {test.provenance[name]!r}, but {store.path} with "
                f"{store.provenance[name]!r}; extract both alike"
            )


def _check_renamed(renamed: Mapping[str, str], stores: Sequence[FeatureStore]) -> None:
    labels = sorted({str(label) for store in stores for label in store.labels})
    for name in renamed:
        if name not in labels:
            raise ParameterError(
                f"classes: no image is labelled {name!r}; labels are {', '.join(labels)}"
            )


def _check_classes(store: FeatureStore, known: Sequence[str], tests: Sequence[Test]) -> None:
    if len(known) < 2:
        raise FreezeframeError(
            f"{store.path}: two classes are needed, its training images have {known}"
        )
    for test in tests:
        unknown = sorted(set(map(str, test.part.labels)) - set(known))
        if unknown:
            raise FreezeframeError(
                f"{test.part.store.path}: class {unknown[0]!r} is none of the training classes {', '.join(known)}; "
                f"rename each with --classes {unknown[0]}=CLASS,..."
            )
