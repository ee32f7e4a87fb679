"""One self-contained HTML page: style and script inside, nothing from the network; light and dark, phone and desk."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from cifarnet import __version__
from cifarnet.reports.text import printable


@dataclass(frozen=True)
class Section:
    """A part of a page: its heading as plain text, and its content as HTML."""

    title: str
    html: str


def text(value: str) -> str:
    """``value``, which may come from outside, as HTML."""
    return escape(printable(value))


def page(title: str, lead: str, sections: Sequence[Section], script: str = "") -> str:
    """A whole page: ``title`` and ``lead`` as plain text; ``script`` is JavaScript that runs after the page's own."""
    links = "".join(f'<li><a href="#{_anchor(each.title)}">{text(each.title)}</a></li>' for each in sections)
    body = "".join(
        f'<section id="{_anchor(each.title)}"><h2>{text(each.title)}</h2>{each.html}</section>' for each in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="cifarnet {__version__}">
<title>{text(title)}</title>
<link rel="icon" href="data:,">
<style>{asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{text(title)}</h1><p class="lead">{text(lead)}</p><nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main id="content">{body}</main>
<footer>Made by cifarnet {__version__}.</footer>
<script>{asset("page.js")}{script}</script>
</body>
</html>
"""


def _anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def asset(name: str) -> str:
    """A style sheet or script that comes with cifarnet."""
    return (files("cifarnet.reports") / "assets" / name).read_text(encoding="utf-8")


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of names with their values, as plain text."""
    return (
        '<dl class="facts">' + "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in pairs) + "</dl>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric_from: int = 1) -> str:
    """A table of plain text, sortable by a click on a heading; from column ``numeric_from`` on aligned right."""
    headings = "".join(
        f'<th scope="col"{_right(column >= numeric_from)}><button type="button">{text(name)}</button></th>'
        for column, name in enumerate(head)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{_right(k >= numeric_from)}>{text(cell)}</td>" for k, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    listed = f"<thead><tr>{headings}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table class="sortable">{listed}</table></div>'


def _right(wanted: bool) -> str:
    return ' class="number"' if wanted else ""


def figure(svg: str, alt: str) -> str:
    """A drawing from ``cifarnet.reports.plots.svg`` with its alternative text."""
    return f'<figure class="plot" role="img" aria-label="{text(alt)}">{svg}</figure>'


def commands(lines: Sequence[Sequence[str]]) -> str:
    """Shell commands, each as its words."""
    listed = "\n".join(text(shlex.join(line)) for line in lines)
    return f'<pre class="commands" tabindex="0"><code>{listed}</code></pre>'
