"""Exports to npz and Parquet."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from freezeframe import FeatureStore, ParameterError
from freezeframe.data.output.capacity import FREE_BYTES
from freezeframe.features.exports import export as exporting
from freezeframe.features.exports.export import export

from ..conftest import MakeStore
from .stores import LABELS, call, damage


@pytest.mark.parametrize("pooling", [None, "flat", "avg", "max"])
def test_npz_holds_the_done_rows(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, pooling: str | None
) -> None:
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 500)
    path = make_store("a.h5", LABELS, splits=["train"] * 3 + [""] * 3, pending=1, failed=1)
    more = ["--pooling", pooling] if pooling else []
    result = call("export", path, "a.npz", "--layer", "block3_pool", *more)
    assert result.exit_code == 1, result.output
    assert "1 of 6 rows not computed yet (x/5.png)" in result.stderr
    store = FeatureStore(path)
    with np.load("a.npz", allow_pickle=False) as file:
        assert file.files == [
            "features",
            "paths",
            "sha256s",
            "labels",
            "splits",
            "groups",
            "group_scopes",
            "patients",
            "pixels",
            "duplicates",
            "pending",
        ]
        assert file["features"].dtype == np.float32
        np.testing.assert_array_equal(
            file["features"], store.features("block3_pool", pooling=pooling)
        )
        assert file["pending"].tolist() == ["x/5.png"]
        for name in file.files[1:-1]:
            assert file[name].tolist() == getattr(store, name)[:4].tolist()
    first = Path("a.npz").read_bytes()
    assert (
        call("export", path, "a.npz", "--layer", "block3_pool", *more, "--overwrite").exit_code == 1
    )
    assert Path("a.npz").read_bytes() == first


@pytest.mark.parametrize("pooling", [None, "flat", "max"])
def test_parquet_has_one_line_per_image(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, pooling: str | None
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 100)
    monkeypatch.setattr(exporting, "_GROUP_BYTES", 300)
    path = make_store("a.h5", LABELS, groups=["g"] * 6, failed=1, provenance={"dtype": "float16"})
    more = ["--pooling", pooling] if pooling else []
    assert call("export", path, "a.parquet", *more).exit_code == 0
    store, table = FeatureStore(path), parquet.read_table("a.parquet").to_pydict()
    expected = store.features("block5_pool", pooling=pooling or "avg")
    columns = [f"f{number}" for number in range(expected.shape[1])]
    texts = ["path", "sha256", "label", "split", "group", "group_scope", "patient"]
    assert list(table) == [*texts, "width", "height", "pixels", "duplicates", *columns]
    np.testing.assert_array_equal(
        np.array([table[name] for name in columns], np.float32).T, expected
    )
    for name in ("path", "sha256", "label", "split", "group", "width", "height"):
        assert table[name] == getattr(store, f"{name}s")[:5].tolist()
    assert table["pixels"] == store.pixels[:5].tolist()
    assert table["duplicates"] == store.duplicates[:5].tolist()
    assert 1 < parquet.ParquetFile("a.parquet").num_row_groups <= 5


@pytest.mark.parametrize(
    ("command", "n_bytes"),
    [
        # Six rows of 4 x 4 x 3 and 2 x 2 x 5 numbers of 4 bytes; a thumbnail has 64 x 64 bytes.
        (["export", "a.h5", "b.npz", "--layer", "block3_pool"], 6 * 48 * 4),
        (["export", "a.h5", "b.parquet"], 6 * 5 * 4 // 4),
        (["export", "a.h5", "b.h5"], 6 * (48 + 20) * 4 // 8),
        (["merge", "b.h5", "a.h5"], 6 * ((48 + 20) * 4 + 64 * 64)),
    ],
)
def test_a_disk_without_room_is_reported_before_anything_is_written(
    make_store: MakeStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    n_bytes: int,
) -> None:
    make_store("a.h5", LABELS)
    monkeypatch.chdir(tmp_path)
    free = SimpleNamespace(free=n_bytes + FREE_BYTES - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    result = call(*command)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: b\.\w+: its features need [\d.]+ \w+, 67\.1 MB are free here; "
        "make room, or choose another output path\n",
        result.stderr,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]
    free.free += 1
    assert call(*command).exit_code == 0


def test_damaged_features_are_not_exported(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", LABELS)
    damage(path, 3)
    for out in ("b.h5", "b.npz", "b.parquet"):
        result = call("export", path, out)
        assert result.exit_code == 1
        assert re.search("error: .*a.h5: .*block5_pool features of ü/3.png are", result.stderr), (
            result.stderr
        )
    assert sorted(file.name for file in tmp_path.iterdir() if "lock" not in file.name) == ["a.h5"]


def test_too_many_columns_for_parquet_are_refused(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_COLUMNS", 19)
    with pytest.raises(ParameterError, match="block5_pool flat has 20 features, too many"):
        export(FeatureStore(make_store("a.h5", LABELS)), "a.parquet", pooling="flat")


@pytest.mark.parametrize(("library", "out"), [("pyarrow", "b.parquet"), ("hdf5plugin", "b.h5")])
def test_a_missing_library_names_its_extra(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, library: str, out: str
) -> None:
    path = make_store("a.h5", LABELS)
    monkeypatch.setitem(sys.modules, library, None)
    result = call("export", path, out)
    assert result.exit_code == 1
    assert (
        f"needs {library}, which is not installed: pip install 'freezeframe[export]'"
        in result.stderr
    )
    assert not Path(out).exists()


def test_files_that_a_crash_left_go_with_the_next_run(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    for out in ("b.npz", "b.h5"):
        Path(f".{out}-0123456789abcdef.new").write_bytes(b"half" * 9999)
        assert call("export", path, out).exit_code == 0
    for out in ("c.h5", "d.h5"):
        Path(f".{out}-0123456789abcdef.new").write_bytes(b"half" * 9999)
    assert call("restore", "b.h5", "c.h5").exit_code == 0
    assert call("merge", "d.h5", path).exit_code == 0
    assert not list(Path().glob(".*.new"))
