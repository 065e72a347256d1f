"""A finding, its kind, and the outcome of the rule that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..choice import Choice
from ..study import LEADERBOARD_NAME, Row, Study


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence.

    Attributes:
        text: a sentence with its numbers.
        source: the file, and the row in it, that the numbers come from.
    """

    text: str
    source: str


@dataclass(frozen=True)
class RuleOutcome:
    """The result of a rule.

    Attributes:
        evidence: for the finding; none where there is nothing to find.
        missing: the command that makes what the rule needs; "" where it looked at something.
        elsewhere: True if the evidence does not concern the row of the first sentence.
    """

    evidence: Sequence[Evidence] = ()
    missing: str = ""
    elsewhere: bool = False


Rule = Callable[[Study, Choice], RuleOutcome]
"""A function that looks for one kind of finding."""


@dataclass(frozen=True)
class FindingKind:
    """A row of the table of findings.

    Attributes:
        code: stable name, which `--strict`, findings.csv and links use.
        serious: True if no score that it concerns should be believed before it is solved.
        title: the finding in a few words.
        why: why it matters.
        remedy: what to do.
        rule: looks for it.
    """

    code: str
    serious: bool
    title: str
    why: str
    remedy: str
    rule: Rule = field(repr=False)


@dataclass(frozen=True)
class Finding:
    """A kind of finding with the outcome of its rule: it is present, absent, or unknown."""

    kind: FindingKind
    outcome: RuleOutcome

    @property
    def evidence(self) -> Sequence[Evidence]:
        """The evidence; none for a finding that is absent or unknown."""
        return self.outcome.evidence

    @property
    def serious(self) -> bool:
        """True if the first sentence should not be believed before it is solved."""
        return self.kind.serious and not self.outcome.elsewhere

    @property
    def severity(self) -> str:
        """The severity in a word."""
        return "serious" if self.serious else "to check"

    @property
    def result(self) -> str:
        """The result of the rule, in words."""
        if self.evidence:
            return "found"
        if self.outcome.missing:
            return f"not looked for; needs: {self.outcome.missing}"
        return "not found"


def row_source(row: Row) -> str:
    """Name a row of the leaderboard as the source of a number."""
    return f"{LEADERBOARD_NAME}: {row['run_id']} on {row['test_set']}, {row['split']}"


def head_name(row: Row) -> str:
    """Name the head of a row, with its layer."""
    return f"{row['head']} on {row['layer']}"
