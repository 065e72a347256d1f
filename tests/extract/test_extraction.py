"""Tests of the way from images to a store: right numbers, after any stop, and refusals."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from freezeframe import FeatureStore, MissingExtraError, ParameterError, StoreError
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import resize_image
from freezeframe.data.manifest import read_manifest
from freezeframe.extract import extraction, filling
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.backbones.weights import load_weights, random_weights
from freezeframe.extract.engines import keras as keras_engine
from freezeframe.extract.engines import mnn as mnn_engine
from freezeframe.extract.engines.keras import KerasEngine
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.filling import ExtractionProgress
from freezeframe.extract.pipeline import ImageSource, SeenPixels, run
from freezeframe.extract.plan import preflight as checks
from freezeframe.extract.plan import target
from freezeframe.extract.settings import Settings

pytestmark = pytest.mark.usefixtures("small_vgg16")

VGG16 = BACKBONES["vgg16"]
"""The whole network, which tests of numbers use."""

FAST = Settings(layers=("block1_pool",), weights="random", batch_size=4, dtype="float16")
"""Settings of one block of a random network: enough for everything but the numbers."""


@pytest.fixture(scope="module")
def keras_vgg16() -> Iterator[object]:
    """Keras's own VGG16 with the real weights, whose features ours must equal."""
    keras = keras_engine.import_keras()
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    weights, _ = load_weights()
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    yield network
    del network


def test_the_table_of_layers_equals_that_of_keras(keras_vgg16: object) -> None:
    layers = {layer.name: tuple(layer.output.shape[1:]) for layer in keras_vgg16.layers[1:]}  # type: ignore[attr-defined]
    assert VGG16.layers == layers
    tensors = {tensor.path: tuple(tensor.shape) for tensor in keras_vgg16.weights}  # type: ignore[attr-defined]
    assert VGG16.tensors == tensors


def test_features_equal_those_of_keras(
    folder: Path, tmp_path: Path, keras_vgg16: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setitem(BACKBONES, "vgg16", VGG16)
    # Four images, two of them copies: more than a batch, and few enough for the whole network.
    for path in [*folder.glob("*/0[1-9].png"), *folder.glob("healthy/1*.png")]:
        path.unlink()
    settings = Settings(layers=("block5_pool", "block3_pool"), engine="keras", batch_size=2)
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", settings).store
    pixels = np.stack(
        [resize_image(read_image(folder / path), 224, 224, "bilinear") for path in store.paths]
    )
    prepared = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    both = keras.Model(
        keras_vgg16.inputs,  # type: ignore[attr-defined]
        [keras_vgg16.get_layer(name).output for name in ("block3_pool", "block5_pool")],  # type: ignore[attr-defined]
    )
    for name, expected in zip(
        ("block3_pool", "block5_pool"), both.predict(prepared, verbose=0), strict=True
    ):
        got = store.features(name)
        assert got.shape == expected.shape == (4, *VGG16.layers[name])
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_features_depend_on_no_other_image() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (224, 224, 3)).astype(np.uint8) for _ in range(3)]
    engine = KerasEngine(VGG16, load_weights()[0], ("block3_pool", "block5_pool"), 3)
    full = engine.forward(images)
    turned = engine.forward(images[::-1])
    alone = engine.forward(images[2:3])
    for name in engine.layers:
        np.testing.assert_array_equal(full[name], turned[name][::-1])
        np.testing.assert_array_equal(full[name][2], alone[name][0])


def test_any_number_of_images_gives_the_same_rows(folder: Path, tmp_path: Path) -> None:
    whole = extract_features(read_manifest(folder), tmp_path / "whole.h5", FAST).store
    for path in [
        *sorted((folder / "healthy").iterdir())[3:],
        *sorted((folder / "tumour").iterdir())[::2],
    ]:
        path.unlink()
    part = extract_features(read_manifest(folder), tmp_path / "part.h5", FAST).store
    rows = [whole.paths.tolist().index(path) for path in part.paths]
    assert len(part) == 9
    assert part.checksums("block1_pool").tolist() == whole.checksums("block1_pool")[rows].tolist()


def test_provenance_records_the_settings(folder: Path, tmp_path: Path) -> None:
    store = extract_features(
        read_manifest(folder), tmp_path / "a.h5", FAST, command="extract-features x"
    ).store
    provenance = store.provenance
    assert provenance["weights_source"] == "random, seed 0"
    assert provenance["backbone"] == "vgg16"
    assert (provenance["preprocessing"], provenance["resize"], provenance["input_height"]) == (
        "caffe",
        "bilinear",
        32,
    )
    assert (provenance["engine"], provenance["dtype"], provenance["batch_size"]) == (
        "keras",
        "float16",
        4,
    )
    assert provenance["command"] == "extract-features x"
    assert provenance["source"] == str(folder)
    assert re.match(r"\d+\.\d+", provenance[f"version_{provenance['backend']}"])
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", provenance["created"])
    assert store.memmap("block1_pool").dtype == np.float16
    row = store.paths.tolist().index("healthy/05.png")
    assert (store.heights[row], store.widths[row]) == (25, 30)


def test_a_finished_store_is_recognised_without_a_backbone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    before = (tmp_path / "a.h5").read_bytes()
    monkeypatch.setattr(filling, "KerasEngine", None)
    monkeypatch.setattr(extraction, "load_weights", None)
    monkeypatch.setattr(target, "load_weights", None)
    again = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert again.computed == 0
    assert (tmp_path / "a.h5").read_bytes() == before


def test_a_stopped_run_is_continued(folder: Path, tmp_path: Path) -> None:
    whole = extract_features(read_manifest(folder), tmp_path / "whole.h5", FAST).store

    def stop(progress: ExtractionProgress) -> None:
        if progress.finished >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST, progress=stop)
    pending = int((FeatureStore(tmp_path / "a.h5").status == 0).sum())
    assert 0 < pending <= 16
    seen: list[int] = []
    resumed = extract_features(
        read_manifest(folder),
        tmp_path / "a.h5",
        FAST,
        progress=lambda progress: seen.append(progress.finished),
    )
    assert resumed.computed == seen[-1] == resumed.progress.total == pending
    assert resumed.store.fingerprint == whole.fingerprint


def test_unreadable_images_are_kept_with_their_reason(folder: Path, tmp_path: Path) -> None:
    (folder / "tumour" / "empty.png").write_bytes(b"")
    (folder / "tumour" / "text.jpg").write_text("no image")
    whole = (folder / "healthy" / "00.png").read_bytes()
    (folder / "healthy" / "half.png").write_bytes(whole[: len(whole) // 2])
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    reasons = dict(done.failed)
    assert set(reasons) == {"tumour/empty.png", "tumour/text.jpg", "healthy/half.png"}
    assert reasons["tumour/empty.png"] == "the file is empty"
    assert (done.store.status == 2).sum() == 3
    again = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert (again.computed, dict(again.failed)) == (0, reasons)


def test_a_file_that_cannot_be_read_for_now_is_tried_again(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    (folder / "tumour" / "04.png").rename(tmp_path / "away.png")
    message = (
        r"1 images could not be read this time, first tumour/04\.png: cannot be read \(No such file"
    )
    with pytest.raises(StoreError, match=message):
        extract_features(manifest, tmp_path / "a.h5", FAST)
    (tmp_path / "away.png").rename(folder / "tumour" / "04.png")
    assert extract_features(manifest, tmp_path / "a.h5", FAST).computed == 1


def test_a_file_that_could_not_be_read_when_listed_fails(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "path,label\nscans/tumour/00.png,a\nscans/healthy/00.png,b\nnone.png,b\n"
    )
    done = extract_features(read_manifest(tmp_path / "list.csv"), tmp_path / "a.h5", FAST)
    assert dict(done.failed) == {"none.png": f"no such file: {tmp_path / 'none.png'}"}


def test_a_missing_library_stops_the_run_and_condemns_no_image(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tumour" / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pydicom", None)
        with pytest.raises(MissingExtraError, match=r"freezeframe\[dicom\]"):
            extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert list(dict(extract_features(read_manifest(folder), tmp_path / "a.h5", FAST).failed)) == [
        "tumour/scan.dcm"
    ]


def test_a_row_that_lost_its_checksum_is_computed_again(folder: Path, tmp_path: Path) -> None:
    whole = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST).store
    # No crash leaves this, but a lost block of the disk does.
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["checksums/block1_pool"][5] = b""
    assert FeatureStore(tmp_path / "a.h5").damaged_rows("status").tolist() == [5]
    again = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert again.computed == 1
    assert again.store.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    "setting",
    [
        {"floatx": "float16"},
        {"image_data_format": "channels_first"},
        {"dtype_policy": "mixed_bfloat16"},
    ],
)
def test_keras_settings_of_the_user_change_nothing(setting: dict[str, str]) -> None:
    keras = keras_engine.import_keras()
    images = [np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)] * 2
    expected = KerasEngine(VGG16, random_weights(0), ("block1_pool",), 2).forward(images)
    ((name, value),) = setting.items()
    before = getattr(keras.config, name)()
    getattr(keras.config, f"set_{name}")(value)
    try:
        got = KerasEngine(VGG16, random_weights(0), ("block1_pool",), 2).forward(images)
        after = getattr(keras.config, name)()
        assert getattr(after, "name", after) == value
    finally:
        getattr(keras.config, f"set_{name}")(before)
    np.testing.assert_array_equal(got["block1_pool"], expected["block1_pool"])


def test_a_file_that_changes_during_the_run_fails(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    Image.new("RGB", (9, 9)).save(folder / "tumour" / "03.png")
    done = extract_features(manifest, tmp_path / "a.h5", FAST)
    assert dict(done.failed) == {"tumour/03.png": "changed since it was listed"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seed": 1},
            "made with weights_digest '.*', asked for '.*'; give another --output, or --overwrite",
        ),
        ({"resize": "nearest"}, "made with resize 'bilinear', asked for 'nearest'"),
        ({"dtype": "float32"}, "made with dtype 'float16', asked for 'float32'"),
        ({"batch_size": 2}, "made with batch_size 4, asked for 2"),
        ({"layers": ("block1_conv1",)}, "made with layers block1_pool, asked for block1_conv1"),
    ],
)
def test_another_provenance_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    manifest = read_manifest(folder)
    with pytest.raises(KeyboardInterrupt):
        extract_features(manifest, tmp_path / "a.h5", FAST, progress=_interrupt)
    with pytest.raises(StoreError, match=message):
        extract_features(manifest, tmp_path / "a.h5", replace(FAST, **change))  # type: ignore[arg-type]


def _interrupt(_: ExtractionProgress) -> None:
    raise KeyboardInterrupt


def test_a_store_is_not_continued_with_other_libraries(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST, progress=_interrupt)
    monkeypatch.setattr(checks, "versions", lambda settings: {"version_keras": "99"})
    with pytest.raises(StoreError, match=r"made with version_keras '3.*', asked for '99'"):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)


def test_another_collection_is_refused_unless_overwritten(folder: Path, tmp_path: Path) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    for path in sorted(folder.glob("*/*"))[::2]:
        path.unlink()
    (folder / "tumour" / "11.png").unlink()
    with pytest.raises(StoreError, match=r"only 11 of its 24 images are in this folder or list"):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST, overwrite=True)
    assert done.computed == 11


def _change(folder: Path) -> None:
    """Remove, change, add and rename an image, and move an image to the other class."""
    (folder / "tumour" / "00.png").unlink()
    Image.new("RGB", (31, 17), (1, 2, 3)).save(folder / "tumour" / "01.png")
    Image.new("RGB", (31, 17), (3, 2, 1)).save(folder / "tumour" / "99.png")
    (folder / "tumour" / "02.png").rename(folder / "tumour" / "renamed.png")
    (folder / "tumour" / "03.png").rename(folder / "healthy" / "99.png")


def test_only_new_images_are_computed(folder: Path, tmp_path: Path) -> None:
    before = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST).store.fingerprint
    old = (tmp_path / "a.h5").stat().st_ino
    _change(folder)
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert (done.computed, done.reused) == (2, 22)
    assert (tmp_path / "a.h5").stat().st_ino != old
    whole = extract_features(read_manifest(folder), tmp_path / "whole.h5", FAST).store
    assert done.store.fingerprint == whole.fingerprint != before
    assert done.store.verify() == []
    assert [path.name for path in tmp_path.glob(".a.h5*")] == []


def test_relabelled_images_need_no_backbone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    (folder / "tumour").rename(folder / "tumor")
    monkeypatch.setattr(filling, "KerasEngine", None)
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert (done.computed, done.reused) == (0, 24)
    assert set(done.store.labels) == {"healthy", "tumor"}


def test_an_unfinished_new_store_is_continued(folder: Path, tmp_path: Path) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    old = (tmp_path / "a.h5").read_bytes()
    for number in range(20):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "tumour" / f"more {number}.png")
    manifest = read_manifest(folder)
    with pytest.raises(KeyboardInterrupt):
        extract_features(manifest, tmp_path / "a.h5", FAST, progress=_interrupt)
    # The old store is readable all the time.
    assert (tmp_path / "a.h5").read_bytes() == old
    done = extract_features(manifest, tmp_path / "a.h5", FAST)
    assert 0 < done.computed < 20
    # The images change again: what the unfinished store has is not lost.
    for number in range(20):
        Image.new("RGB", (9, 9), (0, number + 1, 0)).save(folder / "tumour" / f"again {number}.png")
    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST, progress=_interrupt)
    (folder / "tumour" / "more 0.png").unlink()
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert 0 < done.computed < 20
    assert [path.name for path in tmp_path.glob(".a.h5*")] == []
    whole = extract_features(read_manifest(folder), tmp_path / "whole.h5", FAST).store
    assert done.store.fingerprint == whole.fingerprint


def test_rows_are_reused_from_another_store(folder: Path, tmp_path: Path) -> None:
    first = extract_features(
        read_manifest(folder),
        tmp_path / "a.h5",
        replace(FAST, layers=("block1_conv2", "block1_pool")),
    )
    (folder / "tumour").rename(tmp_path / "x")
    (tmp_path / "x").rename(folder / "renamed")
    Image.new("RGB", (9, 9)).save(folder / "renamed" / "new.png")
    done = extract_features(
        read_manifest(folder), tmp_path / "b.h5", FAST, reuse=[tmp_path / "a.h5"]
    )
    assert (done.computed, done.reused) == (1, 24)
    assert list(done.store.layers) == ["block1_pool"]
    assert set(first.store.checksums("block1_pool")) < set(done.store.checksums("block1_pool"))
    with pytest.raises(
        StoreError, match=r"a\.h5: made with resize 'bilinear', asked for 'nearest'"
    ):
        extract_features(
            read_manifest(folder),
            tmp_path / "c.h5",
            replace(FAST, resize="nearest"),
            reuse=[tmp_path / "a.h5"],
        )
    assert not (tmp_path / "c.h5").exists()


def test_a_store_is_not_reused_for_itself(folder: Path, tmp_path: Path) -> None:
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST).store
    with pytest.raises(ParameterError, match="is the output itself"):
        extract_features(
            read_manifest(folder),
            tmp_path / "a.h5",
            FAST,
            overwrite=True,
            reuse=[tmp_path / "a.h5"],
        )
    assert store.verify() == []


def test_a_damaged_row_of_an_earlier_store_is_computed(folder: Path, tmp_path: Path) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["layers/block1_pool"][3, 5, 5] = 1
    (folder / "tumour" / "00.png").unlink()
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert (done.computed, done.reused) == (1, 22)
    assert done.store.verify() == []


def test_stopping_works_among_images_that_need_no_computing(folder: Path) -> None:
    engine = KerasEngine(VGG16, random_weights(0), ("block1_conv1",), 4)
    calls: list[bool] = []

    def stop() -> bool:
        calls.append(True)
        return len(calls) >= 300

    sources = (ImageSource(row, folder / "healthy" / "00.png") for row in range(1000))
    batches = list(run(engine, sources, "nearest", seen=SeenPixels(), stop=stop))
    assert sum(map(len, batches)) == 300
    assert max(map(len, batches)) <= 128
    assert sum(len(batch.rows) for batch in batches) == 1


def test_images_with_the_same_pixels_are_computed_once(folder: Path, tmp_path: Path) -> None:
    pixels = Image.open(folder / "tumour" / "04.png")
    for name in ("as.bmp", "as.tif", "as.webp"):
        pixels.save(folder / "healthy" / name, lossless=True)
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert (done.progress.computed, done.progress.same) == (23, 4)
    checksums = dict(
        zip(done.store.paths.tolist(), done.store.checksums("block1_pool").tolist(), strict=True)
    )
    assert (
        len(
            {checksums[f"healthy/as.{end}"] for end in ("bmp", "tif", "webp")}
            | {checksums["tumour/04.png"]}
        )
        == 1
    )
    assert done.store.verify() == []


def test_a_disk_without_room_is_reported_before_a_store_is_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "vgg16", VGG16)
    usage = type("usage", (), {"free": 10**8})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(
        StoreError, match=r"a\.h5: its features need 38\.6 MB, 100\.0 MB are free here; make room"
    ):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert not list(tmp_path.glob("*a.h5"))


def test_a_damaged_store_can_be_overwritten_but_nothing_else(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    path = tmp_path / "a.h5"
    extract_features(manifest, path, FAST)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(StoreError, match=r"truncated|not what was written"):
        extract_features(manifest, path, FAST)
    assert extract_features(manifest, path, FAST, overwrite=True).computed == 24
    path.write_bytes(b"thesis")
    with pytest.raises(
        StoreError, match="not a feature store, so it is not overwritten; remove it"
    ):
        extract_features(manifest, path, FAST, overwrite=True)
    assert path.read_bytes() == b"thesis"


def test_a_link_to_a_store_stays_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "a.h5").symlink_to(tmp_path / "far" / "a.h5")
    for _ in range(2):
        assert (
            extract_features(
                read_manifest(folder), tmp_path / "a.h5", FAST, overwrite=True
            ).computed
            == 24
        )
        assert (tmp_path / "a.h5").is_symlink()
        assert len(FeatureStore(tmp_path / "far" / "a.h5")) == 24


def test_a_file_that_is_no_store_is_not_touched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.h5").write_bytes(b"precious")
    with pytest.raises(StoreError, match=r"thesis\.h5: not a feature store"):
        extract_features(read_manifest(folder), tmp_path / "thesis.h5", FAST)
    assert (tmp_path / "thesis.h5").read_bytes() == b"precious"


def test_impossible_settings_are_refused() -> None:
    for change, message in (
        (
            {"layers": ("block9_pool",)},
            "vgg16 has no layer 'block9_pool'; it has block1_conv1, block1_conv2, block1_pool",
        ),
        ({"layers": ()}, "at least one layer"),
        ({"backbone": "vgg99"}, "backbone must be one of vgg16, pixels-N, got 'vgg99'"),
        (
            {"resize": "best"},
            "resize must be one of nearest, bilinear, bicubic, lanczos, got 'best'",
        ),
        ({"dtype": "int8"}, "dtype must be one of float32, float16"),
        ({"batch_size": 0}, "batch_size must lie between 1 and 1024"),
        ({"batch_size": 2.5}, "batch_size must lie between 1 and 1024, got 2.5"),
        ({"seed": -1}, "seed must lie between 0 and 4294967295, got -1"),
        ({"seed": "x"}, "seed must lie between 0 and 4294967295, got 'x'"),
    ):
        with pytest.raises(ParameterError, match=message):
            Settings(**change)  # type: ignore[arg-type]


def test_workers_are_for_mnn(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match="workers are for the engine mnn, not for keras; leave --workers out"
    ):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST, workers=2)
    assert not (tmp_path / "a.h5").exists()


def test_without_a_backend_the_error_names_the_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(keras_engine, "find_spec", lambda name: None)
    monkeypatch.setattr(mnn_engine, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError,
        match=r"running the backbone needs Keras.*pip install 'freezeframe\[cpu\]'",
    ):
        extract_features(read_manifest(folder), tmp_path / "a.h5", FAST)
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(
        MissingExtraError,
        match=r"the engine mnn needs MNN and ONNX.*pip install 'freezeframe\[cpu\]'",
    ):
        extract_features(read_manifest(folder), tmp_path / "a.h5", Settings(engine="mnn"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(MissingExtraError, match="needs Keras with jax"):
        keras_engine.choose_keras_backend()
    monkeypatch.setenv("KERAS_BACKEND", "os")
    with pytest.raises(
        ParameterError, match="KERAS_BACKEND must be one of tensorflow, jax, torch, got 'os'"
    ):
        keras_engine.choose_keras_backend()


def test_importing_keras_restores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    keras_engine.import_keras()
    assert "KERAS_BACKEND" not in os.environ
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    keras_engine.import_keras()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_decoding_runs_ahead_but_not_far(folder: Path) -> None:
    """At most two batches and one image are decoded before they are needed."""

    class Slow:
        layers = ("l",)
        batch_size = 2
        input_size = (8, 8)

        def __init__(self) -> None:
            self.batches = 0

        def forward(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
            self.batches += 1
            assert taken <= 2 * self.batches + 4 + 1
            return {"l": np.zeros((len(images), 1, 1, 1), np.float32)}

    taken = 0

    def sources() -> Iterator[ImageSource]:
        nonlocal taken
        for row in range(23):
            taken += 1
            yield ImageSource(row, folder / "healthy" / "00.png")

    rows = [row for batch in run(Slow(), sources(), "nearest") for row in batch.rows]
    assert rows == list(range(23))


def test_an_abandoned_run_leaves_no_thread(folder: Path) -> None:
    engine = KerasEngine(VGG16, random_weights(0), ("block1_conv1",), 2)
    before = threading.active_count()
    batches = run(
        engine,
        (ImageSource(row, folder / "healthy" / "00.png") for row in range(50)),
        "nearest",
    )
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)
    assert threading.active_count() <= before


def test_real_images(datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of each class of the real set, with the real weights."""
    monkeypatch.setitem(BACKBONES, "vgg16", VGG16)
    table = tmp_path / "some.csv"
    listed = [
        f"{datasets}/navoneel/{i.path},{i.label}"
        for i in read_manifest(datasets / "navoneel").images[::60]
    ]
    table.write_text("path,label\n" + "\n".join(listed))
    done = extract_features(read_manifest(table), tmp_path / "a.h5")
    assert (done.computed, done.failed) == (5, [])
    features = done.store.features("block5_pool")
    assert np.isfinite(features).all()
    # The last features of a trained network are sparse.
    assert 0.5 < (features == 0).mean() < 0.95
