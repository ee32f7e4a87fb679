"""Training on several processes of this machine, with JAX."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cifarnet.backend.cluster import Cluster
from cifarnet.cli.cluster_process import _explanation
from cifarnet.weights.formats import load_weights

OPTIONS = "--backend jax --data synthetic:256 --depth 8 --recipe paper --batch-size 64 --learning-rate 0.001 --seed 3"
ENDLESS = f"{OPTIONS} --steps 30000 --save-interval 2"
HEARTBEATS = """
coordination_service.cc:1549] Use error polling to propagate the following error to all tasks: UNAVAILABLE: The \
following tasks are unhealthy (stopped sending heartbeats):
1
3
The tasks have crashed.
cifarnet: directory runs/a b
client.h:80] Terminating process because the JAX distributed service detected fatal errors.
"""
STUCK = """
cifarnet: directory runs/a
Timeout (0:30:00)!
Thread 0x1 (most recent call first):
  File "/a/threading.py", line 1 in wait
Thread 0x2 (most recent call first):
  File "/b/files.py", line 7 in write
  File "/b/run.py", line 9 in save
"""
CONNECTION = """
client.h:80] Terminating process because the JAX distributed service detected fatal errors. absl::Status: UNAVAILABLE
"""


@pytest.mark.parametrize(
    ("log", "number", "index", "message"),
    [
        (HEARTBEATS, signal.SIGABRT, 0, "because processes 1 and 3 of the run ended or do not answer. Start all 4"),
        (
            HEARTBEATS,
            signal.SIGABRT,
            3,
            r"because process 1 of .*continue the run in runs/a b from its last .* process 3 of",
        ),
        (CONNECTION, signal.SIGABRT, 2, r"because process 0 \(at 10\.0\.0\.1:1234\) of the run"),
        ("", signal.SIGKILL, 2, r"^Process 2 of 4 was ended by the signal SIGKILL\. Start all 4 processes again\.$"),
        (
            STUCK,
            0,
            1,
            r"this process, process 1 of 4, was stuck for 0:30 h in /b/files.py, line 7\. Start all 4 .* in runs",
        ),
        (CONNECTION, signal.SIGABRT, 0, "^Process 0 of 4 was ended by the signal SIGABRT"),
    ],
)
def test_the_message_names_the_lost_processes(log, number, index, message):
    assert re.search(message, _explanation(log, number, Cluster("10.0.0.1:1234", 4, index)))


@pytest.fixture
def start_all():
    """A function that starts processes, which are killed at the end of the test."""
    started = []
    yield lambda *given: started.extend(new := _start_all(*given)) or new
    for process, messages in started:
        process.kill()
        process.wait()
        messages.close()


def _start_all(count, options, directory, of_last=""):
    """Start the processes of a run, the last with more options; return them with the files of their messages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for index in range(count):
        variables = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
        messages = (directory.parent / f"{directory.name}-{index}.log").open("w+")
        more = of_last if index == count - 1 else ""
        command = [sys.executable, "-m", "cifarnet", "train", *f"{options}{more}".split()]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages, env={**os.environ, **variables})
        started.append((process, messages))
    return started


def text(messages):
    messages.seek(0)
    return messages.read()


def wait_for_epoch(started, number):
    ending = time.monotonic() + 200
    process, messages = started[0]
    while not re.search(rf"^Epoch +{number}/", text(messages), re.MULTILINE):
        assert process.poll() is None, text(messages)
        assert time.monotonic() < ending
        time.sleep(0.2)


def statuses(started, seconds=200):
    ending = time.monotonic() + seconds
    return [process.wait(max(0.1, ending - time.monotonic())) for process, _ in started]


@pytest.mark.slow
def test_a_killed_process_ends_the_others_which_resume(tmp_path, start_all):
    run = tmp_path / "run"
    started = start_all(2, f"{ENDLESS} --output {run}", run)
    wait_for_epoch(started, 2)
    trainer = int(subprocess.check_output(["pgrep", "-P", str(started[1][0].pid)]))
    os.kill(trainer, signal.SIGKILL)
    killed = time.monotonic()
    assert statuses(started, 60) == [1, 1]
    assert time.monotonic() - killed < 60
    assert "because process 1 of the run ended or does not answer" in text(started[0][1])
    assert f"with the same command, to continue the run in {run}" in text(started[0][1])
    assert "Process 1 of 2 was ended by the signal SIGKILL" in text(started[1][1])
    # The same command continues. Then a signal to one process stops all of them.
    started = start_all(2, f"{ENDLESS} --output {run}", run)
    wait_for_epoch(started, 3)
    started[1][0].send_signal(signal.SIGTERM)
    assert statuses(started) == [143, 143]
    assert all(f"everything is saved. Continue with: cifarnet train --resume {run}" in text(m) for _, m in started)
    assert "Traceback" not in text(started[0][1]) + text(started[1][1])


@pytest.mark.slow
def test_four_processes_train_what_one_does(tmp_path, start_all):
    one, four = tmp_path / "one", tmp_path / "four"
    started = start_all(4, f"{OPTIONS} --steps 8 --output {four}", four)
    assert statuses(started) == [0, 0, 0, 0], [text(messages) for _, messages in started]
    assert "Device    4 devices, 4 processes: CPU" in text(started[0][1])
    assert [text(messages) for _, messages in started[1:]] == ["", "", ""]
    command = [sys.executable, "-m", "cifarnet", "train", *OPTIONS.split(), "--steps", "8", "--output", str(one)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    tensors = [load_weights(run / "weights.h5").tensors for run in (one, four)]
    for name, values in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], values, atol=1e-4)
    losses = [[row.split(",")[4] for row in (run / "history.csv").read_text().split()[1:]] for run in (one, four)]
    np.testing.assert_allclose(np.array(losses[1], float), np.array(losses[0], float), rtol=1e-5)


@pytest.mark.slow
def test_processes_with_other_settings_are_refused(tmp_path, start_all):
    run = tmp_path / "run"
    started = start_all(2, f"{OPTIONS} --steps 8 --output {run}", run, " --seed 4")
    assert statuses(started, 100) == [1, 1]
    for _, messages in started:
        assert "another configuration in process 1 than in process 0" in text(messages)
