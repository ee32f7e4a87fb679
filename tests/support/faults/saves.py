"""Faults in a save, at the border between the program and the kernel, by strace.

    python -m tests.support.faults.saves RUN STEP

saves the state of ``STEP`` in the run directory ``RUN`` as training does, without importing a backend. ``faults`` lists
the system calls of such a save; ``saved_under`` repeats it with one of them killed or failing.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet.events import HistoryRow, Warned
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.runs.directory import Run
from cifarnet.training.checkpoint import Checkpoint, TrainState
from cifarnet.training.checkpoints import CheckpointManager
from cifarnet.training.schedule import Plan
from cifarnet.weights.record import Weights

BEGIN, END = "/the-save-begins", "/the-save-ends"
"""Files that do not exist: asking for them marks a place in the trace."""

# Calls that a save has no say in, and whose number depends on chance.
_IGNORED = {"mmap", "munmap", "brk", "futex", "madvise", "mremap", "rt_sigaction", "getpid", "gettid", "access"}

ERRORS = ("ENOSPC", "EIO", "EACCES")


def checkpoint(step: int) -> Checkpoint:
    """A whole state whose every number is that of ``step``."""
    spec = ModelSpec("resnet8")
    tensors = {name: np.full(weight.shape, step, np.float32) for name, weight in named_weights(describe(spec)).items()}
    rows = [HistoryRow(k + 1, k + 1, 32, 0.1, 1.0, 0.5, 1.0, 0.5) for k in range(step)]
    progress = TrainState(step, 0, step, float(step), rows, step, 0.5, Plan(100))
    weights = Weights(spec, tensors, CIFAR10_CLASSES, Normalization(120.0, 64.0))
    return Checkpoint(weights, progress, list(tensors.values()), [])


def main(directory: Path, step: int) -> None:
    """Save, between the marks, best weights, checkpoint and history of ``step``; print what was warned of."""
    warned: list[str] = []
    manager = CheckpointManager(
        Run(directory), "test", lambda event: warned.append(event.message) if isinstance(event, Warned) else None
    )
    state = checkpoint(step)
    manager.best = state.weights
    import h5py  # noqa: F401 - before the first mark: its own files are no part of the save

    Path(BEGIN).exists()
    manager.save(state)
    Path(END).exists()
    print(json.dumps(warned))


@dataclass(frozen=True)
class Call:
    """A system call of a save: the ``number``-th ``name`` of the process (from 1)."""

    name: str
    number: int


@dataclass(frozen=True)
class Outcome:
    """What became of a save: the process's exit status, what it warned of, and whether the fault was in the save."""

    status: int
    warned: list[str]
    reached: bool


def can_trace() -> bool:
    """Whether strace is installed and may trace here."""
    try:
        return not subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode
    except OSError:
        return False


def faults(directory: Path, step: int) -> list[Call]:
    """The system calls of a save of ``step`` in ``directory``, which is done."""
    counts: Counter[str] = Counter()
    found = []
    inside = False
    for name, line in _traced(directory, step, []):
        if BEGIN in line:
            inside = True
        elif END in line:
            return found
        counts[name] += 1
        if inside and BEGIN not in line and name not in _IGNORED:
            found.append(Call(name, counts[name]))
    raise AssertionError("The marks of the save are not in the trace.")


def saved_under(directory: Path, step: int, call: Call, fault: str) -> Outcome:
    """Save ``step`` while ``call`` meets ``fault``: ``signal=SIGKILL``, or ``error=ENOSPC`` and the like."""
    lines = []
    done: list[subprocess.CompletedProcess[str]] = []
    for _, line in _traced(directory, step, ["-e", f"inject={call.name}:{fault}:when={call.number}"], done):
        lines.append(line)
    text = "\n".join(lines)
    (process,) = done
    begun = text.find(BEGIN)
    hurt = text.find("killed by SIGKILL" if "SIGKILL" in fault else "(INJECTED)")
    warned = json.loads(process.stdout.splitlines()[-1]) if process.stdout.strip() else []
    return Outcome(process.returncode, warned, 0 <= begun < hurt)


def _traced(
    directory: Path, step: int, options: list[str], done: list[subprocess.CompletedProcess[str]] | None = None
) -> Iterator[tuple[str, str]]:
    """(name, line) of each system call of a save of ``step``."""
    log = directory.with_name(f"{directory.name}.trace")
    command = [
        "strace",
        "-o",
        log,
        "-s",
        "200",
        *options,
        sys.executable,
        "-m",
        "tests.support.faults.saves",
        directory,
    ]
    root = Path(__file__).parents[3]
    process = subprocess.run([*command, str(step)], cwd=root, capture_output=True, text=True, check=False)
    if done is not None:
        done.append(process)
    for line in log.read_text(errors="replace").splitlines():
        if match := re.match(r"(\w+)\(", line):
            yield match[1], line
        elif line.startswith("+++"):
            yield "", line


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
