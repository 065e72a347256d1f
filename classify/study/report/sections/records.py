"""Costs, and what a study was made with: seconds, bytes, versions, digests, commands."""

from __future__ import annotations

import json
from contextlib import suppress

from .....data.output import html as pages
from .....data.output.terminal import NOT_DEFINED, decimals, megabytes, number
from ....board.choices import is_control
from ..choice import Choice
from ..findings.outcome import head_name
from ..study import Row, Study
from .parts import not_run

MOST_COST_ROWS = 40


def cost_section(study: Study, choice: Choice) -> list[str]:
    """Return the seconds and bytes of each run, and of each step."""
    runs = list({row["run_id"]: row for row in study.rows}.values())
    rows = [
        (
            head_name(row) + ", shuffled labels" * is_control(row),
            row["n_searched"] or NOT_DEFINED,
            decimals(row["reduce_seconds"], 1),
            decimals(row["fit_seconds"], 1),
            _rate(row),
            megabytes(number(row["model_bytes"])) if row["model_bytes"] else NOT_DEFINED,
        )
        for row in runs[:MOST_COST_ROWS]
    ]
    headings = ("head", "searched", "reduce s", "fit s", "images/s", "model file")
    parts = [
        pages.heading("What it cost", anchor="cost"),
        pages.table(headings, rows, numbers=range(1, 6)),
        pages.paragraph(
            "images/s: predictions from features that are there already; the network before them "
            "takes longer. The time to reduce features is shared by linear heads.",
            quiet=True,
        ),
    ]
    if study.steps is None:
        return [*parts, not_run("freezeframe run FOLDER (seconds of each step)")]
    cells = [
        (step["step"], step["status"], decimals(step["seconds"], 1), step["command"])
        for step in study.steps
    ]
    return [*parts, pages.table(("step", "status", "seconds", "command"), cells, numbers=(2,))]


def _rate(row: Row) -> str:
    milliseconds = number(row["predict_ms_per_image"])
    return f"{1000 / milliseconds:,.0f}" if milliseconds > 0 else NOT_DEFINED


def provenance_section(study: Study, choice: Choice) -> list[str]:
    """Return what the chosen run was made with, and what could not be read."""
    row = choice.row
    facts = [
        ("run", row["run_id"]),
        ("fitted", row["time"]),
        ("freezeframe", row["version"]),
        ("head", row["head"]),
        ("features", f"{row['layer']}, pooling {row['pooling']}"),
        ("hyper-parameters", _pairs(row["hyperparameters"])),
        ("calibration, threshold", f"{row['calibration'] or 'none'}, {row['threshold'] or 'none'}"),
        ("weights", row["weights"]),
        ("SHA-256 of the weights", row["weights_digest"]),
        ("training features", row["store_fingerprint"]),
        ("test features", row["test_fingerprint"]),
        ("test set", f"{row['test_set']}, {row['split']} ({row['test_id']})"),
        ("classes", _names(row["classes"])),
        ("positive class", row["positive"] or "none"),
        ("seeds in the leaderboard", ", ".join(sorted({row["seed"] for row in study.rows}))),
    ]
    parts = [
        pages.heading("Provenance", anchor="provenance"),
        pages.table(("", "of the run in the first sentence"), facts),
        pages.paragraph(
            "Beside this page: report/claim.md (CLAIM 2024), report/tripod.md (TRIPOD+AI) and "
            "report/model_card.md answer what the files of the study know, with their sources."
        ),
    ]
    if study.settings:
        parts += [
            pages.paragraph("freezeframe run --config run.toml repeats the study:"),
            pages.code_block(study.settings),
        ]
    else:
        parts.append(not_run("freezeframe run FOLDER (run.toml, the settings that repeat it)"))
    problems = list(dict.fromkeys([*study.problems, *study.runs.problems]))
    if problems:
        parts.append(pages.warnings(problems, none=""))
    return parts


def _pairs(cell: str) -> str:
    """Write the hyper-parameters of a row: "C = 0.001, tol = 0.0001"."""
    # The cell comes from a file: it may hold anything.
    with suppress(ValueError, AttributeError, RecursionError):
        return ", ".join(f"{name} = {value}" for name, value in json.loads(cell).items())
    return cell


def _names(cell: str) -> str:
    with suppress(ValueError, TypeError, RecursionError):
        return ", ".join(json.loads(cell))
    return cell
