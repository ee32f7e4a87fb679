"""``cifarnet.train``: options as keyword arguments, and lines on the progress."""

import sys
from io import StringIO
from types import SimpleNamespace

import pytest

import cifarnet
from cifarnet import api
from cifarnet.cli.train_options import train_request
from cifarnet.errors import InvalidValueError
from cifarnet.events import Warned
from cifarnet.runs.request import request_of
from tests.support.reports import PLAN, done


@pytest.fixture
def started(monkeypatch):
    """The requests and directories that runs were started with; none is trained."""
    calls = []

    def train(request, directory, **settings):
        calls.append((request, directory, settings))

    monkeypatch.setattr(api.start, "train", train)
    return calls


def test_options_are_those_of_the_command(started):
    cifarnet.train(depth=8, data="synthetic", recipe="fast", epochs=3, flip=False, output="runs/a")
    (request, directory, _) = started[0]
    given = {"depth": 8, "data": "synthetic", "recipe": "fast", "epochs": 3, "flip": False}
    assert request == train_request(given)
    assert (request.model, request.changes, directory) == ("resnet8", {"epochs": 3, "flip": False}, "runs/a")


def test_options_replace_the_fields_of_a_request(started):
    kept = cifarnet.TrainRequest("fast", "synthetic", "resnet8", changes={"epochs": 5, "cutout": 4})
    cifarnet.train(kept, "runs/a", seed=3, epochs=2)
    (request, directory, _) = started[0]
    assert (request.seed, request.model, request.data) == (3, "resnet8", "synthetic")
    assert (request.changes, directory) == ({"epochs": 2, "cutout": 4}, "runs/a")
    assert kept.changes["epochs"] == 5


def test_values_may_be_words_of_the_command():
    request = request_of({"budget": "20m", "lr_boundaries": "10,20", "resolutions": ""})
    assert (request.budget, request.changes) == (1200.0, {"lr_boundaries": (10, 20), "resolutions": ()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, r"train has no option epoch\. Did you mean epochs\? Received: epoch"),
        ({"lr": 0.1}, r"Did you mean learning_rate\?"),
        ({"ouput": "runs/a"}, r"Did you mean output\?"),
        ({"epochs": "three"}, "`epochs` must be a whole number"),
        ({"budget": "soon"}, "`budget` takes a time such as 20m, 1h30m or 90s. Received: soon"),
        ({"depth": "8"}, "`depth` must be a whole number"),
        ({"depth": 9}, "depth of 6n"),
        ({"depth": 8, "model": "resnet20"}, "`depth` 8 is short for `model` resnet8"),
        ({"output": "a", "directory": "b"}, "`output` is the `directory` too"),
        ({"epochs": 3, "steps": 4}, "`epochs` and `steps` give the length"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused_before_the_run(started, options, message):
    with pytest.raises(InvalidValueError, match=message):
        cifarnet.train(**{"data": "synthetic", **options})
    assert not started


class Terminal(StringIO):
    def isatty(self):
        return True


RESULT = SimpleNamespace(
    directory="runs/a",
    to_dict=lambda: {
        "accuracy": 0.5,
        "accuracy_interval": (0.4, 0.6),
        "loss": 1.0,
        "epoch": 2,
        "selected_by": "last epoch",
        "training_seconds": 3.0,
    },
)


@pytest.fixture
def reporting(monkeypatch):
    """A run that reports an event of each kind."""

    def train(request, directory, *, report, data_report, **settings):
        for count in (1, 2):
            data_report("Decoding images", count, 2)
        for event in (PLAN, done(1), Warned("The disk is nearly full.")):
            report(event)
        return RESULT

    monkeypatch.setattr(api.start, "train", train)


def printed(monkeypatch, stderr, **options):
    """Return what a run prints on stdout and, if it is open, on ``stderr``."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out := StringIO())
        patch.setattr(sys, "stderr", stderr)
        cifarnet.train(data="synthetic", **options)
    return out.getvalue(), stderr and stderr.getvalue()


@pytest.mark.usefixtures("reporting")
def test_a_terminal_shows_the_lines_of_the_command(monkeypatch):
    out, err = printed(monkeypatch, Terminal())
    assert out == ""
    assert err.count("Decoding images ...") == 1
    for line in ("Network   ", "Epoch ", "The disk is nearly full.\n", "Test accuracy 50.00%", "are in runs/a\n"):
        assert line in err


@pytest.mark.usefixtures("reporting")
def test_a_notebook_shows_lines_as_output(monkeypatch):
    kernel = SimpleNamespace(kernel="a kernel")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    out, err = printed(monkeypatch, StringIO())
    assert "Test accuracy" in out
    assert err == ""


@pytest.mark.usefixtures("reporting")
def test_files_get_lines_on_request_only(monkeypatch):
    assert printed(monkeypatch, StringIO()) == ("", "")
    assert printed(monkeypatch, Terminal(), report=lambda event: None) == ("", "")
    assert printed(monkeypatch, Terminal(), progress=False) == ("", "")
    assert printed(monkeypatch, None, progress=True) == ("", None)
    assert "Test accuracy" in printed(monkeypatch, StringIO(), progress=True)[1]
