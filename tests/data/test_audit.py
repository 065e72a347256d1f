"""Audits name the planted copies, and splits cut no group."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from freezeframe import FeatureStore, FreezeframeError, ParameterError
from freezeframe.__main__ import cli
from freezeframe.data.audit.audit import audit
from freezeframe.data.audit.findings import expected_leak, headlines, remarks
from freezeframe.data.audit.image_pairs import BYTES, GROUP, LEVEL_NAMES, NEAR, PIXELS
from freezeframe.data.audit.image_set import ImageSet
from freezeframe.data.audit.report import audit_csv, groups_csv, page
from freezeframe.data.demo.images import make_demo_images
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.inspection.inspect import inspect_images
from freezeframe.data.manifest import read_manifest
from freezeframe.data.splits import split_groups

from ..conftest import MakeStore, head


def draw(path: Path, number: int) -> Image.Image:
    image = head(number).convert("L")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return image


def read(source: Path, **grouping: str) -> ImageSet:
    manifest = read_manifest(source, **grouping)
    return ImageSet.from_manifest(manifest, inspect_images(manifest, cache=False))


@dataclass(frozen=True)
class Ended:
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path | None = None) -> Ended:
    with chdir(cwd or Path.cwd()):
        result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="freezeframe")
    return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Make a set of two classes with six different pictures each."""
    for number in range(12):
        draw(tmp_path / "training" / ("ill" if number % 2 else "well") / f"{number}.png", number)
    return tmp_path / "training"


@pytest.fixture
def tested(tmp_path: Path, training: Path) -> Path:
    """Make a test set with one relative of each level and two pictures of its own."""
    root = tmp_path / "tested"
    for number in (100, 101):
        draw(root / ("ill" if number % 2 else "well") / f"own-{number}.png", number)
    shutil.copy(training / "ill" / "1.png", root / "ill" / "bytes.png")
    Image.open(training / "well" / "2.png").save(root / "well" / "pixels.bmp")
    turned = Image.open(training / "ill" / "3.png").transpose(Image.Transpose.ROTATE_90)
    turned.resize((150, 170)).save(root / "ill" / "near.jpg", quality=80)
    return root


def test_each_kind_of_evidence_across_two_sets_is_named(training: Path, tested: Path) -> None:
    result = audit([read(training), read(tested)], cache=False)
    (crossing,) = result.crossings
    assert (crossing.n, dict(crossing.levels)) == (5, {BYTES: 1, PIXELS: 1, NEAR: 1})
    paths = result.column("paths")
    assert {Path(paths[row]).stem for row in crossing.rows} == {"bytes", "pixels", "near"}
    assert {(LEVEL_NAMES[pair.level], Path(paths[pair.second]).stem) for pair in result.pairs} == {
        ("same bytes", "bytes"),
        ("same pixels", "pixels"),
        ("nearly the same", "near"),
    }
    sentence = (
        "3 of 5 images of tested also occur in training "
        "(1 same bytes, 1 same pixels, 1 nearly the same)"
    )
    assert headlines(result) == [("LEAK", sentence)]
    assert result.leaks


def test_splits_of_one_folder_are_compared(tmp_path: Path) -> None:
    for number in range(8):
        draw(tmp_path / "scans" / "train" / "ab"[number % 2] / f"{number}.png", number)
    draw(tmp_path / "scans" / "val" / "a" / "50.png", 50)
    draw(tmp_path / "scans" / "val" / "b" / "51.png", 51)
    for number, name in ((0, "0"), (50, "fifty"), (60, "60"), (61, "61")):
        draw(tmp_path / "scans" / "test" / "ab"[number % 2] / f"{name}.png", number)
    result = audit([read(tmp_path / "scans")], cache=False)
    related = {
        (crossing.part, crossing.reference): crossing.n_related for crossing in result.crossings
    }
    assert related == {
        ("test images of scans", "its train split"): 1,
        ("validation images of scans", "its train split"): 0,
        ("test images of scans", "its validation split"): 1,
    }


def test_one_picture_with_two_labels_is_a_conflict(training: Path) -> None:
    Image.open(training / "ill" / "1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        training / "well" / "x.png"
    )
    result = audit([read(training)], cache=False)
    (pair,) = result.pairs
    assert result.is_conflict(pair)
    assert not result.is_leak(pair)
    assert not result.leaks
    assert headlines(result) == [("CONFLICT", "1 picture has two labels, 2 images in all")]


def test_labels_of_sets_that_name_classes_differently_are_not_compared(
    training: Path, tested: Path
) -> None:
    (tested / "ill").rename(tested / "yes")
    (tested / "well").rename(tested / "no")
    sets = [read(training), read(tested)]
    assert not any(
        audit(sets, cache=False).is_conflict(pair) for pair in audit(sets, cache=False).pairs
    )
    assert "are not compared" in "".join(remarks(audit(sets, cache=False)))
    crossed = audit(sets, classes={"yes": "well", "no": "ill"}, cache=False)
    assert all(crossed.is_conflict(pair) for pair in crossed.pairs)


def test_groups_are_joined_with_copies(tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "scans" / "ab"[number % 2] / f"p{number // 2}-{number}.png", number)
    shutil.copy(tmp_path / "scans" / "a" / "p0-0.png", tmp_path / "scans" / "b" / "p9-9.png")
    result = audit([read(tmp_path / "scans", group_regex=r"(p\d)-")], cache=False)
    names = [Path(path).stem for path in result.column("paths")]
    groups = dict(zip(names, result.groups.tolist(), strict=True))
    assert groups["p0-0"] == groups["p0-1"] == groups["p9-9"]
    assert len(set(groups.values())) == 3
    pictures = dict(zip(names, result.pictures.tolist(), strict=True))
    assert pictures["p0-0"] == pictures["p9-9"] != pictures["p0-1"]


def test_groups_of_two_sets_are_one_only_if_they_are_patients(training: Path, tested: Path) -> None:
    for name in ("bytes.png", "near.jpg"):
        (tested / "ill" / name).unlink()
    (tested / "well" / "pixels.bmp").unlink()
    for name, level in (("7", 0), ("patient-0123456789abcdef", 2)):
        sets = [
            replace(images, groups=[name] * len(images), root=None)
            for images in (read(training), read(tested))
        ]
        (crossing,) = audit(sets, cache=False).crossings
        assert crossing.levels.get(GROUP, 0) == level


def test_a_patient_on_two_sides_is_a_leak_with_a_row_of_its_own(tmp_path: Path) -> None:
    for number in range(8):
        draw(tmp_path / "one" / "ab"[number % 2] / f"P{number // 2}_{number}.png", number)
        draw(tmp_path / "two" / "ab"[number % 2] / f"P{number // 2 + 3}_{number}.png", 50 + number)
    process = run(
        "audit", "one", "--against", "two", "--group-regex", r"P\d+", "--strict", cwd=tmp_path
    )
    assert process.returncode == 3
    assert "LEAK: 2 of 8 images of two have a relative in one (2 same group)" in process.stdout
    assert "one: 8 images of 4 patients" in process.stdout
    with (tmp_path / "audit" / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["leak"], row["conflict"], row["level"], row["score"]) for row in rows] == [
        ("yes", "", "same group", "")
    ]
    assert {Path(row["path_a"]).name[:2] for row in rows} == {"P3"}


def test_each_set_is_compared_with_those_before_it(
    training: Path, tested: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "first" / "ill" / "a.png", 70)
    result = audit([read_one(tmp_path / "first"), read(tested), read(training)], cache=False)
    assert [
        (crossing.part, crossing.reference, crossing.n_related) for crossing in result.crossings
    ] == [
        ("images of tested", "first", 0),
        ("images of training", "first", 0),
        ("images of training", "tested", 3),
    ]
    assert result.leaks


def read_one(source: Path) -> ImageSet:
    manifest = read_manifest(source, least_classes=1)
    return ImageSet.from_manifest(manifest, inspect_images(manifest, cache=False))


def test_labels_are_compared_if_one_set_has_the_classes_of_the_other(
    training: Path, tmp_path: Path
) -> None:
    (tmp_path / "few" / "well").mkdir(parents=True)
    shutil.copy(training / "ill" / "1.png", tmp_path / "few" / "well" / "1.png")
    result = audit([read(training), read_one(tmp_path / "few")], cache=False)
    assert ("CONFLICT", "1 picture has two labels, 2 images in all") in headlines(result)


def test_sets_of_one_name_get_numbers(training: Path) -> None:
    sets = [read(training)] * 2
    sets.append(ImageSet("training (2)", *list(vars(sets[0]).values())[1:]))
    assert [images.name for images in audit(sets, cache=False).sets] == [
        "training",
        "training (2)",
        "training (2) (2)",
    ]


def test_csv_files_have_a_row_per_pair_and_image_and_no_formulas(
    training: Path, tested: Path
) -> None:
    (training / "well" / "2.png").rename(training / "well" / '=HYPERLINK("x").png')
    result = audit([read(training), read(tested)], cache=False)
    pairs = list(csv.DictReader(list(audit_csv(result))))
    assert [row["leak"] for row in pairs] == ["yes"] * 3
    assert {row["level"] for row in pairs} == set(LEVEL_NAMES[:3])
    assert float(next(row["score"] for row in pairs if row["level"] == LEVEL_NAMES[NEAR])) > 0.85
    images = list(csv.DictReader(list(groups_csv(result))))
    assert len(images) == 17
    assert [row["path"] for row in images if "HYPERLINK" in row["path"]] == [
        'well/=HYPERLINK("x").png'
    ]
    sizes = {row["path"]: row["images_in_group"] for row in images}
    assert sizes["ill/bytes.png"] == "2"
    assert sizes["ill/own-101.png"] == "1"


def test_the_page_escapes_names_and_inlines_pictures(training: Path, tested: Path) -> None:
    (training / "ill" / "1.png").rename(training / "ill" / "<script>alert(1)<!--.png")
    text = page(audit([read(training), read(tested)], cache=False))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", text)
    assert text.count("<figure>") == 3


def test_unreadable_files_are_compared_by_their_bytes(training: Path, tested: Path) -> None:
    (training / "ill" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    shutil.copy(training / "ill" / "broken.png", tested / "ill" / "broken.png")
    (crossing,) = audit([read(training), read(tested)], cache=False).crossings
    assert crossing.levels[BYTES] == 2


def audit_strictly(source: Path, *options: object) -> Ended:
    return run("audit", source, "--strict", "--output", source.parent / "out", *options)


def test_a_list_of_which_no_file_exists_is_no_all_clear(tmp_path: Path) -> None:
    lines = [f"gone/{n}.png,{'ab'[n % 2]},{'train' if n < 6 else 'test'}" for n in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    ended = audit_strictly(tmp_path / "list.csv")
    assert ended.returncode == 3
    note, error = ended.stderr.splitlines()
    assert note.startswith("note: 12 of 12 listed files do not exist, first gone/0.png, looked for")
    assert error == "error: 12 images could not be looked at (--strict)"
    assert ended.stdout.startswith("UNREAD: 12 of 12 images of list.csv were not looked at")
    assert "these are not compared at all; check the files" in ended.stdout
    assert "relatives of 6 test images of list.csv in its train split are unknown" in ended.stdout
    assert "none of" not in ended.stdout
    assert "no copies on two sides" not in ended.stdout
    ended = run("audit", tmp_path / "list.csv", "--output", tmp_path / "out")
    assert ended.returncode == 1
    assert "error: list.csv: none of its 12 images could be looked at; check" in ended.stderr


def test_one_image_that_nobody_looked_at_is_named_in_each_sentence_on_it(tmp_path: Path) -> None:
    for number in range(8):
        split = "train" if number < 4 else "test"
        draw(tmp_path / "scans" / split / "ab"[number % 2] / f"{number}.png", number)
    (tmp_path / "scans" / "train" / "a" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    ended = audit_strictly(tmp_path / "scans")
    assert ended.returncode == 3
    assert "UNREAD: 1 of 8 images of scans was not looked at (1 PNG" in ended.stdout
    assert "of these, only the bytes are compared; check the files" in ended.stdout
    assert (
        "none of 4 test images of scans has a known relative in its train split; "
        "not looked at: 1 of 4 in its train split\n"
    ) in ended.stdout
    with (tmp_path / "out" / "groups.csv").open() as file:
        reasons = {row["path"]: row["not_looked_at"] for row in csv.DictReader(file)}
    assert [path for path, reason in reasons.items() if reason] == ["train/a/0.png"]
    assert "not looked at" in (tmp_path / "out" / "index.html").read_text()


def test_sentences_on_a_partly_read_list_count_what_was_compared(tmp_path: Path) -> None:
    lines = []
    for number in range(10):
        path = f"{'gone' if number in (7, 8) else 'here'}/{number}.png"
        draw(tmp_path / "here" / f"{number}.png", number)
        group = f"patient {number}" if number < 8 else ""
        lines.append(f"{path},{'ab'[number % 2]},{'train' if number < 4 else 'test'},{group}")
    (tmp_path / "here" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split,group", *lines]))
    ended = audit_strictly(tmp_path / "list.csv")
    assert "3 of 10 images of list.csv were not looked at (2 No such file" in ended.stdout
    assert "of these, only the bytes of 1 and the groups of 1 are compared" in ended.stdout
    assert "list.csv: 10 images (3 not looked at), 8 distinct files (0 redu" in ended.stdout
    assert "7 with distinct pixels, 7 different pictures" in ended.stdout
    assert (
        "none of the 3 test images of list.csv that were looked at has a known relative in its "
        "train split; not looked at: 3 of 6 test images of list.csv\n"
    ) in ended.stdout
    page = " ".join(re.sub("<[^>]*>", " ", (tmp_path / "out" / "index.html").read_text()).split())
    assert re.search("not looked at 3 different pictures 7|3 not looked at 7 different pict", page)


def test_a_leak_with_unread_images_names_their_number(training: Path, tested: Path) -> None:
    (tested / "ill" / "own-101.png").write_bytes(b"cut")
    (training / "well" / "0.png").write_bytes(b"cut as well")
    sentences = dict(headlines(audit([read(training), read(tested)], cache=False)))
    assert sentences["LEAK"].startswith("at least 3 of 5 images of tested also occur in training")
    assert sentences["LEAK"].endswith(
        "; not looked at: 1 of 5 images of tested, 1 of 12 in training"
    )


def test_rows_that_are_not_computed_yet_are_no_all_clear(
    make_store: MakeStore, tmp_path: Path
) -> None:
    prints = [fingerprint(np.asarray(head(number))) for number in range(6)]
    labels = ["a", "b"] * 6
    splits = ["train"] * 6 + ["test"] * 6
    options = {"splits": splits, "fingerprints": prints * 2}
    finished = audit_strictly(make_store("whole.h5", labels, **options))
    assert "LEAK: 6 of 6 test images" in finished.stdout
    for number, (pending, failed) in enumerate(((6, 0), (4, 2))):
        store = make_store(f"{number}.h5", labels, pending=pending, failed=failed, **options)
        ended = audit_strictly(store)
        assert ended.returncode == 3
        assert "UNREAD: 6 of 12 images of scans were not looked at" in ended.stdout
        assert f"{pending} not computed yet" in ended.stdout
        assert "run extract-features again" in ended.stdout
        assert "cannot be read" not in ended.stdout
        assert ("check the files" in ended.stdout) == bool(failed)
        assert "relatives of 6 test images of scans in its train split are unknown" in ended.stdout


def test_a_threshold_of_one_finds_copies_only(training: Path, tested: Path) -> None:
    (crossing,) = audit([read(training), read(tested)], threshold=1.01, cache=False).crossings
    assert dict(crossing.levels) == {BYTES: 1, PIXELS: 1}


def test_the_expected_leak_is_the_mean_leak_of_random_splits() -> None:
    groups = np.repeat(np.arange(120), np.random.default_rng(0).integers(1, 6, 120))
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        test = rng.random(len(groups)) < 0.2
        shares.append(np.isin(groups[test], groups[~test]).mean())
    assert abs(np.mean(shares) - expected_leak(groups)) < 0.01


class TestCommand:
    def test_a_leak_is_the_first_line_and_fails_with_strict(
        self, training: Path, tested: Path, tmp_path: Path
    ) -> None:
        process = run(
            "audit", training, "--against", tested, "--output", tmp_path / "out", "--strict"
        )
        assert process.returncode == 3
        assert process.stdout.splitlines()[0].startswith(
            "LEAK: 3 of 5 images of tested also occur in training"
        )
        assert len(process.stderr.splitlines()) == 1
        assert {file.name for file in (tmp_path / "out").iterdir()} == {
            "audit.csv",
            "groups.csv",
            "index.html",
        }
        assert (
            run("audit", training, "--against", tested, "--output", tmp_path / "out").returncode
            == 0
        )

    def test_strict_without_a_leak_succeeds(self, training: Path, tmp_path: Path) -> None:
        shutil.copy(training / "ill" / "1.png", training / "ill" / "again.png")
        process = run("audit", training, "--output", tmp_path / "out", "--strict")
        assert process.returncode == 0, process.stderr
        assert "13 images, 12 distinct files (1 redundant)" in process.stdout

    def test_one_class_is_enough(self, training: Path, tmp_path: Path) -> None:
        shutil.rmtree(training / "ill")
        assert run("audit", training, "--output", tmp_path / "out").returncode == 0

    def test_stores_are_audited_like_their_folders(
        self, training: Path, tested: Path, tmp_path: Path
    ) -> None:
        for folder in (training, tested):
            options = ("--backbone", "pixels-16", "--layer", "pixels")
            process = run(
                "extract-features", folder, *options, "--output", tmp_path / f"{folder.name}.h5"
            )
            assert process.returncode == 0, process.stderr
        stores = [tmp_path / "training.h5", "--against", tmp_path / "tested.h5"]
        process = run("audit", *stores, "--output", tmp_path / "out")
        assert process.stdout.splitlines()[0].startswith(
            "LEAK: 3 of 5 images of tested also occur in training"
        ), process
        with (tmp_path / "out" / "groups.csv").open() as file:
            groups = [row["group"] for row in csv.DictReader(file) if row["set"] == "training"]
        assert len(set(groups)) == FeatureStore(tmp_path / "training.h5").duplicates.max() == 12
        process = run(
            "audit", *stores, "--output", tmp_path / "out", "--cosine", "0.9999", "--threshold", "1"
        )
        assert "1 same bytes, 1 same pixels" in process.stdout, process.stderr
        process = run("audit", *stores, "--output", tmp_path / "out", "--cosine", "0.01")
        assert "5 of 5 images of tested also occur" in process.stdout
        process = run("audit", *stores, "--output", tmp_path / "out", "--slices", "content")
        assert process.returncode == 2
        assert "--slices: has no effect on stores, which have their images already" in (
            process.stderr
        )

    def test_an_old_store_is_refused_with_advice(self, tmp_path: Path) -> None:
        golden = Path(__file__).parents[1] / "golden" / "store-v1.h5"
        process = run("audit", golden, "--output", tmp_path / "out")
        assert process.returncode == 1
        assert "extract-features" in process.stderr
        assert len(process.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--cosine", "0.9"], "is not a feature store"),
            (["--output", "{training}/report"], "is inside"),
            (["--group-column", "patient"], "no image has such a group"),
            (["--group-regex", "("], "is not a regular expression"),
            (["--group-regex", "zzz"], "no image has such a group"),
            (["--classes", "ill"], "OLD=NEW"),
            (["--classes", "nope=ill"], "no image is labelled 'nope'; labels are ill, well"),
            (["--layer", "block5_pool"], "--layer: has no effect without --cosine"),
            (["--threshold", "nan"], "'nan' is not a number; write digits"),
            (["--against", "{training}/nothing"], "no such folder"),
        ],
    )
    def test_mistakes_are_reported_on_one_line(
        self, options: list[str], message: str, training: Path, tmp_path: Path
    ) -> None:
        process = run(
            "audit",
            training,
            *(option.format(training=training) for option in options),
            cwd=tmp_path,
        )
        assert process.returncode in (1, 2)
        assert message in process.stderr
        assert len(process.stderr.splitlines()) == 1

    @pytest.mark.parametrize("per_class", [30, pytest.param(120, marks=pytest.mark.slow)])
    def test_the_demo_set_has_its_planted_copies_only(self, tmp_path: Path, per_class: int) -> None:
        folder = make_demo_images(tmp_path / "demo", per_class=per_class)
        result = audit([read(folder)], cache=False)
        assert sorted({LEVEL_NAMES[pair.level] for pair in result.pairs}) == ["same bytes"]
        assert len(result.pairs) == 2 * per_class // 30


class TestSplit:
    def test_the_list_is_read_back_and_cuts_no_group(
        self, training: Path, tested: Path, tmp_path: Path
    ) -> None:
        for number in range(20, 40):
            draw(training / ("ill" if number % 2 else "well") / f"{number}.png", number)
        shutil.copytree(tested, training, dirs_exist_ok=True)
        output = tmp_path / "lists" / "manifest.csv"
        output.parent.mkdir()
        process = run(
            "split",
            training,
            "--output",
            output,
            "--test",
            "0.25",
            "--validation",
            "0.15",
            "--folds",
            "3",
        )
        assert process.returncode == 0, process.stderr
        manifest = read_manifest(output)
        sides = {(manifest.root / image.path).resolve(): image.split for image in manifest.images}
        assert len(sides) == len(read_manifest(training).images)
        assert set(sides.values()) == {"train", "validation", "test"}
        for original, copy in (
            ("ill/1.png", "ill/bytes.png"),
            ("well/2.png", "well/pixels.bmp"),
            ("ill/3.png", "ill/near.jpg"),
        ):
            assert sides[(training / original).resolve()] == sides[(training / copy).resolve()]
        with output.open() as file:
            rows = list(csv.DictReader(file))
        assert all((row["fold"] == "") == (row["split"] == "test") for row in rows)
        assert {row["fold"] for row in rows} == {"", "1", "2", "3"}
        result = audit([read(output)], cache=False)
        assert not result.leaks
        assert all(crossing.n_related == 0 for crossing in result.crossings)

    def test_images_of_a_patient_stay_together(self, tmp_path: Path) -> None:
        lines = ["path,label,patient"]
        for number in range(24):
            draw(tmp_path / "images" / f"{number}.png", number)
            lines.append(f"images/{number}.png,{'ab'[number % 2]},p{number // 4}")
        (tmp_path / "all.csv").write_text("\n".join(lines))
        process = run(
            "split", "all.csv", "--group-column", "patient", "--test", "0.3", cwd=tmp_path
        )
        assert process.returncode == 0, process.stderr
        sides: dict[int, set[str]] = {}
        for image in read_manifest(tmp_path / "manifest.csv").images:
            sides.setdefault(int(Path(image.path).stem) // 4, set()).add(image.split)
        assert sorted(map(len, sides.values())) == [1] * 6

    def test_an_existing_list_is_not_overwritten(self, training: Path, tmp_path: Path) -> None:
        (tmp_path / "manifest.csv").write_text("mine")
        process = run("split", training, cwd=tmp_path)
        assert process.returncode == 2
        assert "manifest.csv: exists already; choose another output path" in process.stderr
        assert (tmp_path / "manifest.csv").read_text() == "mine"

    def test_names_that_a_list_cannot_keep_are_refused(
        self, training: Path, tmp_path: Path
    ) -> None:
        (training / "ill" / "1.png").rename(training / "ill" / " 1.png")
        (training / "ill").rename(training / "ill ")
        process = run("split", training, cwd=tmp_path)
        assert process.returncode == 2
        assert "a list cannot keep spaces" in process.stderr
        assert not (tmp_path / "manifest.csv").exists()

    def test_names_that_a_spreadsheet_computes_are_read_back(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        labels = (
            "=cmd|'calc'!A0",
            "-ve",
            "'+1",
            "a\\x1b",
            "b\x1b[31m\\",
            "@\\\\n",
            "two\nlines",
        )
        root = tmp_path / "scans"
        for label in labels:
            (root / label).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(root / label / f"{number}.png")
        # The list is in the folder itself, so that its paths begin with the hostile names.
        ended = run("split", root, "--output", root / "list.csv", "--group-regex", "^[^/]*/[01]")
        assert ended.returncode == 0
        text = (root / "list.csv").read_text()
        assert text.replace("\n", "").isprintable()
        rows = list(csv.DictReader(text.splitlines()))
        assert not [cell for row in rows for cell in row.values() if re.match("[=@+-]", cell)]
        plain = [row["path"] for row in rows if "\\" not in row["path"]]
        # Every program opens these paths without our reader.
        assert len(plain) == 18
        assert all((root / path).is_file() for path in plain)
        before, after = (
            read_manifest(root, group_regex="^[^/]*/[01]"),
            read_manifest(root / "list.csv"),
        )
        assert {(image.path, image.label) for image in after.images} == {
            (image.path, image.label) for image in before.images
        }
        assert {image.group for image in after.images} == {image.group for image in before.images}

    def test_unreadable_images_are_not_split(self, training: Path, tmp_path: Path) -> None:
        for file in (training / "ill").glob("*.png"):
            file.write_bytes(b"nothing")
        process = run("split", training, cwd=tmp_path)
        assert process.returncode == 1
        assert process.stderr.splitlines()[-1].startswith("error: ")
        assert "fewer than two classes have readable images; add readable images" in process.stderr

    def test_names_of_groups_are_written_to_the_list(self, tmp_path: Path) -> None:
        for number in range(24):
            draw(tmp_path / "images" / "ab"[number % 2] / f"p{number // 3}-{number}.png", number)
        process = run("split", "images", "--group-regex", r"p\d+", cwd=tmp_path)
        assert process.returncode == 0, process.stderr
        images = read_manifest(tmp_path / "manifest.csv").images
        assert {image.patient for image in images} == {f"p{i}" for i in range(8)}
        # Each patient is a group of the list, too, with a name that no other list has.
        names = {image.patient: image.group for image in images}
        assert all(image.group == names[image.patient] for image in images)
        assert len(set(names.values())) == 8
        digests = {image.group.removeprefix("group-") for image in images}
        assert all(any(image.sha256.startswith(text) for image in images) for text in digests)

    @pytest.mark.parametrize(
        ("test", "validation", "n_folds"), [(0.6, 0.4, 0), (0, 0, 0), (-0.1, 0, 0), (0, 0, 1)]
    )
    def test_impossible_shares_are_refused(
        self, test: float, validation: float, n_folds: int
    ) -> None:
        with pytest.raises(ParameterError):
            split_groups(
                ["a", "b"] * 6, np.arange(12), test=test, validation=validation, n_folds=n_folds
            )

    @settings(max_examples=40)
    @given(st.data())
    def test_no_group_is_ever_cut(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(30, 80))
        groups = np.array(
            data.draw(st.lists(st.integers(0, 25), min_size=n, max_size=n)) + list(range(30, 46))
        )
        labels = ["ab"[group % 2] for group in groups]
        seed = data.draw(st.integers(0, 99))
        try:
            result = split_groups(labels, groups, test=0.2, validation=0.2, n_folds=2, seed=seed)
        # A class that is nearly one group cannot be on all sides.
        except FreezeframeError:
            return
        for group in np.unique(groups):
            assert len(set(result.sides[groups == group])) == 1
            assert len(set(result.folds[groups == group])) == 1


def patients() -> Iterator[tuple[str, str]]:
    yield from (("mr.dcm", "MR_small.dcm"), ("ct.dcm", "CT_small.dcm"))


def test_dicom_patients_become_groups_without_their_names(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", minversion="3")
    from pydicom.data import get_testdata_file

    for name, shipped in patients():
        file = get_testdata_file(shipped, download=False)
        if file is None:
            pytest.skip(f"this pydicom ships no {shipped}")
        header = pydicom.dcmread(file)
        for label, patient in (("a", "JANE^DOE"), ("b", "JANE^DOE"), ("c", name), ("d", "")):
            (tmp_path / label).mkdir(exist_ok=True)
            header.PatientID = patient
            header.save_as(tmp_path / label / name)
    images = read_manifest(tmp_path).images
    assert {image.group for image in images} == {""}
    groups = {image.path: image.patient for image in images}
    assert len({groups[f"{label}/{name}"] for label in "ab" for name, _ in patients()}) == 1
    assert groups["c/mr.dcm"] != groups["c/ct.dcm"]
    assert groups["d/mr.dcm"] == ""
    assert re.fullmatch(r"patient-[0-9a-f]{8}-[0-9a-f]{16}", groups["a/mr.dcm"])
