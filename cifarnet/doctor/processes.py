"""Run probes in processes of their own, and report how they end."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

PATIENCE = 180.0
"""The seconds without a sign of life after which a probe is ended. Importing TensorFlow from a slow disk takes 60 s."""

_LOG = 4000
_CHUNK = 1 << 16


class ProbeError(Exception):
    """A probe that gave no result. The message is the end of a sentence that begins with what was examined.

    Attributes:
        advises: whether the message says what to do.
    """

    def __init__(self, message: str, advises: bool = False):
        super().__init__(message)
        self.advises = advises


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
            raise ProbeError(f"does not answer: it was ended after {patience:g} s without a sign of life") from None
        if not chunk:
            break
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if activity := answer.get("activity"):
                report(activity)
    status = process.wait()
    threads[2].join(timeout=1)
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if "error" in answer:
        raise ProbeError(f"fails: {answer['error']}", answer["advises"])
    last = bytes(log[-_LOG:]).decode(errors="replace").strip().splitlines()
    raise ProbeError(f"ends the process {_ending(status)}" + (f": {last[-1].strip()}" if last else ""))


def _send(stdin: IO[bytes] | None, request: bytes) -> None:
    assert stdin is not None
    try:
        while request:
            request = request[stdin.write(request) :]
        stdin.close()
    except OSError:  # The process has ended, which the reader of its output notices.
        pass


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
