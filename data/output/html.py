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
:root { color-scheme: light dark; --ink: #222; --quiet: #5a5f66; --line: #d8dbdf; --paper: #fff;
  --panel: #f5f6f8; --bad: #b3401a; --bad-paper: #fdf1e7; --good: #00795a; --good-paper: #eaf6f1;
  --blue: #0072b2; --red: #d55e00; --green: #009e73; --pink: #b85c93; --sky: #3b9fd6;
  --orange: #c98400; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --quiet: #a4aab3;
  --line: #3c4149; --paper: #15181c; --panel: #1f2329; --bad: #ff9a66; --bad-paper: #37231a;
  --good: #4fd0a6; --good-paper: #14302a; --blue: #56b4e9; --red: #ff8a3d; --green: #2fc79a;
  --pink: #e39ac6; --sky: #9ad1f0; --orange: #f0b840; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1180px; margin: 0 auto; padding: 1rem 1.5rem 3rem; }
h1 { font-size: 1.5rem; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
.quiet { color: var(--quiet); font-size: .9em; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: .8rem 0; padding: 0; }
.facts div { min-width: 5rem; }
.facts dt { color: var(--quiet); font-size: .85em; }
.facts dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
.warnings, .fine { margin: .8rem 0; padding: .5rem 1rem; border-left: 5px solid var(--bad);
  background: var(--bad-paper); }
.fine { border-color: var(--good); background: var(--good-paper); }
.warnings ul { margin: 0; padding-left: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; max-width: 32rem; }
th { color: var(--quiet); font-weight: 500; vertical-align: bottom; }
th:not(.number), td:not(.number) { min-width: 6.8em; }
.number { text-align: right; overflow-wrap: normal; }
td.number { white-space: nowrap; }
figure { margin: .5rem 0 1rem; break-inside: avoid; }
figure img { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .9em; overflow-wrap: anywhere; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, 330px); gap: .3rem 1.2rem; }
.strip { break-inside: avoid; margin: .8rem 0; }
.strip p { font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, 152px); gap: 0 .9rem; }
.tiles figure { margin: .3rem 0; } .tiles img { display: block; }
.lead { font-size: 1.3rem; line-height: 1.4; margin: .8rem 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 0 2rem; align-items: start; }
.columns > div { min-width: 0; break-inside: avoid; }
.chart svg { width: 100%; max-width: 560px; height: auto; display: block; }
.chart svg * { stroke-linejoin: round; }
.card { border: 1px solid var(--line); border-left-width: 5px; padding: .4rem 1rem .6rem;
  margin: .7rem 0; background: var(--panel); break-inside: avoid; }
.card h3 { margin: .2rem 0 .4rem; }
.card dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem .9rem; margin: 0; }
.card dt { color: var(--quiet); }
.card dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.serious { border-left-color: var(--bad); }
.label { font-size: .8em; font-weight: 600; border: 1px solid currentcolor; border-radius: .3em;
  padding: 0 .4em; white-space: nowrap; }
.serious .label { color: var(--bad); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0;
  margin: .6rem 0; }
a { color: var(--blue); }
pre { background: var(--panel); padding: .5rem .8rem; overflow-x: auto; font-size: .9em; }
code { overflow-wrap: anywhere; }
@media (max-width: 500px) { body { padding: .5rem .8rem 2rem; }
  .card dl { grid-template-columns: 1fr; gap: 0; } .card dd { margin-bottom: .4rem; }
  .lead { font-size: 1.15rem; }
  .tiles { grid-template-columns: repeat(auto-fill, 104px); } }
@media print { body { max-width: none; padding: 0; font-size: 11px; }
  th, td { padding-right: .4rem; }
  th:not(.number), td:not(.number) { min-width: 5em; }
  h2, h3, thead { break-after: avoid; } tr, .card { break-inside: avoid; }
  details::details-content { content-visibility: visible; }
  svg { max-height: 17cm; } h2, h3, h4, figcaption { break-inside: avoid; }
  .wide { overflow: visible; } nav { display: none; } pre { white-space: pre-wrap; } }
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


def heading(text: str, *, level: int = 2, anchor: str = "") -> str:
    """Return a heading within the page; a link with `#` and the anchor leads to it."""
    place = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{place}>{escape(text)}</h{level}>"


def contents(links: Iterable[tuple[str, str]]) -> str:
    """Return a table of contents, from pairs of an anchor and a text."""
    items = (f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>' for anchor, text in links)
    return f'<nav aria-label="contents"><ul>{"".join(items)}</ul></nav>'


def lead(text: str) -> str:
    """Return the sentence that a page is about, in large letters."""
    return f'<p class="lead">{escape(text)}</p>'


def listing(texts: Iterable[str]) -> str:
    """Return a list of texts with bullets."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def card(
    title: str,
    label: str,
    entries: Iterable[tuple[str, Sequence[tuple[str, str]]]],
    *,
    anchor: str,
    serious: bool,
) -> str:
    """Return a box with a title, a label, and entries of a name and a text.

    Args:
        title: text of its heading.
        label: a word beside it.
        entries: pairs of a name and its lines; each line is a text and a quiet remark, or "".
        anchor: a link with `#` and this anchor leads to the box.
        serious: True for a box in the colour of warnings.
    """

    def line(text: str, remark: str) -> str:
        beside = f' <span class="quiet">{escape(remark)}</span>' if remark else ""
        return f"<div>{escape(text)}{beside}</div>"

    lines = (
        f"<dt>{escape(name)}</dt><dd>{''.join(line(*texts) for texts in both)}</dd>"
        for name, both in entries
    )
    style = "card serious" if serious else "card"
    return (
        f'<section class="{style}" id="{escape(anchor)}">'
        f'<h3>{escape(title)} <span class="label">{escape(label)}</span></h3>'
        f"<dl>{''.join(lines)}</dl></section>"
    )


def chart(svg: str, title: str, caption: str) -> str:
    """Return a drawing with its title and its caption.

    Args:
        svg: HTML of the drawing, whose texts are escaped.
        title: text above the drawing, and for readers who do not see it.
        caption: text below the drawing.
    """
    name = escape(title)
    return (
        f'<figure class="chart"><h3>{name}</h3><div role="img" aria-label="{name}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def columns(parts: Iterable[str]) -> str:
    """Return drawings and tables beside each other, where there is room."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def code_block(text: str) -> str:
    """Return text as lines of a program or a settings file."""
    # Long lines are scrolled; without a mouse, too.
    return f'<pre tabindex="0">{chr(10).join(map(escape, text.splitlines()))}</pre>'


def folded(summary: str, parts: Iterable[str]) -> str:
    """Return parts that a reader opens by a click on their summary."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


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


def tiles(title: str, figures: Iterable[str]) -> str:
    """Return very small figures beside each other, with a title above that they share."""
    shown = f'<div class="tiles">{"".join(figures)}</div>'
    return f'<div class="strip"><p>{escape(title)}</p>{shown}</div>'


def gallery(figures: Iterable[str]) -> str:
    """Return small figures beside each other."""
    return f'<div class="gallery">{"".join(figures)}</div>'
