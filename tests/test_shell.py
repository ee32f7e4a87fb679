"""Commands in messages can be copied into a terminal."""

import shlex
from pathlib import Path

import pytest

from cifarnet.shell import command_line, shell_line

AWKWARD = ["my run", "it's", "$HOME", "a;b", "plain"]


@pytest.mark.parametrize("name", AWKWARD)
def test_the_shell_reads_the_same_words(name):
    words = ["cifarnet", "train", "--resume", name]
    assert shlex.split(shell_line(words, windows=False)) == words


def test_ordinary_words_are_not_quoted():
    assert command_line("evaluate", Path("runs/r20")) == "cifarnet evaluate runs/r20"


@pytest.mark.parametrize("name", [r"C:\my runs\r20", r"C:\R&D", "100%", "pack>=1"])
def test_windows_quotes_names_with_special_characters(name):
    assert shell_line(["cifarnet", "evaluate", name], windows=True) == f'cifarnet evaluate "{name}"'
