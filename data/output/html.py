"""Self-contained HTML pages.

A page holds its figures, and its text is escaped. It fetches nothing and runs no script. The
functions return HTML as text.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterable, Sequence

from .terminal import printable

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 1180px; margin: 0 auto; padding: 1rem 1.5rem 3rem; }
h1 { font-size: 1.5rem; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd;
  overflow-wrap: anywhere; }
p { margin: .4rem 0; }
.quiet { color: #666; font-size: .9em; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: .8rem 0; padding: 0; }
.facts div { min-width: 5rem; }
.facts dt { color: #666; font-size: .85em; }
.facts dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
.warnings, .fine { margin: .8rem 0; padding: .5rem 1rem; border-left: 5px solid #d55e00;
  background: #fdf1e7; }
.fine { border-color: #009e73; background: #eaf6f1; }
.warnings ul { margin: 0; padding-left: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid #eee; overflow-wrap: anywhere; max-width: 32rem; }
th { color: #666; font-weight: 500; vertical-align: bottom; }
.number { text-align: right; overflow-wrap: normal; }
td.number { white-space: nowrap; }
figure { margin: .5rem 0 1rem; break-inside: avoid; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #666; font-size: .9em; overflow-wrap: anywhere; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, 330px); gap: .3rem 1.2rem; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } h2 { break-after: avoid; } }
"""


# A second defence: if a name is not escaped, the browser still runs and fetches nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(text: object) -> str:
    """Escape text for a page: tags, quotes, control characters and changes of direction.

    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(printable(str(text)))


def page(title: str, body: Iterable[str]) -> str:
    """Return the HTML of a whole page.

    Args:
        title: text; it is escaped.
        body: parts in HTML, from the functions of this module.
    """
    name = escape(title)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{name}</h1>",
        *body,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def heading(text: str) -> str:
    """Return a heading within the page."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return a paragraph; a quiet one is a remark, small and grey."""
    style = ' class="quiet"' if quiet else ""
    return f"<p{style}>{escape(text)}</p>"


def facts(values: Iterable[tuple[str, object]]) -> str:
    """Return large numbers for the top of the page, from pairs of a name and a value."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values
    )
    return f'<dl class="facts">{"".join(cells)}</dl>'


def warnings(texts: Sequence[str], *, none: str) -> str:
    """Return a box that lists warnings; without warnings, a green box with the text `none`."""
    if not texts:
        return f'<div class="fine">{escape(none)}</div>'
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<div class="warnings"><ul>{items}</ul></div>'


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()
) -> str:
    """Return a table.

    Args:
        headings: heading of each column.
        rows: cells of each row, as many as headings.
        numbers: places of the columns that hold numbers, from 0 on; they are aligned to the right.
    """
    # Digits of the same place are then below each other.
    styles = [' class="number"' if column in numbers else "" for column in range(len(headings))]

    def line(cells: Sequence[object], tag: str) -> str:
        written = (
            f"<{tag}{style}>{escape(cell)}</{tag}>"
            for style, cell in zip(styles, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return (
        '<div class="wide" tabindex="0"><table>\n'
        f"<thead>{line(headings, 'th')}</thead>\n<tbody>{body}</tbody>\n"
        "</table></div>"
    )


def figure(content: bytes, alt: str, caption: str = "") -> str:
    """Return a figure that holds its picture.

    Args:
        content: bytes of a PNG or JPEG file.
        alt: text for readers who do not see the picture.
        caption: text below the picture.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # A JPEG file begins with these two bytes.
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    source = f"data:image/{kind};base64,{b64encode(content).decode()}"
    return f'<figure><img alt="{escape(alt)}" src="{source}">{below}</figure>'


def gallery(figures: Iterable[str]) -> str:
    """Return small figures beside each other."""
    return f'<div class="gallery">{"".join(figures)}</div>'
