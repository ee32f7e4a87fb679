import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.runner import CallInfo

import cifarnet  # noqa: F401 - before a test module imports TensorFlow, which reads cifarnet's settings once


def pytest_addoption(parser):
    parser.addoption("--scale", type=float, default=1.0, help="times the number of faults that -m faults tries")


def pytest_terminal_summary(terminalreporter, config):
    """Print, of a long run, how many faults were tried and what came of them."""
    rows = [row for report in terminalreporter.getreports("passed") for row in report.user_properties]
    if config.getoption("scale") != 1 and rows:
        terminalreporter.section("faults")
        for _, cells in rows:
            terminalreporter.write_line("| " + " | ".join(cells) + " |")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no weights of one's own, no copy of Keras's and no mirrors, whatever the machine has."""
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CIFARNET_WEIGHTS", str(tmp_path / "own-weights"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("CIFARNET_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def jpeg_archive(cache, tmp_path_factory, monkeypatch):
    """The archive of CIFAR-10 (JPEG-75). All tests that read it share a cache: decoding 60,000 images takes 12 s."""
    if "CIFARNET_TEST_DATA" not in os.environ:
        pytest.skip("CIFARNET_TEST_DATA names no folder")
    session = tmp_path_factory.getbasetemp()
    shared = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
    monkeypatch.setenv("CIFARNET_CACHE", str(shared / "jpeg-cache"))
    return Path(os.environ["CIFARNET_TEST_DATA"]) / "cifar10-jpeg75.tar.xz"


@pytest.fixture(scope="module")
def tiny_family():
    """Make ``tiny2`` a network, for runs whose outcome does not depend on the network.

    A short run spends most of its time tracing the step, which takes a third of the time of a ResNet-8.
    """
    from cifarnet.models import spec as specs
    from tests.support.families import TINY

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(specs.MODELS, "tiny", TINY)
        yield


@pytest.fixture
def interruptible():
    """Ctrl-C's usual handler: a shell's background job, as tests may be, inherits an ignored one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def without_pillow_heif(monkeypatch):
    """As where pillow-heif is not installed."""
    from cifarnet.data import decoding

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(decoding, "has_heic", lambda: False)
    decoding._register_heic.cache_clear()
    yield
    decoding._register_heic.cache_clear()


def pytest_runtest_protocol(item, nextitem):
    """Run the tests with OpenVINO in processes of their own.

    After OpenVINO 2026.4 has computed in a process, TensorFlow 2.21 ends it with a segmentation fault when a training
    is interrupted and resumed there.
    """
    if "openvino]" not in item.nodeid or "CIFARNET_TEST_APART" in os.environ:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    call = CallInfo.from_call(lambda: _run_apart(item), "call")
    item.ihook.pytest_runtest_logreport(report=pytest.TestReport.from_item_and_call(item, call))
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_apart(item):
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", item.nodeid]
    done = subprocess.run(
        command,
        cwd=item.config.rootpath,
        env={**os.environ, "CIFARNET_TEST_APART": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout[-5000:], pytrace=False)
    if " skipped" in done.stdout:
        pytest.skip("skipped in its process")
