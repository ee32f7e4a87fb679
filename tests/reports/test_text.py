import json

import pytest

from cifarnet.printable import printable, printable_json, printable_lines

# What a terminal obeys, or what turns the text around it: C0, DEL, C1, line separators, bidirectional controls.
OBEYED = "\x00\x07\x08\r\x1b\x7f\x80\x85\x9b\x9d\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\U000e0041"
SHOWN = "a é 字 ש 👩‍🔧 Screenshot 10.00\u202fAM می‌خواهم \u00a0"


@pytest.mark.parametrize("character", OBEYED)
def test_what_a_terminal_obeys_is_escaped(character):
    for text in (printable(character), printable_lines(character), printable_json(character)):
        assert character not in text
        assert text.isprintable()
    assert json.loads(printable_json(character)) == character


def test_other_text_stays_as_it_is():
    assert printable(SHOWN) == printable_lines(SHOWN) == SHOWN
    assert printable_json(SHOWN) == f'"{SHOWN}"'


def test_line_breaks_are_kept_where_they_are_the_messages():
    assert printable("a\nb\r") == r"a\nb\r"
    assert printable_lines("a\nb\r") == "a\nb\\r"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_keeps_all_text(ascii_only):
    data = {f"{OBEYED}{SHOWN}": [OBEYED, "n\udcff.png", 0.1, None]}
    text = printable_json(data, 2, ascii_only=ascii_only)
    assert json.loads(text) == data
    assert printable(text.replace("\n", "")) == text.replace("\n", "")
    assert text.isascii() is ascii_only
