"""Write the results of a reproduction, from its leaderboard: results.md and index.html.

usage: python scripts/article/results.py LEADERBOARD PLACE [--without-article]

Both files are written to PLACE; results.md is printed too. The script reads steps.csv of
scripts/reproduce in PLACE, that of its study, and runs/ beside the leaderboard. Of a run that was
repeated the last row counts. A run that is missing is shown as "not run", and nothing is estimated.
"""

from __future__ import annotations

import argparse
import csv
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from article_rows import Row, best_of_each, five_models, newest
from joblib import cpu_count
from result_tables import (
    Table,
    article_table,
    collapse_table,
    cost_table,
    difference_table,
    leaderboard_table,
)
from stress_tables import control_table, stress_table

from freezeframe.classify.board.ranking import rank_rows
from freezeframe.classify.board.run_folders import RunFolders
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.data.output import html as pages
from freezeframe.data.output.files import write_whole

LIBRARIES = (
    "freezeframe",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "MNN",
    "scikit-learn",
    "xgboost-cpu",
)
"""Libraries whose versions are shown."""

CHOSEN = (
    "The most accurate run of each approach on the hold-out that keeps copies apart. "
    "They were chosen by the "
    "images that test them, which makes the p-values somewhat too small."
)
ONE_SEED = (
    "On the hold-out that keeps copies apart, one seed each. "
    "These tests do not show what other seeds would change."
)

OTHER_PAGES = (
    "study/report.html",
    "study/explore/index.html",
    "study/audit/index.html",
    "audit/index.html",
)
"""Pages that earlier steps write."""


def read_seconds(place: Path) -> dict[str, float]:
    """Return the seconds of the uninterrupted steps of the script and of its study.

    Args:
        place: folder of steps.csv and of the study; either may be missing.
    """
    seconds: dict[str, float] = {}
    with suppress(FileNotFoundError), (place / "steps.csv").open(newline="") as file:
        seconds = {step: float(cell) for step, cell in csv.reader(file) if cell}
    # A study that was interrupted has steps whose seconds are those of the last call only.
    if "study" in seconds:
        with (place / "study" / "steps.csv").open(newline="") as file:
            steps = {row["step"]: row["seconds"] for row in csv.DictReader(file)}
        seconds |= {step: float(cell) for step, cell in steps.items() if cell}
    return seconds


def links(place: Path) -> str:
    """Return links to the pages of earlier steps."""
    existing = [name for name in OTHER_PAGES if (place / name).exists()]
    anchors = [f'<a href="{name}">{name}</a>' for name in existing]
    return f"<p>{', '.join(anchors)}</p>"


def machine() -> str:
    """Return a sentence on this computer and the versions of libraries."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    versions = [f"{name} {version}" for name in LIBRARIES if (version := installed(name))]
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{cpu_count()} cores ({cpu}), {system}, {', '.join(versions)}."


def installed(package: str) -> str:
    """Return the version of a package; "" if it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


def evaluations_of(chosen: Mapping[str, Row], folders: RunFolders) -> dict[str, Evaluation]:
    """Return the predictions of runs by their names, without runs whose predictions are missing."""
    read = {name: folders.evaluation(row["run_id"], row["test_id"]) for name, row in chosen.items()}
    return {name: evaluation for name, evaluation in read.items() if evaluation is not None}


def article_results(rows: Sequence[Row], place: Path, folders: RunFolders) -> list[Table]:
    """Return the tables of the article's models and of the approaches beside them."""
    best = evaluations_of(best_of_each(rows), folders)
    models = evaluations_of(five_models(rows), folders)
    title = "Which differences are real"
    return [
        article_table(rows),
        collapse_table(rows),
        cost_table(rows, read_seconds(place)),
        difference_table(f"{title}: approaches", best, [CHOSEN]),
        difference_table(f"{title}: the article's five models", models, [ONE_SEED]),
    ]


def set_results(rows: Sequence[Row], runs: Path, folders: RunFolders) -> list[Table]:
    """Return the tables that any set has."""
    return [
        stress_table(rows, runs),
        control_table(rows),
        *(leaderboard_table(places) for places in rank_rows(rows, "accuracy", folders)),
    ]


def results(leaderboard: Path, place: Path, *, article: bool = True) -> list[Table]:
    """Return all tables, with or without those of the article."""
    rows = newest(read_rows(leaderboard))
    runs = leaderboard.parent / "runs"
    folders = RunFolders(runs)
    tables = article_results(rows, place, folders) if article else []
    return tables + set_results(rows, runs, folders)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("leaderboard", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("--without-article", action="store_true")
    options = parser.parse_args()
    tables = results(options.leaderboard, options.place, article=not options.without_article)
    text = "\n".join(["# Results\n", f"{machine()}\n", *(table.markdown() for table in tables)])
    options.place.mkdir(parents=True, exist_ok=True)
    write_whole(options.place / "results.md", text)
    parts = [pages.paragraph(machine()), links(options.place), *(table.html() for table in tables)]
    write_whole(options.place / "index.html", pages.page("Results", parts))
    print(text)


if __name__ == "__main__":
    main()
