"""Heads against the best one of each test set: worse, equivalent, or too few images to say."""

from __future__ import annotations

from collections.abc import Sequence

from .....data.output import html as pages
from .....data.output.terminal import number
from ....board.tables import interval_text, margin_text
from ....scores.metric_names import is_clean
from ..findings.outcome import head_name
from ..study import Study
from ..tables import Line
from .parts import not_run

_METRIC = "accuracy"
_WORDS = {
    "better": "worse",
    "worse": "better",
    "equivalent": "equivalent",
    "not shown": "too few images to say",
    "untested": "not tested",
}
"""Words for the other head, by the outcome of the best one against it."""


def equivalence_section(study: Study) -> list[str]:
    """Return, for each test set that runs were compared on, how they are to the best of them."""
    title = pages.heading("Which heads are as good as the best?", level=3)
    if study.comparisons is None:
        return [title, not_run("freezeframe compare RUN RUN --format csv > compare.csv")]
    names = {row["run_id"]: head_name(row) for row in study.rows}
    parts = [title]
    for test_id, tested in {pair["test_id"]: pair for pair in study.comparisons}.items():
        pairs = study.accuracy_pairs(test_id)
        parts += _test_set(pairs, names) if pairs else [_leaking(tested)]
    return parts


def _leaking(pair: Line) -> str:
    """Return the line of a test set whose images leak, so that it says nothing on heads."""
    return pages.paragraph(
        f"{pair['test_set']}, {pair['split']}: no comparison of accuracies is made, because test "
        "images leak: they have relatives in training, and too few others are left."
    )


def _of_best(pairs: Sequence[Line]) -> list[Line]:
    """Return the pairs of the best run, which is the first of each.

    The first run of a pair is the better one on all images, and may be worse on the clean ones.
    """
    first = pairs[0]["first_run"]
    lead = {
        pair["second_run"]: number(pair["difference"])
        for pair in pairs
        if pair["first_run"] == first and pair["difference"]
    }
    best = min(lead, key=lambda run: lead[run]) if min(lead.values(), default=0) < 0 else first
    return [
        pair if pair["first_run"] == best else _swapped(pair)
        for pair in pairs
        if best in (pair["first_run"], pair["second_run"])
    ]


def _swapped(pair: Line) -> Line:
    """Return a pair as seen from its second run."""
    ends = {"difference": "difference", "low": "high", "low_90": "high_90"}
    ends |= {high: low for low, high in ends.items()}
    turned = {name: f"{-number(pair[end])}" if pair[end] else "" for name, end in ends.items()}
    runs = {"first_run": pair["second_run"], "second_run": pair["first_run"]}
    outcome = {"better": "worse", "worse": "better"}.get(pair["outcome"], pair["outcome"])
    return {**pair, **turned, **runs, "outcome": outcome}


def _test_set(pairs: Sequence[Line], names: dict[str, str]) -> list[str]:
    """Return a sentence and a table about the pairs of one test set, the best run's first."""
    against = _of_best(pairs)
    best = against[0]["first_run"]
    margin = margin_text(number(pairs[0]["margin"]))
    groups: dict[str, list[str]] = {}
    rows = []
    for pair in against:
        name = names.get(pair["second_run"], pair["second_run"])
        word = _WORDS.get(pair["outcome"], pair["outcome"])
        small = f", by less than {margin}" * (word == "worse" and pair["equivalent"] == "yes")
        groups.setdefault(word, []).append(name)
        ends = [
            interval_text(_METRIC, -number(pair[high]), -number(pair[low]))
            for low, high in (("low", "high"), ("low_90", "high_90"))
        ]
        difference = interval_text(_METRIC, -number(pair["difference"]))
        rows.append((name, difference, *ends, word + small))
    headings = ("head", "minus the best, points", "95 % interval", "90 % interval", "it is")
    clauses = [
        f"{word}{f' within {margin}' * (word == 'equivalent')}: {', '.join(groups[word])}"
        for word in _WORDS.values()
        if word in groups
    ]
    against_it = "; ".join(clauses)
    clean = ", on the test images without a known relative in training"
    where = f"{pairs[0]['test_set']}, {pairs[0]['split']}{clean * is_clean(pairs[0]['metric'])}"
    text = (
        f"{where}: the best of those compared is {names.get(best, best)}. Against it, "
        f"{against_it}. Equivalent is what two one-sided tests show: a difference of less than "
        f"{margin}, and it holds after the correction of Holm for the number of pairs; so does "
        "what is called better or worse. The intervals are of each pair alone. A difference that "
        "is not shown is no equality. Images of one group count as one."
    )
    return [pages.paragraph(text), pages.table(headings, rows, numbers=(1, 2, 3))]
