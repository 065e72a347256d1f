"""Items of a checklist: each with the facts of the study that answer it, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..report.findings.outcome import Evidence
from .facts import Facts

Fact = Callable[[Facts], Iterator[Evidence]]
"""A function that states something about a study, with sources; nothing where it is unknown."""


@dataclass(frozen=True)
class Item:
    """An item of a checklist: a row of its table.

    Attributes:
        number: its number in the checklist.
        name: its subject in a few words of ours.
        todo: what the author must write.
        facts: state what the study knows about it.
        whole: True if all facts together are the answer; False if the author must add `todo`.
    """

    number: str
    name: str
    todo: str
    facts: Sequence[Fact] = field(default=(), repr=False)
    whole: bool = False


@dataclass(frozen=True)
class Checklist:
    """A checklist: ONE table of items.

    Attributes:
        file: name of the file that it is written into.
        title: its title.
        remark: where the numbers of its items are from.
        sections: the items, by the name of their section.
    """

    file: str
    title: str
    remark: str
    sections: Sequence[tuple[str, Sequence[Item]]]


@dataclass(frozen=True)
class Answer:
    """An item with what the study says about it.

    Attributes:
        item: the item.
        evidence: statements, each with its source.
        todo: what the author must write; "" if the statements answer the item.
    """

    item: Item
    evidence: Sequence[Evidence]
    todo: str


def answer_item(item: Item, facts: Facts) -> Answer:
    """Answer an item; it is for the author where a fact is unknown, or the facts are a part."""
    by_fact = [list(fact(facts)) for fact in item.facts]
    is_answered = item.whole and all(by_fact)
    evidence = [statement for statements in by_fact for statement in statements]
    return Answer(item, evidence, "" if is_answered else item.todo)


def counts(answers: Iterable[Answer]) -> tuple[int, int, int]:
    """Count the items that are answered, answered in part, and left to the author.

    Examples:
        >>> item = Item("1", "title", "write it")
        >>> counts([Answer(item, [], "write it"), Answer(item, [Evidence("a", "b")], "")])
        (1, 0, 1)
    """
    answered = part = author = 0
    for answer in answers:
        if not answer.todo:
            answered += 1
        elif answer.evidence:
            part += 1
        else:
            author += 1
    return answered, part, author
