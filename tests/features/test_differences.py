"""Summaries of stores, and differences between them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from freezeframe import FeatureStore
from freezeframe.features.copies.copying import copy_rows
from freezeframe.features.differences import difference
from freezeframe.features.writer import StoreWriter

from ..conftest import MakeStore
from .stores import LABELS, call, empty_like


def test_info(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, splits=["train"] * 4 + ["test", ""], pending=1, failed=2)
    contents = json.loads(call("info", path, "--json").stdout)
    assert contents["status"] == {"done": 3, "failed": 2, "pending": 1}
    assert contents["classes"] == {"x": 3, "y": 2, "ü": 1}
    assert contents["splits"] == {"": 1, "test": 1, "train": 4}
    assert contents["layers"]["block5_pool"] == {
        "shape": [2, 2, 5],
        "dtype": "float32",
        "bytes": 6 * 80,
    }
    assert contents["file_bytes"] == path.stat().st_size
    assert contents["provenance"] == FeatureStore(path).provenance
    assert contents["fingerprint"] == FeatureStore(path).fingerprint
    table = call("info", path).stdout
    for text in (
        r"rows +6 \(done 3, failed 2, pending 1\)",
        r"layer block3_pool +4 x 4 x 3, float32",
        r"splits +none 1",
    ):
        assert re.search(text, table), text
    assert contents["fingerprint"] in table


def test_names_in_info_and_diff_cannot_control_a_terminal(make_store: MakeStore) -> None:
    odd = {"source": "[red]\x1b[31m"}
    a, b = make_store("a.h5", ["\x1b[2J", "[b]y"], provenance=odd), make_store("b.h5", ["x", "y"])
    for result in (call("info", a), call("diff", a, b)):
        assert "\x1b" not in result.output
        assert "\\x1b[2J" in result.stdout
    assert "[red]\\x1b[31m" in call("info", a).stdout


def test_diff_of_equal_stores(make_store: MakeStore, tmp_path: Path) -> None:
    a = make_store("a.h5", LABELS)
    store = FeatureStore(a)
    b = empty_like(store, tmp_path / "b.h5", [5, 4, 3, 2, 1, 0], command="another")
    with StoreWriter(b) as writer:
        copy_rows(store, range(6), writer, [5, 4, 3, 2, 1, 0])
    # The order of rows is part of the fingerprint.
    assert store.fingerprint != FeatureStore(b).fingerprint
    result = call("diff", a, b)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "1 provenance field differs without affecting the features",
        "  command: None in A, 'another' in B",
        "the stores hold the same",
    ]


def test_diff_names_what_differs(make_store: MakeStore) -> None:
    labels = ["x", "y", "x", "y", "x"]
    a = make_store("a.h5", labels, splits=["train"] * 5)
    digests = [f"{i:064x}" for i in range(4)] + ["f" * 64]
    b = make_store(
        "b.h5",
        [*labels, "z"],
        sha256s=[*digests, "e" * 64],
        groups=["g"] + [""] * 5,
        splits=["train"] * 6,
        failed=1,
    )
    assert difference(FeatureStore(a), FeatureStore(b)).differences == {
        "rows only in B": ["z/5.png"],
        "rows whose file changed": ["x/4.png"],
        "rows with other groups": ["x/0.png: '' in A, 'g' in B"],
        "rows with other features": [
            f"{labels[i]}/{i}.png: {name}"
            for name in ("block3_pool", "block5_pool")
            for i in range(4)
        ],
    }
    c = make_store(
        "c.h5", labels, splits=["test", *["train"] * 4], pending=1, provenance={"resize": "nearest"}
    )
    assert difference(FeatureStore(c), FeatureStore(a)).differences == {
        "provenance differs": ["resize: 'nearest' in A, 'bilinear' in B"],
        "rows with other splits": ["x/0.png: 'test' in A, 'train' in B"],
        "rows with other status": ["x/4.png: 'pending' in A, 'done' in B"],
    }


def test_diff_of_many_rows_is_short(make_store: MakeStore) -> None:
    a, b = make_store("a.h5", ["x"] * 50), make_store("b.h5", ["y"] * 30)
    result = call("diff", a, b)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "rows only in A: 50"
    assert "  and 30 more" in result.stdout
    assert len(result.stdout.splitlines()) == 1 + 21 + 1 + 21 + 1
    assert result.stdout.splitlines()[-1] == "the stores differ"
