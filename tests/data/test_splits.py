"""Tests of groups and hold-outs, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freezeframe import FreezeframeError, ParameterError
from freezeframe.data.splits import hold_out, join_groups

KEYS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "p", "q", "r"])),
    min_size=1,
    max_size=30,
)


@given(KEYS)
def test_rows_that_share_a_key_are_in_one_group(rows: list[tuple[str, str]]) -> None:
    groups = join_groups([a for a, _ in rows], [b for _, b in rows])
    for i, (a, b) in enumerate(rows):
        for j, (c, d) in enumerate(rows):
            if a == c or (b and b == d):
                assert groups[i] == groups[j]


@given(KEYS)
def test_groups_are_chains_of_shared_keys(rows: list[tuple[str, str]]) -> None:
    groups = join_groups([a for a, _ in rows], [b for _, b in rows])
    # Merging by brute force until nothing changes gives the same groups.
    label = list(range(len(rows)))
    for _ in rows:
        for i, (a, b) in enumerate(rows):
            for j, (c, d) in enumerate(rows):
                if a == c or (b and b == d):
                    label[i] = label[j] = min(label[i], label[j])
    assert len(set(groups.tolist())) == len(set(label))
    assert groups.tolist() == np.unique(label, return_inverse=True)[1].tolist()


@given(st.integers(20, 200), st.integers(0, 5), st.floats(0.1, 0.5), st.integers(0, 10))
def test_no_group_is_cut_and_shares_hold(n: int, seed: int, test_size: float, spread: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b"])[(np.arange(n) % 3 == 0).astype(int)]
    groups = join_groups(rng.integers(0, n * (spread + 1), n).tolist())
    train, test = hold_out(labels, groups, test_size=test_size, seed=seed)
    assert sorted([*train, *test]) == list(range(n))
    assert not set(groups[train]) & set(groups[test])
    largest = np.bincount(groups).max()
    for name in "ab":
        share = (labels[test] == name).sum() / (labels == name).sum()
        assert abs(share - test_size) * (labels == name).sum() <= largest + 1


def test_the_seed_decides_the_hold_out() -> None:
    labels = ["a", "b"] * 50
    groups = np.arange(100)
    first, repeated, second = (
        hold_out(labels, groups, seed=seed)[1].tolist() for seed in (1, 1, 2)
    )
    assert first == repeated != second


def test_large_groups_are_tested_as_often_as_small_ones() -> None:
    groups = np.array([*np.repeat(np.arange(50), 2), *range(50, 350)])
    labels = np.array(["a", "b"] * 200)
    tested = np.zeros(350)
    for seed in range(200):
        tested[np.unique(groups[hold_out(labels, groups, seed=seed)[1]])] += 1
    assert tested[:50].mean() / tested[50:].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_two_large_groups_of_each_class_are_enough(seed: int) -> None:
    labels = np.array(["a"] * 20 + ["b"] * 20)
    groups = np.repeat(np.arange(4), 10)
    train, test = hold_out(labels, groups, seed=seed)
    assert set(labels[train]) == set(labels[test]) == {"a", "b"}
    assert not set(groups[train]) & set(groups[test])


@given(st.data())
def test_a_hold_out_exists_whenever_groups_allow_it(data: st.DataObject) -> None:
    n = data.draw(st.integers(4, 9))
    labels = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n)))
    groups = join_groups(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)))
    n_groups = groups.max() + 1

    def is_complete(in_test: np.ndarray) -> bool:
        return set(labels[in_test[groups]]) == set(labels[~in_test[groups]]) == set(labels)

    # Bit i of the number is the side of group i.
    numbers = np.arange(2**n_groups)[:, np.newaxis]
    sides = (numbers >> np.arange(n_groups)) & 1 == 1
    if any(map(is_complete, sides)):
        train, test = hold_out(labels, groups, seed=data.draw(st.integers(0, 3)))
        assert set(labels[train]) == set(labels[test]) == set(labels)
        assert not set(groups[train]) & set(groups[test])
    else:
        with pytest.raises(FreezeframeError, match="no hold-out has every class on both sides"):
            hold_out(labels, groups)


def test_impossible_hold_outs_are_refused() -> None:
    with pytest.raises(ParameterError, match="test_size must be between 0 and 1"):
        hold_out(["a", "b"], np.arange(2), test_size=1.0)
    with pytest.raises(FreezeframeError, match="class 'a' has too few independent images"):
        hold_out(["a", "a", "b", "b"], np.array([0, 0, 1, 2]))
