"""The leaderboard: appending, schemas, hostile cells, ranks, and tables."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from freezeframe import FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.board.columns import as_text
from freezeframe.classify.board.ranking import rank_rows
from freezeframe.classify.board.run_folders import RunFolders
from freezeframe.classify.runs import leaderboard
from freezeframe.classify.runs.leaderboard import append_rows, check_leaderboard, read_rows
from freezeframe.classify.runs.prediction_file import read_predictions, write_predictions
from freezeframe.classify.runs.schema import COLUMNS, COLUMNS_BY_SCHEMA, SCHEMA, SCHEMAS
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.metric_names import CLEAN_COLUMNS, CLEAN_NAMES
from freezeframe.classify.scores.metrics import METRIC_COLUMNS, METRIC_NAMES
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.data.formats.regular_file import MAX_FILE_BYTES
from freezeframe.data.output.csv import FORMULA, csv_line, csv_lines, defuse, restore_text
from freezeframe.data.output.terminal import printable

from ..conftest import MakeStore

GOLDEN = Path(__file__).parents[1] / "golden" / "leaderboard-v1.csv"
GOLDEN_2 = GOLDEN.with_name("leaderboard-v2.csv")
GOLDEN_3 = GOLDEN.with_name("leaderboard-v3.csv")
GOLDEN_4 = GOLDEN.with_name("leaderboard-v4.csv")
GOLDEN_5 = GOLDEN.with_name("leaderboard-v5.csv")
GOLDEN_6 = GOLDEN.with_name("leaderboard-v6.csv")
GOLDEN_7 = GOLDEN.with_name("leaderboard-v7.csv")
ALL_GOLDEN = sorted(
    GOLDEN.parent.glob("leaderboard-v*.csv"), key=lambda path: int(path.stem.partition("-v")[2])
)


def some_row(run_id: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS[1:], "") | {
        "run_id": run_id,
        "accuracy": 0.5,
        "roc_auc": float("nan"),
    }


APPENDING = """
import json, sys
from freezeframe.classify.runs.leaderboard import append_rows
path, number, row = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
print("go", flush=True)
for i in range(50):
    append_rows(path, [row | {"run_id": f"{number}-{i}", "roc_auc": float("nan")}])
"""


def appending(path: Path, number: int) -> subprocess.Popen[str]:
    """Start a process that appends 50 rows."""
    row = json.dumps(some_row("") | {"roc_auc": ""})
    command = [sys.executable, "-c", APPENDING, str(path), str(number), row]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("kind", ["sparse", "pipe", "device"])
def test_files_without_end_are_not_read(tmp_path: Path, kind: str) -> None:
    """Reading the first would take all memory; the others would wait, or never end."""
    board = tmp_path / "board.csv"
    if kind == "sparse":
        board.write_text(",".join(COLUMNS) + "\n")
        os.truncate(board, 20 * MAX_FILE_BYTES)
        problem = f"{20 * MAX_FILE_BYTES} bytes are more than the limit of {MAX_FILE_BYTES}"
    elif kind == "pipe":
        os.mkfifo(board)
        problem = "not a regular file"
    else:
        board.symlink_to("/dev/zero")
        problem = "not a regular file"
    readers = (read_rows, check_leaderboard, lambda path: append_rows(path, [some_row("a")]))
    for use in readers:
        with pytest.raises(FreezeframeError) as caught:
            use(board)
        assert str(caught.value).endswith(f": {problem}; give the path of a leaderboard")
    with pytest.raises(
        FreezeframeError, match=re.escape(f"{board}: cannot be read as predictions ({problem})")
    ):
        read_predictions(board)


def test_six_processes_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    processes = [appending(path, number) for number in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    rows = read_rows(path)
    assert sorted(row["run_id"] for row in rows) == sorted(
        f"{n}-{i}" for n in range(6) for i in range(50)
    )
    assert {row["accuracy"] for row in rows} == {"0.500000"}
    assert {row["roc_auc"] for row in rows} == {""}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_leaves_whole_rows_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    for number in range(5):
        process = appending(path, number)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * number)
        process.kill()
        process.wait()
        append_rows(path, [some_row("after")])
    rows = read_rows(path)
    assert all(tuple(row) == COLUMNS and None not in row.values() for row in rows)
    assert [row["run_id"] for row in rows].count("after") == 5


def test_files_that_are_no_leaderboard_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for content in ("a,b\n1,2\n", "schema,run_id", ",".join(COLUMNS[:-1]) + "\n", "\x00\xff"):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(
            FreezeframeError, match="not a leaderboard of schema 1 to 7, nothing was written"
        ):
            append_rows(path, [some_row("x")])
        assert path.read_bytes() == content.encode("latin-1")
    with pytest.raises(FreezeframeError, match="no leaderboard here; fit-classifier makes it"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(FreezeframeError, match="a folder, not a leaderboard; give the path"):
        append_rows(tmp_path, [some_row("x")])


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.csv"
    append_rows(path, [some_row("first")])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FreezeframeError, match="No space left on device"):
        append_rows(path, [some_row("second")])
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv"}


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    real = tmp_path / "real.csv"
    append_rows(real, [some_row("first")])
    real.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(real)
    append_rows(tmp_path / "link.csv", [some_row("second")])
    assert (tmp_path / "link.csv").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert len(read_rows(real)) == 2


def test_a_file_whose_end_is_missing_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for content in (",".join(COLUMNS), GOLDEN.read_text()[:-20]):
        path.write_text(content)
        for use in (check_leaderboard, read_rows, lambda path: append_rows(path, [some_row("x")])):
            with pytest.raises(FreezeframeError, match=r"l\.csv: its last line has no end"):
                use(path)
        assert path.read_text() == content


def test_appending_does_not_read_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appending to ten thousand rows takes as long as copying the file."""
    path = tmp_path / "l.csv"
    append_rows(path, [some_row("first")])
    monkeypatch.setattr(leaderboard, "csv_lines", None)
    append_rows(path, [some_row("second")])
    monkeypatch.undo()
    assert [row["run_id"] for row in read_rows(path)] == ["first", "second"]


def test_a_leaderboard_of_schema_1_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "l.csv"))
    old = list(csv.DictReader(path.open()))
    assert tuple(old[0]) == COLUMNS_BY_SCHEMA[1]
    rows = read_rows(path)
    assert path.read_bytes() == GOLDEN.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["l.csv"]
    assert all(tuple(row) == COLUMNS and row["schema"] == str(SCHEMA) for row in rows)
    for before, after in zip(old, rows, strict=True):
        same = set(COLUMNS_BY_SCHEMA[1]) & set(COLUMNS) - {"schema"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
        assert {after[name] for name in set(COLUMNS) - set(COLUMNS_BY_SCHEMA[1]) - {"f1"}} == {""}
    # The mean over the classes is the F1 of three classes, and another number than the F1 of the
    # positive one of two.
    assert [row["f1"] for row in rows] == ["", "", old[2]["macro_f1"]]


def test_a_leaderboard_of_schema_2_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN_2, tmp_path / "l.csv"))
    old = list(csv.DictReader(path.open()))
    assert tuple(old[0]) == COLUMNS_BY_SCHEMA[2]
    rows = read_rows(path)
    assert path.read_bytes() == GOLDEN_2.read_bytes()
    assert all(tuple(row) == COLUMNS and row["schema"] == str(SCHEMA) for row in rows)
    for before, after in zip(old, rows, strict=True):
        assert after["test_set"] == before["test_set"].removeprefix("'")
        same = set(COLUMNS_BY_SCHEMA[2]) - {"schema", "test_set"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
        assert {after[name] for name in set(COLUMNS) - set(COLUMNS_BY_SCHEMA[2])} == {""}
    assert rows[1]["test_set"] == "=external, odd"
    assert [row["n_test_in_train"] for row in rows] == ["0", "10", "0", "0"]


def test_a_leaderboard_of_schema_3_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN_3, tmp_path / "l.csv"))
    old = list(csv.DictReader(path.open()))
    assert tuple(old[0]) == COLUMNS_BY_SCHEMA[3]
    rows = read_rows(path)
    assert path.read_bytes() == GOLDEN_3.read_bytes()
    assert all(tuple(row) == COLUMNS and row["schema"] == str(SCHEMA) for row in rows)
    for before, after in zip(old, rows, strict=True):
        assert after["test_set"] == before["test_set"].removeprefix("'")
        same = set(COLUMNS_BY_SCHEMA[3]) - {"schema", "test_set"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
        assert (after["epochs"], after["train_images_per_second"]) == ("", "")
    assert [row["head"] for row in rows] == ["logreg", "logreg", "dense-128", "knn"]
    assert rows[1]["test_set"] == "=external, odd"
    assert [(row["n_test_leaking"], row["n_test_clean"]) for row in rows] == [
        ("0", "60"),
        ("6", "24"),
        ("0", "12"),
        ("0", "0"),
    ]


def test_a_leaderboard_of_schema_4_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN_4, tmp_path / "l.csv"))
    lines = list(csv.DictReader(path.open()))
    assert tuple(lines[0]) == COLUMNS_BY_SCHEMA[4]
    rows = read_rows(path)
    assert path.read_bytes() == GOLDEN_4.read_bytes()
    assert all(tuple(row) == COLUMNS and row["schema"] == str(SCHEMA) for row in rows)
    for before, after in zip(lines, rows, strict=True):
        assert after["test_set"] == before["test_set"].removeprefix("'")
        same = set(COLUMNS_BY_SCHEMA[4]) - {"schema", "test_set"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert [row["head"] for row in rows] == ["logreg", "logreg", "knn", "knn", "cnn-simple"]
    assert rows[1]["test_set"] == "=external, odd"
    assert [row["epochs"] for row in rows] == ["", "", "", "", "3"]
    assert [(row["n_test_leaking"], row["n_test_clean"]) for row in rows] == [
        ("0", "60"),
        ("3", "24"),
        ("0", "60"),
        ("3", "24"),
        ("0", "12"),
    ]


def test_a_leaderboard_of_schema_5_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN_5, tmp_path / "l.csv"))
    lines = list(csv.DictReader(path.open()))
    assert tuple(lines[0]) == COLUMNS_BY_SCHEMA[5]
    rows = read_rows(path)
    assert path.read_bytes() == GOLDEN_5.read_bytes()
    assert all(tuple(row) == COLUMNS and row["schema"] == str(SCHEMA) for row in rows)
    for before, after in zip(lines, rows, strict=True):
        assert after["test_set"] == before["test_set"].removeprefix("'")
        same = set(COLUMNS_BY_SCHEMA[5]) - {"schema", "test_set"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert [(row["positive"], row["choices"]) for row in rows] == [
        ("lesion", '{"positive": "name"}'),
        ("lesion", '{"positive": "name"}'),
        ("no_lesion", '{"positive": "option"}'),
        ("", "{}"),
        ("dog", '{"positive": "alphabet"}'),
    ]


def test_a_leaderboard_of_schema_6_is_read_for_ever(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN_6, tmp_path / "l.csv"))
    lines = list(csv.DictReader(path.open()))
    assert tuple(lines[0]) == COLUMNS_BY_SCHEMA[6]
    rows = read_rows(path)
    for before, after in zip(lines, rows, strict=True):
        same = set(COLUMNS_BY_SCHEMA[6]) - {"schema", "test_set"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
    names = ("grade", "clean_grade", "clean_missing", "n_test_patients", "patient_accuracy")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("", "", "", "", ""),
        ("patients parted", "patients parted", "", "16", "0.875000"),
        ("patients parted", "patients parted", "", "12", "0.583333"),
        ("leaking", "patients parted", "", "12", "0.500000"),
        ("leaking", "pictures parted", '["a"]', "", ""),
    ]
    assert json.loads(rows[4]["clean_recalls"])["c"] == [0.2, 0.056682, 0.509838, 10]


def test_a_leaderboard_of_schema_7_is_read_for_ever() -> None:
    rows = read_rows(GOLDEN_7)
    names = ("n_seeds", *(f"seeds_accuracy_{end}" for end in ("mean", "lowest", "highest")))
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("3", "0.583333", "0.562500", "0.625000"),
        ("0", "", "", ""),
    ]
    # Rows of schema 6 do not know their seeds.
    assert {row["n_seeds"] for row in read_rows(GOLDEN_6)} == {""}


def test_every_schema_has_literal_columns_and_a_golden_file() -> None:
    """A schema that was released never changes: a new column takes the next number."""
    assert set(COLUMNS_BY_SCHEMA) >= set(range(1, SCHEMA))
    assert SCHEMAS[COLUMNS] == SCHEMA
    assert len(SCHEMAS) == SCHEMA
    headers = [tuple(path.read_text().splitlines()[0].split(",")) for path in ALL_GOLDEN]
    assert headers == [COLUMNS_BY_SCHEMA[number] for number in sorted(COLUMNS_BY_SCHEMA)]
    assert [path.name for path in ALL_GOLDEN] == [
        f"leaderboard-v{number}.csv" for number in sorted(COLUMNS_BY_SCHEMA)
    ]


NEW_ROW = '    Metric("kappa", "kappa", "classes", kappa, unit="number", negative=True),\n'
NEW_FORMULA = '''def kappa(confusion: Confusion) -> Floats:
    """Compute Cohen's kappa: agreement beyond chance."""
    chance = (confusion.actual * confusion.called).sum(axis=1) / confusion.total**2
    return ratio(accuracy(confusion) - chance, 1 - chance)


'''
WITH_KAPPA = """
import json, shutil, sys
from pathlib import Path
import numpy as np
from freezeframe.classify.board import tables
from freezeframe.classify.runs import leaderboard, schema
from freezeframe.classify.scores.paired.paired_tests import compare
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.score import score
folder, *paths = map(Path, sys.argv[1:])
assert Path(schema.__file__).is_relative_to(folder)
assert {"kappa", "kappa_low", "kappa_high", "clean_kappa"} < set(schema.COLUMNS)
assert tables.heading("clean_kappa") == "clean kappa"
y = np.arange(60) % 2
scores = np.random.default_rng(0).random(60) / 2 + y / 3
good = Predictions.of(y, np.column_stack([1 - scores, scores]), positive=1)
values = score(good)
assert values["kappa_low"] < values["kappa"] < values["kappa_high"]
assert compare(good, good, "kappa").p == 1
counts = {}
for path in paths:
    copy = folder / path.name
    shutil.copy(path, copy)
    before = leaderboard.read_rows(copy)
    assert {row["kappa"] for row in before} == {""}
    leaderboard.append_rows(copy, [{"run_id": "new", **values}])
    *rows, new = leaderboard.read_rows(copy)
    assert rows == before and new["kappa"] == f"{values['kappa']:.6f}"
    leaderboard.append_rows(copy, [{"run_id": "newer"}])
    kept = [one.name for one in folder.glob(f"{path.name}.schema-*")]
    counts[path.name] = [len(leaderboard.read_rows(copy)), kept, values["kappa"]]
print(json.dumps(counts))
"""


@pytest.mark.parametrize("bump", [True, False])
def test_a_new_metric_is_a_row_and_a_formula_and_leaves_every_old_file_readable(
    tmp_path: Path, bump: bool
) -> None:
    """A copy of the package with one metric more; without the next schema number, too."""
    from sklearn.metrics import cohen_kappa_score

    root = Path(leaderboard.__file__).parents[2]
    package = tmp_path / "freezeframe"
    for room in ("data", "features", "extract", "classify"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / room, package / room, ignore=ignored)
    for path in root.glob("*.py"):
        shutil.copy(path, package)
    metrics = package / "classify" / "scores" / "metrics.py"
    schema = package / "classify" / "runs" / "schema.py"
    text = metrics.read_text()
    text = text.replace("# Formulas of the ranking", NEW_FORMULA + "# Formulas of the ranking", 1)
    text = text.replace('    Metric("roc_auc"', NEW_ROW + '    Metric("roc_auc"', 1)
    assert text.count("kappa") == 5
    metrics.write_text(text)
    if bump:
        schema.write_text(
            schema.read_text().replace(f"SCHEMA = {SCHEMA}\n", f"SCHEMA = {SCHEMA + 1}\n", 1)
        )
    process = subprocess.run(
        [sys.executable, "-c", WITH_KAPPA, str(tmp_path), *map(str, ALL_GOLDEN)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    counts = json.loads(process.stdout)
    assert {path.name for path in ALL_GOLDEN} == set(counts)
    y = np.arange(60) % 2
    scores = np.random.default_rng(0).random(60) / 2 + y / 3
    for number, path in enumerate(ALL_GOLDEN, start=1):
        n_rows, copies, kappa = counts[path.name]
        assert n_rows == len(read_rows(path)) + 2
        assert copies == [f"{path.name}.schema-{number}"]
        assert (tmp_path / copies[0]).read_bytes() == path.read_bytes()
        assert kappa == pytest.approx(cohen_kappa_score(y, scores > 0.5))


@pytest.mark.parametrize(
    ("golden", "schema"),
    [(GOLDEN, 1), (GOLDEN_2, 2), (GOLDEN_3, 3), (GOLDEN_4, 4), (GOLDEN_5, 5), (GOLDEN_6, 6)],
)
def test_appending_to_an_older_schema_keeps_the_old_file(
    tmp_path: Path, golden: Path, schema: int
) -> None:
    path = Path(shutil.copy(golden, tmp_path / "l.csv"))
    path.chmod(0o640)
    (tmp_path / f"l.csv.schema-{schema}").write_text("somebody's")
    before = read_rows(path)
    append_rows(path, [some_row("new")])
    append_rows(path, [some_row("newer")])
    rows = read_rows(path)
    assert rows[:-2] == before
    assert [row["run_id"] for row in rows[-2:]] == ["new", "newer"]
    backup = tmp_path / f"l.csv.schema-{schema}-2"
    assert backup.read_bytes() == golden.read_bytes()
    assert {file.stat().st_mode & 0o777 for file in (path, backup)} == {0o640}
    assert (tmp_path / f"l.csv.schema-{schema}").read_text() == "somebody's"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_upgrade_is_repeated_without_a_second_copy(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "l.csv"))
    shutil.copy(GOLDEN, tmp_path / "l.csv.schema-1")
    (tmp_path / ".l.csv-0123456789abcdef.new").write_text("half a")
    append_rows(path, [some_row("new")])
    assert len(read_rows(path)) == 4
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv", "l.csv.schema-1"}


def test_an_upgrade_killed_while_it_copies_leaves_no_torn_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(GOLDEN_2, tmp_path / "l.csv"))

    def killed(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:20])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leaderboard, "flush_file", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            append_rows(path, [some_row("new")])
    names = {file.name for file in tmp_path.iterdir()}
    assert "l.csv.schema-2" not in names
    assert sum(name.startswith(".l.csv.schema-2-") for name in names) == 1
    append_rows(path, [some_row("new")])
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv", "l.csv.schema-2"}
    assert (tmp_path / "l.csv.schema-2").read_bytes() == GOLDEN_2.read_bytes()


def test_where_there_are_no_links_no_copy_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", without_links)
    path = Path(shutil.copy(GOLDEN, tmp_path / "l.csv"))
    (tmp_path / "l.csv.schema-1").write_text("somebody's")
    append_rows(path, [some_row("new")])
    assert (tmp_path / "l.csv.schema-1").read_text() == "somebody's"
    assert (tmp_path / "l.csv.schema-1-2").read_bytes() == GOLDEN.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_upgrade_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "l.csv"))
    fsync = os.fsync

    def full_for_the_leaderboard(number: int) -> None:
        if any(tmp_path.glob(".l.csv-*.new")):
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full_for_the_leaderboard)
    with pytest.raises(FreezeframeError, match="No space left on device"):
        append_rows(path, [some_row("new")])
    assert path.read_bytes() == GOLDEN.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv"}


def test_processes_that_upgrade_at_once_lose_no_row(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "l.csv"))
    processes = [appending(path, number) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert len(read_rows(path)) == 3 + 4 * 50
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv", "l.csv.schema-1"}


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    content = csv_line([*COLUMNS, "more"]) + csv_line([str(SCHEMA + 1), *["x"] * len(COLUMNS)])
    path.write_text(content)
    for use in (check_leaderboard, read_rows, lambda path: append_rows(path, [some_row("x")])):
        with pytest.raises(
            FreezeframeError, match=rf"l\.csv: has schema {SCHEMA + 1}, but .* update freezeframe"
        ):
            use(path)
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("roc_auc", "much", "roc_auc is 'much' in line 2"),
        ("n_test", "-3", "n_test is '-3' in line 2"),
        ("n_test", "9" * 5000, "n_test is '9{20}' in line 2"),
        ("clean_mcc", "x", "clean_mcc is 'x' in line 2"),
        ("n_test_leaking", "1.5", "n_test_leaking is '1.5' in line 2"),
        ("epochs", "1.5", "epochs is '1.5' in line 2"),
        ("train_images_per_second", "fast", "train_images_per_second is 'fast' in line 2"),
        ("schema", "1", "schema is '1' in line 2"),
    ],
)
def test_a_damaged_cell_is_named_with_its_line(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    path = tmp_path / "l.csv"
    path.write_text(
        csv_line(COLUMNS)
        + csv_line({**dict.fromkeys(COLUMNS, ""), "schema": str(SCHEMA), name: value}.values())
    )
    with pytest.raises(FreezeframeError, match=rf"l\.csv: not a leaderboard: {message}"):
        read_rows(path)


def test_damaged_cells_of_schema_1_are_named(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    for old, new, message in (
        ('"[""healthy"", ""tumour""]"', "[" * 5000, "classes is '\\[{20}'"),
        (",hold-out 20%,", ",", "line 2 has too few columns"),
        ("0.676113", "x", "macro_f1 is 'x' in line 2"),
    ):
        path.write_text(GOLDEN.read_text().replace(old, new))
        with pytest.raises(FreezeframeError, match=message):
            append_rows(path, [some_row("x")])
        assert {file.name for file in tmp_path.iterdir()} == {"l.csv"}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    "'=+-@ \t\r\n\",1\\x0b\x1b\x9b", max_size=12
)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_any_text_is_read_back_and_is_no_formula(texts: list[str]) -> None:
    line = csv_line([*texts, "end"])
    assert line[:-1].isprintable() or not "".join(texts).isprintable()
    assert not re.search("[\x00-\x1f\x7f-\x9f]", line[:-1])
    ((*cells, end),) = csv_lines(line.encode())
    assert end == "end"
    assert [restore_text(cell) for cell in cells] == texts
    assert cells == [defuse(text) for text in texts]
    assert not any(cell[:1] in set("=@\t\r\n") for cell in cells)
    assert all(float(cell) is not None for cell in cells if cell[:1] in set("+-"))


def test_names_that_a_spreadsheet_would_compute_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    names = [
        '=HYPERLINK("http://x","y")',
        "@SUM(1)",
        "+1+cmd",
        "-2",
        "'=quoted",
        "it's",
        " =1",
        "a\rb\nc",
        "＝1",
    ]
    append_rows(path, [some_row(name) | {"test_set": name, "mcc": -0.25} for name in names])
    rows = read_rows(path)
    assert [row["test_set"] for row in rows] == [row["run_id"] for row in rows] == names
    assert {row["mcc"] for row in rows} == {"-0.250000"}
    for cells in csv_lines(path.read_bytes())[1:]:
        assert not [
            cell
            for name, cell in zip(COLUMNS, cells, strict=True)
            if name != "mcc" and FORMULA.match(cell) and cell[0] != "'"
        ]


def test_a_leaderboard_that_a_spreadsheet_saved_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    append_rows(path, [some_row("first")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    append_rows(path, [some_row("second")])
    assert [row["run_id"] for row in read_rows(path)] == ["first", "second"]


# Ranks and how they are shown.

CLASSES = ("healthy", "tumour")


def predictions_with_errors(n: int, wrong: int, positive: int | None = 1) -> Predictions:
    """Make predictions of n images, classes in turn; the first `wrong` images are wrong."""
    y = np.arange(n) % 2
    sure = np.linspace(0.6, 0.99, n)
    proba = np.where(np.arange(n) < wrong, 1 - sure, sure)
    return Predictions.of(
        y,
        np.column_stack([np.where(y, 1 - proba, proba), np.where(y, proba, 1 - proba)]),
        positive=positive,
    )


def add_run(
    folder: Path,
    head: str,
    wrong: int,
    *,
    n: int = 100,
    test_id: str = "0123456789ab",
    leaked: int = 0,
    **columns: Any,
) -> str:
    """Write a run and return its id; all its scores are made up, but for the accuracy."""
    run_id = columns.pop("run_id", f"20261124-120000-{head}-{wrong:06x}")
    run = folder / "runs" / run_id
    run.mkdir(parents=True, exist_ok=True)
    paths = [f"{CLASSES[i % 2]}/{i}.png" for i in range(n)]
    related = np.where(np.arange(n) < leaked, "bytes", "")
    sha256s = [f"{i:064x}" for i in range(n)]
    evaluation = Evaluation(
        test_id,
        "brain",
        "hold-out 20%",
        CLASSES,
        paths,
        sha256s,
        predictions_with_errors(n, wrong),
        related,
    )
    write_predictions(run / "predictions.csv", [evaluation])
    accuracy = (n - wrong) / n
    row = dict.fromkeys(METRIC_COLUMNS, 0.5) | {
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.05,
        "accuracy_high": accuracy + 0.04,
    }
    row |= {f"clean_{name}": value for name, value in row.items()}
    row |= {"n_test_leaking": leaked, "n_test_clean": n - leaked, "n_test_clean_groups": n - leaked}
    row |= {
        "run_id": run_id,
        "time": "2026-11-24T12:00:00+00:00",
        "head": head,
        "layer": "block5_pool",
        "pooling": "avg",
    }
    row |= {
        "test_set": "brain",
        "split": "hold-out 20%",
        "test_id": test_id,
        "n_test": n,
        "n_test_groups": n,
    }
    row |= {
        "n_test_in_train": leaked,
        "fit_seconds": 1.25,
        "model_bytes": 2_500_000,
        "weights": "imagenet",
        "seed": 0,
    }
    row |= {"classes": json.dumps(CLASSES), "hyperparameters": '{"C": 1.0}'}
    append_rows(folder / "leaderboard.csv", [row | columns])
    return str(run_id)


def show(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["leaderboard", str(folder / "leaderboard.csv"), *arguments])


def places(folder: Path, metric: str = "accuracy") -> list[list[tuple[str, int | None, str]]]:
    test_sets = rank_rows(
        read_rows(folder / "leaderboard.csv"), metric, RunFolders(folder / "runs")
    )
    return [
        [(place.row["head"], place.rank, place.standing) for place in ranked]
        for ranked in test_sets
    ]


def test_ranks_within_a_test_set_and_who_cannot_be_told_from_the_best(tmp_path: Path) -> None:
    for head, wrong in (("svm", 3), ("logreg", 2), ("knn", 3), ("majority", 50)):
        add_run(tmp_path, head, wrong)
    add_run(tmp_path, "empty", 4, accuracy=float("nan"))
    assert places(tmp_path) == [
        [
            ("logreg", 1, "best"),
            ("svm", 2, "equal"),
            ("knn", 2, "equal"),
            ("majority", 4, "worse"),
            ("empty", None, "untested"),
        ]
    ]
    result = show(tmp_path)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "brain, hold-out 20%: 100 images"
    assert [line.split()[:3] for line in lines[2:7]] == [
        ["1", "logreg", "block5_pool"],
        ["2", "=", "svm"],
        ["2", "=", "knn"],
        ["4", "majority", "block5_pool"],
        ["-", "?", "empty"],
    ]
    assert "98.0 (93.0-102.0)" in lines[2]
    assert (
        "=  no difference from the best of its test set is shown (accuracy: paired test"
        in result.stdout
    )
    assert "?  not tested against the best" in result.stdout


def test_where_less_is_better_the_least_is_first(tmp_path: Path) -> None:
    for head, brier in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        add_run(tmp_path, head, 3, brier=brier, log_loss=brier)
    for metric in ("brier", "log_loss"):
        assert [head for head, _, _ in places(tmp_path, metric)[0]] == ["b", "c", "a"]


def test_clean_scores_rank_by_images_without_relatives(tmp_path: Path) -> None:
    add_run(
        tmp_path, "knows", 40, leaked=20, clean_accuracy=0.75
    )  # its first 20 errors are on what it was fitted on
    add_run(tmp_path, "good", 22, clean_accuracy=0.975)
    add_run(tmp_path, "few", 1, leaked=95, clean_accuracy="")
    assert [head for head, _, _ in places(tmp_path)[0]] == ["few", "good", "knows"]
    clean = [[("good", 1, "best"), ("knows", 2, "worse"), ("few", None, "untested")]]
    assert places(tmp_path, "clean_accuracy") == clean
    text = show(tmp_path, "--sort", "clean_accuracy").stdout
    assert "clean accuracy (95 %)" in text.splitlines()[1]
    assert text.splitlines()[1].count("clean") == 1
    # The two are compared on the 80 images that neither knows: 2 against 20 errors.
    good, knows = json.loads(show(tmp_path, "--sort", "clean_accuracy", "--format", "json").stdout)[
        :2
    ]
    assert knows["p_vs_best"] == pytest.approx(2 * 0.5**18, rel=1e-6)
    assert good["clean_accuracy"] == 0.975


def test_a_run_that_is_better_on_the_shared_clean_images_is_not_called_worse(
    tmp_path: Path,
) -> None:
    # On the 90 images that are clean for both, a has 15 errors and b none, whatever their own clean
    # images say.
    add_run(tmp_path, "a", 25, clean_accuracy=0.75)
    add_run(tmp_path, "b", 0, leaked=10, clean_accuracy=0.7)
    assert places(tmp_path, "clean_accuracy") == [[("a", 1, "best"), ("b", 2, "untested")]]
    shown = show(tmp_path, "--sort", "clean_accuracy").stdout
    assert (
        "?  not tested against the best: predictions are missing, or the score is not defined; "
        "or too few" in shown
    )
    assert "or the best has the worse score on them" in shown
    _, second = json.loads(show(tmp_path, "--sort", "clean_accuracy", "--format", "json").stdout)
    assert (second["indistinguishable"], second["p_vs_best"]) == (None, None)
    add_run(tmp_path, "c", 24, clean_accuracy=0.65)  # better there, too, but that may be chance
    assert places(tmp_path, "clean_accuracy")[0][2] == ("c", 3, "equal")


def test_runs_whose_common_clean_images_are_too_few_are_not_tested(tmp_path: Path) -> None:
    for head, n_leaked in (("a", 95), ("b", 0)):
        add_run(tmp_path, head, 1, leaked=n_leaked)
    assert [standing for _, _, standing in places(tmp_path, "clean_accuracy")[0]] == [
        "best",
        "untested",
    ]
    assert [standing for _, _, standing in places(tmp_path)[0]] == ["best", "equal"]


def test_scores_of_different_positive_classes_are_not_ranked_together(
    make_store: MakeStore, tmp_path: Path
) -> None:
    """The sensitivity for one class is the specificity for the other, of one and the same head."""
    store = make_store("a.h5", ["lesion"] * 40 + ["no_lesion"] * 20)
    fit = ["fit-classifier", store, "--leaderboard", tmp_path / "leaderboard.csv"]
    for more in ([], ["--positive", "no_lesion"]):
        command = [*map(str, fit), "--model", "naive-bayes", "--search", "none", *more]
        assert CliRunner().invoke(cli, command).exit_code == 0
    of_class = ["sensitivity", "specificity", "ppv", "npv", "f1", "average_precision", "roc_auc"]
    for metric in (*of_class, "clean_sensitivity"):
        lesion, other = sorted(
            json.loads(show(tmp_path, "--sort", metric, "--format", "json").stdout),
            key=lambda record: record["positive"],
        )
        assert (lesion["positive"], other["positive"]) == ("lesion", "no_lesion")
        assert (lesion["sensitivity"], lesion["ppv"]) == (other["specificity"], other["npv"])
        assert lesion["sensitivity"] != other["sensitivity"]
        ranks = [(record["rank"], record["p_vs_best"]) for record in (lesion, other)]
        # Nothing is clean in a store without fingerprints.
        assert ranks == [(None if metric.startswith("clean") else 1, None)] * 2, metric
        for output in ("table", "markdown"):
            shown = show(tmp_path, "--sort", metric, "--format", output).stdout
            assert {", positive class lesion", ", positive class no_lesion"} == set(
                re.findall(r"12 images(, positive class \w+)", shown)
            )
    # The accuracy is the same question for both: one ranking, with the class beside each row.
    records = json.loads(show(tmp_path, "--format", "json").stdout)
    assert [record["rank"] for record in records] == [1, 1]
    for output, width in (("table", "80"), ("table", "160"), ("markdown", "80")):
        invoke = CliRunner(env={"COLUMNS": width}).invoke
        shown = invoke(cli, ["leaderboard", str(tmp_path / "leaderboard.csv"), "--format", output])
        assert re.search(r"\bpositive\b", shown.stdout)
        assert re.search(r"\blesion\b", shown.stdout)
        assert re.search(r"\bno_lesion\b", shown.stdout)


def test_heads_that_know_different_classes_are_not_ranked_together(tmp_path: Path) -> None:
    """With more classes, scores are means over them: over other ones, they say something else."""
    for head, classes in (("three", '["a", "b", "c"]'), ("four", '["a", "b", "c", "d"]')):
        add_run(tmp_path, head, 3, classes=classes)
    assert {len(ranked) for ranked in places(tmp_path, "specificity")} == {1}
    assert [len(ranked) for ranked in places(tmp_path)] == [2]


def test_the_largest_test_set_comes_first(tmp_path: Path) -> None:
    add_run(tmp_path, "small", 1, n=20, test_id="a" * 12, time="2026-11-24T12:00:00+00:00")
    add_run(tmp_path, "late", 1, n=20, test_id="b" * 12, time="2026-11-25T12:00:00+00:00")
    add_run(tmp_path, "large", 30, n=60, test_id="c" * 12)
    # The same size and name, other images: no comparison.
    assert places(tmp_path) == [
        [("large", 1, "best")],
        [("late", 1, "best")],
        [("small", 1, "best")],
    ]
    titles = [line for line in show(tmp_path).stdout.splitlines() if line.startswith("brain")]
    assert titles == ["brain, hold-out 20%: 60 images", *["brain, hold-out 20%: 20 images"] * 2]


def test_rows_of_schema_1_are_ranked_by_the_columns_that_they_have(tmp_path: Path) -> None:
    shutil.copy(GOLDEN, tmp_path / "leaderboard.csv")
    assert places(tmp_path) == [
        [("logreg", 1, "best")],
        [("logreg", 1, "best"), ("majority", 2, "untested")],
    ]
    for arguments in (
        (),
        ("--format", "markdown"),
        ("--format", "csv"),
        ("--format", "json"),
        ("--sort", "f1"),
    ):
        assert show(tmp_path, *arguments).exit_code == 0
    shown = show(tmp_path).stdout
    assert "three classes, odd, hold-out 20%: 18 images" in shown
    assert "68.8 (44.4-85.8)" in shown
    assert 'grade "?" or "+": unknown' in shown


@pytest.mark.parametrize("golden", ALL_GOLDEN)
def test_every_schema_is_shown_in_every_format(tmp_path: Path, golden: Path) -> None:
    shutil.copy(golden, tmp_path / "leaderboard.csv")
    rows = read_rows(golden)
    records = json.loads(show(tmp_path, "--format", "json").stdout)
    again = list(csv.DictReader(io.StringIO(show(tmp_path, "--format", "csv").stdout)))
    for shown in (records, again):
        assert sorted((row["run_id"], row["test_id"]) for row in shown) == sorted(
            (row["run_id"], row["test_id"]) for row in rows
        )
    assert {row["schema"] for row in records} == {SCHEMA}
    assert all(
        tuple(row) == (*COLUMNS, "rank", "p_vs_best", "indistinguishable")
        for row in (*records, *again)
    )
    speeds = {(row["epochs"], row["train_images_per_second"]) for row in records}
    assert speeds >= {(None, None)}
    assert len(speeds) == (2 if golden == GOLDEN_4 else 1)
    for output in ("table", "markdown"):
        assert all(row["head"] in show(tmp_path, "--format", output).stdout for row in rows)


@pytest.mark.parametrize(
    ("columns", "expected", "explained"),
    [
        ({"n_test_leaking": "", "n_test_clean": ""}, "?", True),
        ({"n_test_leaking": "", "n_test_clean": "", "n_test_in_train": 4}, "4+ of 100", True),
        ({"n_test_leaking": 0, "n_test_clean": 0}, "?", True),
        ({"n_test_leaking": 4, "n_test_clean": 90}, "4+ of 100", True),
        ({"n_test_leaking": 4, "n_test_clean": 96}, "4 of 100", False),
        ({"n_test_leaking": 0, "n_test_clean": 100}, "pictures parted", False),
    ],
)
def test_unknown_leaks_are_not_shown_as_none(
    tmp_path: Path, columns: dict[str, Any], expected: str, explained: bool
) -> None:
    add_run(tmp_path, "a", 1, **columns)
    shown = show(tmp_path).stdout
    assert re.search(rf" {re.escape(expected)} +1\.2 ", shown)
    assert ('grade "?" or "+"' in shown) == explained


def test_broken_predictions_are_warned_of_and_missing_ones_are_not(tmp_path: Path) -> None:
    add_run(tmp_path, "best", 0)
    gone, broken, changed, odd = (
        add_run(tmp_path, head, 1) for head in ("gone", "broken", "other", "odd")
    )
    shutil.rmtree(tmp_path / "runs" / gone)
    (tmp_path / "runs" / broken / "predictions.csv").write_text("x\n")
    path = tmp_path / "runs" / changed / "predictions.csv"
    path.write_text(
        path.read_text().replace("healthy/2.png", "healthy/2000.png").replace(f"{2:064x}", "f" * 64)
    )
    board = tmp_path / "leaderboard.csv"
    board.write_text(board.read_text().replace(odd, "../../etc"))
    assert {standing for _, _, standing in places(tmp_path)[0]} == {"best", "untested"}
    result = show(tmp_path)
    assert result.exit_code == 0
    warnings = result.stderr.splitlines()
    assert len(warnings) == 3
    assert (
        "broken-000001/predictions.csv: not a file of predictions: no column test_id"
        in result.stderr
    )
    assert "have the same test id 0123456789ab but not the same images" in result.stderr
    assert "run_id '../../etc': cannot be the name of a folder; correct it in the" in result.stderr


def test_runs_may_be_elsewhere(tmp_path: Path) -> None:
    for head in ("a", "b"):
        add_run(tmp_path, head, 1)
    (tmp_path / "runs").rename(tmp_path / "kept")
    assert "2 ?" in show(tmp_path).stdout or "1 ?" in show(tmp_path).stdout
    assert "1 =" in show(tmp_path, "--runs", str(tmp_path / "kept")).stdout


def test_the_start_of_a_whole_network_is_shown(tmp_path: Path) -> None:
    imagenet = '{"weights": "imagenet"}'
    for head, text in (("a", imagenet), ("b", "[1]"), ("c", "no JSON"), ("d", "[" * 9999)):
        add_run(tmp_path, head, 1, hyperparameters=text)
    shown = show(tmp_path).stdout
    assert "a, imagenet  block5_pool" in shown
    assert re.search(r" b +block5_pool", shown)
    assert re.search(r" c +block5_pool", shown)
    assert re.search(r" d +block5_pool", shown)


def test_leaks_and_random_weights_are_marked(tmp_path: Path) -> None:
    add_run(tmp_path, "a", 1)
    assert "leaking:" not in show(tmp_path).stdout
    add_run(
        tmp_path, "b", 1, leaked=7, weights="random, seed 3", calibration="sigmoid", threshold=0.31
    )
    shown = show(tmp_path).stdout
    assert "b, sigmoid, at 0.31" in shown
    assert "block5_pool avg, random" in shown
    assert (
        "leaking: test images have a relative among the training images; a score on them says "
        "nothing" in shown
    )
    assert 'grade "?"' not in shown
    assert (
        "clean: on test images without a relative in training (grade: pictures parted); "
        '"-" if these are too few or unknown' in shown
    )
    assert "clean accuracy (95 %)" in shown
    assert re.search(
        r"b, sigmoid, .* 99\.0 \(94\.0-103\.0\) +99\.0 \(94\.0-103\.0\) .* 7 of 100 ", shown
    )
    add_run(tmp_path, "c", 1, leaked=7, n_test_leaking="", **dict.fromkeys(CLEAN_COLUMNS, ""))
    shown = show(tmp_path).stdout
    assert (
        'grade "?" or "+": unknown, or unknown for some images; older versions, and stores made '
        "by them, notice byte-identical copies only" in shown
    )
    assert re.search(r" c +block5_pool avg +99\.0 \(94\.0-103\.0\) +- .* 7\+ of 100 ", shown)
    assert "random: the backbone's weights are random" in shown


def test_csv_and_json_have_all_columns_and_the_ranks(tmp_path: Path) -> None:
    add_run(tmp_path, "logreg", 2)
    add_run(tmp_path, "=svm", 40, run_id="x", mcc=-0.25)
    text = show(tmp_path, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == (*COLUMNS, "rank", "p_vs_best", "indistinguishable")
    assert [(row["head"], row["rank"], row["indistinguishable"]) for row in rows] == [
        ("logreg", "1", "yes"),
        ("'=svm", "2", "no"),
    ]
    assert float(rows[1]["p_vs_best"]) < 1e-6
    assert rows[1]["mcc"] == "-0.250000"
    first, second = json.loads(show(tmp_path, "--format", "json").stdout)
    assert (first["rank"], first["p_vs_best"], first["indistinguishable"]) == (1, None, True)
    assert (second["head"], second["mcc"], second["n_test"], second["threshold"]) == (
        "=svm",
        -0.25,
        100,
        None,
    )
    assert (second["hyperparameters"], second["classes"]) == ({"C": 1.0}, ["healthy", "tumour"])
    assert second["indistinguishable"] is False


def test_columns_of_networks_are_empty_for_heads_on_features(tmp_path: Path) -> None:
    place = COLUMNS.index("fit_seconds")
    assert COLUMNS[place + 1 : place + 3] == ("epochs", "train_images_per_second")
    add_run(tmp_path, "logreg", 2)
    add_run(tmp_path, "cnn", 40, epochs=12, train_images_per_second=np.float64(1234.5))
    rows = list(csv.DictReader(io.StringIO(show(tmp_path, "--format", "csv").stdout)))
    cells = [("", ""), ("12", "1234.500000")]
    assert [(row["epochs"], row["train_images_per_second"]) for row in rows] == cells
    assert [
        (row["epochs"], row["train_images_per_second"])
        for row in read_rows(tmp_path / "leaderboard.csv")
    ] == cells
    records = json.loads(show(tmp_path, "--format", "json").stdout)
    assert [(row["epochs"], row["train_images_per_second"]) for row in records] == [
        (None, None),
        (12, 1234.5),
    ]
    assert type(records[1]["epochs"]) is int
    for output in ("table", "markdown"):  # which have no column of them
        assert "epochs" not in show(tmp_path, "--format", output).stdout
        assert "1234" not in show(tmp_path, "--format", output).stdout


def test_markdown_is_a_table_for_a_paper(tmp_path: Path) -> None:
    parted = {"grade": "patients parted", "n_test_leaking": 0, "n_test_clean": 100}
    add_run(tmp_path, "logreg", 2, n_test_groups=90, **parted)
    add_run(tmp_path, "lda", 4, **parted | {"roc_auc": 0.9, "roc_auc_low": 0.8})
    add_run(tmp_path, "knn", 6, **parted | {"roc_auc_low": 0.8, "roc_auc_high": 0.95})
    lines = show(tmp_path, "--format", "markdown").stdout.splitlines()
    assert lines[2] == (
        "| rank | head | features | n (groups) | accuracy (95 %) | AUC (95 %) | sens. | spec. "
        "| grade |"
    )
    assert lines[4].startswith("| 1 | logreg | block5_pool avg | 100 (90) | 98.0 (93.0-102.0) | ")
    assert lines[4].endswith(" | patients parted |")
    assert (
        "- (95 %): 95 % interval; its units are groups, which are copies of a picture or images of "
        "a patient (accuracy: Wilson's score; AUC: DeLong's variance)"
    ) in lines
    assert (
        "- patients parted: no test image has a relative in training, and the patient of every "
        "image is known"
    ) in lines
    by_mcc = show(tmp_path, "--format", "markdown", "--sort", "mcc").stdout
    assert "(MCC: bootstrap of groups; accuracy: Wilson's score; AUC" in by_mcc


def test_markdown_shows_names_and_does_not_obey_them(tmp_path: Path) -> None:
    add_run(tmp_path, "logreg", 2, test_set="a|b <img src=x>")
    lines = show(tmp_path, "--format", "markdown").stdout.splitlines()
    assert lines[0] == "**a\\|b \\<img src=x\\>, hold-out 20%: 100 images**"
    assert lines[3].startswith("| --- | --- | --- | ---: | ")
    assert len({line.count(" | ") for line in lines[2:5]}) == 1


@given(st.text(alphabet="ab _*~`|<>[]()!\\&#;$:/.w\n\x1b^=+-'\"", max_size=20))
@example("WWW.a.b http://a.b &lt; ![a](b) __a__ ~~a~~ $a$ <b> | c")
def test_a_renderer_of_markdown_shows_any_text_as_it_is(text: str) -> None:
    cell = as_text(f"a{text}b")
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    rendered = renderer.render(f"|{cell}|x|\n|-|-|")
    shown = re.search(r"<th>(.*)</th>\n<th>x</th>", rendered)
    assert shown is not None, rendered
    assert html.unescape(shown[1]) == printable(f"a{text}b")
    # Some renderers make formulas and links of these, which this one does not.
    assert not re.search(r"(?<!\\)\$|(?<!\\)://|www\.", cell, re.IGNORECASE)


@pytest.mark.parametrize("width", [80, 110, 210])
def test_a_table_has_as_many_columns_as_there_is_room(
    tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    add_run(tmp_path, "a-head-of-a-very-long-name-indeed", 2, n_test_groups=90)
    add_run(tmp_path, "logreg", 2)
    out = io.StringIO()
    monkeypatch.setattr(
        "freezeframe.classify.commands.leaderboard.console", lambda: Console(width=width, file=out)
    )
    assert show(tmp_path).exit_code == 0
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "98.0 (93.0-102.0)" in shown
    assert "pictures parted" in shown
    assert ("fit s" in shown, "50.0 (50.0-50.0)" in shown) == (width > 80, width > 110)
    assert ("2.5 MB" in shown, "20261124-120000-logreg-000002" in shown) == (
        width > 110,
        width > 110,
    )


def test_clean_scores_find_room_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    add_run(
        tmp_path,
        "a-head-of-a-very-long-name-indeed",
        2,
        n=253,
        leaked=252,
        weights="random, seed 0",
    )
    out = io.StringIO()
    monkeypatch.setattr(
        "freezeframe.classify.commands.leaderboard.console", lambda: Console(width=80, file=out)
    )
    assert show(tmp_path).exit_code == 0
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"accuracy \(95 %\) +clean +grade", shown)
    assert re.search(r"99\.2 \(94\.2-103\.2\) +99\.2 +leaking", shown)


def test_only_the_best_rows_are_shown_without_all(tmp_path: Path) -> None:
    for number in range(25):
        add_run(tmp_path, f"head{number}", number)
    assert "100 images, the best 20 of 25 rows (--all shows all)" in show(tmp_path).stdout
    assert show(tmp_path).stdout.count("block5_pool") == 20
    assert show(tmp_path, "--all").stdout.count("block5_pool") == 25
    assert len(json.loads(show(tmp_path, "--format", "json").stdout)) == 25


def test_control_characters_are_spelled_out(tmp_path: Path) -> None:
    bad = "\x1b[31mred\n"
    add_run(tmp_path, bad, 1, run_id="x", layer=bad, test_set=bad, split=bad, weights=bad)
    for arguments in ((), ("--format", "markdown"), ("--format", "json")):
        assert "\x1b" not in show(tmp_path, *arguments).output
    assert "\\x1b[31mred\\n" in show(tmp_path).stdout


def test_sort_takes_every_metric_and_nothing_else(tmp_path: Path) -> None:
    add_run(tmp_path, "a", 1)
    for name in (*METRIC_NAMES, *CLEAN_NAMES, "auc", "AUC"):
        assert show(tmp_path, "--sort", name).exit_code == 0
    assert "AUC (95 %)" in show(tmp_path, "--sort", "auc").stdout.splitlines()[1]
    result = show(tmp_path, "--sort", "beauty")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --sort must be one of accuracy, balanced_accuracy, ")


def test_an_empty_leaderboard_is_no_error(tmp_path: Path) -> None:
    append_rows(tmp_path / "leaderboard.csv", [])
    assert show(tmp_path).stdout == "no runs yet; fit-classifier appends them\n"
    assert show(tmp_path, "--format", "csv").stdout.startswith("schema,run_id,")
    assert json.loads(show(tmp_path, "--format", "json").stdout) == []
