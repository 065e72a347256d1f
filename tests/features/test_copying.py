"""Copying rows from one store to another."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features.copies import copying
from freezeframe.features.copies.copying import copy_rows
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore
from .stores import LABELS, columns, damage, empty_like


@pytest.mark.parametrize("block", [1, 500, 2**26])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_copied_bit_for_bit(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, dtype: str
) -> None:
    monkeypatch.setattr(copying, "_COPY_BLOCK_BYTES", block)
    source = FeatureStore(
        make_store("a.h5", LABELS, pending=1, failed=1, provenance={"dtype": dtype})
    )
    order = [5, 3, 0, 4, 2]
    path = empty_like(source, tmp_path / "b.h5", order, dtype=dtype)
    with store_lock(path), StoreWriter(path) as writer:
        copy_rows(source, order, writer, range(5))
    copy = FeatureStore(path)
    assert copy.status.tolist() == source.status[order].tolist() == [0, 1, 1, 2, 1]
    assert copy.reasons.tolist() == ["", "", "", "a broken file", ""]
    assert copy.heights.tolist() == source.heights[order].tolist()
    assert copy.widths.tolist() == source.widths[order].tolist()
    assert copy.verify() == []
    for name in source.layers:
        assert copy.checksums(name).tolist() == source.checksums(name)[order].tolist()
        assert copy.memmap(name)[[1, 2, 4]].tobytes() == source.memmap(name)[[3, 0, 2]].tobytes()


def test_damaged_rows_are_not_copied(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", LABELS)
    damage(path, 3)
    source = FeatureStore(path)
    target = empty_like(source, tmp_path / "b.h5", list(range(6)))
    with (
        StoreWriter(target) as writer,
        pytest.raises(StoreError, match=r"a\.h5: the features of ü/3\.png are damaged"),
    ):
        copy_rows(source, range(6), writer, range(6))
    with StoreWriter(target) as writer:
        copy_rows(source, [0], writer, [0])
    assert FeatureStore(target).status.tolist() == [1, 0, 0, 0, 0, 0]


def test_rows_are_only_copied_where_they_belong(make_store: MakeStore, tmp_path: Path) -> None:
    source = FeatureStore(make_store("a.h5", LABELS))
    target = empty_like(source, tmp_path / "b.h5", list(range(6)))
    half = empty_like(source, tmp_path / "half.h5", list(range(6)), dtype="float16")
    with store_lock(tmp_path / "c.h5"):
        rows = columns(1) | {"sha256": ["0" * 64]}
        create_store(tmp_path / "c.h5", rows, {"block9": (1, 1, 1)}, PROVENANCE)
        create_store(tmp_path / "d.h5", rows, {"block5_pool": (2, 1, 5)}, PROVENANCE)
    with StoreWriter(target) as writer:
        for numbers, to, message in [
            ([0], [1], "x/0.png cannot be copied to the row of another image"),
            ([0, 1], [0], r"one length, got \(2,\) and \(1,\)"),
            ([0, 0], [0, 0], "one to each"),
            ([6], [0], "rows must lie between 0 and 5, got 6 to 6"),
            ([0], [-1], "to must lie between 0 and 5"),
        ]:
            with pytest.raises(ParameterError, match=message):
                copy_rows(source, numbers, writer, to)
        copy_rows(source, [], writer, [])
        copy_rows(source, [1], writer, [1])
    with (
        StoreWriter(target) as writer,
        pytest.raises(ParameterError, match="only be copied to pending rows"),
    ):
        copy_rows(source, [1], writer, [1])
    for path, message in (
        (half, "block3_pool is float32 of (4, 4, 3), in .*half.h5 it is float16 of (4, 4, 3)"),
        (tmp_path / "c.h5", "a.h5: has no layer 'block9'"),
        (
            tmp_path / "d.h5",
            "block5_pool is float32 of (2, 2, 5), in .*d.h5 it is float32 of (2, 1, 5)",
        ),
    ):
        with (
            StoreWriter(path) as writer,
            pytest.raises(ParameterError, match=re.sub(r"([()])", r"\\\1", message)),
        ):
            copy_rows(source, [0], writer, [0])


def test_more_layers_in_the_source_do_no_harm(make_store: MakeStore, tmp_path: Path) -> None:
    source = FeatureStore(make_store("a.h5", ["x"]))
    with store_lock(tmp_path / "b.h5"):
        rows = columns(1) | {"sha256": [str(source.sha256s[0])]}
        create_store(tmp_path / "b.h5", rows, {"block5_pool": (2, 2, 5)}, PROVENANCE)
    with StoreWriter(tmp_path / "b.h5") as writer:
        copy_rows(source, [0], writer, [0])
    np.testing.assert_array_equal(
        FeatureStore(tmp_path / "b.h5").features("block5_pool"), source.features("block5_pool")
    )
