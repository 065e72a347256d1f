"""The command `report`: its page, its rule of choice, and files of strangers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.classify.runs.leaderboard import append_rows
from freezeframe.classify.runs.robustness import ROBUSTNESS_COLUMNS
from freezeframe.classify.runs.stress_file import STRESS_COLUMNS
from freezeframe.classify.runs.tables.conformal import CONFORMAL_COLUMNS
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.sections.abstention import abstention_part
from freezeframe.classify.study.report.sections.equivalence import equivalence_section
from freezeframe.classify.study.report.sections.leaderboard import leaderboard_section
from freezeframe.classify.study.report.sections.performance import performance_section
from freezeframe.classify.study.report.sections.robustness import robustness_section
from freezeframe.classify.study.report.sections.seeds import seeds_part
from freezeframe.classify.study.report.study import PICTURE_COLUMNS, Study

from .studies import SHUFFLED, SURE, TRUTH, MadeStudy, N, predictions

REPORT = "freezeframe.classify.study.report"
HOSTILE = '<script>alert(1)</script><img src="http://evil/x">$\\alpha$\x1b[31m'
WRONG = np.where(np.arange(N) % 10 == 0, 1 - SURE, SURE)


@pytest.fixture
def study(tmp_path: Path) -> MadeStudy:
    return MadeStudy(tmp_path).clean()


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds, and some tests are not about the page."""
    monkeypatch.setattr(f"{REPORT}.report.report_page", lambda *parts: "<head></head>")


def report(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["report", str(folder), *options])


def page_of(folder: Path) -> str:
    done = report(folder)
    assert done.exit_code == 0, done.output
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a clean study with pictures."""
    study = MadeStudy(tmp_path_factory.mktemp("study")).clean()
    folder = study.folder / "explain"
    folder.mkdir()
    Image.new("L", (9, 9)).save(folder / "worst.png")
    Image.new("L", (9, 9)).save(study.folder.parent / "outside.png")
    (folder / "link.png").symlink_to(study.folder.parent / "outside.png")
    (folder / "text.png").write_text("no picture")
    lines = [
        ["pair", "1. Two labels", "explain/worst.png", "none"],
        ["pair", "1. Two labels", "explain/worst.png", "lesion"],
        ["mistake", "1. a.png, is <lesion>", "explain/worst.png", "the image"],
        ["mistake", "1. a.png, is <lesion>", "explain/link.png", ""],
        ["mistake", "1. a.png, is <lesion>", "../outside.png", ""],
        ["mistake", "2. b.png", "explain/text.png", ""],
        ["mistake", "2. b.png", "explain/missing.png", ""],
    ]
    study.write("pictures.csv", PICTURE_COLUMNS, lines)
    return page_of(study.folder)


def text_of(page: str) -> str:
    """Return the words that a reader sees."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_page_holds_all_it_needs(page: str) -> None:
    assert len(page) < 5_000_000
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert "default-src 'none'" in page
    # What can be scrolled can be reached by the keyboard.
    assert page.count("<pre") == page.count('<pre tabindex="0">')
    assert "report/claim.md" in page
    # A reference leads to a place of the page itself.
    targets = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', page)
    assert len(targets) > 20
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {first or second for first, second in targets} <= {f"#{name}" for name in ids}


def test_the_drawings_follow_the_colours_of_the_page(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) >= 8
    for drawing in drawings:
        tree = ElementTree.fromstring(drawing.replace("xlink:", ""))
        assert len(list(tree.iter("text"))) > 1
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawing))
        assert colours <= {
            *(f"var(--{name})" for name in ("ink", "quiet", "line", "panel", "blue", "red")),
            *("var(--green)", "none"),
        }
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(labels) == len(set(labels)) == len(drawings)


@pytest.mark.usefixtures("no_page")
def test_strict_findings_end_with_exit_code_3(study: MadeStudy) -> None:
    study.audited(("yes", "", "nearly the same"))
    assert report(study.folder, "--strict", "shortcut,two-labels").exit_code == 0
    for codes in ("shortcut,copies-across-splits", "all"):
        done = report(study.folder, "--strict", codes)
        assert done.exit_code == 3
        assert "findings that --strict names: copies-across-splits; see" in done.stderr
        assert (study.folder / "report" / "findings.csv").exists()
    wrong = report(study.folder, "--strict", "copies")
    assert wrong.exit_code == 2
    assert "--strict copies: no such finding; choose from copies-across-splits, " in wrong.stderr


def test_a_leaderboard_alone_is_enough(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg")
    (tmp_path / "runs" / "2026-1-logreg" / "predictions.csv").unlink()
    text = text_of(page_of(tmp_path))
    for command in (
        "not run: freezeframe explore FOLDER --output explore",
        "not run: freezeframe audit FOLDER --output audit",
        "not run: freezeframe fit-classifier training.h5 --model logreg --stress",
        "not run: freezeframe fit-classifier training.h5 (predictions.csv)",
        "not run: freezeframe run FOLDER (seconds of each step)",
    ):
        assert command in text


def test_many_classes_are_each_against_the_rest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"class {letter}" for letter in "abcdefgh"]
    study = MadeStudy(tmp_path, names)
    proba = rng.dirichlet(np.ones(8), N)
    study.add("logreg", Predictions.of(np.arange(N) % 8, proba), classes=json.dumps(names))
    read = Study.read(tmp_path)
    text = text_of("".join(performance_section(read, choose_row(read))))
    assert "Curves of 6 of 8 classes, those of most test images." in text
    assert "Decision curve, PPV and NPV over prevalence are left out" in text
    assert "called class h" in text


def test_heads_that_see_no_features_are_shown_once_for_all_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` fits every head on each layer."""
    monkeypatch.setattr(f"{REPORT}.sections.leaderboard.show", lambda drawings: "")
    monkeypatch.setattr(f"{REPORT}.sections.leaderboard.forest", lambda *parts: "")
    study = MadeStudy(tmp_path)
    for test_id in ("new", "other"):
        for layer in ("block3_pool", "block5_pool"):
            study.add("ridge", layer=layer, test_id=test_id)
            study.add("majority", layer=layer, test_id=test_id)
            study.add("image-size", layer="image", test_id=test_id)
    data = Study.read(tmp_path)
    page = "".join(leaderboard_section(data, choose_row(data)))
    names = re.findall(r"<td>((?:ridge|majority|image-size) on [^<]*)</td>", page)
    one_test = ["image-size on image", "majority on block3_pool"]
    one_test += ["ridge on block3_pool", "ridge on block5_pool"]
    assert sorted(names) == sorted(one_test * 2)


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path, [HOSTILE, "none"])
    study.add("logreg", data_set=HOSTILE, test_set=HOSTILE, positive=HOSTILE, classes=HOSTILE)
    study.add("knn", hyperparameters=HOSTILE, layer=HOSTILE, grade=HOSTILE, choices=HOSTILE)
    study.write("explore/explore.csv", ["path"], [["a"]])
    (tmp_path / "run.toml").write_text(f"name = '{HOSTILE}'\nsecond = 1\n")
    page = page_of(tmp_path)
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page
    # A dollar is no formula, and the settings keep their lines.
    assert "second = 1" in page


def test_pictures_are_shown_by_their_kind_and_only_from_their_folder(page: str) -> None:
    assert page.count("data:image/png;base64,") == 3
    # Pictures of one title are beside each other, and each says what it shows.
    strips = re.findall(r'<div class="strip"><p>(.*?)</p>(.*?)</div></div>', page, flags=re.DOTALL)
    assert [(title, content.count("<img")) for title, content in strips] == [
        ("1. a.png, is &lt;lesion&gt;", 1),
        ("1. Two labels", 2),
    ]
    assert 'alt="1. a.png, is &lt;lesion&gt;: the image"' in page
    assert "4 pictures cannot be shown here; pictures.csv names all" in page


DAMAGED = {
    "explore/explore.csv": b"\xff\xfe",
    "audit/audit.csv": b"a,b\n",
    "audit/groups.csv": b'"a,b\n',
    "steps.csv": b"explore,27\n",
    "runs/2026-1-logreg/stress.csv": b"head\n",
    "runs/2026-1-logreg/warnings.csv": b"code,text\n1,2,3\n",
    "runs/2026-2-logreg/predictions.csv": b"test_id\n1\n",
    "pictures.csv": b"kind\n",
}


def test_a_damaged_file_is_one_line_and_the_rest_is_shown(study: MadeStudy) -> None:
    for name, content in DAMAGED.items():
        path = study.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    done = report(study.folder)
    assert done.exit_code == 0, done.output
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(DAMAGED)
    text = text_of((study.folder / "report.html").read_text())
    for name in DAMAGED:
        assert sum(name in line for line in warnings) == 1
        assert name in text
    assert done.stdout.splitlines()[0] in text


@pytest.mark.usefixtures("no_page")
def test_numbers_that_are_none_are_refused(study: MadeStudy) -> None:
    lines = [["logreg", "5", "0", "many", "1", *["nan"] * 6, ""]]
    study.write("runs/2026-1-logreg/stress.csv", STRESS_COLUMNS, lines)
    assert "n_groups is 'many' in line 2" in report(study.folder).stderr


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\x00\xff", None])
def test_a_folder_without_a_leaderboard_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "leaderboard.csv").write_bytes(content)
    command = [sys.executable, "-m", "freezeframe", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.glob("report*")) == []


def test_rows_of_strangers_lead_nowhere(tmp_path: Path) -> None:
    rows = [
        {"run_id": "../..", "head": "logreg", "accuracy": 0.5, "test_id": "t", "n_test": 9},
        {"run_id": "..", "head": "logreg", "accuracy": 1e300, "test_id": "t", "time": "later"},
        {"run_id": "c", "head": "majority", "accuracy": float("inf"), "choices": "[" * 9000},
        {"run_id": "d", "head": "", "accuracy": -1.0, "classes": "[" * 9000},
        {"run_id": "e", "head": "image-size", "balanced_accuracy_low": 5.0, "threshold": 1.0},
        {"run_id": "f", "head": "knn", "choices": SHUFFLED, "roc_auc_low": 0.9},
    ]
    append_rows(tmp_path / "leaderboard.csv", rows)
    done = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "cannot be the name of a folder" in done.stderr


@pytest.mark.usefixtures("no_page")
def test_a_file_that_report_did_not_write_stays(study: MadeStudy) -> None:
    page = study.folder / "report.html"
    assert report(study.folder).exit_code == 0
    assert report(study.folder).exit_code == 0
    page.write_text("mine")
    done = report(study.folder)
    assert done.exit_code == 2
    assert "report.html: was not written by freezeframe report" in done.stderr
    assert page.read_text() == "mine"


def test_images_that_all_heads_get_wrong_are_named(study: MadeStudy) -> None:
    for head in ("logreg", "ridge", "knn"):
        study.add(head, predictions(WRONG))
    read = Study.read(study.folder)
    text = text_of("".join(robustness_section(read, choose_row(read))))
    assert "number of the 3 heads that are wrong about them" in text
    assert "Wrong for all 3 heads" in text


def test_wrong_heads_are_counted_on_a_test_set_that_does_not_leak(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    for head in ("logreg", "ridge"):
        study.add(head, test_id="clean", split="hold-out")
        study.add(head, test_id="leaking", split="random", relatives=["bytes"] * N)
    # The row of the first sentence is alone on its images.
    study.add("logreg", test_id="own", split="alone", n_test=N + 1, n_test_clean=N + 1)
    read = Study.read(tmp_path)
    choice = choose_row(read)
    assert choice.row["test_id"] == "own"
    text = text_of("".join(robustness_section(read, choice)))
    assert "Test images of demo, hold-out by the number of the 2 heads" in text
    # A larger leaking set with more heads is no better.
    study.add("knn", test_id="leaking", split="random", relatives=["bytes"] * N)
    read = Study.read(tmp_path)
    text = text_of("".join(robustness_section(read, choice)))
    assert "Test images of demo, hold-out by the number of the 2 heads" in text


def test_the_page_says_which_heads_are_as_good_as_the_best(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    nearly = np.where(np.arange(N) % 150 == 0, 1 - SURE, SURE)
    worse = np.where(np.arange(N) % 4 == 0, 1 - SURE, SURE)
    unsure = np.where(np.arange(N) % 40 == 0, 1 - SURE, SURE)
    made = {"ridge": SURE, "lda": nearly, "knn": worse, "svm": unsure}
    ids = [study.add(head, predictions(p)) for head, p in made.items()]
    missing = equivalence_section(Study.read(tmp_path))
    assert "not run: freezeframe compare RUN RUN" in missing[-1]
    places = ["--leaderboard", str(tmp_path / "leaderboard.csv"), "--margin", "4"]
    done = CliRunner().invoke(cli, ["compare", *ids, *places, "--format", "csv"])
    assert done.exit_code == 0, done.output
    (tmp_path / "compare.csv").write_bytes(done.stdout_bytes)
    text = text_of("".join(equivalence_section(Study.read(tmp_path))))
    assert (
        "demo, 5-fold: the best of those compared is ridge on block5_pool. Against it, worse: knn "
        "on block5_pool; equivalent within 4 points: lda on block5_pool; too few images to say: "
        "svm on block5_pool. "
    ) in text
    assert "a difference of less than 4 points, and it holds after the correction of Holm" in text
    assert "90 % interval is within" not in text
    # Intervals are of the head minus the best, as the difference is.
    row = re.search(r"knn on block5_pool (\S+) (\S+) to (\S+) (\S+) to (\S+) worse", text)
    assert row
    difference, low, high, low_90, high_90 = map(float, row.groups())
    assert low < low_90 < difference < high_90 < high < 0


def _compared(folder: Path, ids: list[str]) -> None:
    places = ["--leaderboard", str(folder / "leaderboard.csv")]
    done = CliRunner().invoke(cli, ["compare", *ids, *places, "--format", "csv"])
    assert done.exit_code == 0, done.output
    (folder / "compare.csv").write_bytes(done.stdout_bytes)


def test_heads_are_compared_on_the_images_that_do_not_leak(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    # The first head knows the copies by heart, and is wrong about many of the other images.
    place = np.arange(N)
    learned = np.where(place < 150, 1.0 - TRUTH, np.where(place % 3 == 0, 1 - SURE, SURE))
    related = ["bytes" if copy else "" for copy in place < 150]
    ids = [study.add("knn", predictions(learned), relatives=related)]
    ids.append(study.add("ridge", relatives=related))
    _compared(tmp_path, ids)
    text = text_of("".join(equivalence_section(Study.read(tmp_path))))
    assert (
        "demo, 5-fold, on the test images without a known relative in training: the best of those "
        "compared is ridge on block5_pool. Against it, worse: knn on block5_pool. "
    ) in text
    row = re.search(r"knn on block5_pool (\S+) (\S+) to (\S+) (\S+) to (\S+) worse", text)
    assert row
    difference, low, high, low_90, high_90 = map(float, row.groups())
    assert low < low_90 < difference < high_90 < high < 0


def test_no_heads_are_compared_where_nearly_all_images_leak(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    related = ["bytes"] * (N - 3) + [""] * 3
    heads = {"knn": 1.0 - TRUTH, "ridge": SURE}
    ids = [study.add(head, predictions(p), relatives=related) for head, p in heads.items()]
    _compared(tmp_path, ids)
    text = text_of("".join(equivalence_section(Study.read(tmp_path))))
    assert "demo, 5-fold: no comparison of accuracies is made, because test images leak" in text
    assert "the best of those compared" not in text


def test_the_page_shows_what_edits_of_the_files_do(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    run_id = study.add("logreg")
    read = Study.read(tmp_path)
    missing = "".join(robustness_section(read, choose_row(read)))
    assert f"not run: freezeframe robustness runs/{run_id} FOLDER" in missing
    lines = [
        ["none", "", "40", "0.950000", "0.000000", "-0.040000", "0.040000", "0.000000"],
        ["JPEG", "quality 25", "40", "0.875000", "-0.075000", "-0.160000", "0.010000", "0.100000"],
    ]
    study.write(f"runs/{run_id}/robustness.csv", ROBUSTNESS_COLUMNS, lines)
    read = Study.read(tmp_path)
    text = text_of("".join(robustness_section(read, choose_row(read))))
    assert "JPEG, quality 25 87.5 -7.5 (-16.0 to +1.0) 10.0" in text
    assert "when 40 test images without a relative in training are edited" in text
    assert "Without an edit 95.0 % are right; the files, read again, give the very same" in text
    lines[0][-1] = "0.025000"
    study.write(f"runs/{run_id}/robustness.csv", ROBUSTNESS_COLUMNS, lines)
    read = Study.read(tmp_path)
    text = text_of("".join(robustness_section(read, choose_row(read))))
    assert "read again, give other answers for some images" in text


def test_the_report_says_when_the_head_cannot_say(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    run_id = study.add("logreg")
    read = Study.read(tmp_path)
    assert "not run" in "".join(abstention_part(read, choose_row(read)))

    def parts(threshold: str, *shares: str) -> str:
        line = ["test", "demo", "5-fold", "0.1", threshold, "40", "out of fold", "300", "60"]
        study.write(f"runs/{run_id}/conformal.csv", CONFORMAL_COLUMNS, [[*line, *shares]])
        read = Study.read(tmp_path)
        return "".join(abstention_part(read, choose_row(read)))

    rest = ("0.2", "0.1", "0.3", "0.05", "0.01", "0.1")
    shown = parts("0.7", "0.91", "0.85", "0.95", *rest)
    assert "91 % [85, 95]<" in shown
    assert "20 % [10, 30]" in shown
    assert "90 % of the sets should hold the class" in shown
    assert "40 groups calibrated it, out of fold" in shown
    # The interval does not reach 90 %: the promise is broken.
    broken = parts("0.7", "0.80", "0.70", "0.899", *rest)
    assert "80 % [70, 90] *" in broken
    assert "*: fewer than 90 %" in broken
    few = parts("", *[""] * 9)
    assert "40 independent training images are too few to promise an error rate of 10 %" in few


def test_the_report_shows_the_range_over_seeds(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    # Rows of older versions do not say whether their heads draw.
    study.add("ridge")
    read = Study.read(tmp_path)
    shown = "".join(seeds_part(read, choose_row(read)))
    assert "do not say which heads draw" in shown
    assert "--seeds" not in shown
    study = MadeStudy(tmp_path / "newer")
    tmp_path = study.folder
    study.add("logreg", n_seeds=0)
    read = Study.read(tmp_path)
    assert "any seed gives the same scores" in "".join(seeds_part(read, choose_row(read)))
    study.add("extra-trees", n_seeds=1)
    read = Study.read(tmp_path)
    assert "--model extra-trees --seeds 3" in "".join(seeds_part(read, choose_row(read)))
    ends = {"seeds_accuracy_lowest": 0.7, "seeds_accuracy_highest": 0.8}
    study.add("xgboost", n_seeds=3, seeds_accuracy_mean=0.76, **ends)
    read = Study.read(tmp_path)
    shown = "".join(seeds_part(read, choose_row(read)))
    assert "xgboost on block5_pool" in shown
    assert all(text in shown for text in (">76.0<", ">70.0<", ">80.0<", "10.0 points *"))
