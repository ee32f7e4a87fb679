"""The standard streams and signals of the process, with commands that import no backend."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from cifarnet.backend.environment import native_notices_held
from cifarnet.cli import process
from cifarnet.cli.main import main
from cifarnet.errors import StorageError


def shell(script: str, **options) -> subprocess.CompletedProcess:
    """Run a shell's ``script`` in which ``$CIFARNET`` is the command."""
    environment = {**os.environ, "CIFARNET": f"{sys.executable} -m cifarnet", **options.pop("variables", {})}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment, **options
    )


@pytest.mark.parametrize(
    ("redirection", "printed"), [(">&-", False), ("2>&-", True), ("<&-", True), ("<&- >&- 2>&-", False)]
)
def test_a_closed_stream_is_as_the_null_device(redirection, printed):
    result = shell(f"$CIFARNET summary {redirection}")
    assert result.returncode == 0
    assert ("resnet110" in result.stdout) == printed
    assert result.stderr == ""


def test_an_error_with_closed_streams_has_its_status():
    assert shell("$CIFARNET summary --depth 21 >&- 2>&-").returncode == 2


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys\nfrom cifarnet.cli import process\nprocess.open_missing_streams()\n"
        "file = open('file', 'w')\nprint('data')\nprint('message', file=sys.stderr)\n"
        "os.write(1, b'x')\nos.write(2, b'y')\n"
    )
    result = shell(f'{sys.executable} -c "{code}" <&- >&- 2>&-', cwd=tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["summary", "summary --json", "summary --depth 20 --plain", "--help", "weights"])
def test_data_that_a_full_disk_refuses_are_an_error(command):
    result = shell(f"$CIFARNET {command} >/dev/full")
    assert result.returncode == 3
    assert result.stderr == "Error: Standard output can't be written: No space left on device.\n"


def test_messages_that_a_full_disk_refuses_are_no_error():
    result = shell("$CIFARNET data synthetic:50 2>/dev/full")
    assert result.returncode == 0
    assert "synthetic" in result.stdout


def test_a_reader_that_ends_early_is_no_news():
    result = shell("$CIFARNET train --help | head -1; exit ${PIPESTATUS[0]}")
    assert result.returncode in (0, 1)  # What is printed may fit the pipe.
    assert result.stderr == ""


class Refusing:
    """A stream that lies on a full disk for a while."""

    def __init__(self, number: int):
        self.number, self.full, self.text = number, True, ""

    def write(self, text: str) -> int:
        self.flush()
        self.text += text
        return len(text)

    def flush(self) -> None:
        if self.full:
            raise OSError(self.number, os.strerror(self.number))

    def fileno(self) -> int:
        raise OSError("no file")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_messages_go_on_when_the_log_can_be_written_again(monkeypatch, number):
    log = Refusing(number)
    monkeypatch.setattr(sys, "stderr", log)
    with process.guarded_stderr():
        print("lost", file=sys.stderr, flush=True)
        log.full = False
        print("kept", file=sys.stderr, flush=True)
    assert "kept\n" in log.text
    assert sys.stderr is log


@pytest.mark.parametrize(("number", "error"), [(errno.EPIPE, BrokenPipeError), (errno.ENOSPC, StorageError)])
def test_data_that_cannot_be_printed_raise(monkeypatch, number, error):
    monkeypatch.setattr(sys, "stdout", Refusing(number))
    with pytest.raises(error), process.guarded_stdout():
        print("data")


def stopped_with(number: int, work) -> process.Stopped:
    with pytest.raises(process.Stopped) as stopped, process.stopping_by_signals():
        work(number)
    return stopped.value


@pytest.fixture
def default_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("default_handlers")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_has_its_status(number, status):
    assert stopped_with(number, signal.raise_signal).status == status


@pytest.mark.usefixtures("default_handlers")
def test_an_error_that_a_library_makes_of_the_signal_is_none():
    def work(number):
        try:
            signal.raise_signal(number)
        except process.Stopped as stopped:
            raise ImportError("initialization failed") from stopped

    assert stopped_with(signal.SIGINT, work).status == 130


@pytest.mark.usefixtures("default_handlers")
def test_a_signal_within_a_destructor_is_not_forgotten(capsys):
    class Garbage:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work(number):
        Garbage()
        time.sleep(5)

    began = time.monotonic()
    assert stopped_with(signal.SIGINT, work).status == 130
    assert time.monotonic() - began < 4
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("default_handlers")
def test_a_signal_that_a_library_drops_is_not_forgotten():
    def work(number):
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        time.sleep(5)

    began = time.monotonic()
    assert stopped_with(signal.SIGINT, work).status == 130
    assert time.monotonic() - began < 4


@pytest.mark.usefixtures("default_handlers")
def test_a_signal_that_a_library_replaces_by_an_error_is_none():
    def work(number):
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        raise ImportError("initialization failed")

    assert stopped_with(signal.SIGTERM, work).status == 143
    time.sleep(0.05)  # Nothing is sent after the block, where SIGTERM would end the tests.


def test_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stopping_by_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_acts_at_once():
    code = (
        "import os, signal, time\nfrom cifarnet.cli import process\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with process.stopping_by_signals():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(9)\n"
        "    finally:\n        print('cleaning', flush=True)\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(9)\n        print('late', flush=True)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "cleaning\n", "")


@contextlib.contextmanager
def in_session_of_its_own(command):
    """Start a process that Ctrl-C can be sent to, and that answers it: a background job's children ignore it."""
    # With preexec_fn, the fork would call the hooks of JAX, which warn of it where another test has imported JAX.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("moment", [0.1, 0.2, 0.3])
def test_ctrl_c_while_the_command_begins_is_one_line(moment):
    """While the command line's modules are imported, and later."""
    begun = "from cifarnet import __main__ as entry\nprint('begun', flush=True)\nentry.main()"
    command = [sys.executable, "-c", begun, "data", "synthetic:100000"]
    with in_session_of_its_own(command) as child:
        assert child.stdout.readline() == "begun\n"
        time.sleep(moment)
        os.killpg(child.pid, signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr == "Stopped.\n"


def test_notices_are_for_failures_and_not_for_ctrl_c(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def fail_with(error):
        with native_notices_held():
            os.write(2, b"oneDNN custom operations are on\n")
            raise error

    for quiet in (process.Stopped(2), KeyboardInterrupt()):
        with pytest.raises(type(quiet)):
            fail_with(quiet)
        assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        fail_with(ImportError())
    assert capfd.readouterr().err == "oneDNN custom operations are on\n"


def test_a_deleted_current_folder_is_said(tmp_path):
    (tmp_path / "gone").mkdir()
    result = shell("rmdir ../gone; $CIFARNET data images", cwd=tmp_path / "gone")
    assert result.returncode == 1
    assert "current folder has been deleted" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become a user without account")
def test_a_user_without_account_and_home_can_work(tmp_path):
    # May read everything, since Python may be installed below /root.
    read = "dac_read_search"
    become = f"setpriv --reuid=12345 --regid=12345 --clear-groups --inh-caps=+{read} --ambient-caps=+{read}"
    script = f"{become} env -u HOME -u CIFARNET_CACHE -u CIFARNET_WEIGHTS"
    tmp_path.chmod(0o777)
    if shell(f"{script} {sys.executable} -c pass").returncode:
        pytest.skip("this root has no capabilities to give")
    result = shell(f"cd {tmp_path}; {script} -u KERAS_HOME $CIFARNET weights")
    assert result.returncode == 0, result.stderr
    assert "resnet20" in result.stdout
    result = shell(f"cd {tmp_path}; {script} -u KERAS_HOME $CIFARNET data")
    assert result.returncode == 3
    assert "Set CIFARNET_CACHE" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_home_is_none(monkeypatch, capsys):
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(sys, "argv", ["cifarnet", "summary"])
    with pytest.raises(SystemExit):
        main()
    assert "HOME" not in os.environ


def test_only_the_main_thread_is_needed_for_streams():
    errors = []

    def work():
        try:
            with process.guarded_stderr(), process.guarded_stdout():
                print("data")
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_a_training_goes_on_without_its_log(monkeypatch, tmp_path, number):
    """``cifarnet train 2>&1 | head -3``; with a full disk, the result that can't be printed is an error of its own."""
    options = "--depth 8 --data synthetic:100 --steps 2 --batch-size 32 --recipe paper"
    monkeypatch.setattr(sys, "argv", ["cifarnet", "train", *options.split(), "--output", str(tmp_path / "run")])
    monkeypatch.setattr(sys, "stdout", Refusing(number))
    monkeypatch.setattr(sys, "stderr", Refusing(number))
    monkeypatch.setattr(Refusing, "encoding", "utf-8", raising=False)
    monkeypatch.setattr(Refusing, "isatty", lambda self: False, raising=False)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == (0 if number == errno.EPIPE else 3)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epoch"] == 1
    assert (tmp_path / "run" / "report.html").read_text().rstrip().endswith("</html>")


@pytest.mark.slow
def test_ctrl_c_while_pictures_are_decoded_is_one_line(tmp_path):
    made = tmp_path / "images" / "cat" / "0.png"
    made.parent.mkdir(parents=True)
    Image.new("RGB", (512, 512), "red").save(made)
    for index in range(1, 3000):
        os.link(made, made.with_name(f"{index}.png"))
    (tmp_path / "images" / "dog").mkdir()
    os.link(made, tmp_path / "images" / "dog" / "0.png")
    command = [sys.executable, "-m", "cifarnet", "data", str(tmp_path / "images"), "--test-split", "0.2"]
    with in_session_of_its_own(command) as child:
        assert child.stderr.readline().startswith("Reading")
        assert child.stderr.readline().startswith("Decoding")
        os.killpg(child.pid, signal.SIGINT)
        printed, stderr = child.communicate(timeout=60)
    assert (child.returncode, printed) == (130, "")
    # Between the line that was read and the signal, the next split may begin.
    assert stderr.removeprefix("Decoding training images ...\n") == "Stopped.\n"
