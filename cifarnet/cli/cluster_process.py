"""The process that trains as one of several, and the one that starts it and says how it ended.

When a process of a run dies, JAX ends the others with a stack trace of C++, which Python can't catch. So the command
starts a second process for the training, whose C++ output goes into a file. If it dies, the command reads the file and
names the process that was lost.
"""

import os
import re
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, NoReturn

from cifarnet import signals
from cifarnet.backend.cluster import Cluster
from cifarnet.cli import process
from cifarnet.errors import BackendError

if TYPE_CHECKING:
    from cifarnet.events import Event

# The file of the C++ output and of the run's directory, in the process that trains.
_record: IO[str] | None = None
_DIRECTORY = "cifarnet: directory "
# JAX's log numbers processes in two ways, among them "stopped sending heartbeats):" with a line for each.
_LOST = re.compile(r"/task:(\d+)|stopped sending heartbeats\):((?:\s*\d+)+)")
# What Python's faulthandler writes when ``JaxDataParallel.together`` ends a process that is stuck.
_STUCK = re.compile(r"^Timeout \((\d+:\d\d):\d\d(?:\.\d+)?\)!$", re.MULTILINE)
_LOG_BYTES = 1 << 20
# The signal by which the command asks the process that trains to stop.
_STOP = signal.SIGUSR1


def is_training_process() -> bool:
    """Return whether this process was started to train."""
    return _record is not None


def train_in_process(cluster: Cluster) -> int:
    """Run this command in a second process, and return its exit status.

    Raises:
        BackendError: when the process was ended because another one of the run was lost, or died itself.
    """
    # Here, because the command line imports this module to print its help.
    import subprocess
    import tempfile

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as record:
        trainer = subprocess.Popen(
            [*process.python_command("cifarnet.cli.cluster_process"), str(record.fileno()), *sys.argv[1:]],
            stdin=subprocess.PIPE,
            pass_fds=[record.fileno()],
            # Signals of the terminal reach this process alone, which passes them on.
            process_group=0,
        )
        received: list[int] = []

        def forward(number: int, frame: Any) -> None:
            received.append(number)
            trainer.send_signal(_STOP)

        before = signals.install(forward)
        try:
            status = trainer.wait()
        finally:
            signals.restore(before)
        if status == 128 + _STOP:  # This process or another one was stopped.
            return 128 + (received[0] if received else signal.SIGTERM)
        # The directory is at the beginning, and what ended the process at the end.
        record.seek(0)
        log = record.read(_LOG_BYTES)
        record.seek(max(_LOG_BYTES, os.fstat(record.fileno()).st_size - _LOG_BYTES))
        log += record.read()
    if status >= 0 and not _STUCK.search(log):
        return status
    raise BackendError(_explanation(log, -status, cluster))


def _explanation(log: str, number: int, cluster: Cluster) -> str:
    """Return why the process that trained died by the signal ``number``, or was stuck, with the next step."""
    directory = re.search(f"^{_DIRECTORY}(.+)$", log, re.MULTILINE)
    remedy = f"Start all {cluster.processes} processes again"
    if directory:
        remedy += f" with the same command, to continue the run in {directory[1]} from its last checkpoint"
    this = f"process {cluster.index} of {cluster.processes}"
    if stuck := _STUCK.search(log):
        where = re.findall(r'File "(.+)", line (\d+) in', log[stuck.end() :].rpartition("most recent call")[2])
        at = f" in {where[0][0]}, line {where[0][1]}" if where else ""
        return f"Training stopped, because this process, {this}, was stuck for {stuck[1]} h{at}. {remedy}."
    lost = {int(each) for match in _LOST.findall(log) for text in match for each in text.split()} - {cluster.index}
    lost = {each for each in lost if each < cluster.processes}
    if number == signal.SIGABRT and not lost and cluster.index and "distributed service" in log:
        lost = {0}  # The others learn of it from their connection to process 0, which has no name in the log.
    if lost:
        names = " and ".join(map(str, sorted(lost)))
        at = f" (at {cluster.address})" if lost == {0} else ""
        which = (
            f"processes {names} of the run ended or do"
            if len(lost) > 1
            else f"process {names}{at} of the run ended or does"
        )
        return f"Training stopped, because {which} not answer. {remedy}. This was {this}."
    name = signal.Signals(number).name
    return f"{this.capitalize()} was ended by the signal {name}. {remedy}."


def note_directory(event: "Event") -> None:
    """Record the directory of the run for the message of the process that waits."""
    from cifarnet.events import Planned

    if _record and isinstance(event, Planned):
        print(f"{_DIRECTORY}{event.directory}", file=_record, flush=True)


def main() -> NoReturn:
    """Train, with the command in ``sys.argv`` after the number of the file for C++ output."""
    global _record
    number, sys.argv[1:] = int(sys.argv[1]), sys.argv[2:]
    _record = os.fdopen(number, "a", encoding="utf-8")
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        own = os.dup(descriptor)
        stream: Any = open(own, "w", encoding=getattr(sys, name).encoding, errors="backslashreplace")  # noqa: SIM115
        stream.reconfigure(line_buffering=stream.isatty() or name == "stderr")
        setattr(sys, name, stream)
        os.dup2(number, descriptor)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A service manager sends its signal to all processes, and the command that waits passes it on. So this process
    # listens to that command alone; otherwise the second signal would end it at once.
    for each in signals.SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signals.SIGNALS[:] = [_STOP]
    process.end_at_once_by_signals()
    from cifarnet.cli.main import main as run

    status: Any = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        # Python's ending would wait for the other processes, which may be waiting for this one.
        os._exit(status if isinstance(status, int) else 1)
    sys.exit(0)


def _end_with_parent() -> None:
    # A killed command takes its training with it. Not sys.stdin, whose lock would be held when Python exits.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
