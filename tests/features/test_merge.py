"""Merging stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features.copies.merge import merge
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock

from ..conftest import PROVENANCE, MakeStore
from .stores import call, columns, damage, shards


def test_merge(make_store: MakeStore) -> None:
    a, b = shards(
        make_store, pending=1, failed=1, provenance={"source": "/else", "version_keras": "9"}
    )
    result = call("merge", "all.h5", a, b)
    assert (result.exit_code, result.stdout) == (
        0,
        "all.h5: 6 of 8 images, block3_pool 4 x 4 x 3, block5_pool 2 x 2 x 5\n"
        "1 of 8 rows not computed yet (p/4.png); run extract-features again\n",
    )
    merged, parts = FeatureStore("all.h5"), [FeatureStore(a), FeatureStore(b)]
    for name in (
        "paths",
        "sha256s",
        "labels",
        "splits",
        "groups",
        "status",
        "reasons",
        "widths",
        "heights",
    ):
        assert getattr(merged, name).tolist() == [
            value for part in parts for value in getattr(part, name).tolist()
        ]
    for name in merged.layers:
        assert merged.checksums(name).tolist() == [
            text for part in parts for text in part.checksums(name)
        ]
        np.testing.assert_array_equal(
            merged.features(name), np.concatenate([part.features(name) for part in parts])
        )
    assert merged.verify() == []
    assert merged.provenance["merged_sources"] == "/somewhere/scans, /else"
    assert "source" not in merged.provenance
    assert merged.provenance["weights_source"] == "a test"
    assert merged.provenance["version_keras"] == "9"
    assert merged.provenance["created"].startswith("20")
    again = call("merge", "all.h5", a, b)
    assert again.exit_code == 2
    assert "all.h5: exists already" in again.stderr


def test_a_store_without_a_source_of_groups_adds_nothing_to_the_provenance(
    make_store: MakeStore,
) -> None:
    _, b = shards(make_store, provenance={"group_source": "the column patient"})
    a = make_store("c.h5", ["x", "y"], provenance={"group_source": ""})
    for paths in ([a, b], [b, a]):
        merged = merge("all.h5", paths)
        assert merged.provenance["group_source"] == "the column patient"
        merged.path.unlink()


def test_groups_of_two_merged_stores_are_not_joined_by_their_name(make_store: MakeStore) -> None:
    """A merged store has no source; two of them are still of other lists."""
    paths = []
    for number, source in enumerate(("/a and /b", "/c and /d")):
        paths.append(
            make_store(
                f"{number}.h5",
                [f"x{number}", f"y{number}"],
                sha256s=[f"{10 * number + i:064x}" for i in range(2)],
                groups=["group-1", ""],
                provenance={"source": "", "merged_sources": source},
            )
        )
    groups = merge("all.h5", paths).groups.tolist()
    assert groups == ["group-1 (/a and /b)", "", "group-1 (/c and /d)", ""]


def test_many_sources_fit_into_one_field(make_store: MakeStore) -> None:
    a, b = shards(make_store, provenance={"source": "s" * 2000})
    assert merge("all.h5", [a, b]).provenance["merged_sources"] == "/somewhere/scans and 1 more"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"provenance": {"resize": "lanczos"}},
            "b.h5: made with resize 'lanczos', .*a.h5 with 'bilinear'",
        ),
        (
            {"provenance": {"dtype": "float16"}},
            "b.h5: made with dtype 'float16', .*a.h5 with 'float32'",
        ),
    ],
)
def test_stores_made_in_different_ways_are_not_merged(
    make_store: MakeStore, second: dict[str, Any], message: str
) -> None:
    a, b = shards(make_store, **second)
    with pytest.raises(StoreError, match=message):
        merge("all.h5", [a, b])
    assert not Path("all.h5").exists()


def test_stores_that_share_rows_or_differ_in_layers_are_not_merged(
    make_store: MakeStore, tmp_path: Path
) -> None:
    a = make_store("a.h5", ["x", "y"])
    changed = make_store("b.h5", ["x", "y"], sha256s=["e" * 64, "f" * 64])
    with store_lock("c.h5"):
        create_store(
            "c.h5",
            columns(1),
            {"block5_pool": (2, 2, 5)},
            PROVENANCE,
        )
    broken = make_store("d.h5", ["p", "q", "r"])
    damage(broken, 2)
    for paths, message in {
        (a, a): "a.h5: holds x/0.png, with the same contents, which .*a.h5 holds too",
        (a, changed): "b.h5: holds x/0.png, with other contents, which .*a.h5 holds too",
        (a, Path("c.h5")): "c.h5: has the layers block5_pool .*a.h5 has block3_pool",
        (a, broken): "d.h5: the features of r/2.png are damaged",
        (a, Path("e.h5")): "e.h5: no such file",
    }.items():
        with pytest.raises(StoreError, match=message):
            merge("all.h5", paths)
    assert not list(tmp_path.glob("all.h5*h5"))
    assert not list(tmp_path.glob("*.new"))
    with pytest.raises(ParameterError, match="merge: no stores; give at least one"):
        merge("all.h5", [])
