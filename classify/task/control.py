"""The control with shuffled labels: what a head still predicts then is no sign of its class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...data.splits import join_groups
from .part import Part
from .task import Task

SHUFFLED = "shuffled-labels"
"""Name of the control, as in `fit-classifier --control`."""


def with_shuffled_labels(task: Task) -> Task:
    """Return a task whose labels say nothing about single images.

    Relatives keep one label, in training and test alike: bytes, pixels, groups and patients that
    the stores of the task share link images. So a head beats chance only if it recognises a
    relative in training, or a trait by which whole groups of mixed classes differ.

    Args:
        task: the task; its splits stay.
    """
    parts = [task.train, *(test.part for test in task.tests)]
    numbers = np.searchsorted(task.classes, np.concatenate([part.labels for part in parts]))
    shuffled = shuffled_labels(numbers, _joined_groups(parts), task.seed)
    labels = np.array(task.classes)[shuffled]
    ends = np.cumsum([len(part.rows) for part in parts])[:-1]
    train, *tests = (
        replace(part, labels=own) for part, own in zip(parts, np.split(labels, ends), strict=True)
    )
    held_out = tuple(
        replace(test, part=part, split=f"{test.split}, shuffled labels")
        for test, part in zip(task.tests, tests, strict=True)
    )
    return replace(task, train=train, tests=held_out, control=SHUFFLED)


def shuffled_labels(y: NDArray[np.intp], groups: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return labels that say nothing about their images.

    Groups of one label exchange their labels. The images of each other group exchange theirs, so
    that such a group keeps its share of each class.

    Args:
        y: class numbers of shape (n_rows,).
        groups: group numbers of shape (n_rows,).
        seed: seed of the exchange.

    Examples:
        >>> y = np.array([0, 0, 1, 1, 1, 0])
        >>> shuffled_labels(y, np.array([0, 0, 1, 1, 2, 2]), seed=2)
        array([1, 1, 0, 0, 1, 0])
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == number) for number in np.unique(groups)]
    result = y.copy()
    pure = []
    for rows in members:
        if len(np.unique(y[rows])) > 1:
            result[rows] = rng.permutation(y[rows])
        else:
            pure.append(rows)
    exchanged = rng.permutation([int(y[rows[0]]) for rows in pure])
    for rows, label in zip(pure, exchanged, strict=True):
        result[rows] = label
    return result


def _joined_groups(parts: list[Part]) -> NDArray[np.intp]:
    """Return group numbers of the rows of all parts, one part after another."""
    chains = [(str(part.store.path), chain) for part in parts for chain in part.chains.tolist()]
    names = [key for part in parts for key in part.names.common_keys()]
    digests = [np.concatenate([getattr(part, name) for part in parts]) for name in _DIGESTS]
    return join_groups(chains, names, *(column.tolist() for column in digests))


_DIGESTS = ("sha256s", "pixels")
