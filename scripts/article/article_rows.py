"""Choose the rows of a leaderboard that belong to the article's models and to each approach."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freezeframe.classify.heads.architectures import ARCHITECTURES

ARTICLE = {
    "simple": 252,
    "dropout": 252,
    "augmented": 229,
    "vgg16-block5": 252,
    "vgg16-block3": 157,
}
"""Test images that each of the article's five models got right."""

N_TESTED = 253
"""Test images of the article."""

LEAKING = "external"
"""Split of a run that is tested on the other set, copies of training images included."""

RANDOM_LIST = "random.csv"
"""List that runs as the article are trained on: a random fifth of it validates."""

LEAK_FREE = "hold-out"
"""Split of a run that is tested on a part of the training set without relatives in training."""

LOGREG = ("logreg", "block5_pool")
STAGES = [
    LOGREG,
    ("logreg", "block3_pool"),
    ("early-blocks", "block3_pool"),
    ("finetune-block5", "block4_pool"),
]
"""Heads on features, with their layers, whose cost is shown."""

RUN_COLUMNS = (
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
"""Columns that are equal in two rows if a run was repeated."""

Row = Mapping[str, str]


def newest(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those of runs that were repeated later."""
    latest: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in RUN_COLUMNS)
        # Removed first, so that the row takes the place of the later run.
        latest.pop(key, None)
        latest[key] = row
    return list(latest.values())


def parameter(row: Row, name: str) -> Any:
    """Return a hyper-parameter; None if the head has none of that name."""
    return json.loads(row["hyperparameters"]).get(name)


def layer(row: Row) -> str:
    """Return the layer that a head was fitted on; "pixels" for images of any size."""
    return "pixels" if row["layer"].startswith("pixels") else row["layer"]


def is_as_article(row: Row) -> bool:
    """Return True if a run was trained and tested as the article's models."""
    return row["split"] == LEAKING and row["data_set"] == RANDOM_LIST


def of_arch(rows: Iterable[Row], arch: str) -> list[Row]:
    """Return the rows of one of the article's models, trained for all epochs.

    Dense heads count only if their features were not scaled.
    """
    model = ARCHITECTURES[arch]
    properties = (model.head, model.layer, model.parameters.get("scale"), "last")
    return [
        row
        for row in rows
        if (row["head"], layer(row), parameter(row, "scale"), parameter(row, "keep")) == properties
    ]


def first_seed(rows: Iterable[Row], split: str) -> Row | None:
    """Return the last row of the lowest seed whose split begins with a word."""
    matching = [
        row
        for row in rows
        if (is_as_article(row) if split == LEAKING else row["split"].startswith(split))
    ]
    return min(reversed(matching), key=lambda row: int(row["seed"]), default=None)


def held_out(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of the hold-out that keeps copies apart that most runs were tested on."""
    # Controls are no approach: they see no content.
    tested = [
        row
        for row in rows
        if row["split"].startswith(LEAK_FREE) and row["accuracy"] and layer(row) != "image"
    ]
    commonest = Counter(row["test_id"] for row in tested).most_common(1)
    return [row for row in tested if row["test_id"] == commonest[0][0]]


def approach(row: Row) -> str:
    """Return the name of the kind of model that a row is of."""
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


def approaches(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each approach whose cost is shown, by its name."""
    networks = ("simple", "dropout", "augmented")
    chosen = {f"{arch}, end to end": of_arch(rows, arch) for arch in networks}
    chosen |= {arch: of_arch(rows, arch) for arch in ("vgg16-block5", "vgg16-block3")}
    for stage in STAGES:
        chosen[" on ".join(stage)] = [row for row in rows if (row["head"], row["layer"]) == stage]
    fine_tuned = [row for row in rows if row["head"] == "finetune-all"]
    for weights in ("imagenet", "random"):
        own = [row for row in fine_tuned if parameter(row, "weights") == weights]
        sizes = ", ".join(dict.fromkeys(row["layer"].removeprefix("pixels-") for row in own))
        pixels = f", {sizes} pixels" if sizes else ""
        chosen[f"all of VGG16, {weights} weights{pixels}"] = own
    return chosen


def best_of_each(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the most accurate row of each approach on that hold-out, best first."""
    best: dict[str, Row] = {}
    for row in sorted(held_out(rows), key=lambda row: -float(row["accuracy"])):
        best.setdefault(approach(row), row)
    return {f"{name} ({row['head']})": row for name, row in best.items()}


def five_models(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows of the article's models on that hold-out, best first."""
    tested = held_out(rows)
    models = {arch: first_seed(of_arch(tested, arch), LEAK_FREE) for arch in ARTICLE}
    present = {arch: row for arch, row in models.items() if row is not None}
    return dict(sorted(present.items(), key=lambda item: -float(item[1]["accuracy"])))
