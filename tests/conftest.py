import signal
import sys

import pytest

import cifarnet  # noqa: F401 - before a test module imports TensorFlow, which reads cifarnet's settings once


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no weights of one's own, no copy of Keras's and no mirrors, whatever the machine has."""
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CIFARNET_WEIGHTS", str(tmp_path / "own-weights"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("CIFARNET_MIRROR", raising=False)
    return tmp_path / "cache"


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
    decoding._formats.cache_clear()
    yield
    decoding._formats.cache_clear()
