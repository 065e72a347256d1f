"""The command `report`: one page about a study."""

from __future__ import annotations

from pathlib import Path

import click

from ...data.output.terminal import printable
from ...errors import LeakError, ParameterError


@click.command()
@click.argument("study", default=".", metavar="[STUDY]", type=click.Path(path_type=Path))
@click.option(
    "--run",
    metavar="RUN",
    help="Run that the report is about, a run id or its beginning; by default logreg on the "
    "deepest layer.",
)
@click.option(
    "--strict",
    metavar="CODE,...",
    default="",
    help="Codes of findings that end with exit code 3; 'all' for every code.",
)
def report(study: Path, run: str | None, strict: str) -> None:
    """Write the report of STUDY, a folder with a leaderboard.csv, into it: report.html.

    The page needs no network and no script. Its first sentence is the finding; below it are the
    findings that make the number doubtful, each with a code, its evidence and what to do. What
    other commands left in the folder is shown, too: explore/, audit/, runs/, pictures/, steps.csv.
    What is missing is named with the command that makes it. report/findings.csv has the findings.

    report/claim.md, report/tripod.md and report/model_card.md answer checklists of journals and a
    model card as far as the files of STUDY do, with their sources; TODO(author) marks the rest. A
    file that you have changed stays: new answers go beside it, into claim.new.md say.
    """
    from ..study.checklists.document import write_documents
    from ..study.checklists.facts import Facts
    from ..study.report.findings.table import FINDINGS
    from ..study.report.report import write_report_of

    codes = [code.strip() for code in strict.split(",") if code.strip()]
    codes = list(FINDINGS) if codes == ["all"] else codes
    for code in codes:
        if code not in FINDINGS:
            raise ParameterError(
                f"--strict {code}: no such finding; choose from {', '.join(FINDINGS)}, or all"
            )
    written = write_report_of(study, run=run)
    click.echo(printable(written.sentence))
    for finding in written.findings:
        kind = finding.kind
        click.echo(printable(f"{finding.severity}: {kind.title} ({kind.code})"))
    facts = Facts(written.study, written.choice, written.findings)
    documents = write_documents(study / "report", facts)
    changed = [document.problem for document in documents if document.problem]
    for problem in [*written.problems, *changed]:
        click.echo(printable(f"warning: {problem}"), err=True)
    for document in documents:
        click.echo(printable(f"{document.path}: {document.summary}"), err=True)
    click.echo(printable(f"report: {written.page}"), err=True)
    present = [finding.kind.code for finding in written.findings if finding.kind.code in codes]
    if present:
        raise LeakError(f"findings that --strict names: {', '.join(present)}; see {written.page}")
