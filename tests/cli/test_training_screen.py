import re
from contextlib import contextmanager
from io import StringIO

import pytest
from rich.console import Console

from cifarnet.cli import training_screen as screen
from cifarnet.events import Warned
from tests.support.reports import PLAN, done


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A common terminal's, whatever the tests run in."""
    for name in ("CI", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@contextmanager
def shown(monkeypatch, **options):
    console = Console(highlight=False, **{"file": StringIO(), "width": 100, "height": 30, **options})
    monkeypatch.setattr(screen.console, "stderr", lambda: console)
    with screen.training_screen(quiet=False) as (report, _):
        yield console, report


def screen_text(monkeypatch, *events, **options):
    with shown(monkeypatch, **options) as (console, report):
        for event in events:
            report(event)
    return console.file.getvalue()


EVENTS = (PLAN, done(1), Warned("The disk is nearly full."), done(2))


def test_epochs_and_warnings_stay_when_the_frame_goes(monkeypatch):
    output = screen_text(monkeypatch, *EVENTS, force_terminal=True)
    assert "accuracy" in output
    frame, _, after = output.rpartition("ResNet-20 · ")[2].partition("\x1b[?25h")
    assert "epochs 1 to 2" in frame
    assert after.count("\x1b[1A\x1b[2K") == frame.count("\n") + 1  # The blank line above it.
    assert output.count("Epoch   1/250  loss 2.000") == 1
    assert output.count("The disk is nearly full.") == 1


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {}),
        ({"CI": "true"}, {"force_terminal": True}),
        ({"TERM": "dumb"}, {"force_terminal": True}),
        ({"FORCE_COLOR": "1"}, {}),
    ],
)
def test_a_log_gets_a_line_an_epoch(variables, options, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    output = re.sub(r"\x1b\[\d*m", "", screen_text(monkeypatch, *EVENTS, width=160, **options))
    assert "\x1b" not in output
    lines = output.splitlines()
    assert lines[-3].startswith("Epoch   1/250  loss 2.000")
    assert lines[-2] == "The disk is nearly full."
    assert lines[-1].startswith("Epoch   2/250")


@pytest.mark.parametrize("options", [{}, {"force_terminal": True}])
def test_warnings_name_options(options, monkeypatch):
    output = screen_text(monkeypatch, PLAN, Warned("Use `precise_batchnorm` 1024."), **options)
    assert "Use --precise-batchnorm 1024." in output


def test_lines_above_the_frame_wrap_between_words(monkeypatch):
    output = screen_text(monkeypatch, *EVENTS, force_terminal=True, width=60)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", output)
    assert max(map(len, re.split(r"[\r\n]+", plain))) < 60


def test_a_wrapped_frame_is_erased_completely(monkeypatch):
    with shown(monkeypatch, force_terminal=True) as (console, _):
        frame = screen._Frame(console)
        live = screen._live(frame, console)
        frame.run.note(PLAN)
        console.print(frame)
        widths = [line.cell_len for line in frame.drawn]
        console.width = 60
        erased = str(live.process_renderables([])[0])
    assert max(widths) > 60
    assert erased.count("\x1b[1A") == sum(-(-width // 60) - 1 for width in widths if width)


def test_an_encoding_without_braille_gets_ascii(monkeypatch):
    class Ascii(StringIO):
        encoding = "ascii"

    plan = screen_text(monkeypatch, *EVENTS, force_terminal=True, file=Ascii())
    frame = plan.rpartition("ResNet-20 - ")[2]
    assert "epochs 1 to 2" in frame
    assert frame.isascii()


def test_without_colours_none_are_written(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    output = screen_text(monkeypatch, *EVENTS, force_terminal=True)
    assert "o validation" in output
    assert not re.search(r"\x1b\[[\d;]*3\dm", output)


def test_a_run_that_fails_before_its_plan_leaves_nothing(monkeypatch):
    def fail():
        with shown(monkeypatch, force_terminal=True) as (console, _):
            consoles.append(console)
            raise OSError("no data")

    consoles = []
    with pytest.raises(OSError, match="no data"):
        fail()
    assert consoles[0].file.getvalue() == ""
