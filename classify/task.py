"""What a head is fitted and scored on: choosing training and test rows of feature stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import FreezeframeError, ParameterError, StoreError
from ..data.splits import hold_out, join_groups
from ..features.layout import PENDING
from ..features.store import POOLINGS, FeatureStore
from .metrics import guess_positive

COMPARABLE = ("backbone", "weights_digest", "preprocessing", "resize", "input_height", "input_width")
"""Provenance fields in which a training and a test store must agree."""


@dataclass(frozen=True)
class Part:
    """Rows of a store, with their classes: a training or a test part.

    Attributes:
        store: where the rows are.
        rows: their numbers, of shape (n_rows,).
        labels: their classes after renaming, of shape (n_rows,).
    """

    store: FeatureStore
    rows: NDArray[np.intp]
    labels: NDArray[np.str_]

    def overlap(self, other: Part) -> NDArray[np.bool_]:
        """Which rows have the very same file, byte for byte, among the rows of `other`; of shape (n_rows,)."""
        sha256s = self.store.sha256s[self.rows]
        return np.asarray((sha256s != "") & np.isin(sha256s, other.store.sha256s[other.rows]))

    def shared_groups(self, other: Part) -> NDArray[np.bool_]:
        """Which rows have a row of their group among those of `other`; groups of two stores are never the same."""
        if self.store is not other.store:
            return np.zeros(len(self.rows), dtype=bool)
        groups = self.store.groups[self.rows]
        return np.asarray((groups != "") & np.isin(groups, other.store.groups[other.rows]))


@dataclass(frozen=True)
class Task:
    """What is to be fitted and scored: a training part, a test part, and the features to use.

    Attributes:
        train, test: rows that share no image unless the user's own split does.
        split: how the test part came about, for the leaderboard.
        layer, pooling: which features; pooling None leaves the choice to the head.
        positive: the class that sensitivity speaks of; None with more than two classes.
        seed: of the split and of the heads.
    """

    train: Part
    test: Part
    split: str
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
    test: FeatureStore | None = None,
    classes: Mapping[str, str] | None = None,
    positive: str | None = None,
    test_size: float = 0.2,
    seed: int = 0,
) -> Task:
    """Choose training and test rows.

    With `test`, all rows of `store` train (its training split, where it has splits) and all rows of `test` are
    predicted. Without, the store's own test split is used, or its validation split; failing both, a stratified hold-out
    that keeps byte-identical images and groups on one side.

    Args:
        store: features to train on, complete.
        layer: by default the deepest layer of the store.
        pooling: "flat", "avg" or "max"; by default what suits the head.
        test: features to test on.
        classes: new names for classes of either store.
        positive: the class that sensitivity speaks of; by default the one that is no negation.
        test_size: share of the hold-out.
        seed: of the hold-out and of the heads.

    Raises:
        StoreError: a store is not finished, or the stores are not comparable (the text names the field).
        ParameterError: an unknown layer, pooling, class, or a split that is not possible.
        FreezeframeError: there is one class only, or the stores' classes differ.
    """
    layer = layer or list(store.layers)[-1]
    for each in filter(None, (store, test)):
        if layer not in each.layers:
            raise ParameterError(f"{each.path} has no layer {layer!r}; it has {', '.join(each.layers)}")
    if pooling is not None and pooling not in POOLINGS:
        raise ParameterError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    whole = _part(store, classes or {})
    if test is not None:
        _check_comparable(store, test, layer)
        train_part, split = _to_train_on(whole), "external"
        test_part = _part(test, classes or {})
    else:
        train_part, test_part, split = _own_split(whole, test_size, seed)
    _check_renamed(classes or {}, [store, *filter(None, [test])])
    known = sorted(map(str, set(train_part.labels)))
    _check_classes(store, known, test_part)
    if positive is not None and positive not in known:
        raise ParameterError(f"positive must be one of {', '.join(known)}, got {positive!r}")
    if len(known) == 2:
        positive = positive or guess_positive(known)
    elif positive is not None:
        raise ParameterError(f"positive is for two classes; there are {len(known)}")
    return Task(train_part, test_part, split, layer, pooling, positive, seed)


def _part(store: FeatureStore, renamed: Mapping[str, str]) -> Part:
    if not store.complete:
        pending = int((store.status == PENDING).sum())
        raise StoreError(
            f"{store.path}: {pending} of {len(store)} rows are not computed yet; run extract-features again"
        )
    rows = store.rows()
    labels = np.array([renamed.get(str(label), str(label)) for label in store.labels[rows]], dtype=str)
    if not len(rows):
        raise StoreError(f"{store.path}: none of its images could be read")
    return Part(store, rows, labels)


def _of_split(part: Part, split: str) -> Part:
    wanted = part.store.splits[part.rows] == split
    return Part(part.store, part.rows[wanted], part.labels[wanted])


def _to_train_on(whole: Part) -> Part:
    """The training split, where there are splits; else everything."""
    splits = sorted(set(map(str, whole.store.splits[whole.rows])) - {""})
    if not splits:
        return whole
    if "train" not in splits:
        raise FreezeframeError(
            f"{whole.store.path}: its images are split into {', '.join(splits)}, but none are for training"
        )
    return _of_split(whole, "train")


def _own_split(whole: Part, test_size: float, seed: int) -> tuple[Part, Part, str]:
    """Training and test part of one store: by its own splits, else by a hold-out."""
    store = whole.store
    train = _to_train_on(whole)
    for name in ("test", "validation"):
        if (store.splits[whole.rows] == name).any():
            return train, _of_split(whole, name), name
    if len(set(train.labels)) < 2:
        raise FreezeframeError(f"{store.path}: two classes are needed, all its images are {str(train.labels[0])!r}")
    groups = join_groups(store.sha256s[train.rows].tolist(), store.groups[train.rows].tolist())
    first, second = (
        Part(store, train.rows[side], train.labels[side])
        for side in hold_out(train.labels, groups, test_size=test_size, seed=seed)
    )
    return first, second, f"hold-out {test_size:.0%}"


def _check_comparable(store: FeatureStore, test: FeatureStore, layer: str) -> None:
    if store.layers[layer] != test.layers[layer]:
        raise StoreError(f"{test.path}: {layer} has shape {test.layers[layer]}, in {store.path} {store.layers[layer]}")
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
            raise ParameterError(f"classes: no image is labelled {name!r}; labels are {', '.join(labels)}")


def _check_classes(store: FeatureStore, known: Sequence[str], test: Part) -> None:
    if len(known) < 2:
        raise FreezeframeError(f"{store.path}: two classes are needed, its training images have {known}")
    unknown = sorted(set(map(str, test.labels)) - set(known))
    if unknown:
        raise FreezeframeError(
            f"{test.store.path}: class {unknown[0]!r} is none of the training classes {', '.join(known)}; "
            f"rename each with --classes {unknown[0]}=CLASS,..."
        )
