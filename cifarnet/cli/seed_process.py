"""The process of one run of ``cifarnet train --seeds``: the command, with its progress as JSON lines on stdout.

The arguments are the processor cores, such as ``0,1``, and the words of the command. The process saves its run and
ends when its stdin is closed, or at the first signal. Further signals are ignored: a service manager sends its signal
to all processes, and the one that started this one asks it to end too.
"""

import json
import os
import signal
import sys
import threading
import time
from typing import IO, Any

from cifarnet import signals
from cifarnet.cli import process

# Seconds to save the run in after the process that started this one has died.
_GRACE = 60.0
# Only this process sends it to itself. Windows has no signals for own purposes.
_STOP = getattr(signal, "SIGUSR1", signal.SIGTERM)


def main() -> None:
    """Run the command in ``sys.argv``, and report its progress."""
    cores, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    parent = os.getppid()
    stop = _Stop()
    for number in set(signals.SIGNALS) - {_STOP}:
        signal.signal(number, stop)
    signals.SIGNALS[:] = [_STOP]
    process.end_at_once_by_signals()
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    # The result is in the run. What libraries print is no report.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    threading.Thread(target=_stop_at_end_of_stdin, args=(stop, parent), daemon=True).start()
    if cores:
        os.sched_setaffinity(0, map(int, cores.split(",")))
    from cifarnet.cli.main import main as run
    from cifarnet.cli.seed_reports import SeedReports

    run(SeedReports(_Writer(reports)))


class _Stop:
    """Asks this process to stop, once."""

    def __init__(self) -> None:
        self._asked = threading.Lock()

    def __call__(self, *_: object) -> None:
        if self._asked.acquire(blocking=False):
            if os.name == "posix":
                os.kill(os.getpid(), _STOP)
            else:
                signal.raise_signal(_STOP)


def _stop_at_end_of_stdin(stop: _Stop, parent: int) -> None:
    # Not sys.stdin, whose lock would be held when Python exits.
    while os.read(0, 1024):
        pass
    stop()
    # The process that started this one kills it when it takes too long, unless it was killed itself.
    ending = time.monotonic() + _GRACE
    while time.monotonic() < ending or os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


class _Writer:
    """Writes a report as a line of JSON."""

    def __init__(self, stream: IO[str]):
        self._stream: IO[str] | None = stream

    def __call__(self, report: dict[str, Any]) -> None:
        try:
            if self._stream:
                self._stream.write(json.dumps(report) + "\n")
        except OSError:  # The reader was killed. The run is saved first, and a second attempt would fail too.
            self._stream = None
