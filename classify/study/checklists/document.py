"""Documents in markdown: a checklist with its answers, which an author may change.

A changed document is never replaced. Its first line has a digest of the text below it, as `report`
wrote it; another text is that of an author.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....data.formats.regular_file import read_regular
from ....data.output.reports import ReportFolder
from ....data.output.terminal import counted
from ....errors import ImageError
from .answer import Answer, Checklist, answer_item, counts
from .claim import CLAIM
from .facts import Facts
from .head_facts import fitted
from .model_card import MODEL_CARD
from .tripod import TRIPOD

CHECKLISTS = (CLAIM, TRIPOD, MODEL_CARD)

TODO = "TODO(author)"
"""Mark of everything that an author must write."""

_MARK = "<!-- freezeframe report wrote this text, with the digest {digest}. -->"
_MARK_PATTERN = re.compile(_MARK.format(digest="([0-9a-f]{64})"))

_READING = (
    "Each statement has its sources in brackets: the file of the study; the cells that find the "
    "line; after the colon, cells of that line. `lines` is the number of these lines, `distinct x` "
    "of the different cells of their column x, `distinct head+layer of candidates` of the "
    "different pairs of both without baselines and controls. Numbers in the text are rounded."
)
_EDITING = (
    f"Write your text where {TODO} is. `freezeframe report` does not replace a file that you have "
    "changed: it writes {new} beside it where the answers are new."
)


@dataclass(frozen=True)
class Document:
    """A written checklist.

    Attributes:
        path: the file that has the answers of today.
        title: title of the checklist.
        summary: how many of its items are answered.
        problem: why the answers were not written; "" if they are in the file.
    """

    path: Path
    title: str
    summary: str
    problem: str = ""


def write_documents(folder: Path, facts: Facts) -> list[Document]:
    """Write all checklists into a folder.

    Args:
        folder: the folder of the report's tables.
        facts: the study.

    Raises:
        FreezeframeError: a file cannot be written.
    """
    return [_write(folder, checklist, facts) for checklist in CHECKLISTS]


def _write(folder: Path, checklist: Checklist, facts: Facts) -> Document:
    """Write a checklist, or its answers beside a file that somebody has changed."""
    answers = {
        section: [answer_item(item, facts) for item in items]
        for section, items in checklist.sections
    }
    summary = _summary([answer for section in answers.values() for answer in section])
    new_name = f"{Path(checklist.file).stem}.new.md"
    text = _markdown(checklist, answers, summary, new_name, facts)
    digest = hashlib.sha256(text.encode()).hexdigest()
    place = ReportFolder(folder, "report", {})
    for name in (checklist.file, new_name):
        path = folder / name
        state = _state(path)
        # Somebody has changed these answers, which are still the same.
        if state == digest:
            return Document(path, checklist.title, summary)
        if state is None:
            place.write(name, f"{_MARK.format(digest=digest)}\n{text}")
            return Document(path, checklist.title, summary)
    problem = (
        f"{path}: was changed, as {checklist.file} was; move it away, and the report writes the "
        "answers of today there"
    )
    return Document(path, checklist.title, summary, problem)


def _state(path: Path) -> str | None:
    """Return None where a document may be written, else the digest in its first line, or ""."""
    # A link leads to a file that somebody else has put somewhere.
    if path.is_symlink():
        return ""
    if not path.exists():
        return None
    try:
        # Another program may have changed the line ends.
        first, _, rest = read_regular(path).decode().replace("\r\n", "\n").partition("\n")
    except (OSError, ImageError, UnicodeError):
        return ""
    mark = _MARK_PATTERN.fullmatch(first)
    if mark is None:
        return ""
    return None if hashlib.sha256(rest.encode()).hexdigest() == mark[1] else mark[1]


def _summary(answers: Sequence[Answer]) -> str:
    """Write how many items are answered: "9 of 44 items answered, 20 in part, 15 TODO(author)"."""
    answered, part, author = counts(answers)
    return (
        f"{answered} of {counted(len(answers), 'item')} answered from the study, {part} in part, "
        f"{author} {TODO} alone"
    )


def _markdown(
    checklist: Checklist,
    answers: dict[str, list[Answer]],
    summary: str,
    new_name: str,
    facts: Facts,
) -> str:
    """Return the text of a document without the line of its mark."""
    lines = [
        f"# {checklist.title}",
        f"**{summary}.**",
        checklist.remark,
        _READING,
        _EDITING.format(new=f"`{new_name}`"),
        "The run that the answers are about:",
        "\n".join(f"- {statement.text}\n  [{statement.source}]" for statement in fitted(facts)),
    ]
    for section, answered in answers.items():
        lines.append(f"## {section}")
        for answer in answered:
            lines.append(f"### {answer.item.number}. {answer.item.name}")
            statements = [f"- {item.text}\n  [{item.source}]" for item in answer.evidence]
            statements += [f"- {TODO}: {answer.todo}"] if answer.todo else []
            lines.append("\n".join(statements))
    return "\n\n".join(filter(None, lines)) + "\n"
