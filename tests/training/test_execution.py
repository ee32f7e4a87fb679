"""Precision, compilation and several steps per call: other ways to the same training."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cifarnet.choices import PRECISIONS
from cifarnet.errors import InvalidValueError
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from tests.support.jax import quick_jax
from tests.support.runs import run_config

# Rounding differs between these ways, and training multiplies it by ten or so every few steps: the runs are short.
# On a CPU, float16 takes twenty times as long as float32: the batches are small.
RECIPE = RECIPES["fast"].with_changes(
    steps=5, batch_size=8, learning_rate=0.02, resolutions=((16, 0.5),), cutout=8, precise_batchnorm=32
)


def trained(directory, model="resnet8", **options):
    """The tensors after a few steps, with the run's configuration."""
    train(TrainRequest(RECIPE, data="synthetic:50", model=model, **options), directory)
    return load_weights(directory / files.WEIGHTS).tensors, json.loads((directory / files.CONFIG).read_text())


def difference(found, wanted, model="resnet8"):
    """How far apart two trainings ended, in units of the way that they went from the same initial weights."""

    def length(tensors):
        return np.sqrt(sum(np.sum(np.square(tensor)) for tensor in tensors))

    initial = initial_weights(ModelSpec(model), 0)
    apart = length(found[name] - wanted[name] for name in wanted)
    return apart / length(wanted[name] - initial[name] for name in wanted)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("reference") / "run", precision="float32", jit=False)[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_nearly_as_float32_does(tmp_path, reference, precision):
    tensors, config = trained(tmp_path / "run", precision=precision)
    assert config["precision"] == precision
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    assert 1e-4 < difference(tensors, reference) < 0.2


@pytest.mark.slow
def test_a_compiled_step_trains_as_one_that_is_not(tmp_path, reference):
    tensors, config = trained(tmp_path / "run", precision="float32", jit=True)
    assert config["jit"] is True
    assert difference(tensors, reference) < 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_head_and_logits_are_float32_in_every_precision(precision):
    network = build_model(ModelSpec("resnet8"), precision=precision)
    assert {variable.dtype for variable in network.variables} == {"float32"}
    assert str(network.logits(np.zeros((1, 32, 32, 3), np.float32)).dtype).endswith("float32'>")
    assert network.base[0].compute_dtype == precision


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_family")
def test_what_a_run_resolved_is_in_its_configuration(tmp_path):
    _, config = trained(tmp_path / "run", "tiny2")
    assert config["precision"] in PRECISIONS
    assert config["jit"] in (True, False)


def test_an_unknown_precision_is_refused():
    with pytest.raises(InvalidValueError, match=r"float32, bfloat16 or float16\..* Received: float64"):
        TrainRequest(RECIPE, precision="float64")


def test_runs_of_cifarnet_0_1_continue_in_float32(tmp_path):
    config = run_config(RECIPES["paper"]).to_dict()
    for unknown in ("precision", "jit", "budget"):
        del config[unknown]
    (tmp_path / files.CONFIG).write_text(json.dumps(config))
    found = Run(tmp_path).config
    assert (found.precision, found.jit, found.budget) == ("float32", False, None)


MANY_STEPS = """
import sys
from pathlib import Path
from cifarnet.recipes import RECIPES
from cifarnet.backend.devices import Execution
from cifarnet.backend.select import use_backend
from cifarnet.runs.request import TrainRequest
from cifarnet.training.start import train
from cifarnet.models.spec import MODELS
from tests.support.families import TINY

MODELS["tiny"] = TINY
use_backend("jax")
recipe = RECIPES["fast"].with_changes(steps=6, batch_size=8, learning_rate=0.02, resolutions=())
for steps in (1, 4):
    Execution.best_on = lambda device, steps=steps: Execution("float32", True, steps)
    train(TrainRequest(recipe, data="synthetic:50", model="tiny2"), Path(sys.argv[1]) / str(steps))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_family")
def test_on_jax_many_steps_in_one_call_train_as_one_by_one(tmp_path):
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= quick_jax(tmp_path, optimization=1)
    subprocess.run([sys.executable, "-c", MANY_STEPS, str(tmp_path)], check=True, env=environment)
    one, four = (load_weights(tmp_path / steps / files.WEIGHTS).tensors for steps in ("1", "4"))
    assert difference(four, one, "tiny2") < 1e-3
    histories = [(tmp_path / steps / files.HISTORY).read_text().splitlines() for steps in ("1", "4")]
    # Epoch, step and image size; six steps are one call of four and two of the rest.
    assert [line.split(",")[:3] for line in histories[1]] == [line.split(",")[:3] for line in histories[0]]
