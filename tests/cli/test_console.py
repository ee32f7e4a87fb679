import io
import json
import logging
import sys

import pytest
from rich.console import Group
from rich.progress import BarColumn, Progress
from rich.text import Text

from cifarnet.cli import console
from cifarnet.reports.terminal.comparison_tables import render_comparison
from cifarnet.reports.terminal.evaluation_tables import render_evaluation
from cifarnet.reports.terminal.prediction_blocks import Columns, prediction_block
from tests.support.reports import COMPARISON, evaluation

ANSWER = (("cat", 0.72), ("a-class-with-a-long-name", 0.28), ("dog", 0.0))


class Refusing(io.StringIO):
    """A stream whose reader has ended, or whose disk is full."""

    def __init__(self, error: type[OSError]):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error(32, "refused")


def printed(monkeypatch, encoding: str, make) -> list[str]:
    """The lines that ``make(console)``'s renderable has on stdout; a character without code is an error."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    out = console.stdout()
    out.print(make(out))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_bars_of_predictions_are_ascii_where_nothing_else_is(monkeypatch, encoding):
    lines = printed(monkeypatch, encoding, lambda out: prediction_block("a.png", ANSWER, Columns(10, 12, 20), None))
    assert lines[0].split() == ["a.png", "cat", "#" * 14, "72.0", "%"]
    assert lines[1].split() == ["a-class-wit~", "#" * 6, "28.0", "%"]


def test_bars_of_predictions_are_blocks_in_utf_8(monkeypatch):
    lines = printed(monkeypatch, "utf-8", lambda out: prediction_block("a.png", ANSWER, Columns(10, 12, 20), None))
    assert lines[0].split() == ["a.png", "cat", "█" * 14 + "▍", "72.0", "%"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_tables_keep_their_form_in_ascii(monkeypatch, encoding):
    lines = printed(monkeypatch, encoding, lambda out: render_evaluation(evaluation(), out.width))
    table = [line for line in lines if line[:1] in ("+", "|")]
    assert len({len(line) for line in table}) == 1
    assert ["cat", "2", "1", "."] in [line.split() for line in lines]


def test_a_comparison_is_ascii_where_nothing_else_is(monkeypatch):
    lines = printed(monkeypatch, "ascii", lambda out: render_comparison(COMPARISON, out.width, out.options.ascii_only))
    assert any("90.00 +/- 1.23 %" in line for line in lines)
    assert "Mean +/- sample standard deviation over seeds." in lines


def test_names_in_other_letters_are_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    console.stdout().print("é", markup=False)
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9\n"


def test_a_progress_bar_is_ascii_where_nothing_else_is(monkeypatch):
    def bars(out):
        progress = Progress(BarColumn(), console=out)
        for done in (0, 30, 100):
            progress.add_task("", total=100, completed=done)
        return Group(progress.get_renderable())

    assert all(line.isascii() for line in printed(monkeypatch, "ascii", bars))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_of_any_class_name_is_json_in_any_encoding(monkeypatch, encoding):
    names = ["é", "猫", "🐈", "\udcff"]
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    console.print_json(names)
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == names


def test_a_result_that_nobody_reads_is_no_failure(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing(BrokenPipeError))
    console.print_result("Test accuracy 90 %")


def test_data_that_nobody_reads_are_an_error_for_the_caller(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing(BrokenPipeError))
    with pytest.raises(BrokenPipeError):
        console.stdout().print("data")


def test_no_message_reaches_the_terminal_with_control_codes(capsys):
    out = console.stdout()
    out.print("a\x1b[2J\u202eb\n[c]\x9b", markup=False)
    out.print(Text("d\x1b[31m", style="bold"))
    assert capsys.readouterr().out == "a\\x1b[2J\\u202eb\n[c]\\x9b\nd\\x1b[31m\n"


def test_what_is_logged_is_shown_without_control_codes(capsys):
    with console.logged_warnings_shown():
        logging.getLogger("cifarnet.data.cache").warning("%s is damaged", "a\x1b[2J")
    assert capsys.readouterr().err == "a\\x1b[2J is damaged\n"
    assert not logging.getLogger("cifarnet").handlers
