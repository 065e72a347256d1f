"""What a reproduction of the article came to, from its leaderboard: results.md, which is printed, too, and index.html.

usage: python scripts/results.py LEADERBOARD PLACE

PLACE takes both files; steps.csv of scripts/reproduce is looked for there, and runs/ beside the
leaderboard. Of a run that was made twice the last one counts. What was not run is shown as "not
run", and nothing is estimated.
"""

from __future__ import annotations

import argparse
import csv
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from joblib import cpu_count
from result_tables import (
    Row,
    Table,
    article_table,
    best_of_each,
    collapse_table,
    cost_table,
    difference_table,
    five_models,
    leaderboard_table,
    newest,
)

from freezeframe.classify.board.ranking import RunFolders, rank_rows
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
"""Whose versions are told."""

CHOSEN = (
    "The most accurate run of each approach on the leak-free hold-out. They were chosen by the very images that test "
    "them, which makes the p-values somewhat too small."
)
ONE_SEED = (
    "On the leak-free hold-out. What another seed would have made of each is not in these tests."
)

OTHER_PAGES = ("explore-training", "explore-tested", "audit")
"""Folders of steps that make a page of their own."""


def read_seconds(path: Path) -> dict[str, float]:
    """Seconds of the steps in steps.csv, without those that were interrupted; of none if there is no such file."""
    with suppress(FileNotFoundError), path.open(newline="") as file:
        return {step: float(seconds) for step, seconds in csv.reader(file) if seconds}
    return {}


def links(place: Path) -> str:
    """Links to the pages of steps before."""
    there = [name for name in OTHER_PAGES if (place / name / "index.html").exists()]
    told = [f'<a href="{name}/index.html">{name}</a>' for name in there]
    return f"<p>{', '.join(told)}</p>"


def machine() -> str:
    """Where this runs, and with what."""
    models: list[str] = []
    with suppress(OSError):
        models = [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    cpu = models[0].partition(":")[2].strip() if models else platform.machine()
    versions = [f"{name} {version}" for name in LIBRARIES if (version := installed(name))]
    return f"{cpu_count()} cores ({cpu}), {platform.system()}, Python {platform.python_version()}, {', '.join(versions)}."


def installed(package: str) -> str:
    """A package's version; "" if it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


def results(leaderboard: Path, place: Path) -> list[Table]:
    """All tables."""
    rows, folders = newest(read_rows(leaderboard)), RunFolders(leaderboard.parent / "runs")
    seconds = read_seconds(place / "steps.csv")

    def said(found: Mapping[str, Row]) -> dict[str, Evaluation]:
        """What each said of its test images, where that is kept."""
        kept = {
            name: folders.evaluation(row["run_id"], row["test_id"]) for name, row in found.items()
        }
        return {name: evaluation for name, evaluation in kept.items() if evaluation is not None}

    differences = [
        difference_table(
            "Which differences are real: approaches", said(best_of_each(rows)), [CHOSEN]
        ),
        difference_table(
            "Which differences are real: the article's five models",
            said(five_models(rows)),
            [ONE_SEED],
        ),
    ]
    ranked = [leaderboard_table(places) for places in rank_rows(rows, "accuracy", folders)]
    return [
        article_table(rows),
        collapse_table(rows),
        cost_table(rows, seconds),
        *differences,
        *ranked,
    ]


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("leaderboard", type=Path)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    found = results(options.leaderboard, options.place)
    text = "\n".join(["# Results\n", f"{machine()}\n", *(table.markdown() for table in found)])
    options.place.mkdir(parents=True, exist_ok=True)
    write_whole(options.place / "results.md", text)
    parts = [pages.paragraph(machine()), links(options.place), *(table.html() for table in found)]
    write_whole(options.place / "index.html", pages.page("Results", parts))
    print(text)


if __name__ == "__main__":
    main()
