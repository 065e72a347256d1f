"""`freezeframe explore`: its output, its files, and the shortcuts that it reports."""

from __future__ import annotations

import csv
import html
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.data.demo.images import PER_CLASS, make_demo_images
from freezeframe.data.explore import report
from freezeframe.data.explore.contact_sheet import contact_sheet, sheet_png
from freezeframe.data.explore.image_size import side
from freezeframe.data.explore.shortcuts import TOGETHER, find_hints, telltales
from freezeframe.data.explore.summary import explore
from freezeframe.data.inspection.inspect import inspect_images
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.csv import restore_text
from freezeframe.data.output.files import write_whole
from freezeframe.data.output.html import escape, page, table
from freezeframe.data.output.terminal import rounded_percent

PLOTS = ["brightness.png", "classes.png", "formats.png", "sizes.png"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save no plot, which takes most of the time of a report."""
    monkeypatch.setattr(report, "png", lambda _: sheet_png(Image.new("L", (4, 4))))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["explore", *map(str, arguments)], prog_name="freezeframe")


def rows_of(report: Path) -> list[dict[str, str]]:
    return list(
        csv.DictReader(io.StringIO((report / "explore.csv").read_bytes().decode(), newline=""))
    )


def save(path: Path, height: int, width: int, mode: str = "L", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng([seed, height, width]).integers(
        0, 256, (height, width), dtype=np.uint8
    )
    Image.fromarray(levels).convert(mode).save(path)


def test_the_report_of_a_folder(folder: Path) -> None:
    (folder / "tumour" / "cut.png").write_bytes((folder / "tumour" / "03.png").read_bytes()[:99])
    (folder / "tumour" / "notes.txt").write_text("skipped")
    result = call(folder)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:6] == ["class", "images", "share", "unreadable", "formats", "modes"]
    assert re.split("  +", lines[2].strip())[:6] == [
        "tumour",
        "13",
        "52.0 %",
        "1",
        "PNG 12",
        "RGB 12",
    ]
    assert lines[4].startswith("width: most frequent 30 (100 %), median 30, 30 to 30")
    assert lines[-1] == "report: report/index.html"
    assert "unreadable: tumour/cut.png: PNG that is truncated" in result.stderr
    assert "warning: 1 of 25 images cannot be read" in result.stderr
    assert "skipped, not an image (.txt 1): tumour/notes.txt" in result.stderr
    assert sorted(path.name for path in Path("report").iterdir()) == sorted(
        [*PLOTS, "explore.csv", "images-01-healthy.png", "images-02-tumour.png", "index.html"]
    )
    rows = rows_of(Path("report"))
    assert len(rows) == 25
    assert rows[0] | {"brightness": "", "contrast": "", "bytes": ""} == {
        "path": "healthy/00.png",
        "label": "healthy",
        "split": "",
        "format": "PNG",
        "mode": "RGB",
        "height": "20",
        "width": "30",
        "frames": "1",
        "brightness": "",
        "contrast": "",
        "bytes": "",
        "reason": "",
    }
    assert [row["height"] for row in rows if row["reason"]] == [""]
    for name in PLOTS:
        with Image.open(Path("report") / name) as picture:
            assert min(picture.size) > 100


def test_the_page_is_self_contained_and_begins_with_warnings(folder: Path) -> None:
    (folder / "tumour" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    call(folder, "--output", "seen")
    html_text = Path("seen/index.html").read_text()
    assert html_text.count('src="data:image/png;base64,') == 6
    assert not re.search(r"(?:src|href)=\"(?!data:)|<script|<link|@import|url\(", html_text)
    top = html_text.partition("<h2>")[0]
    for text in ("<dd>25</dd>", "1 of 25 images cannot be read", "VGG16 takes 224 x 224"):
        assert text in top
    assert "<th>clearest rule</th>" in html_text


@pytest.mark.usefixtures("no_plots")
def test_a_second_report_replaces_its_files_and_no_others(folder: Path) -> None:
    call(folder)
    (Path("report") / "mine.txt").write_text("mine")
    (folder / "tumour" / "11.png").unlink()
    assert call(folder, "--no-cache").exit_code == 0
    assert (Path("report") / "mine.txt").read_text() == "mine"
    assert len(rows_of(Path("report"))) == 23
    assert not [path for path in Path("report").iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("no_plots")
def test_patients_are_counted_and_proposed_but_never_assumed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for patient in range(6):
        for z in range(3 + patient):
            label = "lesion" if z < 2 or patient == 5 else "none"
            save(images / label / f"p{patient:02}_z{z}.png", 20, 30, seed=100 * patient + z)
    result = call(images)
    assert "patients: unknown" in result.stdout
    counts = "6 {0}s in 33 of 33 images, median 5.5 images a {0} (3 to 8); 5 of 6 with several"
    assert counts.format("group") in result.stdout
    option = shlex.split(result.stdout.partition("extract-features: ")[2].splitlines()[0])
    assert option[0] == "--group-regex"
    # The page shows the same, and the option counts patients.
    assert "names look like ids of patients" in Path("report/index.html").read_text()
    result = call(images, *option)
    assert counts.format("patient") in result.stdout
    assert "names look like" not in result.stdout


@pytest.mark.usefixtures("no_plots")
def test_a_list_s_patients_and_groups_are_counted(folder: Path) -> None:
    rows = [f"scans/tumour/{n:02}.png,tumour,g{n // 2},{'p1' if n < 3 else ''}" for n in range(12)]
    source = folder.parent / "list.csv"
    source.write_text("\n".join(["path,label,group,patient", *rows]))
    lines = call(source).stdout.splitlines()
    assert (
        "1 patient in 3 of 12 images, median 3 images a patient (3 to 3); 0 of 1 with several "
        "classes" in lines
    )
    assert any(line.startswith("6 groups in 12 of 12 images, median 2 images") for line in lines)
    assert not any("unknown" in line or "--group-regex" in line for line in lines)


@pytest.mark.parametrize(
    "output", ["scans", "scans/report", "scans/tumour/new/report", "here/../scans/x", "link/x"]
)
def test_a_report_within_the_images_is_refused(folder: Path, output: str) -> None:
    place = folder.parent
    (place / "link").symlink_to(folder)
    result = call(folder, "--output", place / output)
    assert result.exit_code == 2
    assert re.fullmatch(
        r"error: --output \S+: is inside \S+, among its images; choose a folder elsewhere\n",
        result.stderr,
    )
    assert len(list(folder.rglob("*"))) == 26


def test_a_folder_that_cannot_be_made_is_reported_on_one_line(folder: Path) -> None:
    Path("report").write_text("")
    for output in ("report", "report/of/today"):
        result = call(folder, "--output", output)
        assert result.exit_code == 2
        assert result.stderr == (
            f"error: --output {output}: report is not a folder; choose another folder\n"
        )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("explore", name) for name in ("index.html", "explore.csv", "classes.png")),
        *(("explore", name) for name in ("images-01-healthy.png", "formats.png")),
        *(("audit", name) for name in ("index.html", "audit.csv", "groups.csv")),
    ],
)
def test_a_report_replaces_no_file_of_somebody_else(folder: Path, command: str, name: str) -> None:
    # Each begins as a file of its kind does, and mentions the command.
    begins = {
        ".html": b"<!DOCTYPE html>\n<html><head><title>My freezeframe audit</title>",
        ".csv": b"set,path,label,mine\n",
        ".png": sheet_png(Image.new("L", (4, 4))),
    }
    mine = begins[Path(name).suffix]
    Path("mine").mkdir()
    (Path("mine") / name).write_bytes(mine)
    arguments = [command, str(folder), "--output", "mine"]
    result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"error: mine/{name}: was not written by freezeframe {command}; "
        "choose another --output, or move it away"
    )
    assert (Path("mine") / name).read_bytes() == mine
    if not name.startswith("images"):
        assert [path.name for path in Path("mine").iterdir()] == [name]


@pytest.mark.usefixtures("no_plots")
def test_a_report_replaces_neither_a_link_nor_the_report_of_another_command(folder: Path) -> None:
    assert call(folder).exit_code == 0
    page_before = Path("report/index.html").read_text()
    arguments = ["audit", str(folder), "--output", "report"]
    result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 2
    assert "report/index.html: was not written by freezeframe audit" in result.stderr
    Path("report/index.html").rename("kept.html")
    Path("report/index.html").symlink_to(Path("kept.html").resolve())
    assert call(folder).exit_code == 2
    assert Path("kept.html").read_text() == page_before


@pytest.mark.usefixtures("no_plots")
def test_a_csv_and_labels_that_are_paths(folder: Path) -> None:
    lines = [
        f"{path.relative_to(folder.parent)},../../{path.parent.name}"
        for path in sorted(folder.rglob("*.png"))
    ]
    source = folder.parent / "list.csv"
    source.write_text("path,label\n" + "\n".join(lines))
    assert call(source).exit_code == 0
    assert len(list(Path("report").glob("images-*.png"))) == 2
    assert {path.name for path in folder.parent.iterdir()} == {"scans", "list.csv", "here"}


HOSTILE_NAMES = [
    "<script>alert(1)<",
    "a\x1b[31mred\x1b[0m",
    "line\nbreak",
    "return\rcarriage",
    "=HYPERLINK(1)",
    "$x^{$",
    "日本語",
    "\u202egnp.exe",
    'it\'s "quoted" & more',
    "long" * 50,
    "{}%s",
]


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for label in ("=cmd", *HOSTILE_NAMES[:4], "$x^{$", "日本語"):
        for number, name in enumerate(HOSTILE_NAMES):
            save(source / label / f"{name}{number}.png", 20 + number, 30)
    result = subprocess.run(
        [sys.executable, "-m", "freezeframe", "explore", str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = (result.stdout + result.stderr).replace("\n", "")
    assert printed.isprintable()
    assert "Glyph" not in printed
    text = Path("report/index.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert text.replace("\n", "").isprintable()
    rows = rows_of(Path("report"))
    assert {restore_text(row["path"]) for row in rows} >= {
        f"line\nbreak/{name}{number}.png" for number, name in enumerate(HOSTILE_NAMES)
    }
    assert all(row["path"].startswith("'=cmd/") == (row["label"] == "'=cmd") for row in rows)
    assert {row["label"] for row in rows if "=cmd" in row["label"]} == {"'=cmd"}


def test_without_a_readable_image_the_reason_is_the_error(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "scans" / label).mkdir(parents=True)
        (tmp_path / "scans" / label / "x.png").write_bytes(b"no")
    (tmp_path / "list.csv").write_text("path,label\ngone/x.png,a\ngone/y.png,b\n")
    reasons = {"scans": "2 not a JPEG, ", "list.csv": "2 No such file or directory)"}
    for source, reason in reasons.items():
        for command in (["explore"], ["split", "--output", "new.csv"]):
            result = CliRunner().invoke(cli, [*command, str(tmp_path / source)])
            assert result.exit_code == 1
            error = f"{source}: none of its 2 images can be read ({reason}"
            assert error in result.stderr
            assert not result.stdout
    assert not Path("report").exists()


def test_one_image_a_class_and_sides_of_one_pixel(tmp_path: Path) -> None:
    save(tmp_path / "scans" / "a" / "x.png", 1, 1)
    save(tmp_path / "scans" / "b" / "x.tif", 1, 3000, "RGB")
    result = call(tmp_path / "scans")
    assert result.exit_code == 0
    assert "warning: class a has 1 readable image, too few to learn from" in result.stderr
    assert "<td>too few independent images</td>" in Path("report/index.html").read_text()
    with Image.open("report/images-02-b.png") as sheet:
        assert sheet.size == (144, 160)


@pytest.mark.usefixtures("no_plots")
def test_many_classes_have_thirty_sheets_on_the_page(tmp_path: Path) -> None:
    for number in range(40):
        for copy in range(3):
            save(tmp_path / "scans" / f"class {number}" / f"{copy}.png", 9, 9 + copy, seed=number)
    assert call(tmp_path / "scans").exit_code == 0
    assert Path("report/index.html").read_text().count("data:image/png") == 34
    assert len(list(Path("report").glob("images-*.png"))) == 40


@pytest.mark.parametrize("per_class", [60, pytest.param(PER_CLASS, marks=pytest.mark.slow)])
def test_the_demo_set_has_no_warnings(tmp_path: Path, per_class: int) -> None:
    manifest = read_manifest(make_demo_images(tmp_path / "demo", per_class=per_class))
    result = explore(manifest, inspect_images(manifest))
    assert result.warnings == []
    assert result.n_copies == 2 * per_class // 30
    assert [hint.columns for hint in result.hints] == [
        "format",
        "mode",
        "image size",
        TOGETHER,
        "brightness and contrast",
    ]


def test_the_article_s_images(datasets: Path) -> None:
    manifest = read_manifest(datasets / "navoneel")
    result = explore(manifest, inspect_images(manifest))
    assert result.n_copies == 25
    (warning,) = result.warnings
    assert re.fullmatch(
        r"image size alone separates no from yes with 7\d % balanced accuracy \(chance 50 %\): "
        r"a head can .+",
        warning,
    )
    assert [(side.most_frequent, side.low, side.high) for side in result.sides] == [
        (225, 168, 1427),
        (225, 150, 1920),
    ]
    assert [(summary.label, summary.images, summary.modes) for summary in result.classes] == [
        ("no", 98, "RGB 79, L 13, RGBA 5, P 1"),
        ("yes", 155, "RGB 138, L 17"),
    ]


def image_rows(labels: list[str], **columns: object) -> pd.DataFrame:
    defaults = {
        "format": "PNG",
        "mode": "L",
        "height": 100,
        "width": 100,
        "brightness": 50.0,
        "contrast": 20.0,
    }
    return pd.DataFrame({"label": labels} | defaults | columns)


def test_a_format_that_gives_the_class_away_is_a_warning() -> None:
    labels = ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    hints = find_hints(image_rows(labels, format=["PNG"] * 30 + ["JPEG"] * 60), np.arange(90))
    by_name = {hint.columns: hint for hint in hints}
    assert by_name["format"].score == pytest.approx(2 / 3)
    assert by_name["format"].warns
    assert by_name["format"].sentence == (
        "format alone separates the 3 classes with 67 % balanced accuracy (chance 33 %): "
        "a head can learn it instead of the picture"
    )
    assert by_name["format"].rule.startswith("format ")
    assert by_name["mode"].score == pytest.approx(1 / 3)
    assert not by_name["mode"].clear
    assert by_name["mode"].rule == "the same for all"


def test_brightness_is_scored_but_is_no_warning() -> None:
    hints = find_hints(
        image_rows(["a"] * 40 + ["b"] * 40, brightness=np.r_[0:40, 100:140].astype(float)),
        np.arange(80),
    )
    (light,) = (hint for hint in hints if hint.content)
    assert light.clear
    assert not light.warns
    assert light.sentence.startswith(
        "brightness and contrast alone separate a from b with 100 % balanced accuracy (chance 50 %)"
    )


def test_copies_do_not_raise_the_score() -> None:
    """A width of its own gives each picture away, but only to a tree that saw a copy of it."""
    rng = np.random.default_rng(0)
    widths = np.repeat(rng.permutation(400)[:40], 10)
    labels = np.repeat(rng.permutation(["a", "b"] * 20), 10).tolist()
    groups = np.repeat(np.arange(40), 10)
    (size,) = (
        hint
        for hint in find_hints(image_rows(labels, width=widths), groups)
        if hint.columns == "image size"
    )
    (leaky,) = (
        hint
        for hint in find_hints(image_rows(labels, width=widths), np.arange(400))
        if hint.columns == "image size"
    )
    assert not size.clear
    assert leaky.score > size.score + 0.1


def test_tiny_sets_have_no_scores() -> None:
    for labels, groups in (
        (["a", "b"], [0, 1]),
        (["a"] * 5 + ["b"], range(6)),
        (["a", "a", "b", "b"], [0, 0, 1, 1]),
    ):
        for hint in find_hints(image_rows(labels, width=range(len(labels))), np.array(groups)):
            assert hint.missing == "too few independent images"
            assert not hint.clear
            assert hint.sentence.endswith(hint.missing)
    hints = find_hints(image_rows(["a", "b"] * 3, width=[1, 2] * 3), np.arange(6))
    assert all(hint.missing == "" for hint in hints)
    rare = find_hints(image_rows(["a", "b"] * 10 + ["c"], width=range(21)), np.arange(21))
    assert {hint.classes for hint in rare} == {("a", "b")}


def test_a_rare_format_of_one_class_is_a_telltale() -> None:
    labels, formats = ["a"] * 100 + ["b"] * 100, ["TIFF"] * 12 + ["PNG"] * 188
    images = image_rows(labels, format=formats)
    (telltale,) = telltales(images, np.arange(200))
    assert telltale.column == "format"
    assert telltale.sentence == "all 12 images of format TIFF are a: format gives their class away"
    # Twelve copies count as one image.
    assert telltales(images, np.r_[np.zeros(12, int), np.arange(188)]) == []


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_the_summary_of_a_side(values: list[int]) -> None:
    summary = side("height", np.array(values))
    most_frequent = summary.most_frequent
    assert values.count(most_frequent) == max(map(values.count, values))
    assert summary.share == values.count(most_frequent) / len(values)
    assert min(values) == summary.low <= summary.median <= summary.high == max(values)
    assert summary.low <= summary.peak <= summary.high


@given(st.floats(0, 1))
def test_per_cent_never_rounds_to_all_or_nothing(share: float) -> None:
    assert (rounded_percent(share) == "0 %") == (share == 0)
    assert (rounded_percent(share) == "100 %") == (share == 1)


@given(st.text())
def test_escaped_text_has_no_markup(text: str) -> None:
    escaped = escape(text)
    assert not set("<>\"'\n\r\0") & set(escaped)
    assert escaped.isprintable()
    if text.isprintable():
        assert html.unescape(escaped) == text


def test_cells_and_titles_are_escaped() -> None:
    text = page("<t>", [table(("<h>", "n"), [("<c>", 1)], numbers=(1,))])
    assert text.count("&lt;t&gt;") == 2
    assert "<th>&lt;h&gt;</th>" in text
    assert '<td>&lt;c&gt;</td><td class="number">1</td>' in text


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").write_text("old")

    def no_space(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "page.html", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("page.html", "old")
    ]


def test_a_contact_sheet_depends_on_its_seed_only(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / "a" / f"{number:02}.png", 10, 10, seed=number)
    images = pd.DataFrame({"path": [f"a/{number:02}.png" for number in range(60)]})
    sheets = [sheet_png(contact_sheet(tmp_path, images, seed=seed)) for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1] != sheets[2]
    # A file that was lost meanwhile becomes an empty tile.
    (tmp_path / "a" / "00.png").unlink()
    with Image.open(io.BytesIO(sheet_png(contact_sheet(tmp_path, images.head(10))))) as sheet:
        assert sheet.size == (8 + 8 * 136, 8 + 2 * 152)


def test_heavy_libraries_are_loaded_late() -> None:
    code = (
        "import sys, freezeframe.data.commands.explore, freezeframe.data.explore.report\n"
        "assert not {'matplotlib', 'pandas', 'sklearn', 'PIL.Image'} & set(sys.modules), 'early'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
