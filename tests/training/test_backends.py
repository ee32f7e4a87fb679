"""The JAX backend, each time in a process of its own: Keras can't change its backend within one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cifarnet.inference.classifier import Classifier
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.runs import files
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.jax import quick_jax
from tests.support.training import assert_same_state, moments

pytest.importorskip("jax")

STOP_AND_RESUME = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from cifarnet.backend import memory
from cifarnet.errors import InterruptedRunError
from cifarnet.recipes import RECIPES
from cifarnet.events import EpochDone, StepDone
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.models.spec import MODELS
from tests.support.families import TINY

MODELS["tiny"] = TINY
varied = {"jitter": 0.2, "trivial_augment": True, "mixup": 0.2, "cutmix": 0.5}
recipe = RECIPES["documented"].with_changes(
    epochs=2, batch_size=25, precise_batchnorm=50, resolutions=((16, 0.3),), ema=0.9, **varied
)
config = TrainRequest(recipe, data="synthetic:100", model="tiny2", backend="jax")
there = Path(sys.argv[1])
train(config, there / "alone")

def stop_at(kind, step):
    def stop(event):
        if isinstance(event, kind) and getattr(event, "row", event).step == step:
            os.kill(os.getpid(), signal.SIGTERM)
    return stop

for name, kind, step in (("inside", StepDone, 5), ("between", EpochDone, 4)):
    try:
        train(config, there / name, report=stop_at(kind, step))
        sys.exit("It was not stopped.")
    except InterruptedRunError:
        resume(there / name)
train(replace(config, teacher=str(there / "alone")), there / "taught")
nothing = {name: type(value)() for name, value in varied.items()}
still = recipe.with_changes(rotation=0.0, shift=0.0, flip=False, resolutions=(), **nothing)
train(replace(config, recipe=still, weights=str(there / "alone"), freeze_base=True), there / "head")
memory.array_limit = lambda: 2000  # Larger images stay on the host.
train(config, there / "host")
"""

LOGITS_AND_MOMENTS = """
import sys
import numpy as np
from pathlib import Path
from cifarnet.inference.classifier import Classifier
from cifarnet.weights.formats import load_weights
from tests.support.training import moments

weights, images = load_weights(Path(sys.argv[1])), np.load(sys.argv[2])
np.save(sys.argv[3], Classifier(weights).logits(images))
np.save(sys.argv[4], moments(weights, images))
"""


def run(code: str, *arguments: object, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | variables
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_family")
def test_with_jax_a_stopped_run_equals_one_left_alone(tmp_path):
    run(STOP_AND_RESUME, tmp_path, **quick_jax(tmp_path))  # The configuration names the backend.
    alone = tmp_path / "alone"
    for stopped in (tmp_path / "inside", tmp_path / "between", tmp_path / "host"):
        assert (alone / files.HISTORY).read_text() == (stopped / files.HISTORY).read_text()
        assert load_weights(alone / files.WEIGHTS).sha256() == load_weights(stopped / files.WEIGHTS).sha256()
        assert_same_state(stopped, alone)
        assert json.loads((stopped / files.CONFIG).read_text())["backend"] == "jax"
    alone_tensors, tuned = (load_weights(each / files.WEIGHTS).tensors for each in (alone, tmp_path / "head"))
    changed = {name.partition("/")[0] for name in tuned if not np.array_equal(tuned[name], alone_tensors[name])}
    assert changed == {"norm", "classifier"}
    taught = tmp_path / "taught"
    assert json.loads((taught / files.CONFIG).read_text())["teacher"] == [str(alone)]
    assert load_weights(taught / files.WEIGHTS).sha256() != load_weights(alone / files.WEIGHTS).sha256()


@pytest.mark.slow
def test_arithmetic_is_that_of_numpy_with_jax():
    tests = (Path(__file__).with_name(name) for name in ("test_augmentation.py", "test_mixing.py", "test_ema.py"))
    options = ("-n", "0", "-p", "no:cacheprovider", "-q", "-m", "not slow")
    command = [sys.executable, "-m", "pytest", *options, *map(str, tests)]
    subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": "jax"})


@pytest.mark.slow
def test_both_backends_give_the_same_logits_and_moments(tmp_path):
    spec = ModelSpec("resnet8")
    weights = Weights(spec, initial_weights(spec, 0), tuple("abcdefghij"), Normalization(120.0, 64.0))
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    save_weights(tmp_path / "w.h5", weights)
    np.save(tmp_path / "images.npy", images)
    paths = (tmp_path / name for name in ("w.h5", "images.npy", "logits.npy", "moments.npy"))
    run(LOGITS_AND_MOMENTS, *paths, KERAS_BACKEND="jax", **quick_jax(tmp_path))
    np.testing.assert_allclose(np.load(tmp_path / "moments.npy"), moments(weights, images), rtol=1e-3, atol=1e-4)
    here = Classifier(weights).logits(images)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), here, atol=1e-4 * np.abs(here).max())
