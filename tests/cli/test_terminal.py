"""What is left on a terminal's screen by commands that draw bars and frames on it."""

import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarnet.cli import console, training_screen
from cifarnet.cli.main import main
from cifarnet.events import Warned
from tests.support.datasets import tar_of
from tests.support.reports import PLAN, done
from tests.support.terminal import Terminal

PLAN_WORDS = ["Network", "Data", "Recipe", "Device", "Run"]
PER_CLASS = {"train": 500, "test": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """1,020 small pictures of two classes: enough to be decoded by several processes."""
    root = tmp_path_factory.mktemp("pictures") / "images"
    random = np.random.default_rng(0)
    for split, count in PER_CLASS.items():
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def archive(folder) -> Path:
    return tar_of(folder, folder.parent / "images.tar")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("CI", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def run_on(monkeypatch, columns: int, *arguments: str) -> list[str]:
    """What the command leaves on a terminal of so many ``columns``."""
    with Terminal(columns) as terminal, monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("LINES", "30")
        patch.setattr(sys, "argv", ["cifarnet", *arguments])
        patch.setattr(sys, "stdout", terminal.stream)
        patch.setattr(sys, "stderr", terminal.stream)
        with pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code == 0, terminal.lines()
    return terminal.lines()


def body(lines: list[str]) -> list[str]:
    """The lines from the first to the last that is not blank."""
    used = [index for index, line in enumerate(lines) if line]
    return lines[used[0] : used[-1] + 1]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "columns"), [("folder", 100), ("archive", 60)])
def test_a_first_training_leaves_its_lines_and_no_bars(request, monkeypatch, tmp_path, source, columns):
    path = request.getfixturevalue(source)
    monkeypatch.chdir(tmp_path)
    # A short path, whatever the temporary folder: pyte leaves a blank line after a line as wide as the terminal.
    Path(path.name).symlink_to(path)
    options = ["--depth", "8", "--recipe", "paper", "--epochs", "2", "--batch-size", "500", "--output", "run"]
    lines = body(run_on(monkeypatch, columns, "train", "--data", path.name, *options))
    assert [word for line in lines if (word := line[:10].strip()) in PLAN_WORDS] == PLAN_WORDS
    assert "" not in lines  # An erased line would be one.
    text = " ".join(" ".join(lines).split())
    assert "1,000 training images, 20 test images" in text
    assert re.findall(r"(\d)/2 +(?:loss|acc|test)", text) == ["1", "2"]
    assert text.count("Test accuracy") == 1
    assert not [leftover for leftover in ("Reading", "Decoding", "━", "·", "images/s loss") if leftover in text]


def test_the_bars_of_data_go_one_after_the_other(monkeypatch, folder):
    lines = body(run_on(monkeypatch, 100, "data", str(folder)))
    assert not [line for line in lines if "Reading" in line or "Decoding" in line]
    assert sum("1,000" in line for line in lines) == 1


def on_terminal(monkeypatch, tell) -> list[str]:
    """What is left on a terminal of 100 columns after ``tell(report, data_report)``."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    with Terminal(100) as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        with training_screen.training_screen(quiet=False) as (report, data_report):
            tell(report, data_report)
    return terminal.lines()


def test_a_warning_while_a_bar_is_drawn_stays(monkeypatch):
    def tell(report, data_report):
        data_report("Reading images.tar", 0, None)
        time.sleep(0.2)
        report(Warned("The teacher has learned the test images."))
        data_report("Decoding images", 1, 2)
        time.sleep(0.2)
        data_report("Decoding images", 2, 2)

    assert list(filter(None, on_terminal(monkeypatch, tell))) == ["The teacher has learned the test images."]


def test_progress_after_the_plan_is_shown_in_the_frame(monkeypatch):
    displays = []

    def tell(report, data_report):
        data_report("Reading images.tar", 0, None)
        report(PLAN)
        data_report("Computing features", 1000, 2000)
        time.sleep(0.2)
        displays.append(len(console.stderr()._live_stack))
        report(done(1))
        report(done(2))

    lines = on_terminal(monkeypatch, tell)
    assert displays == [1]
    assert [line.split()[1] for line in lines if line.startswith("Epoch")] == ["1/250", "2/250"]
    assert "Reading" not in " ".join(lines)


def test_data_on_stdout_stay_there_while_a_bar_is_drawn(monkeypatch, capsys):
    with Terminal(100) as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        with console.progress_reporter() as report:
            report("Classifying images", 1, 2)
            print("the data")
    assert capsys.readouterr().out == "the data\n"
    assert "the data" not in " ".join(terminal.lines())


def test_a_stopped_display_is_drawn_anew_below_the_shells_lines(monkeypatch):
    """Ctrl-Z, then fg: the shell's lines stay, and the cursor is there while the process is stopped."""
    seen = []

    def stop(pid, number):
        time.sleep(0.3)
        seen.append(terminal.screen.cursor.hidden)
        terminal.stream.write("[1]+ Stopped\n$ fg\n")
        terminal.stream.flush()

    with Terminal(100) as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        patch.setattr("cifarnet.cli.console.os.kill", stop)
        with training_screen.training_screen(quiet=False) as (report, _):
            report(PLAN)
            time.sleep(0.1)
            signal.raise_signal(signal.SIGTSTP)
            report(done(1))
    lines = terminal.lines()
    assert seen == [False]
    assert not terminal.screen.cursor.hidden
    place = lines.index("[1]+ Stopped")
    assert lines[place + 1] == "$ fg"
    assert lines[place + 2 :].count("") == len(lines) - place - 3
    assert next(line for line in lines[place + 2 :] if line).startswith("Epoch   1/250")
    assert any(line.startswith("Run  ") for line in lines[:place])
