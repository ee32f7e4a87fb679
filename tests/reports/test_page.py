import re

from cifarnet.reports.page import Section, commands, facts, page, table


def test_text_from_outside_stays_text():
    hostile = "<script>alert(1)</script>\x1b[2J"
    html = page(hostile, hostile, [Section(hostile, facts([(hostile, hostile)]) + table([hostile], [[hostile]]))])
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6


def test_a_page_fetches_nothing():
    html = page("Title", "Lead", [Section("One", "<p>x</p>")])
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|file:)|@import|url\((?!data:)""", html)


def test_every_section_is_linked_to():
    html = page("Title", "Lead", [Section("Surest mistakes", ""), Section("Classes", "")])
    for anchor in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{anchor}"' in html
    assert 'href="#surest-mistakes"' in html


def test_commands_can_be_pasted_into_a_shell():
    assert "cifarnet evaluate &#x27;my run&#x27;" in commands([["cifarnet", "evaluate", "my run"]])
