"""The task of a head: rows to train and to test on, and the features to use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.audit.class_changes import ClassChanges, dropped_text
from ...data.groups import PATIENTS_IGNORED
from ...data.output.terminal import Progress, Status
from ...errors import FreezeframeError, ParameterError, StoreError
from ...features.layout import PENDING
from ...features.rows.pooling import POOLINGS
from ...features.store import FeatureStore
from .part import HeldOutPart, Part
from .positive import choose_positive
from .relatives import linked_by, near_duplicates
from .store_split import split_store

COMPARABLE = (
    "backbone",
    "weights_digest",
    "preprocessing",
    "resize",
    "input_height",
    "input_width",
)
"""Provenance fields in which a training and a test store must agree."""


@dataclass(frozen=True)
class Task:
    """Rows that heads are fitted and scored on, and the features that they use.

    Attributes:
        train: all rows that the final head is fitted on.
        validation: True for the rows that choose hyper-parameters, bool of shape (n_train,). If
            there is no such row, folds are made.
        tests: the test sets.
        n_folds: number of folds of cross-validation within `train`; 0: none.
        n_repeats: number of times that cross-validation is repeated.
        layer: layer of the features.
        pooling: pooling of the features; None leaves the choice to the head.
        positive: the class that sensitivity is computed for; None with more than two classes.
        seed: seed of the splits and of the heads.
        positive_by: what chose the positive class, see `choose_positive`.
        patients_ignored: True if the patients of a store are ignored, by this task or when the
            store was made.
        dropped: classes whose images are left out, by their names in the stores.
        control: name of the control that the task is, see `control.SHUFFLED`; "" for a real task.
    """

    train: Part
    validation: NDArray[np.bool_]
    tests: tuple[HeldOutPart, ...]
    n_folds: int
    n_repeats: int
    layer: str
    pooling: str | None
    positive: str | None
    seed: int
    positive_by: str = ""
    patients_ignored: bool = False
    dropped: frozenset[str] = frozenset()
    control: str = ""

    def left_out(self, store: FeatureStore) -> dict[str, int]:
        """Return the number of finished images of each class of a store that is left out."""
        return ClassChanges(dropped=self.dropped).n_dropped(store.labels[store.rows()].tolist())

    @property
    def positive_number(self) -> int | None:
        """Number of the positive class among `classes`; None with more than two classes."""
        return None if self.positive is None else self.classes.index(self.positive)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return _classes_of(self.train)


def make_task(  # noqa: PLR0913
    store: FeatureStore,
    *,
    layer: str | None = None,
    pooling: str | None = None,
    tests: Sequence[FeatureStore] = (),
    classes: Mapping[str, str] | None = None,
    drop_classes: Collection[str] = (),
    positive: str | None = None,
    test_size: float = 0.2,
    random_split: bool = False,
    hold_out: bool = False,
    n_folds: int = 0,
    n_repeats: int = 1,
    seed: int = 0,
    ignore_patient_ids: bool = False,
    status: Status | None = None,
) -> Task:
    """Choose the rows that heads are trained and tested on.

    If the store has splits, heads train on its training split and are tested on its test split. Its
    validation split chooses hyper-parameters, and then heads train on it, too (networks only use it
    to stop early). If there is no other test, the validation split is the test set. If the store
    has no splits, heads train on all its rows if there are `tests` or `n_folds`. Otherwise a
    stratified hold-out splits it and keeps relatives on one side (see `Part.groups`).

    Args:
        store: features to train on, complete.
        layer: layer of the features; by default the deepest of the store.
        pooling: "flat", "avg" or "max"; by default the head chooses.
        tests: further stores; heads are tested on all their rows.
        classes: new names for classes of any store.
        drop_classes: classes whose images are left out of all stores, by their names before
            `classes`. They still relate other images, as images of no split do.
        positive: the class that sensitivity is computed for; by default the one whose name is not
            a negation such as "healthy", or the last by alphabet.
        test_size: share of the images in the hold-out.
        random_split: hold out images at random, whatever their splits and relatives are, as most
            people do: the score shows what leaks add.
        hold_out: hold out a part of the store beside `tests`, too, if it has no test split.
        n_folds: number of folds of cross-validation; 0: none.
        n_repeats: number of times that cross-validation is repeated, with other folds each time.
        seed: seed of the hold-out, the folds and the heads.
        ignore_patient_ids: ignore the patients that the image files name; anonymised files may all
            have one.
        status: called with a line that says what is being done, if it takes time.

    Raises:
        StoreError: a store is not finished, or the stores are not comparable (the text names the
            field).
        ParameterError: an unknown layer, pooling or class, or a split that is not possible.
        FreezeframeError: there is one class only, or the stores' classes differ.
    """
    # Stores list their layers from the first to the deepest.
    layer = layer or list(store.layers)[-1]
    # Options are checked before pictures are compared, which can take minutes.
    _check_options([store, *tests], layer, pooling, n_folds, n_repeats)
    if random_split and (tests or n_folds):
        raise ParameterError("random_split: is a test of its own; give no test store and no folds")
    with_patients = not ignore_patient_ids
    changes = ClassChanges(classes or {}, drop_classes)
    changes.check({str(label) for used in (store, *tests) for label in used.labels})
    whole = _whole_part(store, changes, with_patients, status)
    for test_store in tests:
        check_comparable(store, test_store, layer)
    external = [
        HeldOutPart(_whole_part(test_store, changes, with_patients, status), "external")
        for test_store in tests
    ]
    if hold_out or n_folds:
        # Images that a test set links stay on one side, or the split would leak by its own rules.
        parts = [test.part for test in external]
        whole = linked_by(whole, parts, _progress(status, "all stores"))
    split = split_store(
        whole,
        further_tests=bool(tests or n_folds) and not hold_out,
        test_size=test_size,
        seed=seed,
        random=random_split,
    )
    held_out = (*split.tests, *external)
    _check_classes(split.train, held_out)
    positive_class, positive_by = choose_positive(_classes_of(split.train), positive)
    return Task(
        split.train,
        split.validation,
        held_out,
        n_folds,
        n_repeats,
        layer,
        pooling,
        positive_class,
        seed,
        positive_by,
        _patients_ignored([store, *tests], ignore_patient_ids),
        frozenset(drop_classes),
    )


def _patients_ignored(stores: Sequence[FeatureStore], ignore: bool) -> bool:
    """Return True if a store has patients that the task ignores, or was made without them."""
    sources = [str(store.provenance.get("group_source", "")) for store in stores]
    if any(PATIENTS_IGNORED in source for source in sources):
        return True
    return ignore and any(bool(store.patients.any()) for store in stores)


def _check_options(
    stores: Sequence[FeatureStore], layer: str, pooling: str | None, n_folds: int, n_repeats: int
) -> None:
    """Raise ParameterError if an option is wrong by itself.

    Args:
        stores: the training store, then the test stores.
        layer: must be in every store.
        pooling: one of `POOLINGS`, or None.
        n_folds: 0, or at least 2.
        n_repeats: at least 1.
    """
    for store in stores:
        if layer not in store.layers:
            raise ParameterError(
                f"{store.path}: has no layer {layer!r}; it has {', '.join(store.layers)}"
            )
    if pooling is not None and pooling not in POOLINGS:
        raise ParameterError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    # One fold would leave no rows to train on.
    if n_folds < 0 or n_folds == 1 or n_repeats < 1:
        raise ParameterError(
            f"cross-validation needs 2 folds and 1 repeat at least, got {n_folds} and {n_repeats}"
        )
    # The training store itself may be given as a test store, once.
    paths = [store.path for store in stores[1:]]
    for path in paths:
        if paths.count(path) > 1:
            raise ParameterError(f"{path}: given twice as a test store; give it once")


def _whole_part(
    store: FeatureStore,
    changes: ClassChanges,
    with_patients: bool,
    status: Status | None,
) -> Part:
    """Make the part of all rows of a store but those of classes that are left out."""
    # Damage comes first: a damaged status looks pending.
    rows = store.rows()
    if not store.complete:
        pending = int((store.status == PENDING).sum())
        raise StoreError(
            f"{store.path}: {pending} of {len(store)} rows are not computed yet; "
            "run extract-features again"
        )
    if not len(rows):
        raise StoreError(
            f"{store.path}: none of its images could be read; "
            "check the files, then run extract-features again"
        )
    old_labels = store.labels[rows].tolist()
    # Renaming comes first: everything after it compares classes by name.
    labels = changes.rename(old_labels)

    whole = Part.of_store(
        store,
        np.array(labels, dtype=str),
        near_duplicates(store, _progress(status, store.path.name))[rows],
        with_patients=with_patients,
    )
    left_out = changes.n_dropped(old_labels)
    if not left_out:
        return whole
    if sum(left_out.values()) == len(rows):
        raise ParameterError(
            f"{store.path}: {dropped_text(left_out)}, so that none is left; keep a class"
        )
    # Images that are left out still link others: a chain may lead through them.
    return whole.take(changes.keeps(old_labels))


def _progress(status: Status | None, name: str) -> Progress:
    """Return what shows the pairs of pictures that were compared.

    Args:
        status: called with a line; None shows nothing.
        name: the stores that are compared.
    """

    def progress(finished: int, total: int) -> None:
        if status is not None:
            status(f"{name}: comparing pictures: {finished} of {total} pairs")

    return progress


def _classes_of(part: Part) -> list[str]:
    """Return the classes of a part, sorted."""
    return sorted(map(str, set(part.labels)))


def check_comparable(store: FeatureStore, test: FeatureStore, layer: str) -> None:
    """Raise StoreError if two stores' features of a layer differ in how they were computed."""
    if store.layers[layer] != test.layers[layer]:
        raise StoreError(
            f"{test.path}: {layer} has shape {test.layers[layer]}, "
            f"in {store.path} {store.layers[layer]}; extract both alike"
        )
    # Equal shapes are not enough: other weights give features that mean something else.
    for name in COMPARABLE:
        if store.provenance[name] != test.provenance[name]:
            raise StoreError(
                f"{test.path}: made with {name} {test.provenance[name]!r}, but {store.path} with "
                f"{store.provenance[name]!r}; extract both alike"
            )


def _check_classes(train: Part, tests: Sequence[HeldOutPart]) -> None:
    """Raise FreezeframeError if there is one class only, or a test set has a class of its own."""
    classes = _classes_of(train)
    if len(classes) < 2:
        raise FreezeframeError(
            f"{train.store.path}: two classes are needed, but its training images have {classes}; "
            "add images of another class"
        )
    # A head can never predict a class that it was not trained on.
    for test in tests:
        untrained = sorted(set(_classes_of(test.part)) - set(classes))
        if untrained:
            raise FreezeframeError(
                f"{test.part.store.path}: class {untrained[0]!r} is none of the training classes "
                f"{', '.join(classes)}; rename it with --classes {untrained[0]}=CLASS, "
                f"or leave it out with --drop-class {untrained[0]!r}"
            )
