"""Trainings that are killed without warning, again and again, and resumed each time.

    python -m tests.support.faults.kills FOLDER KILLS SEED

trains ResNet-8 on ``synthetic`` in ``FOLDER``, saving after every step, and kills it at a random moment between its
start and its end. Then the next process resumes it and is killed as well. Each process must resume from the last save
that had finished, or a later one. The final result must equal that of an uninterrupted run to the last bit. Processes
are forked from one that has imported TensorFlow and used nothing of it, which saves most of their time. Prints counts
as JSON.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.events import Planned
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoints import CheckpointManager
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights

CONFIG = TrainRequest(
    RECIPES["paper"].with_changes(epochs=3, batch_size=16),
    data="synthetic:100",
    model="resnet8",
    validation_split=0.2,
)
STEPS_PER_EPOCH = 5


def forked(work: Callable[[Callable[[str, int], None]], None]) -> tuple[int, int]:
    """Do ``work`` in a forked process, which tells (kind, step) pairs: its number, and the end to read them from."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 1
    try:
        os.close(reading)
        work(lambda kind, step: os.write(writing, f"{kind} {step}\n".encode()) and None)
        status = 0
    finally:
        os._exit(status)


def go_on(directory: Path, tell: Callable[[str, int], None]) -> None:
    """Train in ``directory``: from its beginning where it has no config, else as ``--resume`` does."""
    original = CheckpointManager.save

    def save(self: CheckpointManager, checkpoint: Any) -> None:
        original(self, checkpoint)
        assert not self.failure, self.failure
        tell("saved", checkpoint.train_state.step)

    CheckpointManager.save = save  # type: ignore[method-assign]

    def report(event: Any) -> None:
        if isinstance(event, Planned):
            tell("from", event.start_epoch * STEPS_PER_EPOCH + event.start_batch)

    if (directory / files.CONFIG).exists():
        resume(directory, save_interval=0.0, report=report)
    else:
        train(CONFIG, directory, save_interval=0.0, report=report)


def ended(child: int, after: float) -> bool:
    """Whether ``child`` ended by itself within ``after`` seconds; it is killed otherwise."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            assert status == 0, f"A training ended with status {status}."
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"A training ended with status {status}."
    return status == 0


def result(directory: Path) -> tuple[str, str]:
    """What must be equal to the last bit."""
    return (directory / files.HISTORY).read_text(), load_weights(directory / files.WEIGHTS).sha256()


def kill(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` times; see the module. The counts.

    Raises:
        AssertionError: when a training did not go on as it should.
    """
    import tensorflow  # noqa: F401

    import cifarnet.training.frozen  # noqa: F401 - which imports all that a training does

    rng = np.random.default_rng(seed)
    started = time.monotonic()
    child, pipe_end = forked(lambda tell: go_on(folder / "reference", tell))
    assert ended(child, 600), "The reference did not end."
    os.close(pipe_end)
    whole = time.monotonic() - started
    wanted = result(folder / "reference")
    counts = {"kills": 0, "resumed": 0, "finished": 0, "equal": 0, "during_start": 0}
    directory, saved = folder / "run-0", 0
    while counts["kills"] < kills:
        child, pipe_end = forked(lambda tell: go_on(directory, tell))  # noqa: B023 - done before it changes
        finished = ended(child, float(rng.uniform(0, 1.1 * whole)))
        with open(pipe_end) as pipe:
            events = [(kind, int(step)) for kind, step in (line.split() for line in pipe)]
        begun = [step for kind, step in events if kind == "from"]
        if begun:
            assert begun[0] >= saved, f"It went on from step {begun[0]}, although {saved} was saved."
            counts["resumed"] += saved > 0
        saved = max([saved, *(step for kind, step in events if kind == "saved")])
        if finished:
            counts["finished"] += 1
            counts["equal"] += result(directory) == wanted
            shutil.rmtree(directory)
            directory, saved = folder / f"run-{counts['finished']}", 0
        else:
            counts["kills"] += 1
            counts["during_start"] += not begun
            if counts["kills"] % 20 == 0:
                print(json.dumps(counts), file=sys.stderr)
    # The last one was killed: it is resumed too, to the end.
    child, pipe_end = forked(lambda tell: go_on(directory, tell))
    assert ended(child, 600), "The last training did not end."
    os.close(pipe_end)
    counts["finished"] += 1
    counts["equal"] += result(directory) == wanted
    assert counts["equal"] == counts["finished"], counts
    return {**counts, "seconds": round(time.monotonic() - started)}


if __name__ == "__main__":
    print(json.dumps(kill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
