"""Print figures of the source: sizes, comments, line widths, words and names to avoid, README.

usage: python scripts/checks/house.py [CHECKOUT]      (this checkout unless another is named)

`tests/house/test_language.py` holds the package to the same lists of words and names.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOMS = ("data", "features", "extract", "classify")

BAD_NAMES = frozenset(
    re.findall(
        r"\w+",
        "asked each found given how kept known made one other others said some tell there told "
        "twice wanted what",
    )
)
"""Names that say nothing of what they hold."""

BAD_WORDS = re.compile(
    r"\b(told(?! (?:apart|from)\b)|be had|anew|lest|stands(?! for\b)|lies|goes on|of use|it is of"
    r"|such as are|there is none|as they are(?=[.,;:])|is known to be|whoever)\b",
    re.IGNORECASE,
)
"""Words that prose does without: another says the same and is easier to read."""

BAD_FIRST_WORDS = frozenset(
    ["As", "How", "Of", "That", "To", "What", "When", "Where", "Whether", "Which", "Who"]
)
"""Words that no docstring begins with."""


def package_files(root: Path) -> list[Path]:
    """Return the Python files that are installed."""
    rooms = [file for room in ROOMS for file in sorted((root / room).rglob("*.py"))]
    return [*sorted(root.glob("*.py")), *rooms]


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the docstrings of a module, its classes, functions and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            before: ast.stmt | None = None
            for statement in node.body:
                # A string that follows an assignment documents the constant.
                documents = before is None or isinstance(before, ast.Assign | ast.AnnAssign)
                value = statement.value if isinstance(statement, ast.Expr) else None
                if documents and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value
                before = statement


def comments(text: str) -> list[str]:
    """Return the comments of a file of Python."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def code_lines(text: str) -> int:
    """Count the lines that hold code: no blank line, no comment, no docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for docstring in docstrings(ast.parse(text)):
        lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def prose(source: str) -> Iterator[str]:
    """Yield what a file of Python says in words: docstrings, comments, help texts and messages."""
    yield from comments(source)
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) else None
        # A string of one or two words is a name or a value.
        if isinstance(text, str) and len(text.split()) > 2:
            yield text


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's variables, parameters, attributes, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def bad_names(tree: ast.Module) -> list[str]:
    """Return the names in a module that say nothing of what they hold."""
    return sorted(name for name in defined(tree) if name.strip("_") in BAD_NAMES)


def bad_uses(text: str) -> int:
    """Count how often the code of a file uses a name that says nothing of what it holds."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.NAME and token.string in BAD_NAMES for token in tokens)


def bad_words(texts: Iterable[str]) -> list[str]:
    """Return the places in texts that use words to avoid, each with some words around it."""
    return [
        " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
        for text in texts
        for match in BAD_WORDS.finditer(text)
    ]


def bad_beginnings(tree: ast.Module) -> list[str]:
    """Return the first lines of docstrings that begin badly or do not end with a period."""
    lines = [node.value.strip().partition("\n")[0] for node in docstrings(tree)]
    return [
        line
        for line in lines
        if line.partition(" ")[0].rstrip(",.:;") in BAD_FIRST_WORDS or not line.endswith(".")
    ]


def repeated_names(files: Iterable[Path]) -> list[str]:
    """Return the public names of classes and module constants that are defined more than once."""
    counts: Counter[str] = Counter()
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                counts[node.name] += 1
            targets = list(node.targets) if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets.append(node.target)
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            counts.update(name for name in names if name.isupper())
    return sorted(name for name, count in counts.items() if count > 1 and name[0] != "_")


def tuple_assignments(tree: ast.Module) -> int:
    """Count the statements that assign several values at once, as in `a, b = x, y`."""
    return sum(
        isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
    )


def long_functions(tree: ast.Module, most: int = 40) -> int:
    """Count the functions of more than `most` lines, docstrings not counted."""
    return sum(
        (node.end_lineno or 0) - _body_start(node) + 1 > most
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _body_start(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the line of the first statement after the docstring."""
    has_docstring = ast.get_docstring(node) is not None and len(node.body) > 1
    return node.body[int(has_docstring)].lineno


def figures(root: Path) -> list[tuple[str, str]]:
    """Return the figures of a checkout, each with its heading."""
    files = package_files(root)
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    trees = [ast.parse(text) for text in texts.values()]
    rows = []
    for room in (*ROOMS, ""):
        own = [
            text for file, text in texts.items() if room in ("", file.relative_to(root).parts[0])
        ]
        n_lines = sum(text.count("\n") for text in own)
        rows.append((f"{room or 'package'}: files, lines", f"{len(own)}, {n_lines}"))
    widths = sorted(len(line) for text in texts.values() for line in text.splitlines() if line)
    code = sum(map(code_lines, texts.values()))
    remarks = sum(len(comments(text)) for text in texts.values())
    tuples = sum(map(tuple_assignments, trees))
    n_told = sum(len(re.findall(r"\btold\b", text)) for text in texts.values())
    uses = sum(bad_uses(text) for text in texts.values())
    names = Counter(name for tree in trees for name in bad_names(tree))
    words = sum(len(bad_words(prose(text))) for text in texts.values())
    repeated = repeated_names(files)
    readme = (root / "README.md").read_text(encoding="utf-8")
    lines = readme.splitlines()
    installs = [number for number, line in enumerate(lines, 1) if "pip install" in line]
    return [
        *rows,
        ("comments per 100 lines of code", f"{100 * remarks / code:.1f}"),
        ("line width, 90th percentile", str(widths[len(widths) * 9 // 10])),
        ("line width, maximum", str(widths[-1])),
        ("tuple assignments per 1,000 lines of code", f"{1000 * tuples / code:.1f}"),
        ("functions of more than 40 lines of body", str(sum(map(long_functions, trees)))),
        ("names to avoid: uses", str(uses)),
        ("names to avoid: definitions", f"{names.total()} ({_listed(names)})"),
        ("the word told, anywhere", str(n_told)),
        ("words to avoid in prose", str(words)),
        ("docstrings that begin badly", str(sum(len(bad_beginnings(tree)) for tree in trees))),
        ("names of several classes or constants", f"{len(repeated)} ({', '.join(repeated)})"),
        ("README: words, lines", f"{len(readme.split())}, {len(lines)}"),
        ("README: line of the first pip install", str(installs[0] if installs else "none")),
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(8))


def main(arguments: Sequence[str] = ()) -> None:
    """Print the figures of the checkout that is named, or of this one."""
    root = Path(arguments[0] if arguments else Path(__file__).parents[2]).resolve()
    for heading, value in figures(root):
        print(f"{heading:<44}{value}")


if __name__ == "__main__":
    main(sys.argv[1:])
