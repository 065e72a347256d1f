"""The index: hostile and damaged files, and the versions of the format."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features import index, layout, new_store
from freezeframe.features.index import read_layout
from freezeframe.features.new_store import create_store

from ..conftest import PROVENANCE, MakeStore
from .stores import GOLDEN, Edit, columns, forge


def _place(name: str, part: int, value: object) -> Edit:
    """Change the dtype (0), shape (1) or offset (2) of a dataset."""
    return lambda index: index["datasets"][name].__setitem__(part, value)


def _drop(name: str) -> Edit:
    return lambda index: index["datasets"].pop(name)


def _provenance(name: str, value: object) -> Edit:
    return lambda index: index["provenance"].__setitem__(name, value)


def _all_shapes(first: object) -> Edit:
    return lambda index: [place[1].__setitem__(0, first) for place in index["datasets"].values()]


HOSTILE: dict[str, tuple[Edit, str]] = {
    "no datasets": (lambda index: index.pop("datasets"), "not one of a feature store"),
    "a list of datasets": (
        lambda index: index.__setitem__("datasets", [1]),
        "not one of a feature store",
    ),
    "no provenance": (lambda index: index.pop("provenance"), "not one of a feature store"),
    "no status": (_drop("rows/status"), "lacks columns"),
    "no layers": (
        lambda index: [
            _drop(name)(index) for name in list(index["datasets"]) if "5_" in name or "3_" in name
        ],
        "lacks",
    ),
    "no checksum": (_drop("checksums/block5_pool"), "lacks"),
    "an unknown column": (
        lambda index: index["datasets"].__setitem__("rows/x", ["|u1", [2], 9000]),
        "KeyError 'x'",
    ),
    "an unknown group": (
        lambda index: index["datasets"].__setitem__("x/x", ["|u1", [2], 9000]),
        "not one of",
    ),
    "no rows at all": (_all_shapes(0), "has shape"),
    "fewer than no rows": (_all_shapes(-1), "has shape"),
    "half a row": (_all_shapes(0.5), "has shape"),
    "true rows": (_all_shapes(True), "has shape"),
    "more rows than there are": (_all_shapes(3), "overlap|truncated"),
    "rows beyond any disk": (_all_shapes(10**30), "overlap|truncated"),
    "a layer without width": (
        _place("layers/block5_pool", 1, [2, 0, 2, 5]),
        r"has shape \[2, 0, 2, 5\]",
    ),
    "two dimensions": (_place("layers/block5_pool", 1, [2, 20]), r"has shape \(2, 20\)"),
    "no dimensions": (_place("rows/width", 1, []), r"has shape \[\]"),
    "too few rows": (_place("rows/width", 1, [1]), r"has shape \(1,\) in a store of 2 rows"),
    "in the index": (_place("rows/width", 2, 16), "overlap"),
    "before the file": (_place("rows/width", 2, -4), "at byte -4"),
    "in another dataset": (
        lambda index: _place("rows/width", 2, index["datasets"]["rows/height"][2] + 1)(index),
        "overlap",
    ),
    "behind the end": (
        _place("layers/block5_pool", 2, 10**9),
        "truncated: it should have 1000000160 bytes",
    ),
    "integers for features": (_place("layers/block5_pool", 0, "<i4"), "has type <i4"),
    "objects": (_place("rows/path", 0, "|O"), r"has type \|O"),
    "no type": (_place("rows/path", 0, 7), "not one of a feature store"),
    "a type of a hundred million bytes": (_place("rows/path", 0, "|S100000000"), "has type"),
    "layers of two types": (_place("layers/block5_pool", 0, "<f2"), "several dtypes"),
    "a flat thumbnail": (
        _place("rows/thumbnail", 1, [2, 4096]),
        r"rows/thumbnail has shape \(2, 4096\) in a store of 2",
    ),
    "a smaller thumbnail": (
        _place("rows/thumbnail", 1, [2, 64, 32]),
        r"has shape \(2, 64, 32\) in a store of 2 rows",
    ),
    "too many thumbnails": (
        _place("rows/thumbnail", 1, [3, 64, 64]),
        r"has shape \(3, 64, 64\) in a store of 2 rows",
    ),
    "a thumbnail of numbers": (_place("rows/thumbnail", 0, "<f4"), "rows/thumbnail has type <f4"),
    "thumbnails over the layers": (
        lambda index: _place("rows/thumbnail", 2, index["datasets"]["layers/block5_pool"][2] - 8)(
            index
        ),
        "overlap",
    ),
    "thumbnails behind the end": (
        _place("rows/thumbnail", 2, 10**9),
        "truncated: it should have 1000008192 bytes",
    ),
    "no thumbnails": (_drop("rows/thumbnail"), "lacks columns"),
    "signed groups": (_place("rows/duplicates", 0, "<i4"), "rows/duplicates has type <i4"),
    "a group of many": (
        _place("rows/duplicates", 1, [2, 2]),
        r"rows/duplicates has shape \(2, 2\) in a store of 2",
    ),
    "groups of too few": (
        _place("rows/duplicates", 1, [1]),
        r"rows/duplicates has shape \(1,\) in a store of 2 rows",
    ),
    "short digests": (_place("rows/pixels", 0, "|S32"), r"rows/pixels has type \|S32"),
    "a short reason": (_place("rows/reason", 0, "|S50"), r"rows/reason has type \|S50"),
    "numbers for text in the provenance": (
        _provenance("backbone", 5),
        "provenance has 5 for backbone",
    ),
    "a list in the provenance": (
        _provenance("backbone", ["vgg16"]),
        "provenance has None for backbone",
    ),
    "text for a number in the provenance": (
        _provenance("batch_size", "8"),
        "provenance has '8' for batch_size",
    ),
    "another list of images": (
        lambda index: index.__setitem__("identity_sha256", "0" * 64),
        "paths, labels, splits",
    ),
}


def test_columns_that_would_fill_the_memory_are_refused(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both stores take a few kilobytes on the disk."""
    path = make_store("a.h5", ["x", "y"])
    whole = path.read_bytes()
    forge(path, _place("rows/path", 0, "|S4097"))
    with pytest.raises(
        StoreError, match=r"a\.h5: damaged: rows/path has texts of 4097 bytes, the limit is 4096;"
    ):
        FeatureStore(path)
    path.write_bytes(whole)
    monkeypatch.setattr(index, "memory_bytes", lambda: 1000)
    with pytest.raises(StoreError) as caught:
        FeatureStore(path)
    assert str(caught.value) == (
        f"{path}: its columns would take 1.6 kB, 512 bytes of them rows/sha256 with 2 texts of 64 "
        "bytes; this machine has 1.0 kB of memory; take a larger machine"
    )


def test_a_text_that_no_reader_accepts_is_not_written(tmp_path: Path) -> None:
    layers = {"block5_pool": (1, 1, 2)}
    rows = columns(2)
    rows["label"][1] = "ü" * 2048
    create_store(tmp_path / "a.h5", rows, layers, PROVENANCE)
    assert FeatureStore(tmp_path / "a.h5").labels[1] == "ü" * 2048
    rows["label"][1] += "u"
    with pytest.raises(
        ParameterError, match="label: a text of 4097 bytes is longer than the limit of 4096"
    ):
        create_store(tmp_path / "b.h5", rows, layers, PROVENANCE)
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_indexes_are_refused_in_one_line(make_store: MakeStore, case: str) -> None:
    edit, message = HOSTILE[case]
    path = make_store("a.h5", ["x", "y"])
    forge(path, edit)
    with pytest.raises(StoreError, match=message) as caught:
        FeatureStore(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_forged_index_with_the_same_content_is_accepted(make_store: MakeStore) -> None:
    """The cases above are refused because of their changes, not because of the forging."""
    path = make_store("a.h5", ["x", "y"])
    forge(path, lambda index: None)
    assert FeatureStore(path).verify() == []


def test_files_that_are_not_stores_are_refused_in_one_line(
    tmp_path: Path, make_store: MakeStore
) -> None:
    path = tmp_path / "b.h5"
    with pytest.raises(StoreError, match="no such file; make it with extract-features"):
        FeatureStore(path)
    whole = make_store("a.h5", ["x", "y"]).read_bytes()
    for content, message in {
        b"": "not a feature store",
        b"hello": "not a feature store",
        b"\x89HDF\r\n\x1a\n" + whole: "an HDF5 file, but not a feature store",
        whole[: len(whole) // 2]: "truncated",
        whole[: read_layout(tmp_path / "a.h5").layers["block5_pool"].end - 1]: "truncated",
        whole[:30]: "its first line is not what was written",
        whole[:600]: "its index is not what was written",
        whole.replace(
            b"freezeframe-features 3", b"freezeframe-features 4"
        ): "version 4 is unknown .*, which reads 1, 2, 3",
        whole.replace(
            b"freezeframe-features 3", b"freezeframe-features 1"
        ): "not one of a feature store .*'group_scope'",
        whole.replace(
            b'"backbone": "vgg16"', b'"backbone": "vgg19"'
        ): "its index is not what was written",
    }.items():
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"b\.h5: .*{message}"):
            FeatureStore(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), byte=st.integers(0, 255), length=st.integers(1, 8))
def test_a_damaged_file_never_raises_anything_else(
    tmp_path: Path, make_store: MakeStore, position: float, byte: int, length: int
) -> None:
    path = tmp_path / "whole.h5"
    if not path.exists():
        make_store("whole.h5", ["x", "y"])
    data = bytearray(path.read_bytes())
    start = int(position * (len(data) - length))
    data[start : start + length] = bytes([byte]) * length
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(data)
    try:
        store = FeatureStore(damaged)
        store.verify()
        _ = store.fingerprint
    except StoreError:
        pass


def test_the_columns_of_each_version_are_literals() -> None:
    """A column that is added to today's table must not reach the tables of old versions."""
    tree = ast.parse(Path(layout.__file__).read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "COLUMNS_BY_VERSION"
    )
    assert table is not None
    assert ast.literal_eval(table) == layout.COLUMNS_BY_VERSION


def test_a_new_version_with_more_columns_and_fields_reads_the_golden_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprints = {
        name: FeatureStore(GOLDEN / name).fingerprint for name in ("store-v1.h5", "store-v2.h5")
    }
    row_columns = layout.ROW_COLUMNS | {"score": "<f4"}
    monkeypatch.setitem(layout.COLUMNS_BY_VERSION, 3, row_columns)
    monkeypatch.setitem(
        layout.DECIDING_FIELDS_BY_VERSION, 3, layout.DECIDING_FIELDS | {"crop": str}
    )
    monkeypatch.setattr(new_store, "ROW_COLUMNS", row_columns)
    monkeypatch.setattr(new_store, "STORE_FORMAT_VERSION", 3)
    path = tmp_path / "a.h5"
    create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE | {"crop": "none"})
    assert FeatureStore(path).format_version == 3
    assert FeatureStore(path).layout.rows["score"].dtype == np.float32
    create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE)
    with pytest.raises(StoreError, match="provenance has None for crop"):
        FeatureStore(path)
    for name, fingerprint in fingerprints.items():
        store = FeatureStore(GOLDEN / name)
        assert store.verify() == []
        assert store.fingerprint == fingerprint
