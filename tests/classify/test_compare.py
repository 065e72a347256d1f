"""Files of predictions, and the command that compares runs."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from freezeframe import FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.runs.leaderboard import append_rows, read_rows
from freezeframe.classify.runs.prediction_file import read_predictions, write_predictions
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.metrics import METRIC_NAMES
from freezeframe.classify.scores.paired.paired_tests import holm
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.weighted_metrics import point_values
from freezeframe.data.output.csv import csv_lines, restore_text

from ..conftest import MakeStore

TWO = ("healthy", "tumour")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def evaluation(
    seed: int = 0,
    *,
    n: int = 60,
    classes: tuple[str, ...] = TWO,
    repeats: int = 1,
    noise: float = 1.0,
    test_id: str = "0123456789ab",
    test_set: str = "navoneel",
    leaked: int = 0,
) -> Evaluation:
    """Make the evaluation of a noisy head on n images; one test id means the same images."""
    y = np.arange(n) % len(classes)
    logits = np.random.default_rng(seed).normal(size=(repeats, n, len(classes))) * noise
    logits[:, np.arange(n), y] += 2
    proba = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    positive = len(classes) - 1 if len(classes) == 2 else None
    predictions = Predictions.of(y, proba, groups=np.arange(n) // 2, positive=positive)
    paths = [f"{classes[number]}/{i}.png" for i, number in enumerate(y)]
    sha256s = [f"{i + len(test_set):064x}" for i in range(n)]
    related = np.where(
        np.arange(n) < leaked, np.array(["bytes", "near", "group"])[np.arange(n) % 3], ""
    )
    return Evaluation(test_id, test_set, "external", classes, paths, sha256s, predictions, related)


def same(first: Evaluation, second: Evaluation) -> bool:
    """Return True if everything is equal, probabilities to the last bit."""
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in ((first, second), (first.predictions, second.predictions))
        for name in vars(a)
        if name != "predictions"
    )


ODD = ('=HYPERLINK("http://x")', "a,b\r\n", "-2", "'@", "größe 📷")


@pytest.mark.parametrize(
    ("classes", "repeats"), [(TWO, 1), (TWO, 3), (("a", "b", "c"), 2), (ODD, 1)]
)
def test_predictions_are_read_back_to_the_last_bit(
    tmp_path: Path, classes: tuple[str, ...], repeats: int
) -> None:
    first = evaluation(classes=classes, repeats=repeats, leaked=7)
    second = evaluation(
        1, classes=classes, n=20, test_id="ffffffffffff", test_set="=cmd|' /C calc'!A0"
    )
    chosen = 1 - first.predictions.predicted.clip(0, 1)  # as a threshold may choose it
    first = replace(first, predictions=replace(first.predictions, predicted=chosen))
    write_predictions(tmp_path / "predictions.csv", [first, second])
    for path in (tmp_path, tmp_path / "predictions.csv"):
        read_back = read_predictions(path)
        assert list(read_back) == [first.test_id, second.test_id]
        assert same(read_back[first.test_id], first)
        assert same(read_back[second.test_id], second)
    lines = csv_lines((tmp_path / "predictions.csv").read_bytes())
    lines[0] = list(map(restore_text, lines[0]))
    assert lines[0] == [
        *(
            "test_id",
            "test_set",
            "split",
            "positive",
            "repeat",
            "path",
            "sha256",
            "group",
            "label",
            "predicted",
        ),
        *(f"p_{name}" for name in classes),
        "in_training",
        "relative",
    ]
    assert len(lines) == 1 + 60 * repeats + 20
    assert not any(cell[:1] in set("=@\r\n") for line in lines for cell in line)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=12))
def test_no_order_of_probabilities_is_lost(
    tmp_path_factory: pytest.TempPathFactory, proba: list[float]
) -> None:
    """Six digits would tie probabilities that differ by less, and change the AUC."""
    p = np.array(proba)
    n = len(p)
    predictions = Predictions.of(np.arange(n) % 2, np.column_stack([1 - p, p]), positive=1)
    written = replace(evaluation(n=n), predictions=predictions)
    folder = tmp_path_factory.mktemp("run")
    write_predictions(folder / "predictions.csv", [written])
    (read_back,) = read_predictions(folder).values()
    assert np.array_equal(read_back.predictions.proba, predictions.proba)
    assert point_values(read_back.predictions, ["roc_auc"]) == point_values(
        predictions, ["roc_auc"]
    )


def test_a_file_of_predictions_is_not_overwritten(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", [evaluation()])
    with pytest.raises(FileExistsError):
        write_predictions(tmp_path / "predictions.csv", [evaluation()])
    message = "navoneel, external: these images are tested twice; give the store once"
    with pytest.raises(FreezeframeError, match=message):
        write_predictions(tmp_path / "twice.csv", [evaluation(), evaluation(1)])
    assert not (tmp_path / "twice.csv").exists()


LINE = "0123456789ab,navoneel,external,tumour,1,tumour/1.png,aa,0,tumour,tumour,0.1,0.9,no\n"
OTHER = LINE.replace("/1.png", "/2.png")
HEADER = (
    "test_id,test_set,split,positive,repeat,path,sha256,group,label,predicted,"
    "p_healthy,p_tumour,in_training\n"
)
"""Header of a file of an older version, without the column of relatives."""


def test_files_with_further_columns_and_any_order_of_lines_are_read(tmp_path: Path) -> None:
    """Further columns, any order of lines, rounded probabilities, classes without images."""
    path = tmp_path / "p.csv"
    lines = (OTHER.replace(",1,t", ",2,t"), LINE, OTHER, LINE.replace(",1,t", ",2,t"))
    path.write_text("\ufeffnote," + HEADER + "".join(f"x,{line}" for line in lines))
    (read_back,) = read_predictions(path).values()
    assert read_back.paths == ["tumour/2.png", "tumour/1.png"]
    assert read_back.predictions.proba.shape == (2, 2, 2)


def test_a_file_of_an_older_version_knows_which_images_are_in_training(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER + LINE + OTHER.replace(",no", ",yes"))
    (read_back,) = read_predictions(path).values()
    assert read_back.relatives.tolist() == ["unknown", "bytes"]
    assert (read_back.in_training.tolist(), read_back.clean.tolist()) == (
        [False, True],
        [False, False],
    )
    assert (read_back.leaking.tolist(), read_back.unknown.tolist()) == (
        [False, True],
        [True, False],
    )
    assert not read_back.looked_for
    path.write_text(
        HEADER.replace("\n", ",relative\n")
        + LINE.replace("\n", ",near\n")
        + OTHER.replace("\n", ",\n")
    )
    (read_back,) = read_predictions(path).values()
    assert read_back.relatives.tolist() == ["near", ""]
    assert read_back.looked_for


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column test_id, test_set, .*, all of which fit-classifier writes; fit again"),
        (
            "path,sha256,label,predicted,p_a,p_b,in_training\n",
            "no column test_id, test_set, split, positive, repeat",
        ),
        (HEADER, "it has no lines"),
        (HEADER.replace("p_tumour", "p_healthy") + LINE, "two columns have one name"),
        (HEADER.replace("p_tumour", "other") + LINE, "fewer than two columns p_CLASS"),
        (HEADER + LINE + LINE[:40], "6 cells instead of 13 in line 3"),
        (HEADER + LINE.replace("\n", ",\n"), "14 cells instead of 13 in line 2"),
        (HEADER + LINE + LINE, "the image 'tumour/1.png' is listed twice in line 3"),
        (
            HEADER + LINE.replace(",tumour,tumour,", ",glioma,tumour,"),
            "label is 'glioma' in line 2",
        ),
        (HEADER + LINE.replace(",tumour,tumour,", ",tumour,,"), "predicted is '' in line 2"),
        (HEADER + LINE.replace(",tumour,1,", ",glioma,1,"), "positive is 'glioma' in line 2"),
        (
            HEADER + LINE + OTHER.replace(",tumour,1,", ",healthy,1,"),
            "positive is 'tumour' in line 2, but 'healthy' in line 3",
        ),
        (
            HEADER + LINE + OTHER.replace("external", "test"),
            "split is 'external' in line 2, but 'test' in line 3",
        ),
        (
            HEADER + LINE.replace("0.9", "nan"),
            "probabilities are not numbers from 0 to 1 .* in line 2",
        ),
        (HEADER + LINE + OTHER.replace("0.9", "1.9"), "probabilities are not .* in line 3"),
        (HEADER + LINE.replace("0.9", "0.3"), "probabilities are not .* with a sum of 1 in line 2"),
        (HEADER + LINE.replace("0.1", "-0.1"), "probabilities are not"),
        (HEADER + LINE.replace("0.1", "much"), "probabilities are not"),
        (HEADER + LINE.replace(",0,", ",-1,"), "group is '-1' in line 2"),
        (HEADER + LINE.replace(",0,", f",{'9' * 5000},"), "group is '9{40}' in line 2"),
        (HEADER + LINE.replace(",1,", ",one,"), "repeat is 'one' in line 2"),
        (
            HEADER + LINE + OTHER + LINE.replace(",1,", ",2,"),
            "not every repeat has all images in line 4",
        ),
        (
            HEADER + LINE + LINE.replace(",1,", ",2,").replace(",tumour,t", ",healthy,t"),
            "label is 'tumour' in line 2, but 'healthy' in line 3",
        ),
        (
            HEADER + LINE + LINE.replace(",1,", ",2,").replace("aa", "bb"),
            "sha256 is 'aa' in line 2, but 'bb' in line 3",
        ),
        (HEADER + LINE.replace(",no", ",perhaps"), "in_training is 'perhaps' in line 2"),
        (
            HEADER.replace("\n", ",relative\n") + LINE.replace("\n", ",cousin\n"),
            "relative is 'cousin' in line 2",
        ),
        (HEADER + LINE.replace("0123456789ab", ""), "test_id is empty in line 2"),
    ],
)
def test_what_is_no_file_of_predictions_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(FreezeframeError, match=rf"p\.csv: not a file of predictions: .*{message}"):
        read_predictions(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with pytest.raises(
        FreezeframeError, match=r"predictions\.csv: no predictions here; fit-classifier makes them"
    ):
        read_predictions(tmp_path)
    for content in (b"\xff\xfe", HEADER.encode() + b'"open', b'"x"y,\n'):
        path.write_bytes(content)
        with pytest.raises(
            FreezeframeError, match=r"predictions\.csv: cannot be read as predictions"
        ):
            read_predictions(tmp_path)


def shuffled(original: Evaluation, seed: int = 0) -> Evaluation:
    """Reorder images and classes, renumber groups and move files of an evaluation."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(original.paths)), rng.permutation(len(original.classes))
    predictions, inverse = original.predictions, np.argsort(columns)
    return replace(
        original,
        classes=tuple(original.classes[number] for number in columns),
        paths=[f"moved/{original.paths[row]}" for row in rows],
        sha256s=[original.sha256s[row] for row in rows],
        relatives=original.relatives[rows],
        predictions=Predictions(
            inverse[predictions.y[rows]],
            predictions.proba[:, rows][:, :, columns],
            inverse[predictions.predicted[:, rows]],
            predictions.groups[rows] + 5,
            None if predictions.positive is None else int(inverse[predictions.positive]),
        ),
    )


@pytest.mark.parametrize("classes", [TWO, ("a", "b", "c")])
def test_rows_are_paired_by_image_and_class_whatever_their_order(classes: tuple[str, ...]) -> None:
    original = evaluation(classes=classes, repeats=2)
    copies = replace(
        original, sha256s=["aa", "aa", *original.sha256s[2:]]
    )  # the same bytes, labelled differently
    for reference in (original, copies):
        got = shuffled(reference).like(reference)
        for name in vars(got):
            assert np.array_equal(getattr(got, name), getattr(reference.predictions, name)), name


def test_other_images_under_the_same_test_id_are_refused() -> None:
    original = evaluation()
    for changed in (
        replace(original, sha256s=["0" * 64, *original.sha256s[1:]]),
        replace(original, predictions=replace(original.predictions, y=1 - original.predictions.y)),
        replace(original, classes=("healthy", "glioma")),
        evaluation(n=30),
    ):
        with pytest.raises(
            FreezeframeError, match="the same test id 0123456789ab but not the same images"
        ):
            changed.like(original)


# The command.


def add(head: str, *evaluations: Evaluation, number: int = 0, **columns: str) -> str:
    """Write a run: its predictions and a row for each test set; return its id."""
    run_id = f"20261124-12000{number}-{head}-abcdef"
    folder = Path("runs", run_id)
    folder.mkdir(parents=True)
    write_predictions(folder / "predictions.csv", evaluations)
    rows = [
        {
            "run_id": run_id,
            "head": head,
            "layer": "block5_pool",
            "pooling": "avg",
            "test_id": tested.test_id,
        }
        | columns
        for tested in evaluations
    ]
    append_rows("leaderboard.csv", rows)
    return run_id


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def fails(message: str, code: int, *arguments: object) -> None:
    result = compare(*arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1)
    assert re.search(f"^error: .*{message}", result.stderr), result.stderr


def test_two_runs_and_a_bad_one(tmp_path: Path) -> None:
    """The good ones differ by noise; the bad one guesses."""
    good, like = evaluation(0, n=300), evaluation(1, n=300)
    guesses = evaluation(2, n=300, noise=50, leaked=9)
    ids = [
        add(head, evaluated, number=i)
        for i, (head, evaluated) in enumerate([("knn", guesses), ("svm", good), ("mlp", like)])
    ]
    result = compare(*ids)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "navoneel, external: 300 images, positive class tumour"
    assert [line.split()[0] for line in lines[2:11]] == ["accuracy"] * 3 + ["AUC"] * 3 + [
        "clean"
    ] * 3
    assert "grade" in lines[1]
    assert "pictures parted and leaking: 9 of 300" in lines[3]
    first = (
        "svm"
        if point_values(good.predictions)["accuracy"] > point_values(like.predictions)["accuracy"]
        else "mlp"
    )
    second = "mlp" if first == "svm" else "svm"
    assert [line.split()[1:3] for line in lines[2:5]] == [
        [first, second],
        [first, "knn"],
        [second, "knn"],
    ]
    assert re.fullmatch(
        rf"on navoneel, no difference between {first} and {second} is shown, nor are they shown to "
        r"be equivalent within 2 points: too few images to say \(accuracy, p = [01]\.\d+\)",
        lines[12],
    )
    assert lines[13] == f"on navoneel, {first} is better than knn (accuracy, p < 0.001)"
    assert lines[14] == f"on navoneel, {second} is better than knn (accuracy, p < 0.001)"
    assert (
        f"on the 291 clean images of navoneel, {first} is better than knn (clean accuracy, p < "
        f"0.001)" in lines[15:]
    )
    assert [re.findall(r"  (300|291) ", line) for line in lines[2:11]] == [["300"]] * 6 + [
        ["291"]
    ] * 3
    assert result.stderr.startswith(
        "warning: 9 of 300 test images of navoneel, external have a relative among the training "
        "images of knn (3 the "
        "same bytes, 3 nearly the same picture, 3 the same group): a score on all of them says "
        "nothing about unseen "
        "images\n"
    )
    records = [
        record
        for record in json.loads(compare(*ids, "--format", "json").stdout)
        if "knn" in record["first_run"] or "knn" in record["second_run"]
    ]
    assert {(record["metric"], record["n_test"]) for record in records} == {
        ("accuracy", 300),
        ("roc_auc", 300),
        ("clean_accuracy", 291),
    }
    assert {record["first_leaking"] + record["second_leaking"] for record in records} == {9}
    assert {
        (record["metric"])
        for record in json.loads(compare(*ids, "--metric", "brier", "--format", "json").stdout)
    } == {"accuracy", "roc_auc", "brier", "clean_brier"}


def test_too_few_images_clean_for_all_runs_are_not_compared(tmp_path: Path) -> None:
    def leaking_rows(seed: int, from_: int) -> Evaluation:
        related = np.where((np.arange(60) >= from_) & (np.arange(60) < from_ + 30), "bytes", "")
        return replace(evaluation(seed), relatives=related)

    result = compare(add("svm", leaking_rows(0, 0)), add("mlp", leaking_rows(1, 26), number=1))
    assert result.exit_code == 0, result.output
    assert "clean" not in result.stdout
    assert (
        "warning: 4 of 60 test images of navoneel, external have no relative in the training of "
        "any run, as far as is known: too few to compare\n"
    ) in result.stderr


def test_a_class_without_images_clean_for_all_runs_is_named() -> None:
    def without_class(seed: int) -> Evaluation:
        result = evaluation(seed)
        related = np.where(result.predictions.y == 1, "bytes", "")
        return replace(result, relatives=related)

    result = compare(add("svm", without_class(0)), add("mlp", without_class(1), number=1))
    name = evaluation(0).classes[1]
    assert f", but none or too few of class {name}: not compared\n" in result.stderr


def test_predictions_of_older_versions_do_not_count_as_clean(tmp_path: Path) -> None:
    old, new = evaluation(0, n=90, noise=50), evaluation(1, n=90, leaked=9)
    ids = [add("svm", old), add("mlp", new, number=1)]
    path = Path("runs", ids[0], "predictions.csv")
    path.write_text(
        "".join(line.rpartition(",")[0] + "\n" for line in path.read_text().splitlines())
    )
    result = compare(*ids)
    assert result.exit_code == 0, result.output
    assert "clean" not in result.stdout
    assert "leaking: 9 of 90 and ?" in result.stdout
    assert (
        "warning: svm was fitted by an older version, which noticed only byte-identical copies: "
        "relatives of 90 of 90 test "
        "images of navoneel, external are unknown; fit it again\n"
    ) in result.stderr
    records = json.loads(compare(*ids, "--format", "json").stdout)
    assert {(record["first_leaking"], record["second_leaking"]) for record in records} == {(9, 0)}
    assert {(record["first_unknown"], record["second_unknown"]) for record in records} == {(0, 90)}


def test_images_with_unknown_relatives_are_not_compared_as_clean(tmp_path: Path) -> None:
    partly = replace(evaluation(0, n=90), relatives=np.where(np.arange(90) < 40, "unknown", ""))
    result = compare(add("svm", partly), add("mlp", evaluation(1, n=90, leaked=41), number=1))
    assert "on the 49 clean images of navoneel, " in result.stdout
    assert re.search(r" 49 +(leaking: 41 of 90 and \?|\? and leaking: 41 of 90) ", result.stdout)
    assert (
        "warning: relatives of 40 of 90 test images of navoneel, external among the "
        "training images of svm "
        "are unknown: its stores lack fingerprints of some images; run extract-features "
        "again, then fit it again\n"
    ) in result.stderr


def test_the_predictions_of_a_run_give_its_scores_again(make_store: MakeStore) -> None:
    store = make_store("a.h5", ["sick", "healthy"] * 60)
    fit = [
        "fit-classifier",
        str(store),
        "--model",
        "knn",
        "--model",
        "majority",
        "--cv",
        "3",
        "--repeats",
        "2",
    ]
    result = CliRunner().invoke(cli, fit)
    assert result.exit_code == 0, result.output
    rows = read_rows("leaderboard.csv")
    assert [row["head"] for row in rows] == ["knn", "majority"]
    for row in rows:
        read_back = read_predictions(Path("runs", row["run_id"]))[row["test_id"]]
        assert len(read_back.paths) == int(row["n_test"]) == 120
        scores = point_values(read_back.predictions)
        for name in METRIC_NAMES:
            assert scores[name] == pytest.approx(
                float(row[name] or "nan"), abs=1e-6, nan_ok=True
            ), name
    text = compare(*(row["run_id"] for row in rows)).stdout
    assert "knn is better than majority (accuracy, p" in text


def test_a_run_is_a_folder_or_an_id_or_its_beginning(tmp_path: Path) -> None:
    svm, mlp = add("svm", evaluation(0)), add("mlp", evaluation(1), number=1)
    want = compare(svm, mlp).stdout
    assert "A - B (95 %)" in want
    for first, second in (
        (f"runs/{svm}", f"runs/{mlp}/"),
        (svm[:15], mlp[:15]),
        (tmp_path / "runs" / svm, mlp),
    ):
        assert compare(first, second).stdout == want
    shutil.move("runs", "else")
    assert compare(svm, mlp, "--runs", "else").stdout == want
    Path("board").mkdir()
    shutil.move("leaderboard.csv", "board/l.csv")
    shutil.move("else", "board/runs")
    assert compare(svm, mlp, "--leaderboard", "board/l.csv").stdout == want
    assert (
        "no difference between " in compare(f"board/runs/{svm}", f"board/runs/{mlp}").stdout
    )  # without a leaderboard
    shutil.copy(f"board/runs/{mlp}/predictions.csv", "mine.csv")
    assert "mine" in compare(f"board/runs/{svm}/predictions.csv", "mine.csv").stdout
    shutil.copytree("board/runs", "board2")
    assert (
        f"board2/{svm}" in compare(f"board/runs/{svm}", f"board2/{svm}").stdout
    )  # two runs of one name


def test_runs_of_one_head_are_told_apart_by_features_or_id() -> None:
    first, second = add("svm", evaluation(0)), add("svm", evaluation(1), number=1, pooling="flat")
    third = add("svm", evaluation(2), number=2)
    assert "svm block5_pool flat" in compare(first, second).stdout
    assert first in compare(first, third).stdout


def test_runs_fitted_for_different_classes_are_compared_for_that_of_the_first() -> None:
    """Scikit-learn's recall of each class is the right value; the output names the class."""
    from sklearn.metrics import recall_score

    tumour, healthy = evaluation(0), evaluation(1)
    healthy = replace(healthy, predictions=replace(healthy.predictions, positive=0))
    ids = [add("svm", tumour), add("mlp", healthy, number=1)]
    for runs, name in ((ids, "tumour"), (ids[::-1], "healthy")):
        result = compare(*runs, "--metric", "sensitivity")
        assert f"navoneel, external: 60 images, positive class {name}" in result.stdout
        other = {"tumour": "mlp was scored for healthy", "healthy": "svm was scored for tumour"}
        assert result.stderr.splitlines()[:-1] == [
            f"warning: on navoneel, external, all runs are scored for {name}, as "
            f"{'svm' if name == 'tumour' else 'mlp'} was; in the leaderboard {other[name]}"
        ]
        json_text = compare(*runs, "--metric", "sensitivity", "--format", "json").stdout
        record = json.loads(json_text)[0]
        assert record["positive"] == name
        for place in ("first", "second"):
            tested = tumour if "svm" in record[f"{place}_run"] else healthy
            right = recall_score(
                tested.predictions.y, tested.predictions.predicted[0], pos_label=TWO.index(name)
            )
            assert record[place] == pytest.approx(right)


def test_heads_that_know_different_classes_are_not_called_changed() -> None:
    """A head of three classes, tested on images of two, has the test id of a head of two."""
    two = evaluation(0)
    proba = np.concatenate([two.predictions.proba * 0.9, np.full((1, 60, 1), 0.1)], axis=2)
    predictions = Predictions.of(two.predictions.y, proba, groups=two.predictions.groups)
    three = replace(two, classes=(*TWO, "unclear"), predictions=predictions)
    message = "know different classes, healthy, tumour and healthy, tumour, unclear"
    fails(message, 1, add("svm", two), add("mlp", three, number=1))


def test_errors_of_compare_are_one_line() -> None:
    svm, mlp = add("svm", evaluation(0)), add("mlp", evaluation(1), number=1)
    knn = add("knn", evaluation(0, test_id="f" * 12, test_set="edureka"), number=2)
    fails(
        rf"share no test images: {svm} on navoneel \(external, 60 images\), {knn} on edureka",
        1,
        svm,
        knn,
    )
    # The same images, with the class tumour under another name.
    renamed = replace(evaluation(0, test_id="e" * 12), classes=("healthy", "zed"))
    fails(
        "the runs were tested on the same images of navoneel, but these have other labels: "
        "healthy, tumour in svm and healthy, zed in rf; fit both with the same --classes",
        1,
        svm,
        add("rf", renamed, number=3),
    )
    fails("a comparison needs two runs, got only x; name another run", 2, "x")
    fails("'2026': is the beginning of 4 run ids, .*; type more of one", 2, "2026", svm)
    nothing = "'x': no folder or file has this name, and in "
    advice = "; give a run's folder, or a run id that `leaderboard --format csv` lists"
    fails(rf"{nothing}leaderboard\.csv no run id begins with it{advice}", 2, "x", svm)
    fails(
        rf"{nothing}none\.csv there are no runs{advice}", 2, "x", svm, "--leaderboard", "none.csv"
    )
    fails(f"{svm}: is named twice; give another run", 2, svm, f"runs/{svm}")
    fails("--metric must be one of accuracy, .*, got 'beauty'", 2, svm, mlp, "--metric", "beauty")
    fails("Missing argument", 2)
    shutil.rmtree(f"runs/{mlp}")
    fails(rf"runs/{mlp}: no predictions here", 1, svm, mlp)


@pytest.mark.parametrize("metric", ["f1", "brier", "auc", "mcc"])
def test_the_requested_metric_decides(metric: str) -> None:
    svm = add("svm", evaluation(0, n=200, noise=3.0))
    mlp = add("mlp", evaluation(1, n=200), number=1)
    result = compare(svm, mlp, "--metric", metric, "--format", "json")
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)
    named = {"auc": "roc_auc"}.get(metric, metric)
    assert [record["metric"] for record in records] == list(
        dict.fromkeys([named, "accuracy", "roc_auc"])
    )
    first = records[0]
    assert (first["first_run"], first["second_run"]) == (
        mlp,
        svm,
    )  # the better one first, also where less is better
    assert first["difference"] == pytest.approx(first["first"] - first["second"])
    assert (first["difference"] < 0) == (metric == "brier")
    assert "mlp is better than svm" in first["conclusion"]


def test_every_shared_test_set_is_compared_in_every_format(tmp_path: Path) -> None:
    def both(seed: int) -> tuple[Evaluation, Evaluation]:
        return evaluation(seed), evaluation(seed, n=20, test_id="f" * 12, test_set="=edureka|x")

    ids = [add("svm", *both(0)), add("mlp", *both(1), number=1), add("knn", *both(2), number=2)]
    shown = compare(*ids).stdout
    assert shown.index("navoneel, external: 60 images") < shown.index(
        "=edureka|x, external: 20 images"
    )
    rows = list(csv.DictReader(io.StringIO(compare(*ids, "--format", "csv").stdout)))
    records = json.loads(compare(*ids, "--format", "json").stdout)
    assert len(rows) == len(records) == 2 * 2 * 3  # test sets, metrics, pairs
    for row, record in zip(rows, records, strict=True):
        assert row.keys() == record.keys()
        assert float(row["p_holm"]) == record["p_holm"] >= record["p"]
    assert {row["test_set"] for row in rows} == {"navoneel", "'=edureka|x"}
    markdown = compare(*ids, "--format", "markdown").stdout.splitlines()
    assert markdown[2].startswith(
        "| metric | A | B | of A | of B | grade | A - B (95 %) | p | p (Holm) | A is | test |"
    )
    assert sum(line.startswith("| accuracy |") for line in markdown) == 6
    assert "- on =edureka\\|x, " in "\n".join(markdown)


def test_a_threshold_that_was_chosen_counts(tmp_path: Path) -> None:
    """The accuracy is that of the predicted classes in the file, not of the likeliest ones."""
    likeliest = evaluation(0)
    never = replace(
        likeliest,
        predictions=replace(
            likeliest.predictions, predicted=np.zeros_like(likeliest.predictions.predicted)
        ),
    )
    ids = [add("svm", likeliest), add("mlp", never, number=1)]
    accuracy, auc = json.loads(compare(*ids, "--format", "json").stdout)
    assert accuracy["second"] == 0.5
    assert accuracy["p"] < 0.001
    assert auc["difference"] == 0


def test_a_hostile_file_does_no_harm(tmp_path: Path) -> None:
    svm, mlp = add("svm", evaluation(0)), add("mlp", evaluation(1), number=1)
    for path in (Path("runs", run_id, "predictions.csv") for run_id in (svm, mlp)):
        path.write_text(path.read_text().replace("navoneel", "\x1b[31mnavoneel"))
    Path("runs", svm, "predictions.csv").write_text(
        Path("runs", svm, "predictions.csv").read_text().replace("navoneel", "\x1b[31mx")
    )
    for output in ("table", "markdown", "json"):
        assert "\x1b" not in compare(svm, mlp, "--format", output).output


def outcomes(a: Evaluation, b: Evaluation, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the compared metrics of two runs in one folder of their own, by name."""
    ids = [
        add(head, tested, number=place) for place, (head, tested) in enumerate([("a", a), ("b", b)])
    ]
    result = compare(*ids, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return {record["metric"]: record for record in json.loads(result.stdout)}


def differing(n: int, n_wrong: int) -> Evaluation:
    """Return the first n images of a set, of which so many are wrong."""
    base = evaluation(0, n=n, noise=0.01)
    wrong = np.arange(n) < n_wrong
    proba = np.where(
        wrong[None, :, None], base.predictions.proba[:, :, ::-1], base.predictions.proba
    )
    predictions = Predictions.of(
        base.predictions.y, proba, groups=np.arange(n), positive=base.predictions.positive
    )
    return replace(base, predictions=predictions)


def test_each_pair_has_one_of_four_outcomes() -> None:
    """A difference that is not shown is no equality: that is shown, or there are too few images."""
    for n, wrong, outcome, equivalent, sentence in (
        (600, 60, "better", False, "a is better than b (accuracy, p < 0.001)"),
        (
            600,
            2,
            "equivalent",
            True,
            "a and b are equivalent within 2 points (accuracy, 90 % interval",
        ),
        (60, 2, "not shown", False, "no difference between a and b is shown, nor are they shown"),
        (
            1200,
            9,
            "better",
            True,
            "a is better than b, by less than 2 points (accuracy, p = 0.004)",
        ),
    ):
        record = outcomes(differing(n, 0), differing(n, wrong))["accuracy"]
        assert (record["outcome"], record["equivalent"]) == (outcome, equivalent)
        assert record["conclusion"].startswith(f"on navoneel, {sentence}")
        assert record["margin"] == 0.02
        within = record["low_90"] > -0.02 and record["high_90"] < 0.02
        assert within == (record["p_equivalent"] < 0.05) == equivalent
        shutil.rmtree("runs")
        Path("leaderboard.csv").unlink()


def test_the_first_run_may_be_the_worse_one_in_another_metric() -> None:
    a, b = differing(600, 0), differing(600, 60)
    # b answers wrongly and ranks rightly, a the other way round.
    ranked = np.clip(a.predictions.proba[:, :, ::-1] * 0.01, 0, 1)
    a = replace(
        a, predictions=replace(a.predictions, proba=ranked / ranked.sum(axis=2, keepdims=True))
    )
    records = outcomes(
        a, replace(b, predictions=replace(b.predictions, proba=differing(600, 0).predictions.proba))
    )
    assert (records["accuracy"]["outcome"], records["roc_auc"]["outcome"]) == ("better", "worse")


def test_the_margin_decides_about_equivalence() -> None:
    def outcome(margin: str) -> str:
        records = outcomes(differing(600, 0), differing(600, 2), "--margin", margin)
        shutil.rmtree("runs")
        Path("leaderboard.csv").unlink()
        return str(records["accuracy"]["outcome"])

    assert [outcome(margin) for margin in ("0.5", "1", "2")] == [
        "not shown",
        "equivalent",
        "equivalent",
    ]
    fails("--margin", 2, "a", "b", "--margin", "0")


def test_p_values_of_equivalence_are_adjusted_to_the_number_of_pairs() -> None:
    """One pair is equivalent alone, and not among three."""
    runs = [differing(n, wrong) for n, wrong in ((300, 0), (300, 1), (300, 3))]
    ids = [
        add(head, tested, number=place)
        for place, (head, tested) in enumerate(zip("abc", runs, strict=True))
    ]
    records = json.loads(compare(*ids, "--format", "json").stdout)
    p = [record["p_equivalent"] for record in records if record["metric"] == "accuracy"]
    adjusted = [record["p_equivalent_holm"] for record in records if record["metric"] == "accuracy"]
    assert adjusted == pytest.approx(holm(p).tolist())
    assert adjusted != p
    for record in records:
        assert record["equivalent"] == (record["p_equivalent_holm"] <= 0.05)


def test_a_metric_without_points_has_no_margin() -> None:
    record = outcomes(differing(60, 0), differing(60, 1), "--metric", "brier")["brier"]
    names = ("margin", "low_90", "high_90", "p_equivalent", "p_equivalent_holm", "equivalent")
    assert [record[name] for name in names] == [None] * 6
    assert "equivalent" not in record["conclusion"]
