"""Runs in MLflow: a real client and a store in a folder; what goes there, and what never does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import cli
from freezeframe.classify.board.tracker import LOGGED_FILES, RUN_TAG
from freezeframe.classify.runs.leaderboard import append_rows, read_rows
from freezeframe.classify.runs.schema import COLUMNS

from ..conftest import MakeStore

tracking = pytest.importorskip("mlflow.tracking", reason="scripts/test installs mlflow-skinny")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The address of an empty store."""
    return f"file:{tmp_path / 'mlflow'}"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), prog_name="freezeframe")


def logged_runs(place: str) -> list[Any]:
    client = tracking.MlflowClient(place)
    experiment = client.get_experiment_by_name("freezeframe")
    return list(client.search_runs([experiment.experiment_id]))


def files_of(place: str, run: Any) -> list[str]:
    client = tracking.MlflowClient(place)
    return sorted(file.path for file in client.list_artifacts(run.info.run_id))


def fit(make_store: MakeStore, **more: Any) -> None:
    store = make_store("a.h5", ["sick", "well"] * 20, **more)
    assert call("fit-classifier", store, "--model", "logreg", "--pooling", "avg").exit_code == 0


def test_a_run_is_logged_once(make_store: MakeStore, place: str) -> None:
    fit(make_store)
    (row,) = read_rows("leaderboard.csv")
    first = call("leaderboard", "--mlflow", place, "--format", "json")
    assert first.stderr == "1 run logged to MLflow, experiment freezeframe\n"
    assert json.loads(first.stdout)[0]["run_id"] == row["run_id"]
    again = call("leaderboard", "--mlflow", place)
    assert again.stderr.startswith("0 runs logged to MLflow, experiment freezeframe; 1 were there")
    (run,) = logged_runs(place)
    assert run.info.status == "FINISHED"
    assert run.data.tags[RUN_TAG] == row["run_id"]
    assert run.data.tags["scans hold-out 20/positive"] == "sick"
    assert run.data.params["head"] == "logreg"
    assert float(run.data.params["hyperparameters.C"]) == json.loads(row["hyperparameters"])["C"]
    for name in ("accuracy", "accuracy_low", "roc_auc_high", "n_test"):
        assert run.data.metrics[f"scans hold-out 20/{name}"] == float(row[name])
    assert run.data.metrics["fit_seconds"] == float(row["fit_seconds"])
    # Scores by patient are not defined here, and a score that is none is no number.
    assert not [name for name in run.data.metrics if "patient" in name]
    assert files_of(place, run) == ["conformal.csv", "model.safetensors"]
    (logged,) = Path("mlflow").rglob("model.safetensors")
    (own,) = Path("runs").rglob("model.safetensors")
    assert logged.read_bytes() == own.read_bytes()


def test_no_image_and_no_patient_is_logged(make_store: MakeStore, place: str) -> None:
    patients = [f"Smith^John^{number // 2}" for number in range(40)]
    fit(make_store, patients=patients)
    (own,) = Path("runs").iterdir()
    # Other steps leave files there, too.
    (own / "suspects.csv").write_text("image_id\nsick/0.png\n")
    # A copy with another label is named in a warning.
    (own / "warnings.csv").write_text("code,text\n,first sick/0.png\n")
    (own / "seeds.csv").write_text("seed,test_id,accuracy\n0,a,0.5\n")
    secret = Path("secret").resolve()
    secret.write_text("root")
    (own / "stress.csv").symlink_to(secret)
    assert call("leaderboard", "--mlflow", place).exit_code == 0
    (run,) = logged_runs(place)
    assert files_of(place, run) == ["conformal.csv", "model.safetensors", "seeds.csv"]
    for file in Path("mlflow").rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert b"Smith" not in data, file
        assert b".png" not in data, file
    with_paths = {"predictions.csv", "training_images.safetensors", "predictions_by_patient.csv"}
    assert with_paths.isdisjoint(LOGGED_FILES)
    more = call("leaderboard", "--mlflow", "file:else", "--predictions")
    assert more.exit_code == 0
    names = {file.name for file in Path("else").rglob("*") if file.is_file()}
    assert {"predictions.csv", "predictions_by_patient.csv", "warnings.csv"} < names
    assert "training_images.safetensors" not in names


def test_a_run_that_was_logged_in_part_is_logged_again(
    make_store: MakeStore, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(make_store)
    with monkeypatch.context() as patch:
        patch.setattr(tracking.MlflowClient, "log_artifact", lambda *_: 1 / 0)
        failed = call("leaderboard", "--mlflow", place)
    assert failed.exit_code == 1
    assert failed.stderr == (
        "error: --mlflow: MLflow failed (division by zero); check the address and the server\n"
    )
    assert call("leaderboard", "--mlflow", place).stderr.startswith("1 run logged")
    (run,) = logged_runs(place)
    assert "model.safetensors" in files_of(place, run)


def test_unfinished_runs_of_others_are_left_alone(make_store: MakeStore, place: str) -> None:
    client = tracking.MlflowClient(place)
    experiment = client.create_experiment("freezeframe")
    writing = client.create_run(experiment, tags={RUN_TAG: "of another leaderboard"})
    fit(make_store)
    assert call("leaderboard", "--mlflow", place).stderr.startswith("1 run logged")
    statuses = {run.data.tags[RUN_TAG]: run.info.status for run in logged_runs(place)}
    assert len(statuses) == 2
    assert client.get_run(writing.info.run_id).info.lifecycle_stage == "active"
    assert statuses["of another leaderboard"] == "RUNNING"


def test_a_deleted_experiment_is_refused(place: str) -> None:
    append_rows("leaderboard.csv", [dict.fromkeys(COLUMNS[1:], "") | {"run_id": "a"}])
    client = tracking.MlflowClient(place)
    client.delete_experiment(client.create_experiment("freezeframe"))
    failed = call("leaderboard", "--mlflow", place)
    assert failed.exit_code == 1
    assert failed.stderr == (
        "error: --mlflow: the experiment freezeframe was deleted in MLflow; restore it there, or "
        "give another name in MLFLOW_EXPERIMENT_NAME\n"
    )


def test_of_a_file_of_weights_the_name_alone_is_logged(place: str) -> None:
    sources = {"a": "/home/ada/keras/vgg16.h5", "b": "random, seed 3", "c": "Keras's cache"}
    empty = dict.fromkeys(COLUMNS[1:], "")
    rows = [empty | {"run_id": run_id, "weights": sources[run_id]} for run_id in sources]
    append_rows("leaderboard.csv", rows)
    logged = call("leaderboard", "--mlflow", place)
    assert logged.exit_code == 0, logged.stderr
    weights = {run.data.tags[RUN_TAG]: run.data.params["weights"] for run in logged_runs(place)}
    assert weights == sources | {"a": "vgg16.h5"}


def test_odd_names_and_numbers_do_no_harm(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "heads")
    row = dict.fromkeys(COLUMNS[1:], "") | {
        "run_id": "a'b",
        "test_set": "../../\x1b[31m$(x)",
        "split": "été",
        "hyperparameters": '{"a/../b": "' + "x" * 9000 + '"}',
        "accuracy": 0.5,
        "log_loss": float("inf"),
        "classes": "[",
        "grade": "leaking",
    }
    rows = [row, row | {"test_id": "other", "accuracy": 0.25}, row | {"run_id": "b"}]
    rows[2] |= {"hyperparameters": "[1", "time": "never"}
    append_rows("leaderboard.csv", rows)
    logged = call("leaderboard", "--mlflow", place)
    assert logged.stderr.splitlines()[-2:] == [
        "2 runs logged to MLflow, experiment heads",
        "warning: no folder in runs of a'b, b: the scores alone were logged; if the runs are "
        "elsewhere, delete these in MLflow and give --runs",
    ]
    client = tracking.MlflowClient(place)
    experiment = client.get_experiment_by_name("heads").experiment_id
    first = client.search_runs([experiment], f'tags.`{RUN_TAG}` = "a\'b"')[0].data
    test = "-..-31m-x- -t"
    assert first.metrics == {f"{test}/accuracy": 0.5, f"{test} 2/accuracy": 0.25}
    assert first.tags[f"{test}/grade"] == "leaking"
    assert len(first.params["hyperparameters.a-..-b"]) == 500


def test_what_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    append_rows("leaderboard.csv", [dict.fromkeys(COLUMNS[1:], "") | {"run_id": "a"}])
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    for address, end in (
        ("http://me:secret@127.0.0.1:1", "check the address and the server"),
        ("odd://here", "pip install mlflow"),
        ("file:folder", "set MLFLOW_ALLOW_FILE_STORE=true"),
    ):
        failed = call("leaderboard", "--mlflow", address)
        assert failed.exit_code == 1
        assert failed.stderr.count("\n") == 1
        assert failed.stderr.startswith("error: --mlflow: ")
        assert failed.stderr.endswith(f"{end}\n")
        assert "secret" not in failed.stderr
    monkeypatch.setitem(sys.modules, "mlflow", None)
    failed = call("leaderboard", "--mlflow", "http://127.0.0.1:1")
    assert failed.stderr == (
        "error: --mlflow needs MLflow, which is not installed: pip install 'freezeframe[mlflow]'\n"
    )
    idle = call("leaderboard", "--predictions")
    assert idle.stderr == "error: --predictions: has no effect without --mlflow; leave it out\n"
