import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.backend.cluster import Cluster
from cifarnet.backend.placement import Placement
from cifarnet.errors import BackendError, InvalidValueError, RunError
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES
from cifarnet.runs.directory import FollowedRun
from cifarnet.training.checkpoint import Checkpoint, TrainState
from cifarnet.training.checkpoints import HeldCheckpoints
from cifarnet.training.distribute import (
    JaxDataParallel,
    Strategy,
    TensorflowMirrored,
    require_divisible,
    require_supported,
    start_strategy,
)
from tests.support.runs import CONFIG

CLUSTER = Cluster("10.0.0.1:1234", 2, 1)


@pytest.mark.parametrize(
    ("batch_size", "devices", "nearest"), [(100, 3, "99 or 102"), (2, 3, "3"), (128, 5, "125 or 130")]
)
def test_batches_that_do_not_divide_are_refused(batch_size, devices, nearest):
    with pytest.raises(InvalidValueError, match=f"devices, {devices}: {nearest}. Received: {batch_size}"):
        require_divisible(batch_size, devices)


@pytest.mark.parametrize(("batch_size", "devices"), [(128, 1), (128, 4), (126, 3)])
def test_batches_that_divide_are_taken(batch_size, devices):
    require_divisible(batch_size, devices)


@pytest.mark.parametrize(
    ("devices", "backend", "cluster", "synchronized", "message"),
    [
        ("auto", "tensorflow", CLUSTER, True, "needs JAX.*add `backend` jax.*SLURM_PROCID. Received: process 1 of 2"),
        ("2", "jax", None, False, "use `backend` tensorflow. Received: `sync_batchnorm` false"),
        ("auto", "jax", CLUSTER, False, "use `backend` tensorflow. Received: `sync_batchnorm` false"),
    ],
)
def test_what_an_engine_lacks_is_refused(devices, backend, cluster, synchronized, message):
    with pytest.raises(BackendError, match=message):
        require_supported(Placement.parse(devices), backend, cluster, synchronized=synchronized)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_one_device_is_always_supported(backend):
    require_supported(Placement.parse("cpu"), backend, None, synchronized=False)


def test_several_devices_do_not_train_on_features():
    strategy = TensorflowMirrored.__new__(TensorflowMirrored)
    config = _config(weights="resnet20", freeze_base=True, recipe=RECIPES["documented"].with_changes(**_STILL))
    with pytest.raises(InvalidValueError, match="`devices` must be one with `freeze_base`"):
        strategy.require_trainable(config, ModelSpec("resnet20"))


def test_dropout_and_jit_on_tensorflow_are_refused():
    strategy = TensorflowMirrored.__new__(TensorflowMirrored)
    strategy.devices = 2
    with pytest.raises(InvalidValueError, match=r"VGG-16 on TensorFlow: its dropout .* `backend` jax. Received: 2"):
        strategy.require_trainable(_config(model="vgg16"), ModelSpec("vgg16"))
    with pytest.raises(InvalidValueError, match="Use bfloat16, or"):
        strategy.require_trainable(_config(precision="float16"), ModelSpec("resnet20"))
    with pytest.raises(InvalidValueError, match=r"`jit` is not possible .* `backend` jax"):
        strategy.require_trainable(_config(jit=True), ModelSpec("resnet20"))


def test_a_follower_keeps_its_checkpoints_in_memory(tmp_path):
    held = HeldCheckpoints(FollowedRun(tmp_path / "run", CONFIG), "test", print)
    assert held.latest() is None
    state = TrainState(1, 0, 9, 0.0, [])
    checkpoint = Checkpoint("weights", state, [np.ones(2)], [])
    held.save(checkpoint)
    assert held.latest() is None
    held.hold(checkpoint)
    state.step = 12
    state.history.append("row")
    assert (held.latest().train_state.step, held.latest().train_state.history) == (9, [])
    held.latest().train_state.history.append("row")
    assert held.latest().train_state.history == []
    held.write_history(["row"])
    held.run.write_config(CONFIG)
    held.write_result("weights", {"epoch": 1})
    assert not list(tmp_path.iterdir())


def test_sums_of_several_devices_continue_on_one():
    import keras

    total = keras.Variable(0.0)
    Strategy().assign(total, np.array([1.5, 2.0], np.float32))
    assert float(total) == 3.5


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "counts"), [("jax", (1, 4)), ("tensorflow", (1, 2))])
def test_results_do_not_depend_on_the_number_of_devices(tmp_path, backend, counts):
    """Training on several devices of a CPU: 50 steps, the last batch of an epoch smaller; then a stop and a resume."""
    command = [sys.executable, "-m", "tests.support.devices", backend, tmp_path, *counts]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False, env=_environment())
    assert done.returncode == 0
    results, most = json.loads(done.stdout), counts[-1]
    one = results["whole 1"]
    for name, result in results.items():
        assert len(result["losses"]) == 50
        np.testing.assert_allclose(result["losses"], one["losses"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(_values(result), _values(one), atol=1e-4, err_msg=name)
    assert len({results[f"whole {count}"]["sha256"] for count in counts}) == len(counts)
    # To the last bit, with as many devices as before.
    for part in ("sha256", "losses", "history"):
        assert results[f"resumed {most}"][part] == results[f"whole {most}"][part]


def _values(result):
    return np.load(Path(result["directory"]) / "weights.npy")


def _environment(**variables):
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **variables}


_STILL = {"flip": False, "rotation": 0.0, "shift": 0.0}


def _config(**changes):
    return replace(CONFIG, **changes)


def test_a_process_that_is_stuck_ends_itself():
    code = """
import time
from cifarnet.training import distribute
distribute._STUCK = 1
strategy = object.__new__(distribute.JaxDataParallel)
strategy.processes = 2
with strategy.together():
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1
    assert re.search(r"^Timeout \(0:00:01\)!$", ended.stderr, re.MULTILINE)


def test_a_difference_between_processes_is_told_with_its_remedy():
    class Two(JaxDataParallel):
        def __init__(self):
            self.processes = 2

        def _gathered(self, *numbers):
            return np.array([numbers, [0.0] * len(numbers)])

    with pytest.raises(RunError, match=r"command and environment\. Received: another configuration in process 1"):
        Two().require_same("configuration", "a")
    with pytest.raises(RunError, match=r"must have the same checkpoint\. Copy it\. Received: another checkpoint in"):
        Two().require_same("checkpoint", "a", "Copy it")


def test_processes_may_have_other_paths_and_cores():
    assert CONFIG.common_text == _config(cores=7, data_path="/elsewhere").common_text
    assert CONFIG.common_text != _config(seed=CONFIG.seed + 1).common_text


def test_a_started_gpu_is_not_taken_for_the_cpu():
    with pytest.raises(BackendError, match=r"already started the GPU .* Received: `devices` cpu"):
        start_strategy(Placement.parse("cpu"), "tensorflow", lambda: 1, cluster=None)
    assert start_strategy(Placement.parse("cpu"), "tensorflow", lambda: 0, cluster=None).devices == 1
