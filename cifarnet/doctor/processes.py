"""Run probes in processes of their own, and report how they end."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from cifarnet.doctor.culprit import package_of_log

PATIENCE = 300.0
"""The seconds without a sign of life after which a probe is ended.

JAX has taken 90 s to compile and train on a core that other programs used."""

_CHUNK = 1 << 16
# Seconds for the output of a process that has ended. A process that it started may keep the pipe open.
_AFTER_THE_END = 5


class ProbeError(Exception):
    """A probe that gave no result. The message is the end of a sentence that begins with what was examined.

    Attributes:
        advises: whether the message says what to do.
        culprit: the package whose code failed, where it is known.
    """

    def __init__(self, message: str, advises: bool = False, culprit: str | None = None):
        super().__init__(message)
        self.advises = advises
        self.culprit = culprit


def run_probe(request: dict[str, Any], report: Callable[[str], None], patience: float = PATIENCE) -> dict[str, Any]:
    """Return the result of ``cifarnet.doctor.probe`` for ``request``.

    Args:
        request: what to examine.
        report: receives what the probe is doing.
        patience: the seconds without a sign of life after which it is ended.

    Raises:
        ProbeError: when it failed, hung or was ended.
    """
    # The modules that this process finds, and not those that happen to be in the current folder.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cifarnet.doctor.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment,
    ) as process:
        try:
            return _result(process, json.dumps(request).encode(), report, patience)
        finally:
            process.kill()


def _result(
    process: "subprocess.Popen[bytes]", request: bytes, report: Callable[[str], None], patience: float
) -> dict[str, Any]:
    chunks: queue.Queue[bytes] = queue.Queue()
    log = bytearray()
    threads = [
        threading.Thread(target=_send, args=(process.stdin, request), daemon=True),
        threading.Thread(target=_read, args=(process.stdout, chunks.put), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, log.extend), daemon=True),
    ]
    for thread in threads:
        thread.start()
    received, answer = b"", {}
    while True:
        try:
            chunk = chunks.get(timeout=patience)
        except queue.Empty:
            _end_with_traceback(process)
            threads[2].join(timeout=_AFTER_THE_END)
            raise ProbeError(
                f"does not answer. It was ended after {patience:g} s without a sign of life",
                culprit=package_of_log(log.decode(errors="replace")),
            ) from None
        if not chunk:
            break
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if activity := answer.get("activity"):
                report(activity)
    status = process.wait()
    threads[2].join(timeout=_AFTER_THE_END)
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if "error" in answer:
        raise ProbeError(f"fails: {answer['error']}", answer["advises"], answer.get("culprit"))
    raise ProbeError(f"ends the process {_ending(status)}", culprit=package_of_log(log.decode(errors="replace")))


def _end_with_traceback(process: "subprocess.Popen[bytes]") -> None:
    """End a process that hangs. Python's faulthandler writes where it is."""
    if hasattr(signal, "SIGABRT") and os.name != "nt":
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_AFTER_THE_END)
    process.kill()


def _send(stdin: IO[bytes] | None, request: bytes) -> None:
    assert stdin is not None
    with suppress(OSError):  # The process has ended, which the reader of its output notices.
        while request:
            request = request[stdin.write(request) :]
        stdin.close()


def _read(stream: IO[bytes] | None, put: Callable[[bytes], object]) -> None:
    """Pass what is read to ``put``, and an empty chunk at the end."""
    assert stream is not None
    chunk = b"-"
    while chunk:
        chunk = stream.read(_CHUNK)
        put(chunk)


def _ending(status: int) -> str:
    """Return how a process ended, as the end of a sentence."""
    if status >= 0:
        return f"with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    why = {
        "SIGILL": ", which says that this processor lacks instructions that the package needs",
        "SIGKILL": ", which often says that memory ran out",
    }
    return f"with {name}{why.get(name, '')}"
