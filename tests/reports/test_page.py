import re
import shlex
from html import unescape

import pytest
from jinja2 import UndefinedError

from cifarnet.reports.html.page import Page, Section, Table, commands, environment, facts, render

HOSTILE = "<script>alert(1)</script>\x1b[2J"


def test_text_from_outside_stays_text():
    table = Section(HOSTILE, "table.html", Table([HOSTILE], [[HOSTILE]], notes=[HOSTILE]))
    html = render(Page(HOSTILE, HOSTILE, [facts(HOSTILE, [(HOSTILE, HOSTILE)]), table, commands("Run", [[HOSTILE]])]))
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert html.count(r"&lt;script&gt;alert(1)&lt;/script&gt;\x1b[2J") == 13


@pytest.mark.parametrize(("names", "numeric"), [(0, ["Run", "Loss"]), (1, ["#", "Loss"])])
def test_all_columns_but_that_of_the_names_are_sorted_by_number(names, numeric):
    table = Table(["#", "Run", "Loss"], [["1", "fast", "0.5"]], names=names)
    html = render(Page("Title", "Lead", [Section("Results", "table.html", table)]))
    assert re.findall(r'<th scope="col" class="number"><button type="button">(.*?)</button>', html) == numeric


def test_a_page_fetches_nothing():
    html = render(Page("Title", "Lead", [facts("One", [("a", "b")])], script="gallery.js"))
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|file:)|@import|url\((?!data:)""", html)


def test_every_section_is_linked_to():
    html = render(Page("Title", "Lead", [facts("Surest mistakes", []), facts("Classes", [])]))
    for anchor in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{anchor}"' in html
    assert 'href="#surest-mistakes"' in html


def test_commands_can_be_pasted_into_a_shell():
    lines = [["cd", "my runs"], ["cifarnet", "evaluate", "it's"]]
    html = render(Page("Title", "Lead", [commands("Reproduce", lines)]))
    shown = unescape(re.search(r"<code>(.*?)</code>", html, re.S)[1])
    assert [shlex.split(line) for line in shown.split("\n")] == lines


def test_style_and_scripts_are_not_escaped():
    html = render(Page("Title", "Lead", [], ".tile{background:url('data:,')}", "gallery.js"))
    assert ".tile{background:url('data:,')}" in html
    assert "(heading, column) => {" in html
    assert 'document.getElementById("images-data")' in html


def test_a_template_with_an_unknown_name_fails():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()
