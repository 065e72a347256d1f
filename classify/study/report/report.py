"""The files of a report: the page, and the findings as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....data.output.reports import ReportFolder
from .choice import Choice, choose_row
from .findings.outcome import Finding
from .findings.suspects import SUSPECT_COLUMNS, SUSPECTS_NAME, find_suspects, suspects_csv
from .findings.table import FINDING_COLUMNS, findings_csv, look_for_findings
from .headline import make_headline
from .page import report_page
from .study import Study

PAGE_NAME = "report.html"
FINDINGS_NAME = "findings.csv"


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written.

    Attributes:
        page: path of the page.
        sentence: the first sentence.
        findings: the findings, serious ones first.
        study: the study.
        choice: the row that the report is about.
    """

    page: Path
    sentence: str
    findings: Sequence[Finding]
    study: Study
    choice: Choice

    @property
    def problems(self) -> list[str]:
        """One line for each file that could not be used until now."""
        return list(dict.fromkeys([*self.study.problems, *self.study.runs.problems]))


def write_report_of(folder: Path, *, run: str | None = None) -> WrittenReport:
    """Write the report of a study: `report.html`, `report/findings.csv`, `report/suspects.csv`.

    Nothing but CSV files, `run.toml` and small pictures of the folder is read.

    Args:
        folder: the study, a folder with a leaderboard.csv.
        run: the run to report on, a run id or its beginning; None: see `choose_row`.

    Raises:
        FreezeframeError: there is no leaderboard, it is damaged, or a file cannot be written.
        ParameterError: there is no such run, or a file of the report's name exists that this
            function did not write.
    """
    study = Study.read(folder)
    choice = choose_row(study, run)
    place = ReportFolder(folder, "report", {})
    headers = {FINDINGS_NAME: FINDING_COLUMNS, SUSPECTS_NAME: SUSPECT_COLUMNS}
    tables = ReportFolder(folder / "report", "report", headers)
    place.check([PAGE_NAME], [])
    tables.check(headers, [])
    results = look_for_findings(study, choice)
    findings = [result for result in results if result.evidence]
    headline = make_headline(study, choice)
    text = report_page(study, choice, headline, results)
    tables.write(FINDINGS_NAME, findings_csv(findings))
    tables.write(SUSPECTS_NAME, suspects_csv(find_suspects(study, choice)[1]))
    # The page is last: if it exists, the table beside it is complete.
    page = place.write(PAGE_NAME, text)
    return WrittenReport(page, headline.sentence, findings, study, choice)
