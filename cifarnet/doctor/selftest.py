"""Train a tiny network on a device, and compute logits. It runs in a process of its own (``cifarnet.doctor.probe``)."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cifarnet.backend.devices import Device, Execution, devices
from cifarnet.data.dataset import Dataset
from cifarnet.data.synthetic import synthetic
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.weights.record import Weights

SPEC = ModelSpec("resnet8")
IMAGES = 128
"""Training images, and images whose logits are compared."""
EPOCHS = 8
RECIPE = RECIPES["fast"].with_changes(
    epochs=EPOCHS,
    batch_size=32,
    learning_rate=0.05,
    # Training is so short that moments with the usual memory would be those of the first steps.
    batchnorm_momentum=0.5,
    precise_batchnorm=0,
    resolutions=(),
    checks=0,
)


def sample_images() -> Dataset:
    """Return the images of the self-test, the same on every machine."""
    return synthetic(IMAGES).train


def untrained_weights() -> Weights:
    """Return the initial weights of the self-test."""
    data = sample_images()
    return Weights(SPEC, initial_weights(SPEC, seed=0), data.class_names, Normalization.of(data.images))


def examine_devices(test: bool, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the devices that the running backend sees, with the outcome of training on each.

    Args:
        test: whether to train.
        report: receives the name of each device before it trains.
    """
    found: list[dict[str, Any]] = []
    numbers = {"cpu": 0, "gpu": 0}
    for device in devices():
        execution, (precision_reason, jit_reason) = Execution.best_on(device), Execution.reasons(device)
        state = {
            "name": device.name,
            "kind": device.kind,
            "chosen": not found,
            "precision": execution.precision,
            "precision_reason": precision_reason,
            "jit": execution.jit,
            "jit_reason": jit_reason,
            "advice": device.advice,
            "test": None,
        }
        if test:
            report(device.name)
            state["test"] = _guarded(device, f"{device.kind}:{numbers[device.kind]}", execution)
        numbers[device.kind] += 1
        found.append(state)
    return found


def _guarded(device: Device, place: str, execution: Execution) -> dict[str, Any]:
    """Return the outcome of training on a device. An error is an outcome: other devices may work."""
    try:
        return train_on(place, execution)
    except Exception as error:
        return {"error": first_line(error)}


def first_line(error: BaseException) -> str:
    """Return an error as one line. Those of XLA have hundreds."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line:.500}"


def train_on(place: str, execution: Execution) -> dict[str, Any]:
    """Train on the device ``place``, such as ``gpu:0`` or ``cpu:0``, and return the weights, logits and seconds.

    Training is that of ``cifarnet train``, in its precision and with its compilation. The logits are those of
    ``cifarnet predict --engine keras`` in float32: ``before`` of the initial weights and ``logits`` of the
    trained ones.
    """
    import keras

    from cifarnet.inference.engines.keras import KerasEngine
    from cifarnet.models.network import build_model
    from cifarnet.training.fitting import fit
    from cifarnet.training.model import TrainingModel, epoch_order
    from cifarnet.training.schedule import Plan

    began, data, weights = time.monotonic(), sample_images(), untrained_weights()
    order = [epoch_order(RECIPE, 0, epoch, len(data)) for epoch in range(EPOCHS)]
    rows, draws = (np.concatenate(parts) for parts in zip(*order, strict=True))
    with keras.device(place):
        network = build_model(SPEC, weights.tensors, precision=execution.precision)
        model = TrainingModel(network, data.images, weights.normalization, RECIPE, execution)
        model.sgd.follow(Plan(RECIPE.total_steps(len(data))))
        fit(model, rows, draws, data.labels[rows], [])
        tensors = network.get_tensors()
        engine = KerasEngine(weights)
        before = engine.logits(data.images, batch_size=IMAGES)
        engine.network.set_tensors(tensors)
        logits = engine.logits(data.images, batch_size=IMAGES)
    return {"before": before, "logits": logits, "tensors": tensors, "seconds": time.monotonic() - began}
