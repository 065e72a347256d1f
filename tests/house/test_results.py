"""The tables of a reproduction: numbers come from rows, missing runs are shown as not run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freezeframe.classify.runs.leaderboard import append_rows
from freezeframe.classify.runs.schema import COLUMNS
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.predictions import Predictions

from ..conftest import script

article_rows = script("article_rows")
result_tables = script("result_tables")
stress_tables = script("stress_tables")
results = script("results")


def row(
    head: str, layer: str, split: str = "external", accuracy: float = 0.9, **more: str
) -> dict[str, str]:
    """Return a row of a leaderboard; networks have the parameter keep, and scale if passed."""
    parameters: dict[str, Any] = {"keep": "last"} if head.startswith(("cnn", "dense")) else {}
    parameters |= {"scale": int(more.pop("scale"))} if "scale" in more else {}
    return dict.fromkeys(COLUMNS, "") | {
        **{
            "head": head,
            "layer": layer,
            "split": split,
            "data_set": "random.csv",
            "test_id": split,
            "seed": "0",
            "run_id": f"{head}-{layer}",
        },
        **{
            "accuracy": str(accuracy),
            "accuracy_low": "0.85",
            "accuracy_high": "0.95",
            "hyperparameters": "{}",
        },
        **{
            "n_train": "80",
            "n_test": "20",
            "n_test_leaking": "15",
            "n_test_clean": "5",
            "fit_seconds": "100",
        },
        **({"hyperparameters": json.dumps(parameters)} if parameters else {}),
        **more,
    }


def test_a_missing_model_is_shown_as_not_run() -> None:
    table = result_tables.article_table([])
    assert [cells[0] for cells in table.rows] == [
        "simple",
        "dropout",
        "augmented",
        "vgg16-block5",
        "vgg16-block3",
    ]
    assert [cells[1] for cells in table.rows] == ["99.6", "99.6", "90.5", "99.6", "62.1"]
    assert all(cells[2] == cells[4] == "not run" for cells in table.rows)
    assert {cell for cells in table.rows for cell in (cells[3], *cells[5:])} == {"-"}


def test_the_article_is_shown_beside_both_runs() -> None:
    rows = [
        row(
            "cnn-dropout", "pixels-250", accuracy=0.95, epochs="10", train_images_per_second="11.63"
        ),
        row(
            "cnn-dropout",
            "pixels-250",
            "hold-out 20%",
            accuracy=0.8,
            epochs="7",
            train_images_per_second="11.7",
        ),
        row("cnn-dropout", "pixels-250", accuracy=0.1, seed="1"),
        row("dense-128", "block5_pool", scale="1"),  # a head of ours, not the article's
    ]
    cells_of = {cells[0]: cells[1:] for cells in result_tables.article_table(rows).rows}
    assert cells_of["dropout"] == [
        *("99.6", "95.0 (85.0-95.0)", "15 of 20", "80.0 (85.0-95.0)"),
        *("0", "10, 7", "250", "-", "-", "100", "11.6, 11.7"),
    ]
    assert cells_of["vgg16-block5"][1] == "not run"


def test_the_last_of_two_equal_runs_counts() -> None:
    rows = [row("logreg", "block5_pool", accuracy=0.5), row("logreg", "block5_pool", accuracy=0.6)]
    assert [newest["accuracy"] for newest in article_rows.newest(rows)] == ["0.6"]
    assert article_rows.first_seed(rows, "external")["accuracy"] == "0.6"
    assert article_rows.first_seed(rows, "hold-out") is None


def test_a_run_of_the_study_is_not_one_as_the_article() -> None:
    rows = [
        row("logreg", "block5_pool", accuracy=0.7),
        row("logreg", "block5_pool", accuracy=0.6, data_set="edureka4600"),
    ]
    assert article_rows.first_seed(rows, "external")["accuracy"] == "0.7"
    held_out = row("logreg", "block5_pool", "hold-out 20%", data_set="edureka4600")
    assert article_rows.first_seed([*rows, held_out], "hold-out") == held_out
    head = row("dense-128-64-32", "block3_pool", scale="0", data_set="edureka4600")
    assert len(result_tables.collapse_table([head]).rows) == 1


def test_raw_features_come_first_then_scaled_ones_by_seed() -> None:
    head = "dense-128-64-32"
    rows = [
        row(head, "block3_pool", scale="1", seed="1"),
        row(head, "block3_pool", scale="0", seed="10", sensitivity="1.0", specificity="0.0"),
        row(head, "block3_pool", scale="0", seed="2"),
        row(head, "block3_pool", "hold-out 20%", scale="0"),
        row(head, "block5_pool", scale="0"),
    ]
    table = result_tables.collapse_table(rows)
    heads = [tuple(cells[:3]) for cells in table.rows[1:]]
    assert heads == [(head, "raw", "2"), (head, "raw", "10"), (head, "scaled", "1")]
    assert list(table.rows[2][3:6]) == ["90.0 (85.0-95.0)", "100.0", "0.0"]
    assert "Logistic regression on block3_pool: not run." in table.remarks
    plain = result_tables.collapse_table([*rows, row("logreg", "block3_pool")])
    assert plain.rows[-1][0] == "logreg"
    assert not any("not run" in remark for remark in plain.remarks)


def test_costs_are_sums_of_measured_seconds() -> None:
    rows = [
        row("logreg", "block5_pool", reduce_seconds="6", fit_seconds="4"),
        row("cnn-dropout", "pixels-250", fit_seconds="3000", epochs="10"),
        row("finetune-block5", "block4_pool", "hold-out 20%"),
    ]
    table = result_tables.cost_table(rows, {"extract-training": 40.0})
    cells_of = {cells[0]: list(cells[1:]) for cells in table.rows}
    assert cells_of["logreg on block5_pool"] == ["80", "-", "40", "6.0", "4.0", "50.0", "-"]
    # The seconds of its extraction are unknown.
    assert cells_of["finetune-block5 on block4_pool"][2:6] == ["-", "0.0", "100.0", "-"]
    assert cells_of["simple, end to end"][0] == "not run"
    assert "extract-training: 80 images in 40 s, 2.0 images/s." in table.remarks
    assert table.remarks[-1].endswith(
        "against 10 epochs of the article's CNN (3000 s): 60.0 times."
    )


@pytest.mark.parametrize(
    ("seconds", "reason"), [({}, "unknown"), ({"extract-training": 1.0}, "not run")]
)
def test_a_ratio_is_never_guessed(seconds: dict[str, float], reason: str) -> None:
    rows = [row("logreg", "block5_pool")]
    if not seconds:
        rows.append(row("cnn-dropout", "pixels-250"))
    assert reason in result_tables.ratio(rows, seconds)


def test_the_best_of_each_approach_are_compared_on_the_same_images() -> None:
    hold_out = "hold-out 20%"
    rows = [
        row("logreg", "block5_pool", hold_out, 0.8),
        row("ridge", "block5_pool", hold_out, 0.9),
        row("cnn-simple", "pixels-250", hold_out, 0.7),
        row("dense-128", "block5_pool", hold_out, 0.75, scale="0"),
        row("dense-128", "block5_pool", hold_out, 0.6, scale="1"),
        row("knn", "block3_pool", hold_out, 0.99, test_id="other images"),
        row("knn", "block3_pool", "external", 0.99),
    ]
    best = article_rows.best_of_each(rows)
    assert {name: run["accuracy"] for name, run in best.items()} == {
        "head on block5_pool (ridge)": "0.9",
        "the article's dense head (dense-128)": "0.75",
        "end-to-end network (cnn-simple)": "0.7",
    }
    assert list(best) == sorted(best, key=lambda name: -float(best[name]["accuracy"]))
    assert article_rows.best_of_each([]) == {}


def test_the_articles_models_are_compared_on_the_same_images() -> None:
    hold_out = "hold-out 20%"
    rows = [
        row("cnn-simple", "pixels-250", hold_out, 0.7),
        row("cnn-simple", "pixels-250", hold_out, 0.8, hyperparameters='{"keep": "best"}'),
        row("cnn-dropout", "pixels-250", hold_out, 0.9),
        row("cnn-augmented", "pixels-250", hold_out, 0.9, test_id="other images"),
        row("dense-128", "block5_pool", "external", 0.9, scale="0"),
    ]
    models = article_rows.five_models(rows)
    assert [(name, run["accuracy"]) for name, run in models.items()] == [
        ("dropout", "0.9"),
        ("simple", "0.7"),
    ]
    assert article_rows.five_models([]) == {}


def evaluation(right: int, n: int = 40) -> Evaluation:
    y = np.arange(n) % 2
    labels = np.where(np.arange(n) < right, y, 1 - y)
    predictions = Predictions.of(y, np.eye(2)[labels] * 0.8 + 0.1, positive=1)
    names = [str(number) for number in range(n)]
    return Evaluation(
        "id", "set", "hold-out 20%", ("a", "b"), names, names, predictions, np.full(n, "")
    )


def test_differences_are_tested_in_pairs() -> None:
    evaluations = {"ridge": evaluation(40), "knn": evaluation(39), "cnn": evaluation(20)}
    table = result_tables.difference_table("Differences", evaluations, ["One seed."])
    assert [cells[:2] for cells in table.rows] == [
        ["ridge", "knn"],
        ["ridge", "cnn"],
        ["knn", "cnn"],
    ]
    assert [cells[-1] for cells in table.rows] == ["not shown", "yes", "yes"]
    assert table.rows[1][2:4] == ["100.0", "50.0"]
    assert table.rows[1][4].startswith("+50.0 (+")
    assert table.remarks == ["One seed.", "Test: exact McNemar."]
    alone = result_tables.difference_table("Differences", {"ridge": evaluation(40)})
    assert alone.rows == []
    assert alone.remarks == ["Fewer than two: not run."]
    assert result_tables.difference_table("Differences", {}).rows == []


def test_both_files_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    full = row("cnn-simple", "pixels-250")
    cells = {name: value for name, value in full.items() if value and name != "schema"}
    append_rows(tmp_path / "leaderboard.csv", [cells | {"test_set": "a|b<i>"}])
    (tmp_path / "place" / "study").mkdir(parents=True)
    (tmp_path / "place" / "study" / "report.html").touch()
    monkeypatch.setattr(
        sys, "argv", ["results.py", str(tmp_path / "leaderboard.csv"), str(tmp_path / "place")]
    )
    results.main()
    text = (tmp_path / "place" / "results.md").read_text()
    assert capsys.readouterr().out == text + "\n"
    assert "## Leaderboard: a\\|b\\<i\\>, external, 20 images" in text
    page = (tmp_path / "place" / "index.html").read_text()
    assert "<i>" not in page
    assert '<p><a href="study/report.html">study/report.html</a></p>' in page


def test_seconds_are_those_of_uninterrupted_steps(tmp_path: Path) -> None:
    assert results.read_seconds(tmp_path) == {}
    (tmp_path / "study").mkdir()
    lines = "step,command,seconds\nextract-training,x,40.5\nexplain,x,\n"
    (tmp_path / "study" / "steps.csv").write_text(lines)
    (tmp_path / "steps.csv").write_text("study,\nextract-block4,7\n")
    assert results.read_seconds(tmp_path) == {"extract-block4": 7.0}
    (tmp_path / "steps.csv").write_text("study,90\nextract-block4,\n")
    assert results.read_seconds(tmp_path) == {"study": 90.0, "extract-training": 40.5}


def test_stress_and_controls_are_shown_as_their_files_and_rows_have_them(tmp_path: Path) -> None:
    run = row("logreg", "block5_pool", "5-fold", pooling="flat")
    (tmp_path / run["run_id"]).mkdir()
    (tmp_path / run["run_id"] / "stress.csv").write_text(
        "head,n_folds,level,n_groups,largest_group,accuracy,accuracy_low,accuracy_high,"
        "roc_auc,roc_auc_low,roc_auc_high\n"
        "logreg,5,0,90,2,0.9,0.8,0.95,0.96,0.9,0.99\n"
        "logreg,5,1,20,9,0.7,0.6,0.8,0.75,0.7,0.8\n"
    )
    curve = stress_tables.stress_table([run, row("knn", "block5_pool")], tmp_path)
    assert curve.rows[1][2:] == ("20", "9", "70.0 (60.0-80.0)", "75.0 (70.0-80.0)")
    shuffled = row("logreg", "block5_pool", "5-fold, shuffled labels")
    shown = stress_tables.control_table([run, shuffled, row("image-size", "image", "hold-out 20%")])
    assert [cells[0] for cells in shown.rows] == ["image-size", "logreg"]
    assert stress_tables.stress_table([], tmp_path).remarks[-1] == "Stress tests: not run."


def test_a_control_is_no_approach() -> None:
    rows = [
        row("logreg", "block5_pool", "hold-out 20%"),
        row("image-size", "image", "hold-out 20%"),
    ]
    assert list(article_rows.best_of_each(rows)) == ["head on block5_pool (logreg)"]
