"""Helpers for training runs that several tests use."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np

from cifarnet.runs import files
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.weights.formats import load_weights


class Recorder(list):
    """Keeps all events; sends this process ``signal_number`` at the first event that ``when`` holds for."""

    def __init__(self, when=None, signal_number=signal.SIGTERM):
        self.when, self.signal_number = when, signal_number

    def __call__(self, event):
        self.append(event)
        if self.when and self.when(event):
            self.when = None
            os.kill(os.getpid(), self.signal_number)

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


def assert_same_result(directory: Path, reference) -> None:
    expected = reference[0].directory
    assert (directory / files.HISTORY).read_text() == (expected / files.HISTORY).read_text()
    found = json.loads((directory / files.METRICS).read_text())
    wanted = json.loads((expected / files.METRICS).read_text())
    for metrics in (found, wanted):
        del metrics["training_seconds"]
    assert found == wanted
    assert load_weights(directory / files.WEIGHTS).sha256() == load_weights(expected / files.WEIGHTS).sha256()
    assert_same_state(directory, expected)


def assert_same_state(one: Path, other: Path) -> None:
    """Weights, optimizer, metrics and progress in the two runs' checkpoints are equal to the last bit."""
    a, b = (load_checkpoint(directory / files.CHECKPOINT) for directory in (one, other))
    assert a.weights.sha256() == b.weights.sha256()
    assert replace(a.train_state, seconds=0.0) == replace(b.train_state, seconds=0.0)
    for kind in ("optimizer", "metrics"):
        mine, theirs = getattr(a, kind), getattr(b, kind)
        assert len(mine) == len(theirs)
        for array, wanted in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(array, wanted)


def moments(weights, images):
    """Return all moments that images of 20 pixels give the network: (2 * channels,)."""
    from cifarnet.models.network import build_model
    from cifarnet.training.precise_batchnorm import PreciseImages

    network = build_model(weights.spec, weights.tensors)
    PreciseImages(build_model(weights.spec), images, weights.normalization, 20, seed=0).update(network, 20)
    return np.concatenate([tensor for name, tensor in network.get_tensors().items() if "/moving_" in name])
