"""What a user sees in the first seconds: refusals that wait for no backend, and a line while one is imported."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cifarnet.cli import console
from cifarnet.recipes import RECIPES
from cifarnet.runs.files import METRICS, write_config
from tests.support.datasets import image_folder
from tests.support.networks import save_picture
from tests.support.runs import run_config

# Command, exit status, and a part of what stderr says.
REFUSED = [
    ("train --data nowhere", 1, "There is no file or folder"),
    ("train --data pets --test-split 0.5", 2, "pets has test images"),
    ("train --data untested", 1, "untested has no test images"),
    ("train --data damaged", 1, "0.png is not a PNG"),
    ("train --data notes.txt", 1, "neither a folder nor"),
    ("train --data pets --classes 7", 2, "Received: --classes 7"),
    ("train --data pets --teacher resnet20", 2, "Received: resnet20, which has airplane"),
    ("train --data cifar10 --test-split 0.2", 2, "cifar10 has test images"),
    ("train --data synthetic --test-split 0.2", 2, "synthetic has test images"),
    ("train --data untested --test-split 1", 2, "--test-split must be above 0 and below 1"),
    ("train --data pets --validation-split -0.5", 2, "--validation-split must be above 0 and below 1"),
    ("train --data pets --validation-split nan", 2, "--validation-split must be above 0 and below 1"),
    ("train --data pets --depth 5000", 2, "The depth of a network is at most 1,202"),
    ("train --data pets --weights nowhere", 1, "no run or weight file nowhere"),
    ("train --data pets --weights notes.txt", 1, "notes.txt"),
    ("train --data pets --teacher nowhere", 1, "no run or weight file nowhere"),
    ("train --data pets --weights resnet20 --depth 8", 2, "do not fit into a ResNet-8"),
    ("train --data pets --output full", 1, "full exists and is not an empty folder"),
    ("train --data pets --output notes.txt/run", 3, "notes.txt/run can't be written"),
    ("train --data pets --report notes.txt/page.html", 3, "notes.txt/page.html can't be written"),
    ("train --data pets --report page.txt", 2, "ends in .html"),
    ("train --data pets --backend abacus", 2, "tensorflow"),
    ("train --data pets --precision int8", 2, "float32"),
    ("train --data pets --on-nan shrug", 2, "restore"),
    ("train --data pets --recipe nowhere", 2, "fine-tune"),
    ("train --data pets --batch-size 0", 2, "at least 1"),
    ("train --data pets --resolutions 7:0.5", 2, "multiples of 4 pixels from 8 to 32; the nearest is 8."),
    ("train --data pets --budget soon", 2, "20m"),
    ("train --data pets --budget 20m --recipe documented", 2, "--cycle-peak"),
    ("train --data pets --distillation 0.5", 2, "--teacher"),
    ("train --resume nowhere", 1, "not a run directory"),
    ("train --resume finished", 1, "finished"),
    ("train --resume moved", 1, "no file or folder"),
    ("train --resume moved --data pets", 1, "does not hold the images"),
    ("train --resume moved --backend jax", 1, "was trained with tensorflow"),
    ("evaluate nowhere", 1, "no run or weight file nowhere"),
    ("evaluate --data nowhere", 1, "There is no file or folder"),
    ("evaluate --data pets", 1, "cat, dog"),
    ("evaluate --data untested --test-split 2", 2, "--test-split must be above 0 and below 1"),
    ("evaluate --data pets --report notes.txt/page.html", 3, "can't be written"),
    ("evaluate --data pets --backend abacus", 2, "tensorflow"),
    ("evaluate --tta sideways", 2, "sideways"),
    ("evaluate --batch-size 0", 2, "batch-size"),
    ("predict nowhere.png", 1, "nowhere.png is not a file or folder"),
    ("predict nowhere.png notes.txt damaged/train/cat/0.png", 1, "notes.txt is not a PNG"),
    ("predict nowhere.png --explain maps", 1, "nowhere.png is not a file or folder"),
    ("predict nowhere.png --report page.html", 1, "nowhere.png is not a file or folder"),
    ("predict a.png --explain notes.txt", 2, "notes.txt, which is a file"),
    ("predict a.png --report notes.txt/page.html", 3, "can't be written"),
    ("predict a.png --weights nowhere", 1, "no run or weight file nowhere"),
    ("predict a.png --depth 26", 1, "No trained ResNet-26"),
    ("predict a.png --top-k 11", 2, "1 to 10"),
    ("predict a.png --backend abacus", 2, "tensorflow"),
    ("predict a.png --crop sideways", 2, "sideways"),
    ("data pets --grid notes.txt/grid.png", 3, "can't be written"),
]

# All of them in one process, so that Python and NumPy are imported once.
PROGRAM = """
import contextlib, io, json, sys
from cifarnet.cli.main import main

answers = []
for line in json.load(sys.stdin):
    sys.argv = ["cifarnet", *line.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code
    loaded = [name for name in ("tensorflow", "keras", "jax") if name in sys.modules]
    answers.append([status, loaded, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data sources, pictures and runs, good and bad."""
    root = tmp_path_factory.mktemp("first")
    image_folder(root / "pets")
    image_folder(root / "untested", test=0)
    (image_folder(root / "damaged") / "train/cat/0.png").write_bytes(b"no picture")
    save_picture(root / "a.png", 0)
    (root / "notes.txt").write_text("no archive, picture or weight file")
    (root / "full").mkdir()
    (root / "full" / "thesis.tex").touch()
    for name, data in (("finished", str(root / "pets")), ("moved", str(root / "gone"))):
        config = run_config(RECIPES["fast"], data, "resnet8", data_sha256="0" * 64)
        (root / name).mkdir()
        write_config(root / name, config.to_dict())
    (root / "finished" / METRICS).write_text("{}")
    return root


def answers(folder, lines):
    environment = {
        **os.environ,
        "CIFARNET_CACHE": str(folder / "cache"),
        "CIFARNET_WEIGHTS": str(folder / "own"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(lines, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def refusals(folder):
    return answers(folder, [line for line, _, _ in REFUSED])


@pytest.mark.parametrize(("line", "status", "part"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_a_refusal_waits_for_no_backend(refusals, line, status, part):
    found, loaded, _, printed = refusals[line]
    assert (found, loaded) == (status, [])
    assert part in " ".join(printed.split())
    assert "Starting" not in printed


@pytest.mark.usefixtures("refusals")
def test_refused_trainings_leave_no_run_directory(folder):
    assert not (folder / "runs").exists()
    assert [path.name for path in (folder / "full").iterdir()] == ["thesis.tex"]


def test_missing_pictures_have_the_same_answers_in_every_form(folder):
    printed = answers(folder, ["predict nowhere.png notes.txt --json", "predict nowhere.png --csv --top-k 1"])
    (status, loaded, out, _), (_, _, rows, _) = printed.values()
    assert (status, loaded) == (1, [])
    assert [item["image"] for item in json.loads(out)] == ["nowhere.png", "notes.txt"]
    assert rows.splitlines() == [
        "image,class_1,probability_1,error",
        'nowhere.png,,,"nowhere.png is not a file or folder, and no file matches it as a pattern.'
        ' Received: nowhere.png"',
    ]


def left_on(screen):
    """What remains of a line that was written over and over."""
    rows = screen.getvalue().split("\n")
    left = ""
    for part in rows[-1].split("\r"):
        left = part + left[len(part) :]
    return "\n".join([*rows[:-1], left]).rstrip(" ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def backend(monkeypatch):
    """A backend that is imported by noting what stderr showed at that time."""
    shown = []
    modules = {name: module for name, module in sys.modules.items() if name != "keras"}
    monkeypatch.setattr(sys, "modules", modules)
    monkeypatch.setattr("cifarnet.backend.select.use_backend", lambda name: shown.append(sys.stderr.getvalue()) or name)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    return shown


@pytest.mark.parametrize(("name", "title"), [("tensorflow", "TensorFlow"), ("jax", "JAX")])
def test_a_terminal_shows_a_line_while_a_backend_starts(backend, monkeypatch, name, title):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with console.progress_reporter() as report:
        assert console.start_backend(name, progress=report) == name
    (during,) = backend
    assert f"Starting {title} ..." in during
    assert "\n" not in during
    assert left_on(screen) == ""


def test_a_log_gets_a_line_when_a_backend_starts(backend, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with console.progress_reporter() as report:
        console.start_backend("tensorflow", progress=report)
    assert backend == ["Starting TensorFlow ...\n"]
    assert log.getvalue() == "Starting TensorFlow ...\n"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_shows_nothing_when_a_backend_starts(backend, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    console.start_backend("tensorflow", progress=None)
    assert backend == [""]
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("command", ["train", "evaluate", "predict a.png"])
def test_a_terminal_shows_something_before_the_first_import(folder, command):
    """Half of the time until the backend's import goes into NumPy and h5py."""
    program = """
import builtins, sys
from cifarnet.cli.main import main
load = builtins.__import__

def note(name, *rest, **options):
    if name.partition(".")[0] in ("numpy", "h5py", "rich"):
        builtins.__import__ = load
        print(repr(shown.getvalue()))
        raise SystemExit(0)
    return load(name, *rest, **options)

import io
class Terminal(io.StringIO):
    def isatty(self):
        return True

shown = sys.stderr = Terminal()
builtins.__import__ = note
main()
"""
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("CI", None)
    words = [
        sys.executable,
        "-c",
        program.replace("main()\n", f"sys.argv = {['cifarnet', *command.split()]}\nmain()\n"),
    ]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "'Starting ...'\n"


def test_a_transient_line_goes_when_its_block_fails(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)

    def fail():
        with console.transient("Starting ..."):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert left_on(screen) == ""


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_no_transient_line_where_lines_can_not_be_drawn_over(monkeypatch, name, value):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    with console.transient("Starting ..."):
        assert sys.stderr.getvalue() == ""
