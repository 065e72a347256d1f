"""Checklists and the model card: every statement is proven, and an author's text stays."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import cli
from freezeframe.classify.runs.robustness import ROBUSTNESS_COLUMNS
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.study.checklists.document import (
    CHECKLISTS,
    Document,
    write_documents,
)
from freezeframe.classify.study.checklists.facts import Facts
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.findings.table import findings_csv, look_for_findings
from freezeframe.classify.study.report.study import Study
from freezeframe.data.explore.summary import IMAGE_COLUMNS

from .citations import items, statements, wrong_statements
from .studies import SURE, MadeStudy, N

REPORT = "freezeframe.classify.study.report"
NAMES = ("claim.md", "tripod.md", "model_card.md")
HOSTILE = "`]\n# x <script>a|b</script> ![i](http://evil/x) ; https://evil, a=`b`: \x1b[31m``"
TRIPOD_ITEMS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 "
    "16 17 18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)


def write(folder: Path, run: str | None = None, *, look: bool = True) -> dict[str, str]:
    """Write the findings and the documents of a study; return the documents by their names."""
    study = Study.read(folder)
    choice = choose_row(study, run)
    # The search takes time, and most tests are not about findings.
    results = look_for_findings(study, choice) if look else []
    findings = [finding for finding in results if finding.evidence]
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "findings.csv").write_text(findings_csv(findings))
    documents(folder, Facts(study, choice, findings))
    return {name: (folder / "report" / name).read_text() for name in NAMES}


def documents(folder: Path, facts: Facts) -> list[Document]:
    return write_documents(folder / "report", facts)


def facts_of(folder: Path) -> Facts:
    study = Study.read(folder)
    return Facts(study, choose_row(study), [])


def full(folder: Path) -> MadeStudy:
    """Return a study of which every file is there that a statement can be from."""
    study = MadeStudy(folder).clean()
    cells = {
        "store_fingerprint": "ab12",
        "test_fingerprint": "cd34",
        "weights": "a file",
        "weights_digest": "ef56",
        "version": "0.2.0",
        "hyperparameters": '{"C": 0.25, "class_weights": 0}',
        "n_searched": 6,
        "run_id": "chosen",
        "n_test": 900,
        "n_test_clean": 900,
        "patient_unit": "patient",
        "n_test_patients": 40,
        "patient_accuracy": 0.8125,
        "choices": '{"left_out": {"other": 7}}',
    }
    # Of the rows of logreg, the one of most test images is chosen.
    study.add("logreg", **cells)
    study.add("logreg", test_id="other", test_set="elsewhere", split="external", n_test=120)
    related = ["bytes" if place < 70 else "" for place in range(N)]
    study.add("logreg", relatives=related, test_id="random", split="random 20%", n_test_leaking=70)
    study.stress("chosen", SURE, SURE, 1 - SURE, 1 - SURE, 1 - SURE)
    runs = ["chosen", "2026-2-logreg", "2026-3-majority"]
    places = ["--leaderboard", str(folder / "leaderboard.csv"), "--margin", "2"]
    done = CliRunner().invoke(cli, ["compare", *runs, *places, "--format", "csv"])
    assert done.exit_code == 0, done.output
    (folder / "compare.csv").write_bytes(done.stdout_bytes)
    steps = [["explain", "freezeframe explain", "", "7.0", "done"]]
    study.write("steps.csv", ["step", "command", "started", "seconds", "status"], steps)
    all_images = 'quick = false\ndrop-class = []\nslices = "all"\n'
    (folder / "run.toml").write_text(f'backbone = "vgg16"\n{all_images}seed = 0\nmodel = ["a"]\n')
    edits = [["none", "", "40", "0.95", "0", "-0.04", "0.04", "0"]]
    edits.append(["JPEG", "quality 25", "40", "0.875", "-0.075", "-0.16", "0.01", "0.1"])
    study.write("runs/chosen/robustness.csv", ROBUSTNESS_COLUMNS, edits)
    study.audited(("yes", "yes", "same bytes"))
    return study


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a full study with its documents; no test changes it."""
    folder = tmp_path_factory.mktemp("complete")
    full(folder)
    write(folder)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder that has a leaderboard and nothing else."""
    MadeStudy(tmp_path).add("logreg")
    (tmp_path / "runs" / "2026-1-logreg" / "predictions.csv").unlink()
    write(tmp_path)
    return tmp_path


def answers(text: str) -> dict[str, tuple[bool, bool]]:
    """Return, for each item, whether it has statements, and whether it has a TODO."""
    states = dict.fromkeys(items(text), (False, False))
    for statement in statements(text):
        if statement.item:
            known, left = states[statement.item]
            states[statement.item] = (known or not statement.is_todo, left or statement.is_todo)
    return states


def test_the_items_are_those_of_the_checklists(tmp_path: Path) -> None:
    MadeStudy(tmp_path).add("logreg")
    texts = write(tmp_path, look=False)
    assert items(texts["claim.md"]) == [str(number) for number in range(1, 45)]
    assert items(texts["tripod.md"]) == TRIPOD_ITEMS.split()
    assert {number[0] for number in items(texts["model_card.md"])} == set("123456789")


@pytest.mark.parametrize(("kind", "least"), [("complete", 70), ("bare", 35)])
def test_every_statement_is_proven_by_its_file(
    kind: str, least: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    n_known = 0
    for name in NAMES:
        text = (folder / "report" / name).read_text()
        assert wrong_statements(text, folder) == []
        states = list(answers(text).values())
        # No item is without a statement or a task, and the top of the page counts them.
        assert all(known or left for known, left in states)
        answered = states.count((True, False))
        part, author = states.count((True, True)), states.count((False, True))
        top = f"{answered} of {len(states)} items answered from the study, {part} in part, "
        assert f"**{top}{author} TODO(author) alone.**" in text
        n_known += sum(known for known, _ in states)
    assert n_known >= least


def test_a_full_study_answers_what_a_folder_of_scores_cannot(complete: Path, bare: Path) -> None:
    states = {
        folder: answers((folder / "report" / "claim.md").read_text()) for folder in (complete, bare)
    }
    whole = {
        folder: {number for number, state in items.items() if state == (True, False)}
        for folder, items in states.items()
    }
    assert whole[complete] == {"20", "22", "24", "27", "30", "32", "33", "38"}
    assert whole[bare] == {"20", "27", "32", "38"}
    # What no file can know is never answered.
    for number in ("3", "4", "5", "6", "11", "13", "14", "15", "16", "17", "34", "41", "44"):
        assert states[complete][number] == (False, True)
    # Mistakes are in the predictions alone, and left-out classes in a cell of the row.
    assert (states[complete]["39"], states[bare]["39"]) == ((True, True), (False, True))
    assert (states[complete]["8"], states[bare]["8"]) == ((True, True), (False, True))


def test_a_checker_that_sees_no_lie_proves_nothing(complete: Path) -> None:
    text = (complete / "report" / "claim.md").read_text()
    for true, false in (
        ("each of 900 images", "each of 901 images"),
        ("lines=`", "lines=`1"),
        ("distinct picture=`", "distinct picture=`1"),
        ("Training set `demo`", "Training set `other`"),
        ("run_id=`chosen`", "run_id=`absent`"),
        ("run.toml: backbone=`vgg16`", "run.toml: backbone=`vgg19`"),
        ("explore/explore.csv, reason", "explore/explore.csv, path"),
        ("margin of 2.0 points: `better`", "margin of 2.1 points: `better`"),
    ):
        assert true in text, true
        assert wrong_statements(text.replace(true, false), complete), false
    without = re.sub(r"\n  \[explore/explore.csv: .*\]", "", text)
    assert any("no source" in problem for problem in wrong_statements(without, complete))


def test_leaking_images_are_named_and_the_scores_are_those_of_the_others(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    related = ["bytes" if place < 70 else "" for place in range(N)]
    study.add("logreg", relatives=related, clean_accuracy=0.75, clean_accuracy_low=0.5, accuracy=1)
    text = write(tmp_path, look=False)["claim.md"]
    assert "They are not disjoint: 70 of 300 test images" in text
    assert "On the 230 test images without a known relative in training: accuracy 75 %" in text
    study.add("ridge", relatives=["bytes"] * N)
    text = write(tmp_path, "2026-2-ridge", look=False)["claim.md"]
    assert "so that this says nothing about new images: accuracy " in text
    assert wrong_statements(text, tmp_path) == []


def test_heads_are_compared_on_images_that_do_not_leak(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    related = ["bytes" if place < 150 else "" for place in range(N)]
    ids = [study.add(head, relatives=related) for head in ("logreg", "ridge")]
    places = ["--leaderboard", str(tmp_path / "leaderboard.csv")]
    done = CliRunner().invoke(cli, ["compare", *ids, *places, "--format", "csv"])
    assert done.exit_code == 0, done.output
    (tmp_path / "compare.csv").write_bytes(done.stdout_bytes)
    text = write(tmp_path, look=False)["claim.md"]
    assert text.count("Accuracy, on the test images without a known relative in training, of") == 1
    assert "metric=`clean_accuracy`" in text
    assert "Accuracy of `" not in text
    assert wrong_statements(text, tmp_path) == []


@pytest.mark.parametrize(
    ("chosen", "is_all"),
    [
        ('drop-class = []\nslices = "all"\n', True),
        ('drop-class = ["odd"]\nslices = "all"\n', False),
        ('drop-class = []\nslices = "middle"\n', False),
        ('drop-class = [{a = 1979-05-27}]\nslices = "all"\n', False),
        ("", False),
    ],
)
def test_all_images_were_taken_only_if_none_was_left_out(
    tmp_path: Path, chosen: str, is_all: bool
) -> None:
    MadeStudy(tmp_path).add("logreg")
    (tmp_path / "run.toml").write_text(f"quick = false\n{chosen}")
    text = write(tmp_path, look=False)["claim.md"]
    assert ("The study took all images" in text) == is_all
    assert wrong_statements(text, tmp_path) == []


def test_all_heads_and_layers_of_the_study_are_counted(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path).clean()
    study.add("logreg", layer="block3_pool")
    study.add("knn", test_id="other", test_set="elsewhere", split="external")
    text = write(tmp_path, look=False)["claim.md"]
    of_item = [statement.text for statement in statements(text) if statement.item == "26"]
    assert of_item[0].startswith("3 pairs of head and layer are scored in the study")
    assert wrong_statements(text, tmp_path) == []
    lie = text.replace("head+layer of candidates=`3`", "head+layer of candidates=`4`")
    assert wrong_statements(lie, tmp_path)


def test_the_edit_with_the_largest_change_is_stated(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path).clean()
    run_id = "2026-1-logreg"
    texts = write(tmp_path, "2026-1", look=False)
    assert answers(texts["claim.md"])["30"] == (True, True)
    assert answers(texts["model_card.md"])["7.4"] == (True, True)
    lines = [
        ["none", "", "40", "0.950000", "0.000000", "-0.040000", "0.040000", "0.000000"],
        ["brightness", "'-20 %", "40", "0.9750", "0.025000", "-0.01", "0.06", "0.025000"],
        ["JPEG", "quality 25", "40", "0.875000", "-0.075000", "-0.160000", "0.010000", "0.100000"],
    ]
    study.write(f"runs/{run_id}/robustness.csv", ROBUSTNESS_COLUMNS, lines)
    texts = write(tmp_path, "2026-1", look=False)
    for name, item in (("claim.md", "30"), ("model_card.md", "7.4")):
        stated = [statement.text for statement in statements(texts[name])]
        assert (
            "Of the edits of 40 test images without a known relative in training, `JPEG` "
            "(`quality 25`) changes the accuracy most: by -7.5 points [-16.0, 1.0]."
        ) in stated
        assert answers(texts[name])[item] == (True, False)
        assert wrong_statements(texts[name], tmp_path) == []
    # Without a stress test and controls, edits alone are no whole answer.
    alone = MadeStudy(tmp_path / "alone")
    run_id = alone.add("logreg")
    alone.write(f"runs/{run_id}/robustness.csv", ROBUSTNESS_COLUMNS, lines)
    assert answers(write(alone.folder, look=False)["claim.md"])["30"] == (True, True)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"grade": "patients parted"}, "By patient: each image has the name of a patient or study"),
        ({"grade": "pictures parted"}, "By patient this is unknown"),
        ({"grade": ""}, None),
        ({"n_test_leaking": "", "n_test_clean": ""}, None),
    ],
)
def test_the_level_of_disjoint_parts_is_that_of_the_grade(
    tmp_path: Path, cells: dict[str, str], words: str | None
) -> None:
    MadeStudy(tmp_path).add("logreg", **cells)
    text = write(tmp_path, look=False)["claim.md"]
    of_item = [statement.text for statement in statements(text) if statement.item == "20"]
    assert len(of_item) == 1
    assert words in of_item[0] if words else of_item[0].startswith("TODO(author): ")


def test_many_classes_are_cut_and_still_proven(tmp_path: Path) -> None:
    names = [f"a long name of class {number}" for number in range(20)]
    study = MadeStudy(tmp_path, names)
    proba = np.random.default_rng(0).dirichlet(np.ones(20), N)
    study.add("logreg", Predictions.of(np.arange(N) % 20, proba), classes=json.dumps(names))
    for text in write(tmp_path, look=False).values():
        assert wrong_statements(text, tmp_path) == []
        assert "and further classes" in text or "Test images" not in text
        assert 'a long name of class 19"]' not in text
    assert "Scores of a class are means over the classes." in text


def test_names_of_strangers_are_code(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path, [HOSTILE, "none"])
    study.add(
        "logreg",
        **dict.fromkeys(("layer", "data_set", "test_set", "split", "positive"), HOSTILE),
        **dict.fromkeys(("weights", "weights_digest", "version", "grade", "choices"), HOSTILE),
        **dict.fromkeys(("hyperparameters", "calibration", "patient_unit"), HOSTILE),
        classes=json.dumps([HOSTILE, "none"]),
        n_test_patients=3,
    )
    (tmp_path / "run.toml").write_text(
        f"backbone = {json.dumps(HOSTILE)}\nseed = 0\nquick = true\n"
    )
    line = [HOSTILE, HOSTILE, "", HOSTILE, HOSTILE, "9", "9", "1", "1", "1", "9", ""]
    study.write("explore/explore.csv", IMAGE_COLUMNS, [line])
    for text in write(tmp_path, look=False).values():
        assert wrong_statements(text, tmp_path) == []
        # A reader of markdown takes code first, and what is left is ours.
        left = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)
        for letters in ("<s", "evil", "](", "|", "\x1b", "\n# x"):
            assert letters not in left
        assert "\x1b" not in text
        assert "\n# x" not in text


def test_patients_and_paths_are_not_in_a_document(tmp_path: Path) -> None:
    study = full(tmp_path)
    groups = [
        ["demo", f"Jane Roe/{place}.png", "lesion", "", "Jane Roe", "1", str(place), "1", ""]
        for place in range(9)
    ]
    columns = (tmp_path / "audit" / "groups.csv").read_text().splitlines()[0].split(",")
    study.write("audit/groups.csv", columns, groups)
    settings = "source = '/home/Jane Roe'\ngroup-regex = 'Jane Roe'\nseed = 1\n"
    (tmp_path / "run.toml").write_text(settings)
    steps = [["explain", "freezeframe explain /home/Jane Roe", "", "7.0", "done"]]
    study.write("steps.csv", ["step", "command", "started", "seconds", "status"], steps)
    for text in write(tmp_path, look=False).values():
        assert "Jane" not in text
        assert ".png" not in text


def test_a_changed_document_stays_and_new_answers_are_beside_it(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg")
    path, beside = tmp_path / "report" / "claim.md", tmp_path / "report" / "claim.new.md"
    first = write(tmp_path, look=False)["claim.md"]
    assert write(tmp_path, look=False)["claim.md"] == first
    mine = first.replace("TODO(author): give the clinical", "A tumour in the clinical", 1)
    assert mine != first
    path.write_text(mine)
    # The answers are the same: there is nothing to take over.
    write(tmp_path, look=False)
    assert (path.read_text(), beside.exists()) == (mine, False)
    study.add("logreg", n_test=200)
    study.add("logreg", n_test=400)
    changed = documents(tmp_path, facts_of(tmp_path))[0]
    assert (changed.path, changed.problem) == (beside, "")
    assert path.read_text() == mine
    assert "n_test=`400`" in beside.read_text()
    # An unchanged new file is replaced, and a changed one stays, too.
    study.add("logreg", n_test=500)
    assert documents(tmp_path, facts_of(tmp_path))[0].path == beside
    beside.write_text("mine, too")
    study.add("logreg", n_test=600)
    problem = documents(tmp_path, facts_of(tmp_path))[0].problem
    assert "claim.new.md: was changed, as claim.md was; move it away" in problem
    assert (path.read_text(), beside.read_text()) == (mine, "mine, too")
    # The author has moved the text into the new file, and the circle begins again.
    beside.rename(path)
    documents(tmp_path, facts_of(tmp_path))
    assert (path.read_text(), beside.exists()) == ("mine, too", True)


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (b"my own checklist", True),
        (b"<!-- freezeframe report wrote this text, with the digest 00. -->\nmine", True),
        (b"\xff\xfe", True),
        (b"", True),
        (None, False),
    ],
)
def test_only_a_text_that_report_wrote_is_replaced(
    tmp_path: Path, content: bytes | None, stays: bool
) -> None:
    MadeStudy(tmp_path).add("logreg")
    write(tmp_path, look=False)
    path = tmp_path / "report" / "claim.md"
    # An editor on Windows changes the line ends, and that is no text of an author.
    before = path.read_bytes().replace(b"\n", b"\r\n") if content is None else content
    path.write_bytes(before)
    MadeStudy(tmp_path).add("knn", run_id="other")
    documents(tmp_path, facts_of(tmp_path))
    assert (path.read_bytes() == before) == stays
    assert (tmp_path / "report" / "claim.new.md").exists() == stays


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    MadeStudy(study).add("logreg")
    text = write(study, look=False)["claim.md"]
    outside = tmp_path / "outside.md"
    outside.write_text(text)
    path = study / "report" / "claim.md"
    path.unlink()
    path.symlink_to(outside)
    MadeStudy(study).add("knn", run_id="other")
    assert documents(study, facts_of(study))[0].path == study / "report" / "claim.new.md"
    assert (path.is_symlink(), outside.read_text()) == (True, text)


def report(folder: Path) -> Result:
    return CliRunner().invoke(cli, ["report", str(folder)])


def test_the_command_names_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{REPORT}.report.report_page", lambda *parts: "<head></head>")
    MadeStudy(tmp_path).add("logreg")
    done = report(tmp_path)
    assert done.exit_code == 0
    for checklist in CHECKLISTS:
        path = tmp_path / "report" / checklist.file
        assert re.search(f"{re.escape(str(path))}: \\d+ of \\d+ items answered", done.stderr)
        assert wrong_statements(path.read_text(), tmp_path) == []
    for name in ("claim.md", "claim.new.md"):
        (tmp_path / "report" / name).write_text("mine")
    done = report(tmp_path)
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert "claim.new.md: was changed" in done.stderr
