"""MLflow: runs of a leaderboard, logged to the tracking server that a user names.

A run of MLflow is made for each run. Its tag `RUN_TAG` makes a second call skip it.
Models and tables go there as plain files: no flavour of MLflow, which could hold a pickle.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ...data.output.terminal import number
from ...errors import FreezeframeError, MissingExtraError
from ..runs.prediction_file import BY_PATIENT_NAME, PREDICTIONS_NAME
from ..runs.schema import COLUMNS, NUMBERS
from ..runs.warning_file import WARNINGS_NAME
from .run_folders import RunFolders

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "freezeframe"
"""Experiment that runs are logged to, unless MLFLOW_EXPERIMENT_NAME names another."""

RUN_TAG = f"{EXPERIMENT}.run_id"
"""Tag that identifies a logged run."""

LOGGED_FILES = (
    *("model.safetensors", "history.csv", "stress.csv"),
    *("seeds.csv", "conformal.csv", "robustness.csv"),
)
"""Files of a run that hold no image, no path of one and no patient."""

FILES_WITH_PATHS = (PREDICTIONS_NAME, BY_PATIENT_NAME, WARNINGS_NAME)
"""Files of a run that name images, or number patients."""

LOGGED_COLUMNS = (
    *("head", "layer", "pooling", "calibration", "threshold", "data_set", "classes", "n_train"),
    *("seed", "weights", "weights_digest", "store_fingerprint", "version"),
)
"""Columns that are logged as parameters."""

COSTS = (
    *("n_searched", "reduce_seconds", "fit_seconds", "epochs", "train_images_per_second"),
    *("predict_ms_per_image", "model_bytes"),
)
"""Columns that are logged as metrics of a run; all other numbers are metrics of a test set."""

_LONGEST = 500
"""Most letters of a parameter that every version of MLflow takes."""

_MOST_METRICS = 1000
"""Most metrics that MLflow takes in one call."""

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Logged:
    """Runs that are in MLflow after `log_runs`.

    Attributes:
        experiment: name of the experiment.
        new: ids of the runs that it logged.
        earlier: ids of the runs that were logged before.
        bare: ids of the new runs that have no folder: their scores were logged without files.
    """

    experiment: str
    new: Sequence[str]
    earlier: Sequence[str]
    bare: Sequence[str]


def log_runs(rows: Rows, folders: RunFolders, uri: str, *, predictions: bool = False) -> Logged:
    """Log each run of a leaderboard to MLflow, unless it was logged before.

    Args:
        rows: of the leaderboard, by column.
        folders: the folders of the runs.
        uri: address of a tracking server or a store, as MLflow takes it.
        predictions: True to log predictions and warnings, too, which name images.

    Raises:
        MissingExtraError: MLflow is not installed.
        FreezeframeError: MLflow reports an error.
    """
    client_type = _mlflow_client()
    runs: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        runs.setdefault(row["run_id"], []).append(row)
    names = (*LOGGED_FILES, *(FILES_WITH_PATHS if predictions else ()))
    # MLflow and the libraries of its stores may raise anything.
    try:
        client = client_type(uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        place = _experiment_id(client, experiment)
        finished = _finished_runs(client, place, runs)
        new = [run_id for run_id in runs if run_id not in finished]
        for run_id in new:
            _log_run(client, place, runs[run_id], _files(folders.folder(run_id), names))
    except FreezeframeError:
        raise
    except Exception as error:
        raise FreezeframeError(_problem(error)) from None
    earlier = [run_id for run_id in runs if run_id in finished]
    bare = [run_id for run_id in new if not folders.folder(run_id).is_dir()]
    return Logged(experiment, new, earlier, bare)


def _mlflow_client() -> type[MlflowClient]:
    """Import MLflow's client, without its telemetry and its minutes of further attempts."""
    # Nobody is to learn from this package who works on which images.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        import mlflow.tracking
    except ModuleNotFoundError:
        raise MissingExtraError("MLflow", "mlflow", "--mlflow") from None
    # A new database is announced in dozens of lines.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    client: type[MlflowClient] = mlflow.tracking.MlflowClient
    return client


def _problem(error: Exception) -> str:
    """Return an error of MLflow as a message, without the password that an address may hold."""
    text = re.sub(r"//[^/\s]*@", "//", " ".join(str(error).split()))
    # The extra installs MLflow's smaller package, which has no database.
    if "unsupported URI" in text or "sqlalchemy" in text.lower():
        return (
            "--mlflow: this installation of MLflow knows no such store; give the address of a "
            "server, as http://localhost:5000, or for a database: pip install mlflow"
        )
    if "MLFLOW_ALLOW_FILE_STORE" in text:
        return (
            "--mlflow: MLflow has given up folders as stores; give the address of a server or a "
            "database, or set MLFLOW_ALLOW_FILE_STORE=true"
        )
    return f"--mlflow: MLflow failed ({text[:160]}); check the address and the server"


def _experiment_id(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment; make it if it is missing."""
    experiment = client.get_experiment_by_name(name)
    # MLflow finds deleted ones, too, and then takes no run.
    if experiment and experiment.lifecycle_stage != "active":
        raise FreezeframeError(
            f"--mlflow: the experiment {name} was deleted in MLflow; restore it there, or give "
            "another name in MLFLOW_EXPERIMENT_NAME"
        )
    return str(experiment.experiment_id if experiment else client.create_experiment(name))


def _finished_runs(client: MlflowClient, experiment: str, own: Container[str]) -> set[str]:
    """Return the ids of the runs that were logged whole; delete unfinished ones of `own` ids."""
    finished = set()
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{RUN_TAG}` != ''", page_token=token)
        for run in page:
            if run.info.status == "FINISHED":
                finished.add(run.data.tags[RUN_TAG])
            # Those of other leaderboards may be half-written just now.
            elif run.data.tags[RUN_TAG] in own:
                client.delete_run(run.info.run_id)
        token = page.token
        if not token:
            return finished


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of a run's folder that are logged."""
    paths = [folder / name for name in names]
    # A link could lead to any file of this machine.
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _log_run(client: MlflowClient, experiment: str, rows: Rows, files: Sequence[Path]) -> None:
    """Log one run: parameters, metrics, grades and files."""
    from mlflow.entities import Metric, Param, RunTag

    first = rows[0]
    time = _milliseconds(first["time"])
    # The tag comes with the run: whatever is interrupted later, the next call finds it.
    run = client.create_run(
        experiment, start_time=time, tags={RUN_TAG: first["run_id"]}, run_name=first["run_id"]
    ).info.run_id
    metrics = [Metric(name, value, time, 0) for name, value in _metrics(rows)]
    parameters = [Param(name, text[:_LONGEST]) for name, text in _parameters(first)]
    client.log_batch(run, params=parameters, tags=[RunTag(*tag) for tag in _tags(rows)])
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
    for path in files:
        client.log_artifact(run, str(path))
    client.set_terminated(run, "FINISHED", end_time=time)


def _tags(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield what is no number about each test set, under its name."""
    for test, row in _tests(rows):
        for name in ("grade", "positive", "test_id"):
            if row[name]:
                yield f"{test}/{name}", row[name][:_LONGEST]


def _parameters(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a run and its head's hyper-parameters."""
    for name in LOGGED_COLUMNS:
        if row[name]:
            # Weights may be a path: the server need not know the folders of this machine.
            yield name, PurePath(row[name]).name if name == "weights" else row[name]
    hyperparameters: Any = {}
    # The cell comes from a file: it may hold anything.
    with suppress(ValueError, RecursionError):
        hyperparameters = json.loads(row["hyperparameters"] or "{}")
    if isinstance(hyperparameters, dict):
        for name, value in hyperparameters.items():
            yield f"hyperparameters.{_slug(name)}", str(value)


def _metrics(rows: Rows) -> Iterator[tuple[str, float]]:
    """Yield the numbers of each test set under its name, then the costs of the run."""
    columns = [name for name in COLUMNS if name in NUMBERS - {*LOGGED_COLUMNS, *COSTS}]
    cells = [(f"{test}/{name}", row[name]) for test, row in _tests(rows) for name in columns]
    for name, cell in [*cells, *((name, rows[0][name]) for name in COSTS)]:
        # An empty cell is a score that is not defined.
        if math.isfinite(value := number(cell)):
            yield name, value


def _tests(rows: Rows) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each row with a name of its test set that MLflow takes and no other row has."""
    names: set[str] = set()
    for place, row in enumerate(rows, 1):
        name = _slug(f"{row['test_set']} {row['split']}")
        name = f"{name} {place}" if name in names else name
        names.add(name)
        yield name, row


def _slug(text: str) -> str:
    """Return a text without the letters that the name of a metric cannot have.

    Examples:
        >>> _slug("demo-1 hold-out 20%"), _slug("../a/b")
        ('demo-1 hold-out 20', '-a-b')
    """
    return re.sub(r"[^a-zA-Z0-9_. -]+", "-", text)[:100].strip(". ").rstrip("-") or "test"


def _milliseconds(time: str) -> int:
    """Return a time of a leaderboard in milliseconds since 1970; that of today if it is none."""
    moment = datetime.now(UTC)
    with suppress(ValueError):
        moment = datetime.fromisoformat(time)
    return int(moment.timestamp() * 1000)
