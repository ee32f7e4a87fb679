"""Self-contained HTML pages, for light and dark colour schemes and for wide and narrow screens.

A page holds its style sheet, scripts and images, so it loads nothing from the network. Templates are rendered with
autoescape; characters of outside text that are not printable are shown as escapes (``cifarnet.reports.text``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cifarnet import __version__
from cifarnet.printable import printable
from cifarnet.reports.text import percent
from cifarnet.shell import shell_line


@dataclass(frozen=True)
class Section:
    """A section of a page: its title, and the template that renders its ``content``."""

    title: str
    template: str
    content: Any

    @property
    def anchor(self) -> str:
        """The id of the section in the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True)
class Page:
    """A page with a heading, a sentence on what it shows (``lead``) and sections.

    ``style`` is more CSS, written without escapes; ``script`` is the name of another script in ``templates/``.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    style: str = ""
    script: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure as an ``<svg>`` element, with its alternative text."""

    svg: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of text. The column with the index ``names`` is sorted by text.

    The others are aligned right and sorted by number.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 0
    notes: Sequence[str] = ()
    drawing: Drawing | None = None


def facts(title: str, pairs: Sequence[tuple[str, str]]) -> Section:
    """Return a section with names and their values."""
    return Section(title, "facts.html", pairs)


def commands(title: str, lines: Sequence[Sequence[str]]) -> Section:
    """Return a section with shell commands, each of which is given as its words."""
    return Section(title, "commands.html", [shell_line(line) for line in lines])


def render(page: Page) -> str:
    """Return the HTML of ``page``."""
    return environment().get_template("page.html").render(page=page)


@cache
def environment() -> Environment:
    """Return the environment of the templates in ``templates/``."""
    made = Environment(
        loader=PackageLoader("cifarnet.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(version=__version__, percent=percent)
    return made


def _finalized(value: object) -> object:
    """Escape what is not printable in ``value``, which an expression of a template outputs."""
    return value if isinstance(value, Markup) else printable(str(value))
