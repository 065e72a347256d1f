"""The tables of a reproduction of the article, from rows of a leaderboard; nothing is estimated.

What was not run is shown as "not run".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from freezeframe.classify.board import tables
from freezeframe.classify.board.ranking import ALPHA, Place
from freezeframe.classify.commands.leaderboard import MARKS
from freezeframe.classify.heads.architectures import ARCHITECTURES
from freezeframe.classify.scores.clean import leak_count, leak_count_text
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.paired_tests import compare, holm
from freezeframe.data.output import html as pages

ARTICLE = {
    "simple": 252,
    "dropout": 252,
    "augmented": 229,
    "vgg16-block5": 252,
    "vgg16-block3": 157,
}
"""Its five models, and how many of 253 test images each got right."""
OF = 253

LEAKED, LEAK_FREE = "external", "hold-out"
"""How the splits begin that runs were tested on: the other set, and what was held out of the training set."""

EXTRACTIONS = {
    "block3_pool": "extract-training",
    "block5_pool": "extract-training",
    "block4_pool": "extract-block4",
}
"""The step of scripts/reproduce that made a layer's features."""

LOGREG = ("logreg", "block5_pool")
STAGES = [
    LOGREG,
    ("logreg", "block3_pool"),
    ("early-blocks", "block3_pool"),
    ("finetune-block5", "block4_pool"),
]
"""Heads whose cost is told."""

SHARES = (
    "Networks are trained on four fifths of the training images; the last fifth, chosen at random as the article did "
    "or parted from them as leak-free test images are, only watches or stops them. Other heads choose by it, or by "
    "five such folds, and are then fitted on all."
)

DISAGREE = (
    "The test asks whether the groups of copies favour one side more than chance would, the interval how far they "
    "agree on how much. Where few groups are large and most others agree, a small p may stand beside an interval with "
    "0 in it."
)

NOT_RUN = "not run"

Row = Mapping[str, str]


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
        """As a part of results.md."""
        columns = [
            tables.Column(heading, [row[number] for row in self.rows], name=number in self.names)
            for number, heading in enumerate(self.headings)
        ]
        told = "".join(f"- {tables.as_text(remark)}\n" for remark in self.remarks)
        return (
            f"## {tables.as_text(self.title)}\n\n{tables.as_markdown(columns)}\n"
            + f"\n{told}" * bool(told)
        )

    def html(self) -> str:
        """As a part of index.html."""
        numbers = [number for number in range(len(self.headings)) if number not in self.names]
        told = [pages.paragraph(remark, quiet=True) for remark in self.remarks]
        shown = pages.table(self.headings, self.rows, numbers=numbers)
        return "\n".join([pages.heading(self.title), shown, *told])


def newest(rows: Iterable[Row]) -> list[Row]:
    """Rows without those of runs that were made again."""
    same = (
        "head",
        "layer",
        "pooling",
        "hyperparameters",
        "calibration",
        "threshold",
        "data_set",
        "test_id",
        "seed",
    )
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in same)
        found.pop(key, None)  # it takes the place of the later one
        found[key] = row
    return list(found.values())


def parameter(row: Row, name: str) -> Any:
    """A hyper-parameter; None if its head has none of that name."""
    return json.loads(row["hyperparameters"]).get(name)


def of_arch(rows: Iterable[Row], arch: str) -> list[Row]:
    """Rows of one of the article's models, trained for all epochs; of dense heads on features that were not scaled."""
    found = ARCHITECTURES[arch]
    wanted = (found.head, found.layer, found.parameters.get("scale"), "last")
    return [
        row
        for row in rows
        if (row["head"], layer(row), parameter(row, "scale"), parameter(row, "keep")) == wanted
    ]


def layer(row: Row) -> str:
    """What a head was fitted on, whatever the size of the images."""
    return "pixels" if row["layer"].startswith("pixels") else row["layer"]


def first_seed(rows: Iterable[Row], split: str) -> Row | None:
    """The last row of the least seed among those whose split begins so."""
    found = [row for row in rows if row["split"].startswith(split)]
    return min(reversed(found), key=lambda row: int(row["seed"]), default=None)


def article_table(rows: Sequence[Row]) -> Table:
    """The article's five models, its accuracy beside ours."""
    headings = ["model", "article, %", "as the article, % (95 %)", "leaking", "leak-free, % (95 %)"]
    headings += ["seed", "epochs", "size", "learning rate", "batch", "fit s", "training images/s"]
    told = []
    for arch, right in ARTICLE.items():
        mine = of_arch(rows, arch)
        pair = [first_seed(mine, LEAKED), first_seed(mine, LEAK_FREE)]
        scores = [NOT_RUN if row is None else tables.with_interval(row, "accuracy") for row in pair]
        numbers = [each(pair, name, n) for name, n in NETWORK]
        settings = [
            once([setting(row, name) for row in pair])
            for name in ("size", "learning_rate", "batch_size")
        ]
        scored = [f"{100 * right / OF:.1f}", scores[0], leaking(pair[0]), scores[1]]
        told.append([arch, *scored, *numbers[:2], *settings, *numbers[2:]])
    remarks = [
        "As the article: a random fifth of the training set validates, the other set is the test; leaking are test "
        "images with a relative among the training images. Leak-free: a hold-out of the training set that parts no "
        "picture from relatives.",
        SHARES,
        "Where two numbers stand, the first is of the run as the article. Fit seconds include validation, images/s "
        "do not.",
    ]
    return Table("The article's five models", headings, told, remarks=remarks)


NETWORK = (("seed", 0), ("epochs", 0), ("fit_seconds", 0), ("train_images_per_second", 1))
"""Columns that tell how a network was trained, and their decimals."""


def each(pair: Sequence[Row | None], name: str, decimals: int) -> str:
    """A number of both runs, once if it is the same."""
    return once([decimal("" if row is None else row[name], decimals) for row in pair])


def once(cells: Sequence[str]) -> str:
    """Several cells in one, equal ones once."""
    return ", ".join(dict.fromkeys(cells))


def setting(row: Row | None, name: str) -> str:
    """A hyper-parameter as text, or the size of the images."""
    if row is None:
        return "-"
    if name == "size":
        return row["layer"].removeprefix("pixels-") if layer(row) == "pixels" else "224"
    return str(parameter(row, name) or "-")


def decimal(value: Any, decimals: int) -> str:
    """A number; "-" if it is empty."""
    return "-" if value in ("", None) else f"{float(value):.{decimals}f}"


def leaking(row: Row | None) -> str:
    """How many test images are known to leak, and of how many."""
    return "-" if row is None else f"{leak_count_text(*leak_count(row))} of {row['n_test']}"


def collapse_table(rows: Sequence[Row]) -> Table:
    """The dense head on block3_pool by seed, with raw and with scaled features, and logistic regression beside it."""
    here = [row for row in rows if row["layer"] == "block3_pool" and row["split"] == LEAKED]
    kind = ARCHITECTURES["vgg16-block3"].head
    heads = [row for row in here if row["head"] == kind and parameter(row, "keep") == "last"]
    heads.sort(key=lambda row: (parameter(row, "scale"), int(row["seed"])))
    plain = first_seed((row for row in here if row["head"] == "logreg"), LEAKED)
    article = ["the article's", "raw", "-", f"{100 * ARTICLE['vgg16-block3'] / OF:.1f}", *["-"] * 5]
    told = [collapse_row(row) for row in [*heads, *([plain] if plain else [])]]
    headings = [
        "head",
        "features",
        "seed",
        "accuracy, % (95 %)",
        "sens.",
        "spec.",
        "epochs",
        "learning rate",
        "batch",
    ]
    remarks = [] if heads else [f"The dense head on block3_pool: {NOT_RUN}."]
    remarks += [] if plain else [f"Logistic regression on block3_pool: {NOT_RUN}."]
    remarks.append(
        "All as the article. A specificity of 0 is an answer that is always the positive class."
    )
    return Table(
        "Is block3_pool a bad layer?", headings, [article, *told], names=(0, 1), remarks=remarks
    )


def collapse_row(row: Row) -> list[str]:
    """One head on block3_pool."""
    scores = [tables.shown(name, row[name]) for name in ("sensitivity", "specificity")]
    features = {0: "raw", 1: "scaled", None: "-"}[parameter(row, "scale")]
    settings = [setting(row, name) for name in ("learning_rate", "batch_size")]
    accuracy = tables.with_interval(row, "accuracy")
    return [
        row["head"],
        features,
        row["seed"],
        accuracy,
        *scores,
        decimal(row["epochs"], 0),
        *settings,
    ]


def cost_table(rows: Sequence[Row], seconds: Mapping[str, float]) -> Table:
    """What each approach takes: of the run as the article if there is one, since that has all images.

    Args:
        seconds: of steps of scripts/reproduce that ran through in one go.
    """
    told = []
    for name, found in approaches(rows).items():
        row = first_seed(found, LEAKED) or first_seed(found, LEAK_FREE)
        told.append([name, *([NOT_RUN, *["-"] * 6] if row is None else cost_cells(row, seconds))])
    headings = [
        "approach",
        "training images",
        "epochs",
        "extraction s",
        "reduction s",
        "fit s",
        "all s",
    ]
    headings.append("training images/s")
    remarks = [
        "Extraction is the whole command over all images of the training set, both layers of block3_pool and "
        "block5_pool at once; it is needed once for all heads, as is the reduction. Decoding the images of networks on "
        "pixels, and starting programs that fit, is left out.",
        *extraction_rates(rows, seconds),
        SHARES,
        ratio(rows, seconds),
    ]
    return Table("Cost", headings, told, remarks=remarks)


def approaches(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of all whose cost is told."""
    found = {
        f"{arch}, end to end": of_arch(rows, arch) for arch in ("simple", "dropout", "augmented")
    }
    found |= {arch: of_arch(rows, arch) for arch in ("vgg16-block5", "vgg16-block3")}
    for stage in STAGES:
        found[" on ".join(stage)] = [row for row in rows if (row["head"], row["layer"]) == stage]
    for weights in ("imagenet", "random"):
        all_of_it = [
            row
            for row in rows
            if row["head"] == "finetune-all" and parameter(row, "weights") == weights
        ]
        sizes = once([row["layer"].removeprefix("pixels-") for row in all_of_it])
        found[f"all of VGG16, {weights} weights" + f", {sizes} pixels" * bool(sizes)] = all_of_it
    return found


def cost_cells(row: Row, seconds: Mapping[str, float]) -> list[str]:
    """Images and seconds of one run."""
    parts = costs(row, seconds)
    whole = "" if None in parts else sum(part or 0 for part in parts)
    shown = [
        "-" if layer(row) == "pixels" else decimal(parts[0], 0),
        decimal(parts[1], 1),
        decimal(parts[2], 1),
    ]
    rate = decimal(row["train_images_per_second"], 1)
    return [row["n_train"], decimal(row["epochs"], 0), *shown, decimal(whole, 1), rate]


def costs(row: Row, seconds: Mapping[str, float]) -> tuple[float | None, float, float]:
    """Seconds of extraction (None: not known), reduction and fit."""
    extraction = 0.0 if layer(row) == "pixels" else seconds.get(EXTRACTIONS.get(row["layer"], ""))
    return extraction, float(row["reduce_seconds"] or 0), float(row["fit_seconds"])


def extraction_rates(rows: Sequence[Row], seconds: Mapping[str, float]) -> list[str]:
    """Images per second of each extraction."""
    told = {}
    for row in rows:
        step = EXTRACTIONS.get(row["layer"], "")
        if step in seconds:
            images = int(row["n_train"]) + int(row["n_test"]) * row["split"].startswith(LEAK_FREE)
            told[step] = (
                f"{step}: {images} images in {seconds[step]:.0f} s, {images / seconds[step]:.1f} images/s."
            )
    return list(told.values())


def ratio(rows: Sequence[Row], seconds: Mapping[str, float]) -> str:
    """How many times the article's CNN takes as long as both stages."""
    network = first_seed(of_arch(rows, "dropout"), LEAKED)
    head = first_seed((row for row in rows if (row["head"], row["layer"]) == LOGREG), LEAKED)
    if network is None or head is None:
        return f"Two stages against the article's CNN: {NOT_RUN}."
    extraction, *others = costs(head, seconds)
    if extraction is None:
        return "Two stages against the article's CNN: not known, for the extraction did not run through in one go."
    both, fit = extraction + sum(others), float(network["fit_seconds"])
    stages = f"{extraction:.0f} s to extract {head['layer']}, {sum(others):.1f} s to reduce and fit {head['head']}"
    long = f"{network['epochs']} epochs of the article's CNN ({fit:.0f} s)"
    return f"Two stages ({stages}) against {long}: {fit / both:.1f} times."


def approach(row: Row) -> str:
    """What kind of model a row is of."""
    head = row["head"]
    if head == "finetune-all":
        return f"all of VGG16, {parameter(row, 'weights')} weights"
    if layer(row) == "pixels":
        return "end-to-end network"
    if head.startswith("finetune"):
        return "fine-tuned blocks"
    if head == "early-blocks":
        return "own convolutions"
    return "the article's dense head" if parameter(row, "scale") == 0 else f"head on {row['layer']}"


def best_of_each(rows: Iterable[Row]) -> dict[str, Row]:
    """Of each approach the most accurate row on the leak-free hold-out, best first."""
    best: dict[str, Row] = {}
    for row in sorted(held_out(rows), key=lambda row: -float(row["accuracy"])):
        best.setdefault(approach(row), row)
    return {f"{name} ({row['head']})": row for name, row in best.items()}


def five_models(rows: Iterable[Row]) -> dict[str, Row]:
    """The article's models on the leak-free hold-out, best first."""
    held = held_out(rows)
    found = {
        arch: row
        for arch in ARTICLE
        if (row := first_seed(of_arch(held, arch), LEAK_FREE)) is not None
    }
    return dict(sorted(found.items(), key=lambda item: -float(item[1]["accuracy"])))


def held_out(rows: Iterable[Row]) -> list[Row]:
    """Rows of the leak-free hold-out that most were tested on."""
    held = [row for row in rows if row["split"].startswith(LEAK_FREE) and row["accuracy"]]
    common = Counter(row["test_id"] for row in held).most_common(1)
    return [row for row in held if row["test_id"] == common[0][0]]


def difference_table(
    title: str, evaluations: Mapping[str, Evaluation], remarks: Sequence[str] = ()
) -> Table:
    """Every pair in accuracy, on the same images, the better one first.

    Args:
        title: of the table.
        evaluations: what each said, by its name, best first.
        remarks: that stand before what is said of the test.
    """
    names = list(evaluations)
    said = [evaluation.like(evaluations[names[0]]) for evaluation in evaluations.values()]
    pairs = list(combinations(range(len(said)), 2))
    found = [compare(said[a], said[b], "accuracy") for a, b in pairs]
    told = []
    for (a, b), one, p in zip(pairs, found, holm([one.p for one in found]).tolist(), strict=True):
        difference, low, high = (
            f"{100 * value:+.1f}" for value in (one.difference, one.low, one.high)
        )
        scores = [tables.percent(value) for value in (one.first, one.second)]
        numbers = [
            *scores,
            f"{difference} ({low} to {high})",
            tables.p_text(one.p),
            tables.p_text(p),
        ]
        told.append([names[a], names[b], *numbers, "yes" if p <= ALPHA else "cannot be told apart"])
    headings = ["A", "B", "of A, %", "of B, %", "A - B (95 %)", "p", "p (Holm)", "real"]
    tests = [f"Test: {found[0].test}."] if found else [f"Fewer than two: {NOT_RUN}."]
    if any((one.p <= ALPHA) != (one.low > 0 or one.high < 0) for one in found):
        tests.append(DISAGREE)
    return Table(title, headings, told, names=(0, 1, 7), remarks=[*remarks, *tests])


def leaderboard_table(places: Sequence[Place]) -> Table:
    """All runs on one test set, ranked."""
    rows = [place.row for place in places]
    ranks = [
        ("-" if place.rank is None else str(place.rank)) + MARKS[place.standing] for place in places
    ]
    names, numbers = tables.row_columns(rows, "accuracy")
    seeds = tables.Column("seed", [row["seed"] for row in rows])
    columns = [tables.Column("rank", ranks, name=True), *names, seeds, *numbers]
    cells = list(zip(*(column.cells for column in columns), strict=True))
    title = f"Leaderboard: {rows[0]['test_set']}, {rows[0]['split']}, {rows[0]['n_test']} images"
    title += f" in {rows[0]['n_test_groups']} groups" * bool(rows[0]["n_test_groups"])
    remarks = [f"= cannot be told from the best (paired test, Holm-adjusted p above {ALPHA})."]
    return Table(
        title, [column.heading for column in columns], cells, names=(0, 1, 2), remarks=remarks
    )
