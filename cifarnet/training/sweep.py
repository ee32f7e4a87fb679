"""Train a run for each of several seeds, in processes: several at a time where that is faster."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from cifarnet.backend.devices import relative_speed, usable_cores
from cifarnet.backend.gpus import has_usable_gpu, visible_gpus
from cifarnet.backend.memory import memory
from cifarnet.errors import invalid
from cifarnet.training.signals import StopRequest

RUN_MEMORY = 2 << 30
"""Bytes of memory that a run needs. A ResNet-20 on CIFAR-10 (recipe fast, one core) took 1.7 GB at most."""

_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
_POLL_SECONDS = 0.2
# For pipes that a process of the ended child still holds open.
_DRAIN_SECONDS = 2.0
_TAIL_LINES = 20


@dataclass(frozen=True)
class Slot:
    """The processors of one run: ``cores`` of the CPU, or a GPU by its name in CUDA_VISIBLE_DEVICES.

    Without either the run may use the whole machine.
    """

    cores: tuple[int, ...] = ()
    gpu: str | None = None


@dataclass(frozen=True)
class Machine:
    """The processors and the memory for runs.

    Attributes:
        cores: the numbers of the usable CPU cores; empty where processes can't be pinned to cores.
        gpus: the GPUs by their names in CUDA_VISIBLE_DEVICES; if there are any, runs use them alone.
        memory: bytes; None if unknown.
    """

    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    memory: int | None = None

    @classmethod
    def here(cls) -> "Machine":
        """Return this machine. Imports no backend."""
        cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else ()
        gpus: tuple[str, ...] = ()
        if has_usable_gpu():
            count = len(list(_NVIDIA_GPUS.iterdir())) if _NVIDIA_GPUS.is_dir() else 1
            gpus = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), count)
        return cls(cores, gpus, memory())

    @property
    def most_jobs(self) -> int:
        """The number of runs that can be trained at a time."""
        return len(self.gpus) or max(1, len(self.cores))

    def jobs(self, seeds: int, budget: float | None = None, wanted: int | None = None) -> int:
        """Return the number of runs to train at a time: ``wanted`` if given, or else the fastest.

        With a ``budget`` each run gets the whole CPU, because several at a time would each train less.

        Raises:
            InvalidValueError: when ``wanted`` are too many.
        """
        most = self.most_jobs
        if wanted is not None:
            if not 1 <= wanted <= most:
                processors = "GPUs" if self.gpus else "processor cores" if self.cores else "runs on this system"
                valid = f"must be at least 1 and at most {most}, the number of usable {processors}"
                raise invalid("jobs", valid, wanted, valid=most)
            return min(wanted, seeds)
        if self.gpus:
            return min(seeds, most)
        if budget is not None:
            return 1
        fitting = most if self.memory is None else max(1, self.memory // RUN_MEMORY)
        return fastest_jobs(seeds, len(self.cores), min(most, fitting))

    def cores_of_each(self, jobs: int) -> int | None:
        """Return the CPU cores of each of ``jobs`` runs; None on a GPU."""
        return None if self.gpus else max(1, (len(self.cores) or usable_cores()) // jobs)

    def slots(self, jobs: int, cores: int | None) -> list[Slot]:
        """Return the processors of at most ``jobs`` runs at a time, ``cores`` each, as far as the machine has them."""
        if self.gpus:
            return [Slot(gpu=gpu) for gpu in self.gpus[:jobs]]
        if not self.cores:
            return [Slot()]
        each = min(cores or len(self.cores), len(self.cores))
        count = min(jobs, len(self.cores) // each)
        return [Slot(self.cores[number * each : (number + 1) * each]) for number in range(count)]


def fastest_jobs(seeds: int, cores: int, most: int) -> int:
    """Return the number of runs at a time, at most ``most``, that trains ``seeds`` runs in the least time.

    Each run gets the same number of cores, because its weights depend on it. So cores are idle while the last runs are
    trained, and 3 runs on 2 cores are faster one after another. Of equally fast numbers the smallest is returned.
    """

    def time_of(jobs: int) -> float:
        return -(-seeds // jobs) / relative_speed(max(1, cores) // jobs)

    return min(range(1, min(seeds, max(1, cores), most) + 1), key=lambda jobs: (round(time_of(jobs), 2), jobs))


@dataclass(frozen=True)
class Failure:
    """A run that failed: its seed, the exit status of its process, and its message."""

    seed: int
    status: int
    message: str


@dataclass
class Outcome:
    """What became of the runs: the seeds that were trained to their end, and the failures, in the order of time.

    ``signal_number`` is the signal that stopped the rest; None for none.
    """

    done: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    signal_number: int | None = None


@dataclass(frozen=True)
class Started:
    """The process of ``seed`` was started."""

    seed: int


@dataclass(frozen=True)
class Message:
    """What the process of ``seed`` reports (``cifarnet.cli.seed_process``), or a line from its stderr as ``text``."""

    seed: int
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """The process of ``seed`` has ended. ``failure`` is None if it finished its run, or was stopped on request."""

    seed: int
    failure: Failure | None


SweepEvent = Started | Message | Ended


def train_seeds(
    seeds: Sequence[int],
    slots: Sequence[Slot],
    start: Callable[[int, Slot], "subprocess.Popen[str]"],
    report: Callable[[SweepEvent], None],
) -> Outcome:
    """Train ``seeds`` in processes, one in each of ``slots`` at a time, and return what became of them.

    At the first signal no further process is started, and the running ones are asked to save their runs and to end. At
    the second they are killed. A run that fails does not end the others.

    Args:
        seeds: the seeds.
        slots: the processors of the runs that are trained at a time.
        start: starts the process for a seed; its pipes are text.
        report: receives the events, in the calling thread.
    """
    outcome, waiting, free = Outcome(), list(seeds), list(slots)
    running: list[_Process] = []
    with StopRequest() as stop, _killed_at_the_end(running), _suspended_together(running):
        while running or (waiting and not stop):
            while waiting and free and not stop:
                slot, seed = free.pop(0), waiting.pop(0)
                running.append(_Process(seed, slot, start(seed, slot)))
                report(Started(seed))
            time.sleep(_POLL_SECONDS)
            for process in list(running):
                if stop:
                    process.ask_to_stop()
                status = process.popen.poll()
                for message in process.messages(ended=status is not None):
                    report(message)
                if status is not None:
                    running.remove(process)
                    free.append(process.slot)
                    failure = process.failure(status)
                    if failure:
                        outcome.failures.append(failure)
                    elif status == 0:
                        outcome.done.append(process.seed)
                    report(Ended(process.seed, failure))
    outcome.signal_number = stop.signal_number
    return outcome


class _Process:
    """A running process. Its pipes are read in threads, because a full pipe would stop it."""

    def __init__(self, seed: int, slot: Slot, popen: "subprocess.Popen[str]"):
        self.seed, self.slot, self.popen = seed, slot, popen
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._stopping = False
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, parse), daemon=True)
            for pipe, parse in ((popen.stdout, _report), (popen.stderr, self._line))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], parse: Callable[[str], Mapping[str, Any] | None]) -> None:
        with suppress(ValueError, OSError):  # The pipe is closed when the process is killed.
            for line in pipe:
                if content := parse(line.rstrip("\n")):
                    self._queue.put(Message(self.seed, content))

    def _line(self, line: str) -> Mapping[str, Any] | None:
        """Return a warning. The lines from an error on are its message, which is shown at the end."""
        if line.startswith("Error: ") or self._errors:
            self._errors = [*self._errors, line][:_TAIL_LINES]
            return None
        # On request each run says how to resume it, but all are resumed by one command.
        return None if self._stopping or not line.strip() else {"warning": line}

    def messages(self, *, ended: bool) -> Iterator[Message]:
        """Yield what the process has reported since the last call."""
        if ended:
            self.close()
        while not self._queue.empty():
            yield self._queue.get()

    def ask_to_stop(self) -> None:
        """Close the stdin of the process, at which it saves its run and ends."""
        self._stopping = True
        self._close_stdin()

    def close(self) -> None:
        """Read what the ended process has left in its pipes, and close them."""
        self._close_stdin()
        for reader, pipe in zip(self._readers, (self.popen.stdout, self.popen.stderr), strict=True):
            reader.join(_DRAIN_SECONDS)
            if pipe and not reader.is_alive():
                pipe.close()

    def _close_stdin(self) -> None:
        if self.popen.stdin:
            with suppress(OSError):
                self.popen.stdin.close()

    def failure(self, status: int) -> Failure | None:
        """Return why the process, which ended with ``status``, failed; None if it did not."""
        if status == 0 or (self._stopping and status >= 128):
            return None
        if status < 0:
            lack = ", probably because memory ran out" if status == -signal.SIGKILL else ""
            return Failure(self.seed, 1, f"Its process was killed by signal {-status}{lack}.")
        if status >= 128:
            return Failure(self.seed, 1, "Its process was stopped by a signal. Its run is saved.")
        message = "\n".join(self._errors).removeprefix("Error: ")
        return Failure(self.seed, status, message or f"Its process ended with status {status} and no message.")


def _report(line: str) -> Mapping[str, Any] | None:
    """Return the report in a line from the stdout of a process; None for anything else."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def _killed_at_the_end(running: list[_Process]) -> Iterator[None]:
    """Kill the processes that are still ``running`` at the end of the block: after a second signal or an error."""
    try:
        yield
    finally:
        for process in running:
            _signal(process, "SIGKILL")
            process.popen.kill()
        for process in running:
            process.popen.wait()
            process.close()


@contextmanager
def _suspended_together(running: list[_Process]) -> Iterator[None]:
    """Stop the ``running`` processes while this one is stopped by Ctrl-Z, which does not reach their sessions."""
    if not hasattr(signal, "SIGTSTP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTSTP)
    if before is signal.SIG_IGN:
        yield
        return

    def suspend(number: int, frame: FrameType | None) -> None:
        for process in running:
            _signal(process, "SIGSTOP")
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # The process continues.
        signal.signal(number, suspend)
        for process in running:
            _signal(process, "SIGCONT")

    signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _signal(process: _Process, name: str) -> None:
    """Send the signal ``name`` to the session of ``process``, so also to those that it started."""
    if os.name == "posix" and process.popen.poll() is None:
        with suppress(OSError):
            os.killpg(process.popen.pid, getattr(signal, name))
