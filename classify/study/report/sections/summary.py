"""The top of a report: the finding in a sentence, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence

from .....data.output import html as pages
from .....data.output.terminal import counted
from ....scores.grades import PICTURES_RISK, grade_text, risk_lines
from ..choice import Choice
from ..findings.outcome import Finding, head_name
from ..headline import Headline

MOST_EVIDENCE = 6
"""Most lines of evidence in a box; findings.csv has all."""


def first_section(choice: Choice, headline: Headline) -> list[str]:
    """Return the finding, how its row was chosen, and what its words mean."""
    row = choice.row
    lines = [
        f"Head: {head_name(row)}, fitted on {row['n_train']} images of {row['data_set']}, tested "
        f"on {row['test_set']}, {row['split']} ({row['n_test']} images). It is shown because "
        f"{choice.reason}.",
        "Numbers in brackets are 95 % intervals; images of one group (copies, one patient) count "
        f"as one. Grade of the score: {grade_text(row)}.",
    ]
    if risk_lines([grade_text(row)]):
        lines.append(f"Pictures parted means that {PICTURES_RISK}.")
    rows = [(clause.text, clause.source) for clause in headline.sources]
    return [
        pages.lead(headline.sentence),
        *map(pages.paragraph, lines),
        pages.folded("Where each number is from", [pages.table(("clause", "source"), rows)]),
    ]


def findings_section(results: Sequence[Finding]) -> list[str]:
    """Return a box for each finding that is present, and a table of all that was looked for."""
    findings = [finding for finding in results if finding.evidence]
    findings.sort(key=lambda finding: not finding.serious)
    n_serious = sum(finding.serious for finding in findings)
    if n_serious:
        verdict = (
            f"{counted(n_serious, 'serious finding')}: do not believe the number above before "
            f"{'it is' if n_serious == 1 else 'they are'} solved."
        )
    elif findings:
        verdict = "No serious finding. These should be looked at before the number is used:"
    else:
        verdict = "No finding. That is no proof: only what is listed below was looked for."
    return [
        pages.heading("Can I believe it, and what should I do?", anchor="findings"),
        pages.paragraph(verdict),
        *map(_box, findings),
        *_all_results(results),
    ]


def _all_results(results: Sequence[Finding]) -> list[str]:
    """Return what could not be looked for, and a table of all that a report looks for."""
    unknown = [result for result in results if not result.evidence and result.outcome.missing]
    n_found = sum(bool(result.evidence) for result in results)
    n_absent = len(results) - n_found - len(unknown)
    summary = f"All {len(results)} that a report looks for: {n_found} found, {n_absent} not found"
    summary += f", {len(unknown)} not looked for" if unknown else ""
    rows = [(result.kind.title, result.result, result.kind.code) for result in results]
    return [
        *(
            pages.paragraph(
                f"Not looked for: {result.kind.title.lower()}. It needs: {result.outcome.missing}",
                quiet=True,
            )
            for result in unknown
        ),
        pages.folded(summary, [pages.table(("", "result", "code"), rows)]),
    ]


def _box(finding: Finding) -> str:
    kind = finding.kind
    shown = finding.evidence[:MOST_EVIDENCE]
    more = len(finding.evidence) - len(shown)
    lines = [(f"{item.text}.", f"[{item.source}]") for item in shown]
    lines += [(f"And {more} more, in report/findings.csv.", "")] if more else []
    entries = [
        ("evidence", lines),
        ("why it matters", [(kind.why, "")]),
        ("what to do", [(kind.remedy, "")]),
        ("code", [(kind.code, "")]),
    ]
    return pages.card(
        kind.title, finding.severity, entries, anchor=kind.code, serious=finding.serious
    )
