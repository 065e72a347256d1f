"""Helpers of the tests of feature stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
from click.testing import CliRunner, Result

from freezeframe import FeatureStore
from freezeframe.__main__ import cli
from freezeframe.features.layout import (
    COLUMNS_BY_VERSION,
    IDENTITY_COLUMNS,
    IDENTITY_COLUMNS_BY_VERSION,
    STORE_FORMAT_VERSION,
    identity_digest,
)
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock

from ..conftest import PROVENANCE, MakeStore

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = ["x", "y", "x", "ü", "y", "x"]


def columns(n: int) -> dict[str, list[str]]:
    """Make the identity columns of a store with n rows."""
    texts = {name: [f"{name} {i}" for i in range(n)] for name in IDENTITY_COLUMNS}
    return texts | {"group_scope": ["own"] * n}


def call(*arguments: object) -> Result:
    """Run `freezeframe store` in this process."""
    return CliRunner().invoke(cli, ["store", *map(str, arguments)], prog_name="freezeframe")


def empty_like(store: FeatureStore, path: Path, order: list[int], **provenance: Any) -> Path:
    """Create a store of some rows of a store, in another order, all pending."""
    rows = {name: [texts[row] for row in order] for name, texts in store.identity().items()}
    with store_lock(path):
        create_store(path, rows, store.layers, PROVENANCE | provenance)
    return path


def damage(path: Path, row: int, layer: str = "block5_pool") -> None:
    """Change the features of a row, but not their checksum."""
    with h5py.File(path, "r+") as file:
        file[f"layers/{layer}"][row] = 7


def shards(make_store: MakeStore, **second: Any) -> tuple[Path, Path]:
    """Make two stores of different images, of two classes each."""
    a = make_store(
        "a.h5", ["x", "y", "x"], splits=["train", "test", ""], provenance={"created": "yesterday"}
    )
    labels = ["p", "q", "p", "q", "p"]
    return a, make_store("b.h5", labels, sha256s=[f"{i + 100:064x}" for i in range(5)], **second)


def as_version(path: Path, version: int) -> Path:
    """Turn a store into one of an older version by its index, which is all that readers use.

    The columns that the version lacks stay in the file, where no reader looks.
    """
    data = path.read_bytes()
    line, _, rest = data.partition(b"\n")
    name, _, length, _ = line.split()
    index = json.loads(rest[: int(length)])
    with h5py.File(path) as file:
        room = file.userblock_size
        columns = {
            column: file[f"rows/{column}"][...].astype(f"S{file[f'rows/{column}'].dtype.itemsize}")
            for column in IDENTITY_COLUMNS_BY_VERSION[version]
        }
    index["identity_sha256"] = identity_digest(columns)
    for column in COLUMNS_BY_VERSION[STORE_FORMAT_VERSION].keys() - COLUMNS_BY_VERSION[version]:
        index["datasets"].pop(f"rows/{column}")
    text = json.dumps(index).encode()
    head = b"%s %d %d %s\n" % (name, version, len(text), hashlib.sha256(text).hexdigest().encode())
    path.write_bytes((head + text).ljust(room, b"\0") + data[room:])
    return path


Edit = Callable[[dict[str, Any]], object]
"""Changes the index of a store or an archive."""


def forge(path: Path, edit: Edit) -> None:
    """Change the index of a store or an archive as an attacker would: its digest is right."""
    data = path.read_bytes()
    line, _, rest = data.partition(b"\n")
    name, version, length, _ = line.split()
    index = json.loads(rest[: int(length)])
    with h5py.File(path) as file:
        room = file.userblock_size
    edit(index)
    text = json.dumps(index).encode()
    head = b"%s %s %d %s\n" % (name, version, len(text), hashlib.sha256(text).hexdigest().encode())
    path.write_bytes((head + text).ljust(room, b"\0") + data[room:])
