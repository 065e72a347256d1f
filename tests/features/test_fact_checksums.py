"""Checksums of what a row holds beside its features: every flipped bit and lost block is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from freezeframe import FeatureStore, StoreError
from freezeframe.__main__ import cli
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.output.terminal import counted
from freezeframe.features.checksums.facts import FACTS
from freezeframe.features.copies.merge import merge
from freezeframe.features.layout import DONE, FAILED
from freezeframe.features.writer import StoreWriter

from ..conftest import MakeStore
from .stores import GOLDEN, as_version, call

LABELS = ["x", "y"] * 4


@pytest.fixture
def store(make_store: MakeStore) -> Path:
    """Make a store of six different pictures, a near-copy, and a failed row."""
    prints = []
    for seed in (0, 1, 2, 3, 4, 5, 5, 6):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        prints.append(fingerprint(np.kron(noise, np.ones((8, 8, 1), np.uint8))))
    return make_store("a.h5", LABELS, fingerprints=prints, failed=1, splits=["train", "test"] * 4)


def flip(path: Path, column: str, row: int) -> None:
    """Change one bit of a row's bytes in a column."""
    extent = FeatureStore(path).layout.rows[column]
    place = extent.row_offset(row)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("column", "row", "fact"),
    [
        ("pixels", 2, "fingerprint"),
        ("thumbnail", 2, "fingerprint"),
        ("duplicates", 2, "duplicates"),
        ("width", 2, "status"),
        ("height", 2, "status"),
        ("status", 7, None),
        ("reason", 7, "status"),
        ("status_checksum", 2, "status"),
        ("fingerprint_checksum", 2, "fingerprint"),
        ("duplicates_checksum", 2, "duplicates"),
    ],
)
def test_a_flipped_bit_is_named_and_nothing_is_fitted(
    store: Path, column: str, row: int, fact: str | None
) -> None:
    name = FeatureStore(store).paths[row]
    flip(store, column, row)
    if fact is None:
        # Status 3 does not exist.
        with pytest.raises(StoreError, match="damaged: status 3 is unknown"):
            FeatureStore(store)
        return
    verified = call("verify", store)
    assert verified.exit_code == 1
    assert verified.stdout.splitlines()[0] == f"damaged: {name}: {fact}"
    commands = [["fit-classifier", store], ["store", "diff", store, store]]
    # An audit compares the thumbnails itself, and needs no groups.
    if fact != "duplicates":
        commands.append(["audit", store])
    for command in commands:
        result = CliRunner().invoke(cli, [*map(str, command)])
        assert result.exit_code == 1
        assert f"damaged: the {fact} of {name} is not what was written" in result.output


def test_a_status_that_says_failed_is_damage(store: Path) -> None:
    with h5py.File(store, "r+") as file:
        file["rows/status"][2] = FAILED
    with pytest.raises(StoreError, match=r"the status of x/2\.png is not what was written"):
        FeatureStore(store).rows()


@pytest.mark.parametrize("column", ["thumbnail", "pixels", "duplicates"])
def test_a_lost_block_is_never_a_clean_score(store: Path, column: str) -> None:
    layout = FeatureStore(store).layout
    extent = layout.rows[column]
    data = bytearray(store.read_bytes())
    start = extent.row_offset(1)
    data[start : start + min(4096, extent.row_bytes)] = bytes(min(4096, extent.row_bytes))
    store.write_bytes(data)
    assert CliRunner().invoke(cli, ["fit-classifier", str(store)]).exit_code == 1


@pytest.mark.parametrize("fact", list(FACTS))
def test_a_fact_without_its_checksum_is_unknown(store: Path, fact: str) -> None:
    with h5py.File(store, "r+") as file:
        file[f"rows/{FACTS[fact]}"][...] = b""
    opened = FeatureStore(store)
    assert opened.verify() == []
    if fact == "status":
        assert opened.n_done == 0
    elif fact == "fingerprint":
        assert set(opened.pixels) == {""}
    else:
        assert not opened.duplicates.any()
        assert opened.pixels[0]


def test_older_stores_are_read_and_say_that_they_cannot_be_checked(store: Path) -> None:
    flip(as_version(store, 2), "duplicates", 2)
    verified = call("verify", store)
    assert verified.exit_code == 0
    assert "format version 2 has checksums of features only" in verified.stdout
    assert FeatureStore(store).rows().tolist() == list(range(7))


def test_damaged_rows_are_not_merged(store: Path) -> None:
    flip(store, "thumbnail", 2)
    with pytest.raises(StoreError, match=r"what it holds of x/2\.png is damaged"):
        merge(store.with_name("all.h5"), [store])


def shorten(path: Path, n_bytes: int) -> None:
    os.truncate(path, n_bytes)


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.features("block5_pool"),
        lambda store: list(store.select("block5_pool", None, "flat").panels()),
        lambda store: store.thumbnails([0]),
        lambda store: store.verify(),
        lambda store: store.fingerprint,
    ],
)
def test_a_store_that_becomes_shorter_is_an_error_in_one_line(
    store: Path, read: Callable[[FeatureStore], object]
) -> None:
    opened = FeatureStore(store)
    first = min(extent.offset for extent in opened.layout.datasets.values())
    shorten(store, first)
    with pytest.raises(StoreError, match=r"a\.h5: became shorter while it was read"):
        read(opened)


def test_the_golden_store_of_version_3() -> None:
    store = FeatureStore(GOLDEN / "store-v3.h5")
    assert store.format_version == 3
    assert store.verify() == []
    assert store.groups.tolist() == ["g1", "g1", "", "group-1", ""]
    assert store.group_scopes.tolist() == ["common", "common", "", "own", ""]
    assert store.patients.tolist() == ["", "patient-0123456789abcdef", "", "", ""]
    assert store.status.tolist() == [DONE, DONE, FAILED, DONE, 0]
    assert store.duplicates.tolist() == [1, 2, 0, 1, 0]
    assert store.features("block5_pool").sum() == np.arange(30).sum()
    assert store.fingerprint == "1cddb5c0d3898bb0c06d28042cfa63436c7f9f1f93b56b7a0b220f9501fe9ffb"
    assert counted(store.n_done, "row") == "3 rows"


def test_a_writer_binds_facts_to_the_image(store: Path) -> None:
    with h5py.File(store, "r+") as file:
        for name in ("pixels", "thumbnail", "fingerprint_checksum"):
            rows = file[f"rows/{name}"]
            rows[0], rows[1] = rows[1], rows[0]
    with StoreWriter(store) as writer:
        assert writer.pending.tolist() == []
    assert FeatureStore(store).damaged_rows("fingerprint").tolist() == [0, 1]
