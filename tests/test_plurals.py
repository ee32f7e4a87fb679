"""Numbers and their nouns in messages."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

import cifarnet
from cifarnet.plurals import counted, plural, verb

PACKAGE = Path(cifarnet.__file__).parent
NOUNS = re.compile(r" (?:\w+ )?(batches|classes|cores|epochs|files|images|pictures|runs|seeds|steps|teachers)\b(?!/s)")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1000, "test image", "1,000 test images"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (3, "batch", "3 batches"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_nouns_follow_their_numbers(number, noun, text):
    assert counted(number, noun) == text


def test_fractions_are_plural():
    assert [plural(number, "epoch") for number in (0.5, 1.0, 1.5)] == ["epochs", "epoch", "epochs"]


def test_verbs_follow_numbers():
    assert [verb(number, "is", "are") for number in (0, 1, 2)] == ["are", "is", "are"]


def plurals_after_numbers(tree):
    """Yield the line and the text of each plural noun after a number that an f-string inserts, but for constants."""
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for value, text in pairwise(parts):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            code = ast.unparse(value.value)
            is_number = code.startswith("len(") or (value.format_spec and ast.unparse(value.format_spec) == "f','")
            if is_number and not code.isupper() and (found := NOUNS.match(text.value)):
                yield node.lineno, code + found[0]


def test_messages_with_numbers_have_a_singular():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in plurals_after_numbers(ast.parse(path.read_text()))
    ]
    assert found == []
