import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cifarnet.data.download import fetch
from cifarnet.errors import DownloadError
from tests.support.serving import BEHAVIOURS, CONTENT, NAME, Server, running

pytestmark = pytest.mark.faults

FAULTS = sorted(BEHAVIOURS.keys() - {"good"})


@pytest.fixture
def server():
    with running(Server()) as server:
        yield server


def assert_nothing_unverified(folder):
    """Whatever has the file's name is the file."""
    assert not (folder / NAME).exists() or (folder / NAME).read_bytes() == CONTENT


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_no_unverified_file_and_next_run_works(server, tmp_path, fault):
    refused = None
    try:
        fetch(server.file(fault), tmp_path, timeout=(0.3, 0.3))
    except DownloadError as error:
        refused = str(error)
    assert (tmp_path / NAME).exists() is (refused is None)
    assert refused is None or server.url(fault) in refused
    assert_nothing_unverified(tmp_path)
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT


def test_at_least_twenty_faults_are_tried():
    assert len(FAULTS) + 4 >= 20


def start(server, folder, behaviour):
    """A process that downloads and says so."""
    file = server.file(behaviour)
    code = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from cifarnet.data.download import RemoteFile, fetch;"
        f"fetch(RemoteFile({file.name!r}, {file.url!r}, {file.size}, {file.sha256!r}), Path(sys.argv[1]));"
        "print('fetched')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, text=True, **pipes)


def test_two_processes_at_once_download_once(server, tmp_path):
    processes = [start(server, tmp_path, "slow") for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "fetched\n"), errors
    assert len(server.requests) == 1
    assert_nothing_unverified(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_download_stopped_in_the_middle_goes_on_the_next_time(server, tmp_path, number):
    process = start(server, tmp_path, "slow")
    part = tmp_path / f"{NAME}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert_nothing_unverified(tmp_path)
    had = part.stat().st_size
    assert had < len(CONTENT)
    assert fetch(server.file("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={had}-"
