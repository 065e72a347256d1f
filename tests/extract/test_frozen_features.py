"""Tests of `FrozenFeatures`: right numbers, nothing computed twice, a cache that survives."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from freezeframe import FeatureStore, FrozenFeatures, ImageError, ParameterError, StoreError
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.manifest import Manifest, read_manifest
from freezeframe.extract import extraction
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.cache import shards as feature_cache
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.plan import preflight as checks
from freezeframe.extract.plan import target
from freezeframe.extract.settings import Settings
from freezeframe.features.layout import IDENTITY_COLUMNS
from freezeframe.features.new_store import create_store
from freezeframe.features.writer import StoreWriter

from ..conftest import fast_environment

Fast = partial(
    FrozenFeatures,
    layer="block1_pool",
    pooling="avg",
    weights="random",
    engine="keras",
    batch_size=4,
)
FastMnn = partial(Fast, engine="mnn", batch_size=None, workers=1)
"""One block of a random network on mnn, since TensorFlow starts too slowly for processes."""

Counts = list[int]


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of cached features; models of MNN are shared between tests."""
    shared = Path(os.environ["XDG_CACHE_HOME"]) / "freezeframe" / "mnn"
    shared.mkdir(parents=True, exist_ok=True)
    own = tmp_path / "cache" / "freezeframe"
    own.mkdir(parents=True)
    (own / "mnn").symlink_to(shared)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own.parent))
    return own / "features"


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """The number of images of each extraction."""
    numbers: Counts = []

    def spy(manifest: Manifest, *args: Any, **options: Any) -> Any:
        numbers.append(len(manifest.images))
        return extract_features(manifest, *args, **options)

    monkeypatch.setattr(feature_cache, "extract_features", spy)
    return numbers


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[np.ndarray]]:
    """Replaces the backbone: features are the digest's number. Returns n different images."""
    layer = BACKBONES["vgg16"].layers["block5_pool"]

    def draw(manifest: Manifest, path: Path, settings: Settings, **_: Any) -> Any:
        columns = {
            name: [getattr(image, name) for image in manifest.images] for name in IDENTITY_COLUMNS
        }
        provenance = (
            checks.deciding_fields(settings)
            | checks.versions(settings)
            | {"command": "FrozenFeatures"}
        )
        create_store(
            path,
            columns,
            {"block5_pool": layer},
            provenance,
        )
        with StoreWriter(path) as writer:
            for row, image in enumerate(manifest.images):
                values = np.full((1, *layer), int(image.sha256[:5], 16), np.float32)
                writer.write([row], {"block5_pool": values}, [(1, 1)])
        return SimpleNamespace(failed=[])

    monkeypatch.setattr(feature_cache, "extract_features", draw)
    return lambda count: [np.full((224, 224), number, np.uint8) for number in range(count)]


def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every extraction fail."""
    monkeypatch.setattr(feature_cache, "extract_features", None)
    monkeypatch.setattr(extraction, "load_weights", None)
    monkeypatch.setattr(target, "load_weights", None)


def stores(path: Path) -> list[FeatureStore]:
    """Open the store of a cache and its shards."""
    return [
        FeatureStore(file) for file in (path, *path.with_name(f"{path.name}.shards").glob("*.h5"))
    ]


@pytest.mark.usefixtures("small_vgg16")
def test_cross_validation_computes_each_image_once(
    folder: Path, cache_folder: Path, counts: Counts
) -> None:
    files = sorted(folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    head = make_pipeline(Fast(), LogisticRegression(max_iter=1000))
    assert cross_val_score(head, files, labels, cv=3).min() > 0.9
    # Two of the 24 files are the same.
    assert sum(counts) == 23
    (path,) = cache_folder.glob("*.h5")
    assert path.name.startswith("vgg16-block1_pool-")
    search = GridSearchCV(
        head, {"frozenfeatures__pooling": ["avg", "max"], "logisticregression__C": [0.1, 1.0]}, cv=2
    )
    assert search.fit([str(file) for file in files], labels).best_score_ > 0.9
    assert sum(counts) == 23


@pytest.mark.slow
def test_processes_share_the_cache(folder: Path, tmp_path: Path) -> None:
    files = np.array([str(file) for file in sorted(folder.glob("*/*.png"))])
    labels = [Path(file).parent.name for file in files]
    frozen = FastMnn(store=tmp_path / "a.h5")
    head = make_pipeline(frozen, LogisticRegression(max_iter=1000))
    two = cross_val_score(head, files, labels, cv=2, n_jobs=2)
    assert sum(len(store.rows()) for store in stores(tmp_path / "a.h5")) == 23
    np.testing.assert_array_equal(two, cross_val_score(head, files, labels, cv=2, n_jobs=1))


def test_numbers_are_those_of_extract_features(
    folder: Path, tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are equal to the last bit; a store of `extract-features` is only read."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for file in [
        *sorted((folder / "healthy").iterdir())[1:],
        *sorted((folder / "tumour").iterdir())[1:],
    ]:
        file.unlink()
    path = tmp_path / "labelled.h5"
    settings = Settings(layers=("block1_pool", "block2_pool"), weights="random")
    frozen = FrozenFeatures(layer="block2_pool", weights="random", workers=1)
    store = extract_features(
        read_manifest(folder), path, settings, workers=1, command="extract-features scans"
    ).store
    before = path.read_bytes()
    files = [folder / name for name in store.paths]
    expected = store.features("block2_pool", pooling="flat")
    computed = frozen.transform(files)
    assert computed.dtype == np.float32
    np.testing.assert_array_equal(computed, expected)
    shutil.rmtree(cache_folder)
    with monkeypatch.context() as without:
        no_backbone(without)
        np.testing.assert_array_equal(
            clone(frozen).set_params(store=path).transform(files[::-1]), expected[::-1]
        )
    assert not cache_folder.exists()
    Image.new("RGB", (9, 9)).save(tmp_path / "new.png")
    more = frozen.set_params(store=path).transform([*files, tmp_path / "new.png"])
    np.testing.assert_array_equal(more[:-1], expected)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob("labelled*")] == ["labelled.h5"]
    assert len(FeatureStore(next(cache_folder.glob("*.h5")))) == 1
    with pytest.raises(
        StoreError,
        match=r"labelled\.h5: made with resize 'bilinear', asked for 'nearest'; give anoth",
    ):
        clone(frozen).set_params(resize="nearest").transform(files)
    with pytest.raises(
        StoreError, match="made with layers block1_pool, block2_pool, asked for block4_pool"
    ):
        clone(frozen).set_params(layer="block4_pool").transform(files)


@pytest.mark.usefixtures("small_vgg16")
def test_all_forms_of_the_same_images(folder: Path, tmp_path: Path, counts: Counts) -> None:
    files = sorted((folder / "tumour").glob("*.png"))[:5]
    frozen = Fast(store=tmp_path / "a.h5")
    expected = frozen.transform(files)
    assert expected.shape == (5, 64)
    names = [str(file) for file in files]
    for form in (
        names,
        tuple(files),
        np.array(names),
        np.array(names)[:, np.newaxis],
        np.array(files, dtype=object),
    ):
        np.testing.assert_array_equal(frozen.transform(form), expected)
    for frame in (
        pandas.Series(names, index=range(7, 12)),
        pandas.DataFrame({"path": files}),
        [[n] for n in names],
    ):
        np.testing.assert_array_equal(frozen.transform(frame), expected)
    assert counts == [5]
    pixels = [read_image(file) for file in files]
    np.testing.assert_array_equal(frozen.transform(pixels), expected)
    np.testing.assert_array_equal(frozen.transform([*pixels[:2], *files[2:]]), expected)
    assert counts == [5, 5]
    square = np.stack([image[:20, :20] for image in pixels])
    assert frozen.transform(square).shape == (5, 64)
    np.testing.assert_array_equal(frozen.transform([square[3]])[0], frozen.transform(square)[3])
    assert counts == [5, 5, 5]


@pytest.mark.usefixtures("small_vgg16")
def test_grey_levels_are_those_of_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(1000, 5000, (2, 30, 40)).astype(np.uint16)
    flat = rng.integers(50, 90, (2, 30, 40)).astype(np.uint8)
    for number in range(2):
        Image.fromarray(deep[number]).save(tmp_path / f"deep-{number}.png")
        Image.fromarray(deep[number].astype(np.float32)).save(tmp_path / f"float-{number}.tif")
        Image.fromarray(flat[number]).save(tmp_path / f"flat-{number}.png")
        Image.fromarray(flat[number] > 70).save(tmp_path / f"bits-{number}.png")
    frozen = Fast(store=tmp_path / "a.h5")
    files = [
        f"{kind}-{n}.{'tif' if kind == 'float' else 'png'}"
        for kind in ("deep", "float", "flat", "bits")
        for n in (0, 1)
    ]
    expected = frozen.transform([tmp_path / file for file in files])
    arrays = [*deep, *(deep / 7.0), *flat[..., np.newaxis], *(flat > 70)]
    np.testing.assert_array_equal(frozen.transform(arrays), expected)
    # The deep and the float images show the same.
    assert len(np.unique(expected, axis=0)) == 6


@pytest.mark.usefixtures("small_vgg16")
def test_nothing_is_computed_again(
    folder: Path, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(folder.glob("*/*.png"))
    expected = Fast(store=tmp_path / "a.h5").transform(files[:10])
    Fast(store=tmp_path / "a.h5").transform(files[5:20])
    assert counts == [10, 10]
    no_backbone(monkeypatch)
    files[0].rename(folder / "renamed.dat")
    again = Fast(store=tmp_path / "a.h5").transform([files[9], folder / "renamed.dat", files[9]])
    np.testing.assert_array_equal(again, expected[[9, 0, 9]])
    flat = Fast(store=tmp_path / "a.h5", pooling="flat").transform(files[1:2])
    np.testing.assert_allclose(flat.reshape(-1, 64).mean(axis=0), expected[1], rtol=1e-5)


def test_the_cache_stays_in_few_files(
    tmp_path: Path, drawn: Callable[[int], list[np.ndarray]]
) -> None:
    rng = np.random.default_rng(0)
    images = drawn(50)
    n_known = 0
    written = [0]
    frozen = FrozenFeatures(store=tmp_path / "a.h5", pooling="max")
    expected: dict[int, float] = {}
    copy = feature_cache.copy_rows
    feature_cache.copy_rows = lambda *a, **k: written.append(copy(*a, **k)) or written[-1]
    undo = copy
    try:
        while n_known < len(images):
            more = int(rng.integers(1, 4))
            numbers = [
                *rng.choice(n_known, min(n_known, 3), replace=False).tolist(),
                *range(n_known, min(50, n_known + more)),
            ]
            for number, row in zip(
                numbers, frozen.transform([images[n] for n in numbers]), strict=True
            ):
                assert expected.setdefault(number, row[0]) == row[0] == row[511]
            n_known = min(50, n_known + more)
            sizes = sorted(len(store) for store in stores(tmp_path / "a.h5"))
            assert sum(sizes) == n_known
            assert len(sizes) <= 1 + math.log2(n_known)
            assert max(sizes) == len(FeatureStore(tmp_path / "a.h5"))
    finally:
        feature_cache.copy_rows = undo
    assert len(set(expected.values())) == 50
    assert sum(written) < 50 * math.log2(50)
    assert all(store.verify() == [] for store in stores(tmp_path / "a.h5"))


def test_a_join_that_fails_loses_nothing(
    tmp_path: Path, drawn: Callable[[int], list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = drawn(12)
    frozen = FrozenFeatures(store=tmp_path / "a.h5", pooling="avg")
    with monkeypatch.context() as broken:
        copy = feature_cache.copy_rows

        def fail(*args: Any, **options: Any) -> int:
            copy(*args, **options)
            raise OSError(28, "No space left on device")

        broken.setattr(feature_cache, "copy_rows", fail)
        parts = [frozen.transform(images[start : start + 3]) for start in (0, 3, 6)]
    assert len(stores(tmp_path / "a.h5")) == 3
    assert not list(tmp_path.glob("**/*.new"))
    # As after a crash between the join and the removal of what was joined.
    shutil.copytree(tmp_path / "a.h5.shards", tmp_path / "copies")
    shards = {shard.name for shard in (tmp_path / "copies").glob("*.h5")}
    for name in (".x.h5-0123456789abcdef.new", "x.h5.lock"):
        (tmp_path / "a.h5.shards" / name).write_text("left by a process that was killed")
    frozen.transform(images[9:])
    assert {file.suffix for file in (tmp_path / "a.h5.shards").iterdir()} <= {".h5"}
    for name in shards:
        shutil.copy(tmp_path / "copies" / name, tmp_path / "a.h5.shards")
    everything = frozen.transform(images)
    np.testing.assert_array_equal(everything[:9], np.concatenate(parts))
    frozen.transform(drawn(30))
    assert [len(store) for store in stores(tmp_path / "a.h5")] == [30]


@pytest.mark.slow
def test_a_killed_process_leaves_its_finished_images(
    folder: Path, tmp_path: Path, counts: Counts
) -> None:
    files = sorted(folder.glob("*/*.png"))[::2]
    store = tmp_path / "a.h5"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, store, *files[:10]], env=fast_environment()
    )
    done = 0
    until = time.monotonic() + 60
    while done < 4 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
        shards = list((tmp_path / "a.h5.shards").glob("*.h5"))
        done = sum(len(FeatureStore(shard).rows()) for shard in shards)
    process.kill()
    assert process.wait() != 0
    done = len(FeatureStore(shards[0]).rows())
    assert 4 <= done < 10
    features = FastMnn(store=store).transform(files)
    assert counts == [12 - done]
    np.testing.assert_array_equal(features, FastMnn(store=tmp_path / "b.h5").transform(files))
    assert sum(len(store.rows()) for store in stores(store)) == 12


SCRIPT = """
import sys, time
import numpy
from freezeframe import FrozenFeatures
from freezeframe.extract import filling
from freezeframe.extract.workers import pool
# Each image is written alone, so that a kill finds some finished and some not.
pool.ROWS_A_BATCH = 1
record = filling._record
filling._record = lambda *parts: (time.sleep(0.2), record(*parts))
frozen = FrozenFeatures(layer="block1_pool", pooling="avg", weights="random")
frozen.set_params(engine="mnn", workers=1)
features = frozen.set_params(store=sys.argv[1]).transform(sys.argv[2:])
numpy.save(sys.argv[1] + f"-{len(sys.argv)}.npy", features)
"""


def test_two_processes_at_once_both_succeed(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*/*.png"))[:10]
    store = tmp_path / "a.h5"
    parts = [files[:6], files[3:]]
    running = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, store, *part], env=fast_environment())
        for part in parts
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert sum(len(store.rows()) for store in stores(store)) == 10
    expected = FastMnn(store=tmp_path / "b.h5").transform(files)
    for part, rows in zip(parts, (expected[:6], expected[3:]), strict=True):
        np.testing.assert_array_equal(np.load(f"{store}-{len(part) + 2}.npy"), rows)


@pytest.mark.usefixtures("small_vgg16")
def test_an_unreadable_image_is_named_and_the_others_are_kept(
    folder: Path, tmp_path: Path, counts: Counts
) -> None:
    files = sorted((folder / "tumour").glob("*.png"))[:4]
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: len(whole) // 2])
    frozen = Fast(store=tmp_path / "a.h5")
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            frozen.transform(files)
        assert str(caught.value) == f"{files[1]}: PNG that is truncated"
    assert counts == [4, 1]
    files[1].write_bytes(whole)
    assert frozen.transform(files).shape == (4, 64)
    assert counts == [4, 1, 1]
    for name, content, reason in (
        ("empty.png", b"", "the file is empty"),
        (
            "text.png",
            b"no image",
            "not a JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM, DICOM, NIfTI or "
            "MATLAB file",
        ),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name}: {reason}"):
            frozen.transform([files[0], folder / name])
    for path, reason in (
        (folder, "is a directory"),
        (folder / "none.png", "No such file or directory"),
    ):
        with pytest.raises(ImageError, match=f"^{path}: {reason}$"):
            frozen.transform([path])
    assert len(counts) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.usefixtures("small_vgg16")
def test_a_file_of_any_name(folder: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcller.png"))
    shutil.copy(folder / "tumour" / "00.png", odd)
    features = Fast(store=tmp_path / "a.h5").transform([odd, folder / "tumour" / "01.png"])
    np.testing.assert_array_equal(
        features[:1], Fast(store=tmp_path / "b.h5").transform([folder / "tumour" / "00.png"])
    )


GREY = np.zeros((2, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.png", r"X must be a list of paths or of images, got one path; give \['a.png'\]"),
        (Path("a.png"), "got one path"),
        ([], "X is empty"),
        (np.zeros((0, 8, 8), np.uint8), "X is empty"),
        (7, "X must be a list of paths or of images, got int"),
        (GREY[0], r"X\[0\] must be of shape \(height, width\) or \(height, width, 3\), got \(8,\)"),
        (
            np.zeros((8, 8, 3), np.uint8),
            r"X of shape \(8, 8, 3\) is one image; give X\[np.newaxis\]",
        ),
        (np.zeros((2, 8, 8, 4), np.uint8), r"X\[0\] must be of shape .*, got \(8, 8, 4\)"),
        ([GREY[0], np.zeros((0, 8), np.uint8)], r"X\[1\] must be of shape .*, got \(0, 8\)"),
        (np.zeros((2, 8, 8, 3), np.float32), r"X\[0\] is in colour and must be uint8, got float32"),
        (np.zeros((2, 8, 8), np.complex64), r"X\[0\] must hold grey levels, got complex64"),
        (["a.png", None], r"X\[1\] must be a path or an array of pixels, got NoneType"),
        (
            pandas.Series(["a.png", float("nan")]),
            r"X\[1\] must be a path or an array of pixels, got float",
        ),
        (pandas.DataFrame({"a": ["a.png"], "b": ["b.png"]}), r"X\[0\] must be of shape"),
    ],
)
def test_a_wrong_list_of_images_is_refused(X: Any, message: str) -> None:
    for method in (Fast().fit, Fast().transform):
        with pytest.raises(ParameterError, match=message):
            method(X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "block9"}, "vgg16 has no layer 'block9'; it has block1_conv1"),
        ({"backbone": "vgg99"}, "backbone must be one of vgg16, pixels-N, got 'vgg99'"),
        ({"pooling": "mean"}, "pooling must be one of flat, avg, max, got 'mean'"),
        ({"pooling": None}, "pooling must be one of flat, avg, max, got None"),
        ({"workers": 0}, "workers must be None or at least 1, got 0"),
        ({"engine": "mnn"}, "batch_size 4 is for the engine keras"),
    ],
)
def test_impossible_parameters_are_refused_when_used(change: dict[str, Any], message: str) -> None:
    frozen = Fast(**change)
    for method in (frozen.fit, frozen.transform):
        with pytest.raises(ParameterError, match=message):
            method(GREY)


def test_it_is_a_scikit_learn_transformer(folder: Path, tmp_path: Path) -> None:
    files = pandas.Series(sorted((folder / "tumour").glob("*.png"))[:4], index=[3, 1, 4, 5])
    frozen = Fast(store=tmp_path / "a.h5")
    assert clone(frozen).get_params() == frozen.get_params()
    assert clone(frozen).set_params(pooling="max").pooling == "max"
    check_is_fitted(frozen)
    assert not frozen.__sklearn_tags__().requires_fit
    assert repr(FrozenFeatures(layer="block3_pool")) == "FrozenFeatures(layer='block3_pool')"
    assert frozen.n_features_out == 64
    assert FrozenFeatures().n_features_out == 25088
    names = frozen.get_feature_names_out()
    assert (names[0], names[-1], len(names)) == ("block1_pool_0", "block1_pool_63", 64)
    frame = frozen.set_output(transform="pandas").fit_transform(files)
    assert frame.columns.tolist() == names.tolist()
    assert frame.index.tolist() == [3, 1, 4, 5]
    joblib.dump(frozen, tmp_path / "frozen.joblib")
    pandas.testing.assert_frame_equal(
        joblib.load(tmp_path / "frozen.joblib").transform(files), frame
    )


def test_a_store_of_other_settings_is_refused(
    tmp_path: Path, drawn: Callable[[int], list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    images = drawn(3)
    path = tmp_path / "a.h5"
    FrozenFeatures(store=path).transform(images[:2])
    with pytest.raises(
        StoreError,
        match=r"a\.h5: made with layers block5_pool, asked for block4_pool; give another",
    ):
        FrozenFeatures(store=path, layer="block4_pool").transform(images[:2])
    with pytest.raises(StoreError, match="made with engine 'mnn', asked for 'keras'"):
        FrozenFeatures(store=path, engine="keras").transform(images[:2])
    monkeypatch.setattr(feature_cache, "versions", lambda settings: {"version_mnn": "99"})
    monkeypatch.setattr(checks, "versions", lambda settings: {"version_mnn": "99"})
    assert FrozenFeatures(store=path).transform(images[:2]).shape == (2, 25088)
    with pytest.raises(
        StoreError,
        match=r"made with version_mnn '3.*', asked for '99'; give another store, or delete",
    ):
        FrozenFeatures(store=path).transform(images)


def test_different_settings_have_different_stores(
    cache_folder: Path, drawn: Callable[[int], list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    images = drawn(2)
    changes: list[dict[str, Any]] = [
        {},
        {"resize": "nearest"},
        {"weights": "random"},
        {"weights": "random", "seed": 1},
    ]
    for number, change in enumerate([*changes, {"engine": "keras"}, {"batch_size": 2}], 1):
        for pooling in ("avg", "max"):
            FrozenFeatures(pooling=pooling, **change).transform(images)
        assert len(list(cache_folder.glob("*.h5"))) == number


def test_damage_is_reported(tmp_path: Path, drawn: Callable[[int], list[np.ndarray]]) -> None:
    images = drawn(3)
    path = tmp_path / "a.h5"
    FrozenFeatures(store=path).transform(images)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000] + bytes(1000))
    with pytest.raises(
        StoreError,
        match=r"^\S+a\.h5: the block5_pool features of \S+ are damaged; it is a cache, del",
    ):
        FrozenFeatures(store=path).transform(images)
    path.write_bytes(whole[:5000])
    with pytest.raises(StoreError, match=r"^\S+a\.h5: truncated: .*"):
        FrozenFeatures(store=path).transform(images)
    path.write_text("thesis")
    with pytest.raises(StoreError, match=r"^\S+a\.h5: not a feature store"):
        FrozenFeatures(store=path).transform(images)
    assert path.read_text() == "thesis"
    with pytest.raises(StoreError, match=r"^\S+: a folder, not a feature store"):
        FrozenFeatures(store=tmp_path).transform(images)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"b\.h5: cannot write here \(Not a directory\); give another store"
    ):
        FrozenFeatures(store=tmp_path / "file" / "b.h5").transform(images)


def test_memory_is_the_output_and_one_block(
    tmp_path: Path, drawn: Callable[[int], list[np.ndarray]]
) -> None:
    frozen = FrozenFeatures(store=tmp_path / "a.h5")
    images = drawn(1)
    frozen.transform(images)
    # 100 MB of features.
    images = [images[0]] * 1000
    tracemalloc.start()
    features = frozen.transform(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features.shape == (1000, 25088)
    assert peak < features.nbytes + 64 * 2**20


@pytest.mark.usefixtures("small_vgg16")
def test_content_is_the_digest_of_the_file(folder: Path, tmp_path: Path) -> None:
    """Stores of `extract-features` find the images by it."""
    file = folder / "tumour" / "00.png"
    Fast(store=tmp_path / "a.h5").transform([file])
    store = FeatureStore(tmp_path / "a.h5")
    assert store.sha256s.tolist() == [hashlib.sha256(file.read_bytes()).hexdigest()]
    assert store.paths.tolist() == [str(file)]
