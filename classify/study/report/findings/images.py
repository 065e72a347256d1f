"""Findings on the images: copies and patients on two sides, two labels, traits of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .....data.explore.shortcuts import find_hints, telltales
from .....data.output.terminal import counted, counts_by_name, number
from ....board.choices import is_control
from ....scores.clean import kinds, leak_count
from ....scores.evaluation import Evaluation
from ..choice import IMAGE_CONTROLS, Choice
from ..numbers import share_text
from ..study import EXPLORED, PAIRS, Row, Study
from ..tables import Line
from .outcome import Evidence, RuleOutcome, row_source

SAME_GROUP = "same group"
"""Level of a pair in audit.csv that shares a patient or a given group, and no picture."""

CLEARLY_ABOVE = 0.05
"""A control finds something if its interval begins at least this far above a guess."""

_AUDIT = "freezeframe audit FOLDER --output audit"
_EXPLORE = "freezeframe explore FOLDER --output explore"


def copies_across_splits(study: Study, choice: Choice) -> RuleOutcome:
    """Look for copies and near-duplicates on two sides of a split, or in two sets."""
    pairs = _leaks(study, lambda level: level != SAME_GROUP)
    evidence = []
    if pairs:
        levels = counts_by_name(dict(Counter(pair["level"] for pair in pairs)))
        text = (
            f"{counted(len(pairs), 'pair')} of {len({pair['picture'] for pair in pairs})} "
            f"pictures {'is' if len(pairs) == 1 else 'are'} on two sides of a split, or in two "
            f"sets ({levels}); first {pairs[0]['path_a']} and {pairs[0]['path_b']}"
        )
        evidence.append(Evidence(text, f"{PAIRS}: lines with leak = yes"))
    evidence += _leaking_rows(study, lambda relatives: ~np.isin(relatives, ["", "group"]))
    return _with_headline(study, choice, evidence)


def patient_on_both_sides(study: Study, choice: Choice) -> RuleOutcome:
    """Look for patients, or groups of the list, on two sides of a split."""
    pairs = _leaks(study, lambda level: level == SAME_GROUP)
    evidence = []
    if pairs:
        text = (
            f"{counted(len(pairs), 'pair')} of pictures of one patient or given group "
            f"{'is' if len(pairs) == 1 else 'are'} on two sides of a split, or in two sets; "
            f"first {pairs[0]['path_a']} and {pairs[0]['path_b']}"
        )
        evidence.append(Evidence(text, f"{PAIRS}: lines of level {SAME_GROUP} with leak = yes"))
    evidence += _leaking_rows(study, lambda relatives: relatives == "group")
    return _with_headline(study, choice, evidence)


def _with_headline(study: Study, choice: Choice, evidence: list[Evidence]) -> RuleOutcome:
    """Add to the evidence whether the row of the first sentence is concerned."""
    elsewhere = leak_count(choice.row) == (0, False)
    if evidence and elsewhere:
        text = (
            "The first sentence of this report is not affected: none of its "
            f"{choice.row['n_test']} test images has a known relative in training"
        )
        evidence = [*evidence, Evidence(text, row_source(choice.row))]
    return RuleOutcome(evidence, "" if study.pairs is not None else _AUDIT, elsewhere)


def _leaks(study: Study, chosen: Callable[[str], bool]) -> list[Line]:
    """Return the pairs of an audit that leak, of some levels."""
    pairs = study.pairs or []
    return [pair for pair in pairs if pair["leak"] == "yes" and chosen(pair["level"])]


def _leaking_rows(
    study: Study, chosen: Callable[[NDArray[np.str_]], NDArray[np.bool_]]
) -> Iterator[Evidence]:
    """Yield, for each test set, how many images have a relative of some kind in training."""
    seen: set[str] = set()
    for row in study.rows:
        if is_control(row) or row["test_id"] in seen or not leak_count(row)[0]:
            continue
        evaluation = study.evaluation(row)
        if evaluation is None:
            continue
        seen.add(row["test_id"])
        related = chosen(evaluation.relatives) & evaluation.leaking
        if related.any():
            yield Evidence(_relatives_text(evaluation, related), row_source(row))


def _relatives_text(evaluation: Evaluation, related: NDArray[np.bool_]) -> str:
    n = int(related.sum())
    return (
        f"{n} of {len(related)} test images of {evaluation.test_set}, {evaluation.split}, "
        f"{'has' if n == 1 else 'have'} a relative among the training images "
        f"({kinds(evaluation.relatives[related])})"
    )


def two_labels(study: Study, choice: Choice) -> RuleOutcome:
    """Look for pictures that have two labels."""
    pairs = [pair for pair in study.pairs or [] if pair["conflict"] == "yes"]
    if not pairs:
        return RuleOutcome((), "" if study.pairs is not None else _AUDIT)
    n = len({pair["picture"] for pair in pairs})
    first = pairs[0]
    text = (
        f"{counted(n, 'picture')} {'has' if n == 1 else 'have'} two labels; first "
        f"{first['path_a']} ({first['label_a']}) and {first['path_b']} ({first['label_b']})"
    )
    return RuleOutcome([Evidence(text, f"{PAIRS}: lines with conflict = yes")])


def shortcut(study: Study, choice: Choice) -> RuleOutcome:
    """Look for traits of files that give a class away: size, format, mode or border."""
    rows = [row for row in study.rows if row["head"] in IMAGE_CONTROLS and not is_control(row)]
    # They see no features: with each layer they are the same again.
    controls = {(row["head"], row["test_id"], row["split"]): row for row in rows}.values()
    evidence = [
        Evidence(
            f"{row['head']}, which sees no content, has a balanced accuracy of "
            f"{share_text(row, 'balanced_accuracy')}; a guess has {100 * _chance(row):.0f} %",
            row_source(row),
        )
        for row in controls
        if number(row["balanced_accuracy_low"]) > _chance(row) + CLEARLY_ABOVE
    ]
    evidence += [Evidence(text, f"{EXPLORED}: all readable files") for text in _hints(study)]
    looked = bool(controls) or study.images is not None
    return RuleOutcome(evidence, "" if looked else _EXPLORE)


def _chance(row: Row) -> float:
    """Return the balanced accuracy of a guess."""
    # Commas within names are rare, and one too many only makes the rule stricter.
    return 1 / max(2, row["classes"].count('", "') + 1)


def _hints(study: Study) -> list[str]:
    """Return what small trees learn from format, mode and size, as `explore` does."""
    import pandas as pd

    lines = [
        line
        for line in study.images or []
        if not line["reason"] and line["height"] and line["brightness"] and line["contrast"]
    ]
    if not lines:
        return []
    images = pd.DataFrame(lines)
    numbers = ["height", "width", "brightness", "contrast"]
    images[numbers] = images[numbers].astype(float)
    groups = _group_numbers(study, images["path"].tolist())
    hints = [hint for hint in find_hints(images, groups) if hint.warns]
    columns = {hint.columns for hint in hints}
    texts = [hint.sentence for hint in hints if not hint.columns.endswith("together")]
    texts = texts or [hint.sentence for hint in hints]
    return texts + [
        telltale.sentence
        for telltale in telltales(images, groups)
        if telltale.column not in columns
    ]


def _group_numbers(study: Study, paths: list[str]) -> NDArray[np.intp]:
    """Return the group of each image; an image that the audit does not have is alone."""
    groups = {line["path"]: f"group {line['group']}" for line in study.groups or []}
    names = [groups.get(path, f"file {path}") for path in paths]
    return np.unique(names, return_inverse=True)[1].reshape(-1)
