"""Reading feature stores: round trips, selections, damage, other programs, a golden store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features.layout import IDENTITY_COLUMNS, identity_digest
from freezeframe.features.new_store import create_store
from freezeframe.features.rows.pooling import pool
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore
from .stores import GOLDEN, forge

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
SCOPE = st.sampled_from(["", "own", "common"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[TEXT] * 5, SCOPE, TEXT), min_size=1, max_size=6),
    dtype=st.sampled_from(["float32", "float16"]),
    data=st.data(),
)
def test_a_store_reads_what_was_written(
    tmp_path: Path, rows: list[tuple[str, ...]], dtype: str, data: st.DataObject
) -> None:
    path, n = tmp_path / "a.h5", len(rows)
    # HDF5 pads text of fixed length with null bytes, so text that ends in one would lose it. Names
    # of files hold no null bytes.
    text = dict(zip(IDENTITY_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    shapes = {"one": (2, 3, 1), "two": (1, 1, 4)}
    features = {
        name: data.draw(hnp.arrays(dtype, (n, *shape), elements=st.floats(-1000, 1000, width=16)))
        for name, shape in shapes.items()
    }
    with store_lock(path):
        create_store(path, text, shapes, PROVENANCE | {"dtype": dtype})
        with StoreWriter(path) as writer:
            assert writer.pending.tolist() == list(range(n))
            writer.write(range(n), features, [(i, i + 1) for i in range(n)])
    store = FeatureStore(path)
    assert store.identity() == text
    for name in shapes:
        np.testing.assert_array_equal(store.memmap(name), features[name])
        assert store.features(name).dtype == np.float32
        assert store.checksums(name).tolist() == [
            hashlib.sha256(row.tobytes()).hexdigest() for row in features[name]
        ]
    assert store.heights.tolist() == list(range(n))
    assert store.complete
    assert store.verify() == []
    assert store.provenance == PROVENANCE | {"dtype": dtype}


def test_rows_columns_and_poolings(make_store: MakeStore) -> None:
    store = FeatureStore(
        make_store(
            "a.h5", ["x", "y", "x", "y", "y"], splits=["train", "test", "", "test", ""], failed=1
        )
    )
    assert len(store) == 5
    assert store.rows().tolist() == [0, 1, 2, 3]
    assert store.rows(split="test").tolist() == [1, 3]
    assert store.rows(split="test", label="x").tolist() == []
    raw = store.memmap("block3_pool")
    assert raw.shape == (5, 4, 4, 3)
    with pytest.raises(ValueError, match="read-only"):
        raw[0] = 0
    np.testing.assert_array_equal(store.features("block3_pool", [2, 0]), raw[[2, 0]])
    np.testing.assert_array_equal(
        store.features("block3_pool", pooling="flat"), raw[:4].reshape(4, 48)
    )
    np.testing.assert_allclose(
        store.features("block3_pool", pooling="avg"), raw[:4].mean(axis=(1, 2)), rtol=1e-6
    )
    np.testing.assert_array_equal(
        store.features("block3_pool", pooling="max"), raw[:4].max(axis=(1, 2))
    )
    assert store.features("block3_pool", [], "flat").shape == (0, 48)
    frame = store.frame()
    assert frame.status.tolist() == ["done"] * 4 + ["failed"]
    assert frame.reason[4] == "a broken file"
    assert frame.columns.tolist() == [
        "path",
        "sha256",
        "label",
        "split",
        "group",
        "group_scope",
        "patient",
        "width",
        "height",
        "status",
        "reason",
        "pixels",
        "duplicates",
    ]
    assert "4 done, 1 failed, 0 pending" in repr(store)


def test_rows_can_be_chosen_by_a_boolean(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    chosen = store.features("block5_pool", store.labels == "y")
    np.testing.assert_array_equal(chosen, store.memmap("block5_pool")[1::2])
    for wrong in (np.ones(3, dtype=bool), np.array([0.5])):
        with pytest.raises(ParameterError, match="boolean"):
            store.features("block5_pool", wrong)


def test_unknown_splits_labels_and_rows_are_refused(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    assert store.rows(split="train").tolist() == []
    with pytest.raises(
        ParameterError, match="split must be one of 'train', 'validation', 'test', '', got 'tset'"
    ):
        store.rows(split="tset")
    with pytest.raises(ParameterError, match="no image is labelled 'z'; labels are x, y"):
        store.rows(label="z")
    for wrong in ([99], 5, [[0, 1]], [-11]):
        with pytest.raises(ParameterError, match="rows must"):
            store.features("block5_pool", wrong)  # type: ignore[arg-type]


def test_an_open_store_never_mixes_with_the_one_that_replaced_it(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    make_store("b.h5", ["y", "x"] * 5).replace(tmp_path / "a.h5")
    for use in (store.features, store.memmap):
        with pytest.raises(StoreError, match="replaced by another store since it was opened"):
            use("block5_pool")


def test_features_that_are_not_finite_are_refused(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    # A hostile store: its checksum fits.
    with h5py.File(path, "r+") as file:
        row = file["layers/block5_pool"][1]
        row[0, 0, 0] = np.nan
        file["layers/block5_pool"][1] = row
        file["checksums/block5_pool"][1] = hashlib.sha256(row.tobytes()).hexdigest().encode()
    assert FeatureStore(path).verify() == []
    with pytest.raises(StoreError, match=r"features of y/1\.png are damaged"):
        FeatureStore(path).features("block5_pool")


def test_provenance_that_is_neither_text_nor_number_is_skipped(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    forge(
        path,
        lambda index: index["provenance"].update(odd=["x"], empty=None, weights_source="\ud800"),
    )
    assert FeatureStore(path).provenance == PROVENANCE | {"weights_source": "\ud800"}


def test_unknown_layers_and_poolings_are_refused(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y", "y"], pending=1))
    with pytest.raises(
        ParameterError, match=r"has no layer 'block9_pool'; it has block3_pool, block5_pool"
    ):
        store.features("block9_pool")
    with pytest.raises(ParameterError, match="pooling must be one of flat, avg, max, got 'mean'"):
        store.features("block3_pool", pooling="mean")
    with pytest.raises(StoreError, match="not done"):
        store.features("block3_pool", [2])
    assert not store.complete


def test_blocks_hold_all_rows(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 400)
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    blocks = list(store.blocks("block3_pool", store.rows(), "flat"))
    assert len(blocks) == 5
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(10))
    np.testing.assert_array_equal(
        np.concatenate([X for _, X in blocks]), pool(store.memmap("block3_pool"), "flat")
    )


def test_a_changed_byte_is_found(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y", "x"])
    before = FeatureStore(path)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][1, 0, 0, 0] += 1
    assert FeatureStore(path).verify() == [(1, "block5_pool")]
    # The fingerprint covers the checksums; `verify` covers the features.
    assert FeatureStore(path).fingerprint == before.fingerprint


def test_the_fingerprint_depends_on_the_content_only(make_store: MakeStore) -> None:
    prints = {
        FeatureStore(make_store(f"{i}.h5", labels, **extra)).fingerprint
        for i, (labels, extra) in enumerate(
            [
                (["x", "y"], {}),
                (["x", "z"], {}),
                (["x", "y"], {"splits": ["train", "test"]}),
                (["x", "y"], {"provenance": {"weights_digest": "1" * 64}}),
                (["x", "y"], {"failed": 1}),
            ]
        )
    }
    assert len(prints) == 5
    same = [
        make_store(f"same{i}.h5", ["x", "y"], provenance={"created": str(i), "command": str(i)})
        for i in range(2)
    ]
    assert FeatureStore(same[0]).fingerprint == FeatureStore(same[1]).fingerprint


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows/status", 9, "status of x/0.png is not what was written"),
        ("rows/label", b"z", "paths, labels, splits or groups were changed"),
        ("rows/split", b"t", "paths, labels, splits or groups were changed"),
        ("layers/block5_pool", np.ones((2, 2, 5)), "features of x/0.png are damaged"),
        ("checksums/block5_pool", b"0" * 64, "features of x/0.png are damaged"),
    ],
)
def test_changed_contents_are_noticed(
    make_store: MakeStore, name: str, value: Any, message: str
) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file[name][0] = value
    with pytest.raises(StoreError, match=message):
        FeatureStore(path).features("block5_pool")


def test_text_that_is_not_utf8_is_refused(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file["rows/label"][...] = b"\xff"
        columns = {name: file[f"rows/{name}"][...] for name in IDENTITY_COLUMNS}
    forge(path, lambda index: index.__setitem__("identity_sha256", identity_digest(columns)))
    with pytest.raises(StoreError, match="label is not UTF-8"):
        FeatureStore(path)


def test_any_hdf5_library_reads_what_we_read(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "ü"], splits=["train", "test"], groups=["a", "b"])
    store = FeatureStore(path)
    with h5py.File(path, "r") as file:
        assert dict(file.attrs) == {"format": "freezeframe-features", "format_version": 3}
        assert dict(file["provenance"].attrs) == store.provenance
        text = {
            "path": store.paths,
            "sha256": store.sha256s,
            "label": store.labels,
            "split": store.splits,
        }
        for name, values in (text | {"group": store.groups, "reason": store.reasons}).items():
            assert file[f"rows/{name}"].asstr()[...].tolist() == values.tolist()
        for name, numbers in {
            "status": store.status,
            "width": store.widths,
            "height": store.heights,
        }.items():
            np.testing.assert_array_equal(file[f"rows/{name}"][...], numbers)
        for name in store.layers:
            np.testing.assert_array_equal(file[f"layers/{name}"][...], store.memmap(name))
            assert file[f"layers/{name}"].id.get_offset() % 64 == 0
            assert file[f"checksums/{name}"].asstr()[...].tolist() == store.checksums(name).tolist()


def test_a_store_that_another_program_adds_to_is_still_read(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file["notes"] = np.arange(1000)
        file.attrs["looked at"] = "yes"
    assert FeatureStore(path).verify() == []


def test_a_store_that_another_program_wrote_again_is_refused(
    make_store: MakeStore, tmp_path: Path
) -> None:
    path = make_store("a.h5", ["x", "y"])
    room = h5py.File(path).userblock_size
    with h5py.File(path) as old, h5py.File(tmp_path / "b.h5", "w", userblock_size=room) as new:
        for name in reversed(list(old)):
            old.copy(name, new)
    (tmp_path / "b.h5").write_bytes(
        path.read_bytes()[:room] + (tmp_path / "b.h5").read_bytes()[room:]
    )
    with pytest.raises(StoreError, match=r"truncated|were changed"):
        FeatureStore(tmp_path / "b.h5")


def test_golden_store_of_version_1() -> None:
    store = FeatureStore(GOLDEN / "store-v1.h5")
    assert store.paths.tolist() == ["lesion/ä 1.png", "lesion/2.png", "none/1.png", "none/2.jpg"]
    assert store.labels.tolist() == ["lesion", "lesion", "none", "none"]
    assert store.splits.tolist() == ["train", "test", "train", ""]
    assert store.groups.tolist() == ["p1", "p1", "", ""]
    assert store.status.tolist() == [1, 1, 2, 0]
    assert store.reasons[2] == "the file is empty"
    assert store.layers == {"block3_pool": (3, 2, 4), "block5_pool": (1, 2, 5)}
    assert store.provenance["weights_source"] == "random, seed 0"
    assert store.provenance["batch_size"] == 8
    np.testing.assert_array_equal(
        store.features("block3_pool", [1], "flat")[0], 24 + np.arange(24, dtype=np.float32)
    )
    assert store.features("block5_pool").sum() == np.arange(20).sum()
    assert (store.widths[0], store.heights[0]) == (181, 217)
    assert store.verify() == []
    assert store.fingerprint == "7d9aac07eb050a4de7425219376f02c230ab60456cefc7384b4965be353204e8"


@pytest.mark.parametrize("rows", [[3], [0, 3], None])
def test_the_image_whose_features_are_not_finite_is_named(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, rows: list[int] | None
) -> None:
    path = make_store("a.h5", ["a"] * 6)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][3, 0, 0, 0] = np.nan
        digest = hashlib.sha256(file["layers/block5_pool"][3].tobytes()).hexdigest()
        file["checksums/block5_pool"][3] = digest.encode()
    # Two rows at a time.
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 160)
    with pytest.raises(StoreError, match=r"the block5_pool features of a/3\.png are damaged"):
        FeatureStore(path).features("block5_pool", rows)
    with pytest.raises(StoreError, match=r"the block5_pool features of a/3\.png are damaged"):
        list(FeatureStore(path).select("block5_pool", rows, "flat").panels())
