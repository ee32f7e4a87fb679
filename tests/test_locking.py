import errno
import os
import socket
import subprocess
import sys

import pytest

from cifarnet.errors import RunError
from cifarnet.locking import SOFT, locked
from cifarnet.runs.lock import LOCK, run_lock
from cifarnet.weights import catalog
from cifarnet.weights.index import INDEX
from tests.support.weights import make


@pytest.fixture(params=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def without_flock(request, monkeypatch):
    """A file system without locks, as some NFS mounts and containers have it."""
    code = getattr(errno, request.param)

    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)


def marker(path, process, host):
    """The soft lock of ``path``, held by a ``process``."""
    soft = path.with_name(path.name + SOFT)
    soft.write_text(f"{process}\n{host}\n")
    return soft


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_is_held_without_flock_too(without_flock, tmp_path):
    path = tmp_path / ".lock"
    path.touch()  # As flock leaves it.
    with locked(path), pytest.raises(TimeoutError, match=r"delete .*\.lock\.soft"), locked(path, timeout=0):
        pass
    with locked(path, timeout=0):
        pass


def test_a_dead_process_holds_no_lock_without_flock(without_flock, tmp_path):
    path = tmp_path / ".lock"
    marker(path, ended_process(), socket.gethostname())
    with locked(path, timeout=0):
        pass


def test_the_wait_for_another_host_ends_without_flock(without_flock, tmp_path):
    path = tmp_path / ".lock"
    soft = marker(path, 1, "another-host")
    with pytest.raises(TimeoutError, match=str(soft)), locked(path, timeout=0.1):
        pass


def test_weights_are_added_and_removed_without_flock(without_flock, tmp_path):
    source = make(tmp_path / "source.h5")
    folder = tmp_path / "own-weights"
    folder.mkdir()
    (folder / ".lock").touch()
    catalog.add(source, "mine")
    catalog.add(source, "mine", replace=True)
    catalog.remove("mine")
    assert {path.name for path in folder.iterdir()} == {".lock", INDEX}


def test_a_run_is_locked_without_flock(without_flock, tmp_path):
    with run_lock(tmp_path):
        with pytest.raises(RunError, match=rf"process {os.getpid()} on .* delete .*\.lock\.soft"), run_lock(tmp_path):
            pass
        soft = tmp_path / f"{LOCK}{SOFT}"
        assert soft.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {LOCK}
