"""Training from weights with a mean and a standard deviation for each channel, as those of PyTorch have them."""

import os
import signal

import numpy as np
import pytest

from cifarnet.data.augmentation import normalize
from cifarnet.data.synthetic import SYNTHETIC_CLASSES
from cifarnet.errors import InterruptedRunError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.events import StepDone
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_header, load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

COLOURS = Normalization((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
RECIPE = RECIPES["fine-tune"].with_changes(epochs=1, batch_size=16, precise_batchnorm=32)


@pytest.fixture
def request_for(tiny_family, tmp_path):
    """A request that starts from a weight file with a normalization for each channel, with the same as the teacher."""
    spec = ModelSpec("tiny2")
    save_weights(tmp_path / "w.h5", Weights(spec, initial_weights(spec, 1), SYNTHETIC_CLASSES, COLOURS))
    path = str(tmp_path / "w.h5")
    return TrainRequest(RECIPE, data="synthetic:50", weights=path, teacher=path, seed=5)


def test_pixels_are_normalized_by_channel_on_the_device():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    wanted = (pixels - np.array(COLOURS.mean)) / COLOURS.std
    np.testing.assert_allclose(np.asarray(normalize(pixels, COLOURS)), wanted, atol=1e-5)


@pytest.mark.slow
def test_a_run_keeps_the_normalization_and_resumes_exactly(tmp_path, request_for):
    def stop(event):
        if isinstance(event, StepDone) and event.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(request_for, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train(request_for, tmp_path / "stopped", report=stop)
    assert load_header(tmp_path / "stopped" / files.CHECKPOINT).normalization == COLOURS
    resume(tmp_path / "stopped")
    whole, stopped = (load_weights(tmp_path / name / files.WEIGHTS) for name in ("whole", "stopped"))
    assert whole.normalization == stopped.normalization == COLOURS
    assert whole.sha256() == stopped.sha256()
    assert evaluate(tmp_path / "whole").metrics.accuracy == result.metrics.accuracy
