"""Train the same run on one and on several devices of this process, and print losses and weights as JSON.

python -m tests.support.devices BACKEND FOLDER COUNT ...
"""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from cifarnet.errors import InterruptedRunError
from cifarnet.events import StepDone
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights

# An epoch has 7 batches of 64 and one of 62, which 4 devices can't share equally. The learning rate is low, because
# higher ones multiply differences of rounding from step to step.
LENGTH, STOP = 50, 21
CHANGES = {"batch_size": 64, "steps": LENGTH, "learning_rate": 3e-4, "warmup_steps": 0, "checks": 1}
CHANGES |= {"jitter": 0.2, "trivial_augment": True, "mixup": 0.2, "cutmix": 0.5, "ema": 0.9, "precise_batchnorm": 64}


def request(backend: str, devices: int) -> TrainRequest:
    """Return the request of the run."""
    # By default some processors compute in bfloat16, whose rounding depends more on the number of devices.
    return TrainRequest(
        "paper",
        "synthetic:510",
        "resnet8",
        3,
        image_size=16,
        precision="float32",
        backend=backend,
        devices=devices,
        changes=CHANGES,
    )


def main() -> None:
    """Train without interruption on each number of devices; then stop a run on the last number, and resume it."""
    backend, folder, counts = sys.argv[1], Path(sys.argv[2]), list(map(int, sys.argv[3:]))
    most = counts[-1]
    results = {}
    # The largest number first, because a process can't get more devices later.
    for devices in sorted(counts, reverse=True):
        losses: list[float] = []
        directory = folder / f"whole-{devices}"
        train(request(backend, devices), directory, report=lambda event, kept=losses: note(event, kept))
        results[f"whole {devices}"] = result(directory, losses)
    begun: list[float] = []
    with suppress(InterruptedRunError):
        train(request(backend, most), folder / "stopped", report=lambda event: note(event, begun, stop=True))
    for devices in (most, 1):
        losses = [*begun]
        directory = folder / f"stopped-{devices}"
        shutil.copytree(folder / "stopped", directory)
        resume(directory, devices=devices, report=lambda event, kept=losses: note(event, kept))
        results[f"resumed {devices}"] = result(directory, losses)
    print(json.dumps(results))


def note(event: object, losses: list[float], stop: bool = False) -> None:
    """Keep the loss of a step, and stop the run like Ctrl-C after ``STOP`` steps."""
    if isinstance(event, StepDone):
        losses.append(event.loss)
        if stop and event.step == STOP:
            os.kill(os.getpid(), signal.SIGTERM)


def result(directory: Path, losses: list[float]) -> dict[str, object]:
    """Return losses, weights and their hash."""
    weights = load_weights(directory / "weights.h5")
    values = np.concatenate([tensor.ravel() for tensor in weights.tensors.values()])
    np.save(directory / "weights.npy", values)
    return {
        "losses": losses,
        "sha256": weights.sha256(),
        "history": (directory / "history.csv").read_text(),
        "directory": str(directory),
    }


if __name__ == "__main__":
    main()
