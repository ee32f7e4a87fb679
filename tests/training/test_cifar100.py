"""A short run on CIFAR-100 with coarse labels, from files at a path."""

from dataclasses import replace

import pytest

from cifarnet.errors import DataError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.events import Planned
from cifarnet.recipes import RECIPES
from cifarnet.reports.terminal.training_lines import plan_lines
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from tests.support.datasets import cifar100_python
from tests.support.reports import PLAN
from tests.support.training import Recorder

STEP = RECIPES["documented"].with_changes(batch_size=4, steps=1)


@pytest.mark.slow
def test_coarse_labels_are_trained_resumed_and_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cifar100_python(tmp_path / "files")
    events = Recorder()
    request = TrainRequest(STEP, data="cifar100-coarse:files", model="resnet8", jit=False)
    train(request, tmp_path / "run", report=events)
    assert Run(tmp_path / "run").config.data_path == f"cifar100-coarse:{tmp_path.resolve() / 'files'}"
    assert [(plan.spec.classes, plan.data_note) for plan in events.of(Planned)] == [(20, "")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume(tmp_path / "run", steps=2)
    assert evaluate(tmp_path / "run").metrics.images == 4
    with pytest.raises(DataError, match=r"The data are read as CIFAR-100 with 100 classes; cifar100-coarse:"):
        evaluate(tmp_path / "run", tmp_path / "files")


def test_the_plan_says_how_a_path_was_read():
    note = "read as CIFAR-100 with 100 classes; cifar100-coarse:x has 20"
    lines = plan_lines(replace(PLAN, data_note=note, notes=("a note",), teachers=("resnet44",)))
    assert lines[2] == f"          {note}"
    assert lines[4:6] == ["          a note", "Teacher   resnet44"]
