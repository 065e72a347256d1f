"""ONE table of findings: a new finding is one row here and one rule in this folder.

Codes are stable: `--strict`, findings.csv and links into reports use them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .....data.output.csv import csv_line
from ..choice import Choice
from ..study import Study
from .controls import control_beats_chance, worse_than_majority
from .fits import collapsed_network, edge_of_search
from .images import copies_across_splits, patient_on_both_sides, shortcut, two_labels
from .outcome import Finding, FindingKind
from .scores import few_independent_images, miscalibrated, seeds_disagree, stress_falls

_KINDS = (
    FindingKind(
        "copies-across-splits",
        True,
        "Copies are on two sides of a split",
        "A head recognises a copy of a picture that it was trained on. Its score then says nothing "
        "about new pictures.",
        "Make a split with freezeframe split, or score with --cv: both keep copies together. "
        "Look at the pairs in audit/index.html.",
        copies_across_splits,
    ),
    FindingKind(
        "patient-on-both-sides",
        True,
        "A patient is on two sides of a split",
        "Pictures of one patient share anatomy, scanner and settings. A head that knows the "
        "patient need not see the disease.",
        "Make a split with freezeframe split, or score with --cv: both keep patients together "
        "where their ids are given.",
        patient_on_both_sides,
    ),
    FindingKind(
        "shortcut",
        True,
        "Size, format or border give the class away",
        "A head can learn how a file was made instead of what it shows. It then fails on files of "
        "another source.",
        "Take images of all classes from the same sources, saved in the same way, or crop and save "
        "them alike. Test on a set from elsewhere.",
        shortcut,
    ),
    FindingKind(
        "control-beats-chance",
        True,
        "A head learns shuffled labels",
        "Nothing can be learnt from shuffled labels. A head that does recognises relatives of test "
        "images, or a trait that whole groups share.",
        "Look for copies with freezeframe audit, and give patients or sources as groups with "
        "--group-column or --group-regex.",
        control_beats_chance,
    ),
    FindingKind(
        "few-independent-images",
        True,
        "There are too few independent test images",
        "Images of one patient, and copies, are one observation. With few of them the score would "
        "be another one on the next set.",
        "Collect more patients, not more images of each. Report the interval, not the number "
        "alone.",
        few_independent_images,
    ),
    FindingKind(
        "worse-than-majority",
        True,
        "A head is worse than no head",
        "Always naming the commonest class is right more often.",
        "Do not use this head as it is. If a threshold was chosen for its sensitivity, compare "
        "sensitivity and specificity instead.",
        worse_than_majority,
    ),
    FindingKind(
        "two-labels",
        False,
        "One picture has two labels",
        "One of the labels is wrong. A head cannot be right about both, and training on both "
        "teaches it nothing.",
        "Look at the pairs in audit/index.html, and correct or remove their files.",
        two_labels,
    ),
    FindingKind(
        "stress-falls",
        False,
        "The score falls when look-alikes are kept together",
        "A part of the score comes from having seen similar images, of the same patients perhaps. "
        "New patients have none.",
        "Find out which images are of one patient, and give them as groups. Until then, expect new "
        "patients to score nearer to the lower number.",
        stress_falls,
    ),
    FindingKind(
        "miscalibrated",
        False,
        "Probabilities are not what they claim",
        "Of the images with a probability of 80 %, another share is right. Decisions at a "
        "threshold then do more harm than they promise.",
        "Fit with --calibrate. Calibrate again on images of the place where the head is used.",
        miscalibrated,
    ),
    FindingKind(
        "seeds-disagree",
        False,
        "Another seed gives another score",
        "The seed decides the start of a head and what it draws, not what can be learnt. The "
        "interval of a score does not account for it: the result is partly luck.",
        "Report the mean and the range over seeds (--seeds 5), or take a head that draws nothing, "
        "logreg for example.",
        seeds_disagree,
    ),
    FindingKind(
        "collapsed-network",
        False,
        "A head predicts one class",
        "It learnt nothing but the share of a class. Its accuracy may look fair all the same.",
        "Fit a network with a lower learning rate (--param learning_rate=0.0001), or take another "
        "head.",
        collapsed_network,
    ),
    FindingKind(
        "edge-of-search",
        False,
        "The best hyper-parameter is the last one tried",
        "A better value may be beyond the values tried. The head may do better than its score.",
        "Fit with --search wide, or name the value with --param.",
        edge_of_search,
    ),
)

FINDINGS = {kind.code: kind for kind in _KINDS}
"""Every kind of finding by its code; serious ones first."""

FINDING_COLUMNS = ("code", "severity", "title", "evidence", "source", "why", "what_to_do")
"""Columns of findings.csv: a line for each piece of evidence."""


def look_for_findings(study: Study, choice: Choice) -> list[Finding]:
    """Apply all rules, and return what each of them saw, in the order of the table."""
    return [Finding(kind, kind.rule(study, choice)) for kind in _KINDS]


def findings_csv(findings: Sequence[Finding]) -> str:
    """Return the text of findings.csv."""
    lines = [csv_line(FINDING_COLUMNS)]
    for finding in findings:
        kind = finding.kind
        for item in finding.evidence:
            cells = [kind.code, finding.severity, kind.title, item.text, item.source]
            lines.append(csv_line([*cells, kind.why, kind.remedy]))
    return "".join(lines)
