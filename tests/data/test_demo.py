"""Tests of the demo set: seeded, whole or absent, and without a shortcut to the class."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ks_2samp

from freezeframe import FreezeframeError, ParameterError, __version__
from freezeframe.data.demo import images as demo
from freezeframe.data.demo.drawing import draw_slice
from freezeframe.data.demo.images import demo_folder, make_demo_images

PER_CLASS = 60


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_images(tmp_path_factory.mktemp("demo") / "set", per_class=PER_CLASS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a cache folder for this test, where a small demo set is complete."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(demo, "PER_CLASS", 10)
    return tmp_path / "freezeframe"


def images(folder: Path, label: str) -> list[Path]:
    return sorted((folder / label).iterdir())


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_the_seed_decides_the_slice() -> None:
    first, repeated, second = (draw_slice(np.random.default_rng(seed), True) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert first.ndim == 2
    np.testing.assert_array_equal(first, repeated)
    assert first.shape != second.shape or not np.array_equal(first, second)


@pytest.mark.parametrize("seed", range(8))
def test_the_class_decides_only_the_lesion(seed: int) -> None:
    lesion_rng = np.random.default_rng(seed)
    plain_rng = np.random.default_rng(seed)
    lesion = draw_slice(lesion_rng, True).astype(int)
    plain = draw_slice(plain_rng, False).astype(int)
    assert lesion.shape == plain.shape
    assert lesion_rng.bit_generator.state == plain_rng.bit_generator.state
    differs = np.abs(lesion - plain) > 1
    assert 0 < differs.mean() < 0.6
    assert not differs[:, :2].any()
    assert not differs[:, -2:].any()


def test_equal_seeds_draw_equal_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not those that were drawn before.
    monkeypatch.setattr(demo, "draw_slice", draw_slice)
    first, repeated, second = (
        digests(make_demo_images(tmp_path / name, per_class=10, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == repeated
    assert not set(first.values()) & set(second.values())
    assert "seed 2" in (tmp_path / "c" / "SYNTHETIC.txt").read_text()


def test_the_set_has_its_counts_formats_and_modes(drawn: Path) -> None:
    assert sorted(entry.name for entry in drawn.iterdir()) == [
        "SYNTHETIC.txt",
        "lesion",
        "no_lesion",
    ]
    for label in demo.CLASSES:
        files = images(drawn, label)
        kinds = Counter((Image.open(file).format, Image.open(file).mode) for file in files)
        assert len(files) == PER_CLASS
        assert kinds["PNG", "L"] > PER_CLASS / 2
        assert {kind for kind, _ in kinds} == {"PNG", "JPEG"}
        assert {mode for _, mode in kinds} == {"L", "RGB"}
        for file in files:
            assert all(160 <= side <= 300 for side in Image.open(file).size)


def test_the_notice_lists_exact_copies_within_a_class(drawn: Path) -> None:
    sha256s = digests(drawn)
    notice = (drawn / "SYNTHETIC.txt").read_text()
    pairs = [line.split(" = ") for line in notice.splitlines() if " = " in line]
    assert Counter(copy.split("/")[0] for copy, _ in pairs) == {"lesion": 2, "no_lesion": 2}
    for copy, original in pairs:
        assert copy != original
        assert copy.split("/")[0] == original.split("/")[0]
        assert sha256s[copy] == sha256s[original]
    assert len(set(sha256s.values())) == len(sha256s) - len(pairs)


def test_the_notice_says_that_the_images_are_synthetic(drawn: Path) -> None:
    notice = (drawn / "SYNTHETIC.txt").read_text()
    for words in (
        "SYNTHETIC",
        "no patient",
        "no clinical meaning",
        "seed 0",
        f"freezeframe {__version__}",
    ):
        assert words in notice


def test_only_the_lesion_distinguishes_the_classes(drawn: Path) -> None:
    kinds = []
    numbers = []
    for label in demo.CLASSES:
        files = images(drawn, label)
        kinds.append(Counter((file.suffix, Image.open(file).mode) for file in files))
        pixels = [np.asarray(Image.open(file).convert("L"), dtype=float) for file in files]
        numbers.append(
            {
                "height": [image.shape[0] for image in pixels],
                "width": [image.shape[1] for image in pixels],
                "file size": [file.stat().st_size for file in files],
                "bytes per pixel": [
                    file.stat().st_size / p.size for file, p in zip(files, pixels, strict=True)
                ],
                "mean brightness": [image.mean() for image in pixels],
                "background": [np.percentile(image, 5) for image in pixels],
            }
        )
    assert kinds[0] == kinds[1]
    for name, values in numbers[0].items():
        assert ks_2samp(values, numbers[1][name]).pvalue > 0.005, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 9}, "per_class .* 10 or more, got 9"),
        ({"seed": -1}, "seed .* 0 or more, got -1"),
    ],
)
def test_invalid_values_are_refused(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make_demo_images(tmp_path / "set", **options)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "scan.png").write_text("mine")
    before = digests(tmp_path)
    for name in ("file", "folder"):
        with pytest.raises(
            ParameterError, match=f"{name}: exists already.*choose another folder"
        ) as caught:
            make_demo_images(tmp_path / name, per_class=10)
        assert "\n" not in str(caught.value)
    assert digests(tmp_path) == before


def test_an_empty_folder_is_filled_and_parents_are_created(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "new" / "deep"):
        assert make_demo_images(str(out), per_class=10) == out
        assert len(images(out, "lesion")) == 10
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "new"]


def test_an_unwritable_path_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        FreezeframeError, match=r"set: the demo images cannot be written .*; choose another folder"
    ):
        make_demo_images(tmp_path / "file" / "set", per_class=10)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    remaining = iter(range(7))

    def fail_at_last(rng: np.random.Generator, lesion: bool) -> Any:
        if next(remaining, None) is None:
            raise error
        return draw_slice(rng, lesion)

    monkeypatch.setattr(demo, "draw_slice", fail_at_last)
    with pytest.raises(error):
        make_demo_images(tmp_path / "set", per_class=10)
    assert list(tmp_path.iterdir()) == []


def test_the_loser_of_a_race_for_a_folder_gets_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_folder_meanwhile(rng: np.random.Generator, lesion: bool) -> Any:
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / "theirs").touch()
        return np.zeros((160, 160), dtype=np.uint8)

    monkeypatch.setattr(demo, "draw_slice", create_folder_meanwhile)
    with pytest.raises(ParameterError, match="exists already and is not an empty folder"):
        make_demo_images(tmp_path / "set", per_class=10)
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == [
        "set",
        str(Path("set", "theirs")),
    ]


def test_the_demo_folder_is_drawn_only_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = demo_folder()
    assert folder == cache / f"demo-{demo.DEMO_VERSION}"
    monkeypatch.setattr(demo, "draw_slice", None)
    assert demo_folder() == folder
    assert [entry.name for entry in cache.iterdir()] == [folder.name]


def test_a_demo_folder_that_lost_files_is_drawn_again(cache: Path) -> None:
    complete = digests(demo_folder())
    images(demo_folder(), "lesion")[3].unlink()
    assert digests(demo_folder()) == complete
    (demo_folder() / "SYNTHETIC.txt").unlink()
    assert digests(demo_folder()) == complete
    assert len(list(cache.iterdir())) == 1


def test_two_threads_may_draw_the_demo_folder_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = threading.Barrier(2, timeout=10)
    started: set[int] = set()
    folders: list[Path] = []

    def wait_for_both(rng: np.random.Generator, lesion: bool) -> Any:
        # Both threads start before either ends.
        if threading.get_ident() not in started:
            started.add(threading.get_ident())
            barrier.wait()
        return draw_slice(rng, lesion)

    monkeypatch.setattr(demo, "draw_slice", wait_for_both)
    threads = [threading.Thread(target=lambda: folders.append(demo_folder())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [cache / f"demo-{demo.DEMO_VERSION}"] * 2
    assert len(images(folders[0], "lesion")) == len(images(folders[0], "no_lesion")) == 10
    assert [entry.name for entry in cache.iterdir()] == [folders[0].name]


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere no environment variable moves the cache folder"
)
def test_two_processes_may_draw_the_demo_folder_at_once(tmp_path: Path) -> None:
    code = (
        "from freezeframe.data.demo import images as demo\n"
        "demo.PER_CLASS = 10\n"
        "print(demo.demo_folder())"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    lines = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    folder = tmp_path / "freezeframe" / f"demo-{demo.DEMO_VERSION}"
    assert [racer.returncode for racer in racers] == [0, 0]
    assert lines == [str(folder)] * 2
    assert len(images(folder, "lesion")) == 10
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
