"""Self-contained HTML pages: figures are inlined, text is escaped, nothing is fetched and no script runs."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import ParameterError
from .terminal import printable

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 1180px; margin: 0 auto;
  padding: 1rem 1.5rem 3rem; }
h1 { font-size: 1.5rem; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
.quiet { color: #666; font-size: .9em; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: .8rem 0; padding: 0; }
.facts div { min-width: 5rem; }
.facts dt { color: #666; font-size: .85em; }
.facts dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
.warnings, .fine { margin: .8rem 0; padding: .5rem 1rem; border-left: 5px solid #d55e00; background: #fdf1e7; }
.fine { border-color: #009e73; background: #eaf6f1; }
.warnings ul { margin: 0; padding-left: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #eee;
  overflow-wrap: anywhere; max-width: 32rem; }
th { color: #666; font-weight: 500; vertical-align: bottom; }
.number { text-align: right; overflow-wrap: normal; }
td.number { white-space: nowrap; }
figure { margin: .5rem 0 1rem; break-inside: avoid; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #666; font-size: .9em; overflow-wrap: anywhere; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, 330px); gap: .3rem 1.2rem; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } h2 { break-after: avoid; } }
"""


def escape(text: object) -> str:
    """Text as a page shows it: no tag, no attribute's end, no control character and none that turns the direction.

    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(printable(str(text)))


def page(title: str, body: Iterable[str]) -> str:
    """A whole page; the title is escaped, the parts of its body are HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # Were a name ever to escape its escaping, a browser would still neither run nor fetch
        # anything.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A heading within the page."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A paragraph; a quiet one is a remark."""
    style = ' class="quiet"' if quiet else ""
    return f"<p{style}>{escape(text)}</p>"


def facts(named: Iterable[tuple[str, object]]) -> str:
    """Large numbers, each with its name: what is read first."""
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in named
    )
    return f'<dl class="facts">{told}</dl>'


def warnings(texts: Sequence[str], *, none: str) -> str:
    """A box with what should worry the reader, or with the text `none`."""
    if not texts:
        return f'<div class="fine">{escape(none)}</div>'
    return f'<div class="warnings"><ul>{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul></div>'


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()
) -> str:
    """A table.

    Args:
        headings: of the columns.
        rows: cells, as many as headings.
        numbers: columns of numbers, from 0 on, which stand right.
    """

    def line(cells: Sequence[object], tag: str) -> str:
        styles = [' class="number"' if column in numbers else "" for column in range(len(headings))]
        told = (
            f"<{tag}{style}>{escape(cell)}</{tag}>"
            for style, cell in zip(styles, cells, strict=True)
        )
        return f"<tr>{''.join(told)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>\n<thead>{line(headings, "th")}</thead>\n<tbody>{body}</tbody>\n</table></div>'


def figure(content: bytes, alt: str, caption: str = "") -> str:
    """A picture, the content of a PNG or JPEG file, inlined, with a text for those who do not see it."""
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    source = f"data:image/{kind};base64,{b64encode(content).decode()}"
    return f'<figure><img alt="{escape(alt)}" src="{source}">{told}</figure>'


def gallery(figures: Iterable[str]) -> str:
    """Small figures beside each other."""
    return f'<div class="gallery">{"".join(figures)}</div>'


def refuse_output_within(source: Path, output: Path) -> None:
    """The plots would be images of a class the next time."""
    place = output.resolve()
    if source.is_dir() and any(
        folder.exists() and folder.samefile(source) for folder in (place, *place.parents)
    ):
        raise ParameterError(
            f"--output {output} lies within {source}, among its images; name a folder elsewhere"
        )
