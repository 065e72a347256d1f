"""The plan of an extraction: every case, and no side effect."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.filling import ExtractionProgress
from freezeframe.extract.plan.plan import Plan, RowCounts, make_plan
from freezeframe.extract.settings import Settings

from ..features.stores import as_version

PIXELS = Settings(backbone="pixels-8", layers=("pixels",), dtype="float16")


def files(folder: Path) -> dict[str, str]:
    """The digest of every file in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def plan_for(folder: Path, output: Path, settings: Settings = PIXELS, **options: object) -> Plan:
    """Make a plan, and check that no file changes."""
    before = files(output.parent)
    plan = make_plan(output, read_manifest(folder), settings, **options)  # type: ignore[arg-type]
    assert files(output.parent) == before
    return plan


def stop_early(folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Stop an extraction after some rows; return the number of finished rows."""

    def stop(_: ExtractionProgress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("freezeframe.extract.engines.pixels.PixelEngine.batch_size", 4)
        with pytest.raises(KeyboardInterrupt):
            extract_features(read_manifest(folder), output, PIXELS, progress=stop)
    (path,) = [path for path in (next_file(output), output) if path.exists()][:1]
    return len(FeatureStore(path).rows())


def next_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.next")


def aside_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.before")


@pytest.fixture(autouse=True)
def _same_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches everywhere: the batch size is part of the provenance."""
    monkeypatch.setattr("freezeframe.extract.engines.pixels.PixelEngine.batch_size", 4)


def test_a_new_store(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    plan = plan_for(folder, output)
    assert (plan.task, plan.existing, plan.begun) == ("create", None, None)
    assert (plan.output, plan.target) == (output, output)
    assert plan.count_rows(read_manifest(folder)) == RowCounts(reused=0, remaining=24)
    assert (plan.layers, plan.donors, plan.obsolete) == (("pixels",), (), ())
    assert plan.settings.engine == "none"
    assert not plan.finished
    assert plan.describe(read_manifest(folder)).splitlines() == [
        f"{output}: create",
        "  exists: nothing",
        "  reused: 0 images",
        "  computed: 24 images",
        f"  written: {output}",
    ]
    done = extract_features(read_manifest(folder), output, PIXELS)
    assert (done.reused, done.computed) == (0, 24)


def test_an_unfinished_store_is_continued(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.h5"
    finished = stop_early(folder, output, monkeypatch)
    assert 0 < finished < 24
    plan = plan_for(folder, output)
    assert (plan.task, plan.target) == ("continue", output)
    assert plan.existing is not None
    assert plan.count_rows(read_manifest(folder)) == RowCounts(0, 24 - finished)
    assert not plan.finished
    assert f"  exists: FeatureStore('{output}': {finished} done" in plan.describe(
        read_manifest(folder)
    )
    assert extract_features(read_manifest(folder), output, PIXELS).computed == 24 - finished


def test_a_finished_store_needs_nothing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    plan = plan_for(folder, output)
    assert plan.task == "continue"
    assert plan.count_rows(read_manifest(folder)) == RowCounts(0, 0)
    assert plan.finished
    assert plan.describe(read_manifest(folder)).endswith("\n  written: nothing")


def test_added_images_are_computed_beside_the_old_store(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    for number in range(3):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "tumour" / f"new {number}.png")
    plan = plan_for(folder, output)
    assert (plan.task, plan.target) == ("replace", next_file(output))
    assert plan.count_rows(read_manifest(folder)) == RowCounts(24, 3)
    assert plan.donors == (plan.existing,)
    assert f"  written: {next_file(output)}" in plan.describe(read_manifest(folder))
    done = extract_features(read_manifest(folder), output, PIXELS)
    assert (done.reused, done.computed) == (24, 3)
    assert not next_file(output).exists()


def test_an_unfinished_new_store_is_continued_or_set_aside(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    for number in range(12):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "tumour" / f"new {number:02}.png")
    finished = stop_early(folder, output, monkeypatch)
    assert 24 < finished < 36
    again = plan_for(folder, output)
    assert (again.task, again.displaced, again.obsolete) == (
        "replace",
        None,
        (aside_file(output),),
    )
    assert again.begun is not None
    assert (again.begun.path, again.target) == (next_file(output), next_file(output))
    assert again.count_rows(read_manifest(folder)) == RowCounts(0, 36 - finished)

    # The images change once more: what the unfinished store has is not lost.
    (folder / "healthy" / "00.png").unlink()
    changed = plan_for(folder, output)
    assert changed.begun is None
    assert changed.displaced is not None
    assert changed.displaced.path == next_file(output)
    assert [donor.path for donor in changed.donors] == [next_file(output), output]
    counts = changed.count_rows(read_manifest(folder))
    assert counts == RowCounts(finished - 1, 36 - finished)
    done = extract_features(read_manifest(folder), output, PIXELS)
    assert (done.reused, done.computed) == (counts.reused, counts.remaining)
    assert list(tmp_path.glob(".a.h5*")) == []


def test_a_smaller_unfinished_store_is_obsolete(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    for number in range(12):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "tumour" / f"new {number:02}.png")
    stop_early(folder, output, monkeypatch)
    (folder / "healthy" / "00.png").unlink()
    aside_file(output).write_bytes(next_file(output).read_bytes())
    plan = plan_for(folder, output)
    assert (plan.begun, plan.displaced) == (None, None)
    assert plan.obsolete == (next_file(output),)
    assert [donor.path for donor in plan.donors] == [aside_file(output), output]


def test_a_finished_store_of_an_earlier_format_is_upgraded(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    (folder / "tumour" / "broken.png").write_bytes(b"")
    extract_features(read_manifest(folder), output, PIXELS)
    as_version(output, 1)
    plan = plan_for(folder, output)
    assert (plan.task, plan.target) == ("upgrade", next_file(output))
    # The broken image is copied with its reason.
    assert plan.count_rows(read_manifest(folder)) == RowCounts(25, 0)
    assert plan.outdated_bytes == 0
    assert not plan.finished
    assert extract_features(read_manifest(folder), output, PIXELS).reused == 25


def test_without_room_an_earlier_format_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    as_version(output, 1)
    monkeypatch.setattr("freezeframe.extract.plan.plan.has_room", lambda path, n_bytes: False)
    plan = plan_for(folder, output)
    assert (plan.task, plan.target, plan.finished) == ("keep", output, True)
    assert plan.outdated_bytes == 24 * (8 * 8 * 3 * 2 + 64 * 64)
    done = extract_features(read_manifest(folder), output, PIXELS)
    assert done.outdated == plan.outdated_bytes


def test_rows_of_other_stores_are_reused(folder: Path, tmp_path: Path) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", PIXELS)
    Image.new("RGB", (9, 9)).save(folder / "tumour" / "new.png")
    plan = plan_for(folder, tmp_path / "b.h5", reuse=[tmp_path / "a.h5"])
    assert plan.task == "create"
    assert plan.count_rows(read_manifest(folder)) == RowCounts(24, 1)
    with pytest.raises(ParameterError, match=r"is the output itself.*remove it from --reuse"):
        plan_for(folder, tmp_path / "a.h5", reuse=[tmp_path / "a.h5"])


def test_an_overwritten_store_is_created(folder: Path, tmp_path: Path) -> None:
    extract_features(read_manifest(folder), tmp_path / "a.h5", PIXELS)
    plan = plan_for(folder, tmp_path / "a.h5", overwrite=True)
    assert (plan.task, plan.existing) == ("create", None)
    assert plan.count_rows(read_manifest(folder)) == RowCounts(0, 24)


def test_another_collection_is_refused(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    for path in [path for path in folder.glob("*/*") if path.name != "00.png"]:
        path.unlink()
    before = files(tmp_path)
    with pytest.raises(StoreError, match=r"only 2 of its 24 images are in this folder or list"):
        plan_for(folder, output)
    assert files(tmp_path) == before


def test_another_provenance_is_refused(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    extract_features(read_manifest(folder), output, PIXELS)
    nearest = Settings(backbone="pixels-8", layers=("pixels",), dtype="float16", resize="nearest")
    with pytest.raises(StoreError, match="made with resize 'bilinear', asked for 'nearest'"):
        plan_for(folder, output, nearest)
    with pytest.raises(
        ParameterError, match="workers are for the engine mnn, not for none; leave --workers out"
    ):
        plan_for(folder, output, workers=2)
