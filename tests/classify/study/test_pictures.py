"""The pictures of a report: pairs of copies, and mistakes with what they were taken for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.classify.study.late import MISTAKE_COLUMNS, mistakes_explained
from freezeframe.classify.study.pictures import list_pictures, serious_pairs
from freezeframe.classify.study.report.study import PICTURE_COLUMNS
from freezeframe.classify.study.report.tables import Line, read_table
from freezeframe.data.audit.report import PAIR_COLUMNS
from freezeframe.data.output.csv import csv_line

from .studies import MadeStudy, N, predictions


def listed(folder: Path) -> list[tuple[str, str, str]]:
    """Return kind, title and caption of the pictures, each of which can be opened."""
    lines = read_table(folder / "pictures.csv", PICTURE_COLUMNS)
    for line in lines:
        with Image.open(folder / line["path"]) as picture:
            assert max(picture.size) <= 200
    # Scores of resized images may differ in the last digit.
    titles = [re.sub(r" \d\.\d{3}$", "", line["title"]) for line in lines]
    return [
        (line["kind"], title, line["caption"]) for line, title in zip(lines, titles, strict=True)
    ]


def scan(path: Path, seed: int, *, turned: bool = False) -> None:
    """Write an image of coarse noise, the same for one seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 12)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize((360, 270), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else picture).save(path)


def test_copies_are_shown_beside_each_other_the_most_serious_first(tmp_path: Path) -> None:
    old, new, study = tmp_path / "old", tmp_path / "new", tmp_path / "study"
    for seed in range(4):
        scan(old / "a" / f"{seed}.png", seed)
        scan(old / "b" / f"{seed}.png", 10 + seed)
    scan(old / "a" / "twice.png", 0)
    scan(old / "b" / "other-label.png", 1)
    scan(new / "a" / "known.png", 2, turned=True)
    scan(new / "b" / "alone.png", 99)
    arguments = ["audit", str(old), "--against", str(new), "--output", str(study / "audit")]
    assert CliRunner().invoke(cli, arguments).exit_code in (0, 3)
    assert list_pictures(study, [old, new]) == []
    assert listed(study) == [
        ("pair", "1. Two labels: same bytes", "a (old): 1.png"),
        ("pair", "1. Two labels: same bytes", "b (old): other-label.png"),
        ("pair", "2. In two sets: nearly the same", "a (old): 2.png"),
        (
            "pair",
            "2. In two sets: nearly the same",
            "a (new): known.png, shown mirrored left to right",
        ),
        ("pair", "3. In one set: same bytes", "a (old): 0.png"),
        ("pair", "3. In one set: same bytes", "a (old): twice.png"),
    ]
    # The mirrored one is shown so that both look alike.
    first, second = (
        np.asarray(Image.open(study / "pictures" / f"{number}.jpg"), int) for number in (3, 4)
    )
    assert np.abs(first - second).mean() < 3
    assert np.abs(first - second[:, ::-1]).mean() > 20


def pair(picture: int, **cells: str) -> Line:
    line = dict.fromkeys(PAIR_COLUMNS, "") | {"set_a": "old", "set_b": "old", "level": "same bytes"}
    return line | {"picture": str(picture)} | cells


def test_few_pairs_of_each_kind_and_one_of_each_picture_are_shown() -> None:
    pairs = [pair(0), pair(0), *(pair(number, leak="yes", set_b="new") for number in range(1, 6))]
    pairs += [pair(6, leak="yes"), pair(7, leak="yes"), pair(8), pair(9)]
    # Of all pairs of a picture, the most serious one.
    pairs += [pair(7, conflict="yes", leak="yes")]
    pairs += [pair(10, level="same group", leak="yes")]
    shown = [(kind, line["picture"]) for kind, line in serious_pairs(pairs)]
    assert shown == [
        ("Two labels", "7"),
        ("In two sets", "1"),
        ("In two sets", "2"),
        ("In two sets", "3"),
        ("On two sides of a split", "6"),
        ("In one set", "0"),
    ]


@pytest.fixture
def explained(tmp_path: Path) -> Path:
    """A study with one mistake, as explain leaves it."""
    scan(tmp_path / "scans" / "a" / "0.png", 0)
    scan(tmp_path / "scans" / "b" / "1.png", 1)
    study = tmp_path / "study"
    scan(study / "explain" / "0-map.png", 2)
    path = str(tmp_path / "scans" / "a" / "0.png")
    lines = [MISTAKE_COLUMNS, (path, "a", "b", "0.912345")]
    (study / "mistakes.csv").write_text("".join(map(csv_line, lines)))
    near = [{"path": "b/1.png", "label": "b", "similarity": 0.876}]
    near += [{"path": "b/lost.png", "label": "b", "similarity": 0.5}]
    record = {"path": path, "picture": "0.png", "map": "0-map.png", "class": "b", "nearest": near}
    text = json.dumps({"images": [record]})
    (study / "explain" / "explanations.json").write_text(text)
    return study


def test_a_mistake_is_shown_with_its_map_and_the_nearest_training_pictures(explained: Path) -> None:
    list_pictures(explained, [explained.parent / "scans"])
    title = "1. 0.png is labelled a and called b with 91.2 %"
    # A training picture that is gone is left out.
    assert listed(explained) == [
        ("mistake", title, "the image: a"),
        ("mistake", title, "orange: for b, purple: against it"),
        ("mistake", title, "trained on: b, similarity 0.88 (1.png)"),
    ]


def test_pictures_that_the_list_does_not_name_any_more_are_removed(explained: Path) -> None:
    pictures = explained / "pictures"
    pictures.mkdir()
    for name in ("4.jpg", "12.jpg", "mine.jpg", "5.png", "05.jpg"):
        (pictures / name).write_bytes(b"")
    (explained / "map").mkdir()
    (explained / "map" / "map.png").write_bytes(b"")
    list_pictures(explained, [explained.parent / "scans"])
    names = sorted(path.name for path in pictures.iterdir())
    assert names == ["05.jpg", "1.jpg", "2.jpg", "3.jpg", "5.png", "mine.jpg"]


@pytest.mark.parametrize("content", ["", "[]", '{"images": [1]}', '{"images": [{"path": []}]}'])
def test_a_damaged_file_of_explanations_shows_the_image_alone(
    explained: Path, content: str
) -> None:
    (explained / "explain" / "explanations.json").write_text(content)
    list_pictures(explained, [explained.parent / "scans"])
    assert [caption for _, _, caption in listed(explained)] == ["the image: a"]


def test_of_copies_one_mistake_is_explained_and_the_surest_first(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    y = np.zeros(N, np.intp)
    y[N // 2 :] = 1
    p = np.where(y == 0, 0.9, 0.1)
    # Images 0, 1 and 2 are wrong; the first two are of one group.
    p[:3] = (0.2, 0.1, 0.15)
    groups = np.arange(N)
    groups[1] = 0
    study.add("logreg", predictions(p, y, groups), test_id="external", split="external")
    run = study.add("logreg", predictions(p, y, groups))
    arguments = mistakes_explained(tmp_path, "leaderboard.csv", tmp_path / "scans", "logreg")
    assert arguments == [f"runs/{run}", "mistakes.csv"]
    lines = read_table(tmp_path / "mistakes.csv", MISTAKE_COLUMNS)
    assert [(line["path"], line["probability"]) for line in lines] == [
        (str(tmp_path / "lesion" / "1.png"), "0.900000"),
        (str(tmp_path / "lesion" / "2.png"), "0.850000"),
    ]
