"""A network of another family is trained, resumed, evaluated and fine-tuned by the same code."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.errors import InterruptedRunError, InvalidValueError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.events import StepDone
from cifarnet.models import spec as specs
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from tests.support.families import TINY

RECIPE = RECIPES["fast"].with_changes(epochs=2, batch_size=16, resolutions=((16, 0.4),), precise_batchnorm=32, checks=0)


pytestmark = pytest.mark.usefixtures("tiny_family")


@pytest.fixture(scope="module")
def config():
    return TrainRequest(RECIPE.with_changes(name="own"), data="synthetic:50", model="tiny2", seed=5)


@pytest.fixture(scope="module")
def whole(config, tiny_family, tmp_path_factory):
    """The directory of a run that was left alone."""
    return train(config, tmp_path_factory.mktemp("whole") / "run").directory


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_resumed_run_with_dropout_is_exact(tmp_path, config, whole, step):
    def stop(event):
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(config, tmp_path / "stopped", report=stop)
    resume(tmp_path / "stopped")
    stopped = tmp_path / "stopped"
    assert (stopped / files.HISTORY).read_text() == (whole / files.HISTORY).read_text()
    assert load_weights(stopped / files.WEIGHTS).sha256() == load_weights(whole / files.WEIGHTS).sha256()


@pytest.mark.slow
def test_another_family_is_evaluated_and_fine_tuned(tmp_path, config):
    result = train(replace(config, recipe=config.recipe.with_changes(epochs=1)), tmp_path / "run")
    assert evaluate(tmp_path / "run").metrics.accuracy == result.metrics.accuracy
    train(replace(config, model=None, weights=str(tmp_path / "run"), freeze_base=True), tmp_path / "tuned")
    before, after = (load_weights(tmp_path / name / files.WEIGHTS) for name in ("run", "tuned"))
    assert before.spec == after.spec
    np.testing.assert_array_equal(before.tensors["stem/kernel"], after.tensors["stem/kernel"])
    assert not np.array_equal(before.tensors["classifier/kernel"], after.tensors["classifier/kernel"])


def test_image_sizes_that_a_family_does_not_take_are_refused(tmp_path, monkeypatch, config):
    monkeypatch.setitem(specs.MODELS, "tiny", replace(TINY, image_multiple=8))
    config = replace(config, recipe=config.recipe.with_changes(resolutions=((12, 0.4),)))
    with pytest.raises(InvalidValueError, match=r"Tiny-2 does not take\. It takes multiples of 8 pixels.*Received: 12"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_does_not_grow_from_another_family(tmp_path, config):
    with pytest.raises(InvalidValueError, match="whose weights do not fit into a Tiny-2"):
        train(replace(config, weights="resnet20"), tmp_path / "run")
