import pytest

from tests.support.clock import use_simulated_clock


@pytest.fixture
def clock(monkeypatch):
    """A simulated clock that all modules of ``cifarnet.training`` read."""
    import cifarnet.training.run  # noqa: F401 - with all modules that it needs

    return use_simulated_clock(monkeypatch)
