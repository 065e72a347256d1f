"""A reader of checklists that trusts nothing: it opens every file that a statement cites."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freezeframe.data.output.csv import restore_text

CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
FIXED = ("95 % intervals", "a guess has 50 %", "p <0.001", "SHA-256")
"""Words with a number that is no value of a file."""

OWN_CODE = re.compile(r"freezeframe .*|run\.toml|left_out|class_weights|runs/|explain/")


@dataclass
class Statement:
    """A line of a checklist below an item.

    Attributes:
        item: number of the item; "" above the first one.
        text: the line.
        source: what its brackets hold; "" for a line without a source.
    """

    item: str
    text: str
    source: str

    @property
    def is_todo(self) -> bool:
        return self.text.startswith("TODO(author): ")


def statements(markdown: str) -> Iterator[Statement]:
    """Yield every statement of a document."""
    item = ""
    for block in re.split(r"\n(?=- |#)", markdown):
        if heading := re.match(r"### (\w[\w.]*)\. ", block):
            item = heading[1]
        elif block.startswith("- "):
            text, _, source = block[2:].strip().partition("\n  [")
            assert not source or source.endswith("]"), block
            yield Statement(item, text, source[:-1])


def items(markdown: str) -> list[str]:
    """Return the numbers of all items."""
    return re.findall(r"^### (\w[\w.]*)\. ", markdown, re.MULTILINE)


def wrong_statements(markdown: str, folder: Path) -> list[str]:
    """Return why statements of a document are not proven by the files of a study."""
    wrong = []
    for statement in statements(markdown):
        if not statement.is_todo:
            wrong += [f"{statement.item}: {problem}" for problem in problems_of(statement, folder)]
    return wrong


def problems_of(statement: Statement, folder: Path) -> Iterator[str]:
    """Yield what is not proven in a statement."""
    if not statement.source:
        yield f"no source: {statement.text}"
    values = []
    source, codes = without_code(statement.source)
    for place in filter(None, source.split("; ")):
        found, _, cited = place.partition(": ")
        file, *key = found.split(", ")
        wanted = dict(pair(text, codes) for text in key)
        values += wanted.values()
        lines = lines_of(folder / codes.get(file, file))
        chosen = [line for line in lines if wanted.items() <= line.items()]
        for name, value in (pair(text, codes) for text in filter(None, cited.split(", "))):
            values.append(value)
            if name == "lines":
                is_there = int(value) == len(chosen)
            elif name == "distinct head+layer of candidates":
                pairs = {(line["head"], line["layer"]) for line in chosen if is_head(line)}
                is_there = int(value) == len(pairs)
            elif name.startswith("distinct "):
                is_there = int(value) == len({line[name.split(" ")[1]] for line in chosen})
            else:
                is_there = bool(chosen) and all(
                    (line[name][: len(value) - 3] + "..." if value.endswith("...") else line[name])
                    == value
                    for line in chosen
                )
            if not is_there:
                yield f"{place.partition(',')[0]} has no {name} = {value}: {wanted}"
        if not cited and not chosen:
            yield f"no such line: {place}"
    yield from unproven_words(statement.text, values)


def is_head(line: dict[str, str]) -> bool:
    """Return True for a line of the leaderboard that is no baseline and no control."""
    others = ("majority", "image-size", "image-border")
    return line["head"] not in others and "control" not in line["choices"]


def unproven_words(text: str, values: list[str]) -> Iterator[str]:
    """Yield numbers and names of a text that are no cited value, not even rounded."""
    plain, codes = without_code(text)
    for code in codes.values():
        if not any(code in value for value in values) and not OWN_CODE.fullmatch(code):
            yield f"{code} is not cited: {text}"
    for words in FIXED:
        plain = plain.replace(words, "")
    for number in NUMBER.findall(plain):
        digits = len(number.partition(".")[2])
        if not any(number in roundings(value, digits) for value in values):
            yield f"{number} is not cited: {text}"


def roundings(value: str, digits: int) -> set[str]:
    """Return a cell as a number, and as a share in per cent, with some digits."""
    try:
        return {f"{float(value):.{digits}f}", f"{100 * float(value):.{digits}f}"}
    except ValueError:
        return {value}


def without_code(text: str) -> tuple[str, dict[str, str]]:
    """Replace code by places that hold no letter of it, and return it by its place."""
    codes: dict[str, str] = {}

    def place(match: re.Match[str]) -> str:
        code = match[2]
        if code[0] == code[-1] == " " and code.strip():
            code = code[1:-1]
        name = f"\x00{'.' * len(codes)}\x00"
        codes[name] = code
        return name

    return CODE.sub(place, text), codes


def pair(text: str, codes: dict[str, str]) -> tuple[str, str]:
    """Read "name=`value`"."""
    name, _, value = text.partition("=")
    assert value == "(empty)" or value in codes, text
    return name, "" if value == "(empty)" else codes[value]


def lines_of(path: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file, or the one line of settings."""
    if path.suffix == ".toml":
        values = tomllib.loads(path.read_text()).items()
        texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in values}
        return [{name: shown(text) for name, text in texts.items()}]
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: shown(restore_text(cell)) for name, cell in line.items()}
            for line in csv.DictReader(file)
        ]


def shown(cell: str) -> str:
    """Return a cell without control characters, as documents show it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cell)
