import json
import os
import shlex
import signal
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import DivergedError, InvalidValueError
from cifarnet.events import EpochDone, StepDone, Warned
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.loop import Loop
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from tests.support.runs import run_config

pytestmark = pytest.mark.usefixtures("tiny_family")

RECIPE = RECIPES["documented"].with_changes(epochs=3, batch_size=32)
CONFIG = TrainRequest(RECIPE, data="synthetic:200", model="tiny2", seed=5)  # 7 steps an epoch
RESIDUAL = replace(CONFIG, model="resnet8")  # Its loss stays finite when its first kernel does not.
BAD_STEP = 8


@pytest.fixture
def poison(monkeypatch):
    """Puts NaN into the last kernel when the second epoch begins, or the ``kernel``-th, as often as ``times`` says.

    Notes in ``rates`` the learning rate that the optimizer begins each epoch with.
    """
    original = Loop.fit
    left = {"times": 0, "kernel": -1, "rates": []}

    def fit(loop, *arguments):
        left["rates"].append(float(np.asarray(loop.model.sgd.learning_rate)))
        if loop.train_state.epoch == 1 and left["times"]:
            left["times"] -= 1
            kernel = loop.model.network.regularized[left["kernel"]]
            kernel.assign(np.full(kernel.shape, np.nan, np.float32))
        original(loop, *arguments)

    monkeypatch.setattr(Loop, "fit", fit)
    return left


@pytest.mark.slow
def test_a_non_finite_loss_ends_the_run_at_its_step(tmp_path, poison):
    poison["times"] = 1
    with pytest.raises(DivergedError, match=rf"loss became nan after step {BAD_STEP}\b.* of step 7, is kept") as failed:
        train(CONFIG, tmp_path / "run")
    assert failed.value.exit_code == 4
    assert f"--resume {tmp_path / 'run'} --on-nan restore" in str(failed.value)
    kept = load_checkpoint(tmp_path / "run" / files.CHECKPOINT)  # Which refuses what is not finite.
    assert kept.train_state.step == 7
    assert not (tmp_path / "run" / files.METRICS).exists()
    resume(tmp_path / "run")
    assert (tmp_path / "run" / files.METRICS).exists()


@pytest.mark.slow
def test_a_non_finite_weight_with_a_finite_loss_ends_the_run(tmp_path, poison):
    poison.update(times=1, kernel=0)
    with pytest.raises(DivergedError, match=r"conv2d/kernel .* NaN or infinite after step \d+: .* of step 7, is kept"):
        train(RESIDUAL, tmp_path / "run")


@pytest.mark.slow
def test_a_stop_with_non_finite_weights_is_a_divergence(tmp_path, poison):
    poison.update(times=1, kernel=0)

    def stop(event):
        if isinstance(event, StepDone) and event.step == BAD_STEP:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(DivergedError, match=rf"conv2d/kernel .* after step {BAD_STEP}: .* of step 7, is kept"):
        train(RESIDUAL, tmp_path / "run", report=stop)


@pytest.mark.slow
def test_on_nan_restore_halves_the_learning_rate(tmp_path, poison):
    poison["times"] = 2
    events = []
    recipe = RECIPE.with_changes(precise_batchnorm=50)
    train(
        TrainRequest(recipe, data="synthetic:200", model="tiny2", seed=5, on_nan="restore"),
        tmp_path / "run",
        report=events.append,
    )
    warned = [event.message for event in events if isinstance(event, Warned) and "made it worse" not in event.message]
    assert [f"after step {BAD_STEP}" in message for message in warned] == [True, True]
    assert "0.25 times the learning rate" in warned[1]
    rates = [event.row.learning_rate for event in events if isinstance(event, EpochDone)]
    assert rates == pytest.approx([0.1, 0.025, 0.025], rel=1e-3)
    assert poison["rates"] == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.025], rel=1e-3)
    assert load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.restores == 2


@pytest.mark.slow
def test_the_advised_command_restores_a_diverged_run(tmp_path, poison):
    poison["times"] = 2
    with pytest.raises(DivergedError) as failed:
        train(CONFIG, tmp_path / "run")
    advised = shlex.split(str(failed.value).partition(" cifarnet ")[2])
    assert advised == ["train", "--resume", str(tmp_path / "run"), "--on-nan", "restore"]
    done = CliRunner().invoke(app, [*advised, "--quiet"])
    assert done.exit_code == 0, done.output
    assert "0.5 times the learning rate" in done.stderr
    assert poison["rates"] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05], rel=1e-3)
    assert load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.restores == 1


@pytest.mark.slow
def test_resume_keeps_the_lower_learning_rate(tmp_path, poison):
    poison["times"] = 1
    config = TrainRequest(RECIPE, data="synthetic:200", model="tiny2", seed=5, on_nan="restore")
    train(config, tmp_path / "whole")
    poison["times"] = 1
    stopping = Stop(lambda event: isinstance(event, EpochDone) and event.row.epoch == 2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", report=stopping)
    resume(tmp_path / "run")
    assert (tmp_path / "run" / files.HISTORY).read_text() == (tmp_path / "whole" / files.HISTORY).read_text()


class Stop:
    """Ends the run as a crash would, at the first event that ``when`` holds for."""

    def __init__(self, when):
        self.when = when

    def __call__(self, event):
        if self.when(event):
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_does_not_go_back_for_ever(tmp_path, poison):
    poison["times"] = 100
    config = TrainRequest(RECIPE, data="synthetic:200", model="tiny2", seed=5, on_nan="restore")
    with pytest.raises(DivergedError, match="halved 5 times") as failed:
        train(config, tmp_path / "run")
    assert "--resume" not in str(failed.value)  # It would end the same way.
    assert poison["times"] == 100 - 6


@pytest.mark.slow
def test_an_overflow_in_the_last_step_is_not_saved(tmp_path):
    recipe = RECIPES["paper"].with_changes(steps=1, learning_rate=3e38, batch_size=32)
    with pytest.raises(DivergedError, match="NaN or infinite after step 1"):
        train(TrainRequest(recipe, data="synthetic:200", model="tiny2"), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.step == 0


def test_on_nan_is_one_of_two(tmp_path):
    with pytest.raises(InvalidValueError, match=r"stop or restore.*Received: hope"):
        TrainRequest(RECIPE, on_nan="hope")


def test_the_choice_is_part_of_the_config(tmp_path):
    config = run_config(RECIPE, on_nan="restore")
    files.write_config(tmp_path, config.to_dict())
    assert json.loads((tmp_path / files.CONFIG).read_text())["on_nan"] == "restore"
    assert Run(tmp_path).config == config
