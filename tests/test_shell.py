"""Commands in messages can be copied into a terminal."""

import shlex
from pathlib import Path

import pytest

from cifarnet.shell import command_line, shell_line

AWKWARD = ["my run", "it's", "$HOME", "a;b", "plain"]


@pytest.mark.parametrize("name", AWKWARD)
def test_the_shell_reads_the_same_words(name):
    assert shlex.split(command_line("train", "--resume", Path(name))) == ["cifarnet", "train", "--resume", name]


def test_ordinary_words_are_not_quoted():
    assert command_line("evaluate", Path("runs/r20")) == "cifarnet evaluate runs/r20"


def test_windows_has_its_own_quotes():
    assert (
        shell_line(["cifarnet", "evaluate", r"C:\my runs\r20"], windows=True) == r'cifarnet evaluate "C:\my runs\r20"'
    )
