"""Facts on a head: its features and weights, how it was fitted, and with what."""

from __future__ import annotations

from collections.abc import Iterator

from ..report.findings.outcome import Evidence
from .citation import Citation
from .facts import Facts, json_cell

FORESTS = ("extra-trees", "xgboost")
"""Heads that are ensembles themselves."""


def technology(facts: Facts) -> Iterator[Evidence]:
    """State the head and the features that it is fitted on."""
    row, cite = facts.row, Citation()
    if row.has("head", "layer"):
        pooling = f", pooling {cite.name(row, 'pooling')}" if row.has("pooling") else ""
        yield cite.evidence(
            f"The head (classifier) {cite.name(row, 'head')} on features of layer "
            f"{cite.name(row, 'layer')}{pooling}."
        )


def backbone(facts: Facts) -> Iterator[Evidence]:
    """State the network of the features, which the settings of a study name."""
    settings, cite = facts.settings, Citation()
    if settings.has("backbone"):
        yield cite.evidence(
            f"The settings of the study name the network {cite.name(settings, 'backbone')}."
        )


def weights(facts: Facts) -> Iterator[Evidence]:
    """State the weights of the network."""
    row, cite = facts.row, Citation()
    if row.has("weights", "weights_digest"):
        yield cite.evidence(
            f"Weights of the network: {cite.name(row, 'weights')}, SHA-256 "
            f"{cite.name(row, 'weights_digest')}."
        )


def seed(facts: Facts) -> Iterator[Evidence]:
    """State the seed of splits and of starts that are drawn."""
    row, cite = facts.row, Citation()
    if row.has("seed"):
        yield cite.evidence(
            f"Splits, and starts of heads that draw one: seed {cite.plain(row, 'seed')}."
        )


def hyperparameters(facts: Facts) -> Iterator[Evidence]:
    """State the hyper-parameters, and how many settings were tried."""
    row, cite = facts.row, Citation()
    if row.has("hyperparameters"):
        tried = (
            f"; settings tried: {cite.plain(row, 'n_searched')}" if row.has("n_searched") else ""
        )
        yield cite.evidence(f"Hyper-parameters {cite.name(row, 'hyperparameters')}{tried}.")
    cite = Citation()
    if row.has("epochs"):
        yield cite.evidence(f"Epochs of training: {cite.plain(row, 'epochs')}.")


def class_weights(facts: Facts) -> Iterator[Evidence]:
    """State whether the classes were weighted, where the head can do so."""
    row, cite = facts.row, Citation()
    pairs = json_cell(row.cells["hyperparameters"])
    if isinstance(pairs, dict) and "class_weights" in pairs:
        yield cite.evidence(
            "The head can weight its classes: see `class_weights` in "
            f"{cite.name(row, 'hyperparameters')}."
        )


def output(facts: Facts) -> Iterator[Evidence]:
    """State the classes, the positive one, the calibration and the threshold."""
    row, cite = facts.row, Citation()
    if not row.has("classes"):
        return
    positive = f", positive class {cite.name(row, 'positive')}" if row.has("positive") else ""
    text = f"A probability for each of the classes {cite.name(row, 'classes')}{positive}."
    for column, noun in (("calibration", "calibration"), ("threshold", "chosen threshold")):
        if row.has(column):
            text += f" {noun.capitalize()}: {cite.name(row, column)}."
        else:
            # An empty cell says so, too.
            cite.name(row, column)
            text += f" No {noun} (empty cell)."
    yield cite.evidence(text)


def software(facts: Facts) -> Iterator[Evidence]:
    """State the version of the package."""
    row, cite = facts.row, Citation()
    if row.has("version"):
        yield cite.evidence(f"freezeframe {cite.name(row, 'version')}.")


def fitted(facts: Facts) -> Iterator[Evidence]:
    """State when the head was fitted."""
    row, cite = facts.row, Citation()
    if row.has("time"):
        yield cite.evidence(f"Fitted at {cite.name(row, 'time')} (UTC), run {_run(facts, cite)}.")


def single_head(facts: Facts) -> Iterator[Evidence]:
    """State whether the scored head is an ensemble."""
    row, cite = facts.row, Citation()
    head = row.cells["head"]
    if head in FORESTS:
        yield cite.evidence(
            f"The score is of one head, {cite.name(row, 'head')}, which is itself an ensemble of "
            "trees; heads are not combined."
        )
    elif head:
        yield cite.evidence(
            f"The score is of one head, {cite.name(row, 'head')}; heads are not combined."
        )


def model_file(facts: Facts) -> Iterator[Evidence]:
    """State where the fitted head is, and its size."""
    row, cite = facts.row, Citation()
    if row.has("run_id", "model_bytes"):
        yield cite.evidence(
            f"The fitted head, {cite.plain(row, 'model_bytes')} bytes, is in the folder "
            f"{_run(facts, cite)} of `runs/`; `freezeframe predict` takes that folder."
        )


def repeat(facts: Facts) -> Iterator[Evidence]:
    """State that the settings of the study are kept."""
    settings, cite = facts.settings, Citation()
    if settings.has("seed"):
        yield cite.evidence(
            "The settings of the study are kept, and `freezeframe run --config run.toml` repeats "
            f"it (seed {cite.name(settings, 'seed')})."
        )


def _run(facts: Facts, cite: Citation) -> str:
    return cite.name(facts.row, "run_id")
