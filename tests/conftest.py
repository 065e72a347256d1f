"""Images and stores that several tests need."""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from freezeframe.data.demo import images as demo_images
from freezeframe.data.duplicates.pairs import duplicate_groups
from freezeframe.data.fingerprints import THUMBNAIL, Fingerprint
from freezeframe.data.groups import OWN
from freezeframe.data.manifest import read_manifest
from freezeframe.extract import filling
from freezeframe.extract.backbones import weights
from freezeframe.extract.backbones.table import BACKBONES, Backbone, find_backbone
from freezeframe.extract.engines.keras import KerasEngine
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.layout import IDENTITY_COLUMNS
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

# A slow machine is not a failure. Developers get new examples in each run; with CI set the examples
# are always the same. Half of Hypothesis's 100 examples keep the suite quick.
settings.register_profile("calm", deadline=None, derandomize="CI" in os.environ, max_examples=50)
settings.load_profile("calm")

# Without compiled files in the tree, each child process would compile the package for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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
    """Read and write nothing in the user's home: each worker of pytest has a cache of its own."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(base / "own"))
    monkeypatch.setenv("KERAS_HOME", str(base / "keras"))
    # Caches go to a temporary folder if a test makes the cache folder useless.
    monkeypatch.setattr(tempfile, "tempdir", str(base))


@pytest.fixture(autouse=True)
def _libraries_are_no_garbage() -> Iterator[None]:
    """Keep the objects of Keras and TensorFlow out of later garbage collections.

    Each training of a network collects garbage, which would look at a million of their objects.
    """
    yield
    if "keras" in sys.modules:
        freeze_once()


@cache
def freeze_once() -> None:
    """Freeze what is alive; to count the frozen objects after each test takes 40 ms."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _files_need_no_flush() -> Iterator[None]:
    """Leave out the flushes to the disk of this process: no test cuts the power.

    They take 10 ms each, and there are some ten thousand. Tests of their order, and of disks that
    are full, set their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: os.fstat(number) and None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _random_weights_drawn_once() -> Iterator[None]:
    """Draw random weights once per seed: drawing VGG16's takes longer than most tests.

    The arrays are read-only, so that no test can change those of another.
    """
    draw = weights.random_weights

    @cache
    def draw_once(seed: int, name: str) -> weights.Weights:
        arrays = draw(seed, find_backbone(name))
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    def cached(seed: int, backbone: Backbone = weights.DEFAULT_BACKBONE) -> weights.Weights:
        return dict(draw_once(seed, backbone.name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "random_weights", cached)
        yield


@pytest.fixture(scope="session", autouse=True)
def _networks_built_once() -> Iterator[None]:
    """Build each network of Keras once: many tests extract with the same one."""
    engines: dict[tuple[Any, ...], KerasEngine] = {}

    def built(backbone: Backbone, weights: Mapping[str, Any], *settings: Any) -> KerasEngine:
        starts = b"".join(array.ravel()[:100].tobytes() for array in weights.values())
        key = (backbone.name, backbone.input_size, starts, *map(str, settings))
        if key not in engines:
            engines[key] = KerasEngine(backbone, weights, *settings)
        return engines[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "KerasEngine", built)
        yield


@pytest.fixture(scope="session", autouse=True)
def _slices_drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Draw each slice of demo sets and `head` once, for all workers of pytest: it takes 40 ms."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "slices"
    folder.mkdir(exist_ok=True)
    draw = demo_images.draw_slice

    def draw_once(rng: np.random.Generator, lesion: bool) -> NDArray[np.uint8]:
        # The state of its generator decides a slice.
        key = hashlib.sha256(f"{rng.bit_generator.state} {lesion}".encode()).hexdigest()
        file = folder / f"{key}.npy"
        if not file.exists():
            part = folder / f"{key}-{os.getpid()}-{threading.get_ident()}.npy"
            np.save(part, draw(rng, lesion))
            part.replace(file)
        return np.asarray(np.load(file))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_images, "draw_slice", draw_once)
        yield


def head(number: int) -> Image.Image:
    """Return a drawn slice of a head, unlike those of all other numbers."""
    rng = np.random.default_rng([9, number])
    return Image.fromarray(demo_images.draw_slice(rng, False)).convert("RGB")


def extract_different(images: Path, store: Path, settings: Settings) -> None:
    """Extract features of images that are all different, and do not compare them, which is slow."""
    manifest = read_manifest(images)
    extract_features(manifest, store, settings, groups=False)
    with StoreWriter(store) as writer:
        writer.put_duplicates(np.arange(1, len(manifest.images) + 1))


def small_backbone(side: int) -> Backbone:
    """Return VGG16 with an input of side x side pixels; `side` is a multiple of 32."""
    whole = BACKBONES["vgg16"]
    layers = {
        name: (height * side // 224, width * side // 224, channels)
        for name, (height, width, channels) in whole.layers.items()
    }
    return replace(whole, input_size=(side, side), layers=layers)


@pytest.fixture
def small_vgg16(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG16 with an input of 32 x 32 pixels, 49 times as quick, where no number is the point.

    Only this process knows it, so workers of the engine mnn cannot use it.
    """
    monkeypatch.setitem(BACKBONES, "vgg16", small_backbone(32))


@pytest.fixture
def datasets() -> Path:
    """The folder of real images; without it the test is skipped."""
    if not DATASETS.is_dir():
        pytest.skip(f"no real images in {DATASETS}")
    return DATASETS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of twelve small noise images, the second brighter; two files are copies."""
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


@cache
def groups_of(sha256s: tuple[str, ...], prints: tuple[tuple[str, bytes], ...]) -> NDArray[np.intp]:
    """Return groups of near-duplicates; tests search the same pictures again and again."""
    pixels, thumbnails = zip(*prints, strict=True)
    shape = (len(prints), THUMBNAIL, THUMBNAIL)
    joined = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(shape)
    return duplicate_groups(sha256s, pixels, joined)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A function that makes a finished store from labels; its features separate the classes.

    Without `fingerprints` images have none. A store that is `merged` has no near-duplicate groups.
    """

    def make(  # noqa: PLR0913
        name: str,
        labels: Sequence[str],
        *,
        sha256s: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        group_scope: str = OWN,
        patients: Sequence[str] | None = None,
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
        scopes = [group_scope if group else "" for group in groups or ()]
        optional = {"split": splits, "group": groups, "group_scope": scopes, "patient": patients}
        rows |= {name: values for name, values in optional.items() if values}
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
                for row, print_ in enumerate(fingerprints or ()):
                    writer.put_fingerprint(row, print_.pixels, print_.thumbnail)
                writer.write(done, features, [(10, 20)] * n)
                writer.fail(
                    dict.fromkeys(range(n - pending - failed, n - pending), "a broken file")
                )
                if fingerprints and not merged:
                    prints = [(one.pixels, one.thumbnail.tobytes()) for one in fingerprints]
                    writer.put_duplicates(groups_of(tuple(rows["sha256"]), tuple(prints)) + 1)
        return path

    return make


def script(name: str) -> Any:
    """Import a script of this repository as a module."""
    path = next((REPOSITORY / "scripts").glob(f"*/{name}.py"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def fast_environment() -> dict[str, str]:
    """Return the environment for real processes of the command line."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
