"""The page of a report: its sections in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Sequence

from ....data.output import html as pages
from .choice import Choice
from .findings.outcome import Finding
from .headline import Headline
from .sections.labels import labels_section
from .sections.leaderboard import leaderboard_section
from .sections.performance import performance_section
from .sections.pictures import images_section, mistakes_section
from .sections.records import cost_section, provenance_section
from .sections.robustness import robustness_section
from .sections.summary import findings_section, first_section
from .study import Study

_CONTENTS = (
    ("findings", "Can I believe it?"),
    ("heads", "All heads"),
    ("detail", "The head in detail"),
    ("mistakes", "Mistakes"),
    ("robust", "How robust is it?"),
    ("images", "The images"),
    ("cost", "Cost"),
    ("provenance", "Provenance"),
)


def report_page(
    study: Study,
    choice: Choice,
    headline: Headline,
    results: Sequence[Finding],
) -> str:
    """Return the HTML of a report.

    Args:
        study: the study.
        choice: the row that the report is about.
        headline: from `make_headline`.
        results: what was looked for, from `look_for_findings`.
    """
    body = [
        *first_section(choice, headline),
        pages.contents(_CONTENTS),
        *findings_section(results),
        *leaderboard_section(study, choice),
        *performance_section(study, choice),
        *mistakes_section(study),
        *robustness_section(study, choice),
        *images_section(study, choice),
        *labels_section(study, choice),
        *cost_section(study, choice),
        # Last: it has the problems of all files that the sections read.
        *provenance_section(study, choice),
    ]
    return pages.page(f"Report of {choice.row['data_set']}", body)
