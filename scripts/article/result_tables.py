"""Fill the tables of a reproduction from rows of a leaderboard; nothing is estimated.

A run that is missing is shown as "not run".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from article_rows import (
    ARTICLE,
    LEAK_FREE,
    LEAKING,
    LOGREG,
    N_TESTED,
    Row,
    approaches,
    first_seed,
    is_as_article,
    layer,
    of_arch,
    parameter,
)

from freezeframe.classify.board import tables
from freezeframe.classify.board.columns import Column, as_markdown, as_text
from freezeframe.classify.board.ranking import RankedRow
from freezeframe.classify.heads.architectures import ARCHITECTURES
from freezeframe.classify.scores.clean import leak_count, leak_count_text
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.paired.paired_tests import compare, holm
from freezeframe.classify.scores.roc_area import ALPHA
from freezeframe.data.output import html as pages
from freezeframe.data.output.terminal import percent

EXTRACTIONS = {
    "block3_pool": "extract-training",
    "block5_pool": "extract-training",
    "block4_pool": "extract-block4",
}
"""The step of scripts/reproduce, or of its study, that extracted each layer."""

NETWORK = (("seed", 0), ("epochs", 0), ("fit_seconds", 0), ("train_images_per_second", 1))
"""Columns that describe the training of a network, with their decimals."""

SHARES = (
    "Networks are trained on four fifths of the training images; the last fifth only watches or "
    "stops them. It is chosen at random, as in the article, or without relatives, like the test "
    "images of the hold-out. Other heads choose by this fifth, or by five such folds, and are then "
    "fitted on all training images."
)

DISAGREE = (
    "The test asks whether the groups of copies favour one side more than chance would; the "
    "interval shows how far they agree on the size. Where few groups are large and most others "
    "agree, p may be small and the interval may still include 0."
)

NOT_RUN = "not run"


@dataclass(frozen=True)
class Table:
    """A part of the results.

    Attributes:
        title: its heading.
        headings: of its columns.
        rows: cells, as many as headings.
        names: columns of text, from 0 on; all others hold numbers.
        remarks: sentences below it.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: Sequence[int] = (0,)
    remarks: Sequence[str] = ()

    def markdown(self) -> str:
        """Return the table as a part of results.md."""
        columns = [
            Column(heading, [row[number] for row in self.rows], name=number in self.names)
            for number, heading in enumerate(self.headings)
        ]
        remarks = "".join(f"- {as_text(remark)}\n" for remark in self.remarks)
        text = f"## {as_text(self.title)}\n\n{as_markdown(columns)}\n"
        return f"{text}\n{remarks}" if remarks else text

    def html(self) -> str:
        """Return the table as a part of index.html."""
        numbers = [number for number in range(len(self.headings)) if number not in self.names]
        cells = pages.table(self.headings, self.rows, numbers=numbers)
        remarks = [pages.paragraph(remark, quiet=True) for remark in self.remarks]
        return "\n".join([pages.heading(self.title), cells, *remarks])


def article_table(rows: Sequence[Row]) -> Table:
    """Return the article's five models, its accuracy beside ours."""
    headings = [
        "model",
        "article, %",
        "as the article, % (95 %)",
        "leaking",
        "copies apart, % (95 %)",
    ]
    headings += ["seed", "epochs", "size", "learning rate", "batch", "fit s", "training images/s"]
    remarks = [
        "As the article: a random fifth of the training set validates, and the other set is the "
        "test. Leaking: test images with a relative among the training images. Copies apart: the "
        "test is a part of the training set without known relatives in the rest.",
        SHARES,
        "Where a cell holds two numbers, the first is of the run as the article. Fit seconds "
        "include validation, images/s do not.",
    ]
    cells = [article_cells(of_arch(rows, arch), arch) for arch in ARTICLE]
    return Table("The article's five models", headings, cells, remarks=remarks)


def article_cells(rows: Sequence[Row], arch: str) -> list[str]:
    """Return the cells of one of the article's models."""
    pair = [first_seed(rows, LEAKING), first_seed(rows, LEAK_FREE)]
    scores = [
        NOT_RUN if row is None else tables.metric_with_interval(row, "accuracy") for row in pair
    ]
    numbers = [number_of_both(pair, name, places) for name, places in NETWORK]
    settings = [
        joined([setting(row, name) for row in pair])
        for name in ("size", "learning_rate", "batch_size")
    ]
    scored = [f"{100 * ARTICLE[arch] / N_TESTED:.1f}", scores[0], leaking(pair[0]), scores[1]]
    return [arch, *scored, *numbers[:2], *settings, *numbers[2:]]


def number_of_both(pair: Sequence[Row | None], name: str, places: int) -> str:
    """Return a number of two runs in one cell, once if it is the same."""
    return joined([decimal("" if row is None else row[name], places) for row in pair])


def joined(cells: Sequence[str]) -> str:
    """Return several cells as one; equal cells appear once."""
    return ", ".join(dict.fromkeys(cells))


def setting(row: Row | None, name: str) -> str:
    """Return a hyper-parameter as text, or the size of the images."""
    if row is None:
        return "-"
    if name == "size":
        return row["layer"].removeprefix("pixels-") if layer(row) == "pixels" else "224"
    return str(parameter(row, name) or "-")


def decimal(value: Any, places: int) -> str:
    """Return a number as text; "-" if it is empty."""
    return "-" if value in ("", None) else f"{float(value):.{places}f}"


def leaking(row: Row | None) -> str:
    """Return how many test images leak, as far as that is known, and the number of test images."""
    return "-" if row is None else f"{leak_count_text(*leak_count(row))} of {row['n_test']}"


def collapse_table(rows: Sequence[Row]) -> Table:
    """Return the dense head on block3_pool by seed, on raw and on scaled features.

    Logistic regression on the same layer is beside it.
    """
    tested = [row for row in rows if row["layer"] == "block3_pool" and is_as_article(row)]
    name = ARCHITECTURES["vgg16-block3"].head
    heads = [row for row in tested if row["head"] == name and parameter(row, "keep") == "last"]
    heads.sort(key=lambda row: (parameter(row, "scale"), int(row["seed"])))
    plain = first_seed((row for row in tested if row["head"] == "logreg"), LEAKING)
    accuracy = f"{100 * ARTICLE['vgg16-block3'] / N_TESTED:.1f}"
    cells = [["the article's", "raw", "-", accuracy, *["-"] * 5]]
    cells += [collapse_cells(row) for row in [*heads, *([plain] if plain else [])]]
    headings = ["head", "features", "seed", "accuracy, % (95 %)", "sens.", "spec."]
    headings += ["epochs", "learning rate", "batch"]
    remarks = [] if heads else [f"The dense head on block3_pool: {NOT_RUN}."]
    remarks += [] if plain else [f"Logistic regression on block3_pool: {NOT_RUN}."]
    remarks.append("All as the article. A specificity of 0 means that every answer is positive.")
    return Table("Is block3_pool a bad layer?", headings, cells, names=(0, 1), remarks=remarks)


def collapse_cells(row: Row) -> list[str]:
    """Return the cells of one head on block3_pool."""
    scores = [tables.metric_text(name, row[name]) for name in ("sensitivity", "specificity")]
    features = {0: "raw", 1: "scaled", None: "-"}[parameter(row, "scale")]
    settings = [setting(row, name) for name in ("learning_rate", "batch_size")]
    accuracy = tables.metric_with_interval(row, "accuracy")
    epochs = decimal(row["epochs"], 0)
    return [row["head"], features, row["seed"], accuracy, *scores, epochs, *settings]


def cost_table(rows: Sequence[Row], seconds: Mapping[str, float]) -> Table:
    """Return the seconds of each approach, of a run that trains on all images where one exists.

    Args:
        rows: of the leaderboard.
        seconds: of the steps of scripts/reproduce that were not interrupted.
    """
    cells = []
    for name, runs in approaches(rows).items():
        row = first_seed(runs, LEAKING) or first_seed(runs, LEAK_FREE)
        cells.append([name, *([NOT_RUN, *["-"] * 6] if row is None else cost_cells(row, seconds))])
    headings = ["approach", "training images", "epochs", "extraction s", "reduction s", "fit s"]
    headings += ["all s", "training images/s"]
    remarks = [
        "Extraction is the whole command over all images of the training set, block3_pool and "
        "block5_pool at once. All heads share one extraction and one reduction. Not counted: "
        "decoding images for networks on pixels, and starting the programs that fit.",
        *extraction_rates(rows, seconds),
        SHARES,
        ratio(rows, seconds),
    ]
    return Table("Cost", headings, cells, remarks=remarks)


def cost_cells(row: Row, seconds: Mapping[str, float]) -> list[str]:
    """Return the images and seconds of one run."""
    parts = costs(row, seconds)
    total = "" if None in parts else sum(part or 0 for part in parts)
    extraction = "-" if layer(row) == "pixels" else decimal(parts[0], 0)
    times = [extraction, decimal(parts[1], 1), decimal(parts[2], 1), decimal(total, 1)]
    rate = decimal(row["train_images_per_second"], 1)
    return [row["n_train"], decimal(row["epochs"], 0), *times, rate]


def costs(row: Row, seconds: Mapping[str, float]) -> tuple[float | None, float, float]:
    """Return the seconds of extraction (None: unknown), reduction and fit."""
    extraction = 0.0 if layer(row) == "pixels" else seconds.get(EXTRACTIONS.get(row["layer"], ""))
    return extraction, float(row["reduce_seconds"] or 0), float(row["fit_seconds"])


def extraction_rates(rows: Sequence[Row], seconds: Mapping[str, float]) -> list[str]:
    """Return a sentence on the images per second of each extraction."""
    sentences = {}
    for row in rows:
        step = EXTRACTIONS.get(row["layer"], "")
        if step in seconds:
            images = int(row["n_train"]) + int(row["n_test"]) * row["split"].startswith(LEAK_FREE)
            rate = images / seconds[step]
            sentences[step] = (
                f"{step}: {images} images in {seconds[step]:.0f} s, {rate:.1f} images/s."
            )
    return list(sentences.values())


def ratio(rows: Sequence[Row], seconds: Mapping[str, float]) -> str:
    """Return a sentence that compares the time of the article's CNN with that of both stages."""
    network = first_seed(of_arch(rows, "dropout"), LEAKING)
    head = first_seed((row for row in rows if (row["head"], row["layer"]) == LOGREG), LEAKING)
    if network is None or head is None:
        return f"Two stages against the article's CNN: {NOT_RUN}."
    extraction, reduction, fit = costs(head, seconds)
    if extraction is None:
        return "Two stages against the article's CNN: unknown, the extraction was interrupted."
    stages = (
        f"{extraction:.0f} s to extract {head['layer']}, {reduction + fit:.1f} s to reduce and fit "
        f"{head['head']}"
    )
    trained = float(network["fit_seconds"])
    epochs = f"{network['epochs']} epochs of the article's CNN ({trained:.0f} s)"
    times = trained / (extraction + reduction + fit)
    return f"Two stages ({stages}) against {epochs}: {times:.1f} times."


def difference_table(
    title: str, evaluations: Mapping[str, Evaluation], remarks: Sequence[str] = ()
) -> Table:
    """Return the differences in accuracy of all pairs on the same images, the better one first.

    Args:
        title: of the table.
        evaluations: the predictions of each run by its name, best first.
        remarks: sentences before those on the test.
    """
    names = list(evaluations)
    # All in the order of the first run's images.
    aligned = [evaluation.like(evaluations[names[0]]) for evaluation in evaluations.values()]
    pairs = list(combinations(range(len(names)), 2))
    differences = [compare(aligned[a], aligned[b], "accuracy") for a, b in pairs]
    adjusted = holm([difference.p for difference in differences]).tolist()
    cells = []
    for (a, b), difference, p in zip(pairs, differences, adjusted, strict=True):
        real = "yes" if p <= ALPHA else "not shown"
        numbers = [*difference_cells(difference), tables.p_text(difference.p), tables.p_text(p)]
        cells.append([names[a], names[b], *numbers, real])
    headings = ["A", "B", "of A, %", "of B, %", "A - B (95 %)", "p", "p (Holm)", "real"]
    tests = [f"Test: {differences[0].test}."] if pairs else [f"Fewer than two: {NOT_RUN}."]
    if any((d.p <= ALPHA) != (d.low > 0 or d.high < 0) for d in differences):
        tests.append(DISAGREE)
    return Table(title, headings, cells, names=(0, 1, 7), remarks=[*remarks, *tests])


def difference_cells(difference: Any) -> list[str]:
    """Return both accuracies and their difference with its interval."""
    points, low, high = (
        f"{100 * value:+.1f}" for value in (difference.difference, difference.low, difference.high)
    )
    scores = [percent(value) for value in (difference.first, difference.second)]
    return [*scores, f"{points} ({low} to {high})"]


def leaderboard_table(places: Sequence[RankedRow]) -> Table:
    """Return all runs on one test set, ranked."""
    rows = [place.row for place in places]
    ranks = [tables.rank_text(place) for place in places]
    names, numbers = tables.row_columns(rows, "accuracy")
    seeds = Column("seed", [row["seed"] for row in rows])
    columns = [Column("rank", ranks, name=True), *names, seeds, *numbers]
    headings = [column.heading for column in columns]
    cells = list(zip(*(column.cells for column in columns), strict=True))
    title = f"Leaderboard: {rows[0]['test_set']}, {rows[0]['split']}, {rows[0]['n_test']} images"
    title += f" in {rows[0]['n_test_groups']} groups" * bool(rows[0]["n_test_groups"])
    remarks = [
        f"= no difference from the best is shown (paired test, Holm-adjusted p above {ALPHA})."
    ]
    if any(row.get("clean_missing") for row in rows):
        remarks.insert(0, "*: too few clean images of some class: the score leaves its images out.")
    return Table(title, headings, cells, names=(0, 1, 2), remarks=remarks)
