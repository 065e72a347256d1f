"""Images and stores that several tests need."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from freezeframe.data.duplicates.pairs import duplicate_groups
from freezeframe.data.fingerprints import Fingerprint
from freezeframe.features.layout import IDENTITY_COLUMNS
from freezeframe.features.new_store import create_store
from freezeframe.features.writer import StoreWriter, store_lock

# A busy machine is no failure. Those who develop look for new examples each time; who only checks
# gets the same ones.
settings.register_profile("calm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("calm")

REPOSITORY = Path(__file__).resolve().parent.parent
DATASETS = REPOSITORY.parent / "shared" / "datasets"

PROVENANCE: dict[str, Any] = {
    "backbone": "vgg16",
    "weights_digest": "0" * 64,
    "weights_source": "a test",
    "weights_seed": 0,
    "preprocessing": "caffe",
    "resize": "bilinear",
    "input_height": 224,
    "input_width": 224,
    "dtype": "float32",
    "engine": "keras",
    "backend": "tensorflow",
    "precision": "float32",
    "batch_size": 8,
    "source": "/somewhere/scans",
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's home is read or written; one cache folder serves the whole run."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(base / "keras"))


@pytest.fixture
def datasets() -> Path:
    """The folder of real images; tests that want it are skipped without it."""
    if not DATASETS.is_dir():
        pytest.skip(f"the real images are not here ({DATASETS})")
    return DATASETS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of twelve small noise images each, the second brighter; two of them are the same file."""
    root = tmp_path / "scans"
    rng = np.random.default_rng(0)
    for label, level in (("healthy", 60), ("tumour", 150)):
        (root / label).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(level, level + 100, (20 + number, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:02}.png")
    (root / "tumour" / "11.png").write_bytes((root / "tumour" / "10.png").read_bytes())
    return root


MakeStore = Callable[..., Path]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Makes a finished store of given labels whose features tell the classes apart.

    Without `fingerprints` its images are not recognised; one that is `merged` has no near-duplicate
    groups yet.
    """

    def make(
        name: str,
        labels: Sequence[str],
        *,
        sha256s: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        provenance: Mapping[str, Any] | None = None,
        pending: int = 0,
        failed: int = 0,
        fingerprints: Sequence[Fingerprint] | None = None,
        merged: bool = False,
    ) -> Path:
        n = len(labels)
        path = tmp_path / name
        rows: dict[str, Sequence[str]] = dict.fromkeys(IDENTITY_COLUMNS, [""] * n)
        rows |= {"path": [f"{label}/{i}.png" for i, label in enumerate(labels)], "label": labels}
        rows["sha256"] = sha256s or [f"{i:064x}" for i in range(n)]
        rows |= {name: values for name, values in (("split", splits), ("group", groups)) if values}
        layers = {"block3_pool": (4, 4, 3), "block5_pool": (2, 2, 5)}
        rng = np.random.default_rng(n)
        classes = sorted(set(labels))
        shift = np.array([classes.index(label) for label in labels])[:, None, None, None]
        with store_lock(path):
            create_store(path, rows, layers, PROVENANCE | dict(provenance or {}))
            with StoreWriter(path) as writer:
                done = range(n - pending - failed)
                features = {
                    k: rng.normal(size=(n, *shape)) + shift * (np.arange(shape[2]) == 0)
                    for k, shape in layers.items()
                }
                for row, found in enumerate(fingerprints or ()):
                    writer.put_fingerprint(row, found.pixels, found.thumbnail)
                writer.write(done, features, [(10, 20)] * n)
                for row in range(n - pending - failed, n - pending):
                    writer.fail(row, "a broken file")
                if fingerprints and not merged:
                    digests = rows["sha256"], [found.pixels for found in fingerprints]
                    thumbnails = np.stack([found.thumbnail for found in fingerprints])
                    writer.put_duplicates(duplicate_groups(*digests, thumbnails) + 1)
        return path

    return make


def script(name: str) -> Any:
    """A script of this repository as a module."""
    path = next((REPOSITORY / "scripts").glob(f"*/{name}.py"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def fast_environment() -> dict[str, str]:
    """The environment for real processes of the command line."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
