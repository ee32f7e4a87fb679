import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no copy of Keras's and no mirrors, whatever the machine has."""
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("CIFARNET_MIRROR", raising=False)
    return tmp_path / "cache"
