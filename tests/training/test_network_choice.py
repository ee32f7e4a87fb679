"""The network that a time budget chooses."""

import pytest

from cifarnet.backend.devices import Device
from cifarnet.models.spec import PRESETS
from cifarnet.training import network_choice
from cifarnet.training.network_choice import BEST, best_network

GPU = Device("jax", "gpu", "GPU H100")


def cpu(cores, backend="jax"):
    """A CPU with a backend that trains in float32 on every machine."""
    return Device(backend, "cpu", f"CPU, {cores} cores", cores=cores)


def test_every_network_of_the_table_is_documented_and_takes_over_from_the_one_before():
    names, least = zip(*BEST, strict=True)
    assert set(names) <= set(PRESETS)
    assert least[0] == 0
    assert list(least) == sorted(set(least))


@pytest.mark.parametrize("index", range(len(BEST)))
def test_the_time_of_one_core_decides(index):
    name, least = BEST[index]
    assert best_network(least + 1, cpu(1), 50_000, 32) == name
    if index:
        assert best_network(least - 1, cpu(1), 50_000, 32) == BEST[index - 1][0]


def test_more_cores_fewer_images_and_smaller_ones_are_more_time():
    name, least = BEST[-1]
    seconds = least / 2
    assert best_network(seconds, cpu(1), 50_000, 32) != name
    assert best_network(seconds, cpu(3), 50_000, 32) == name
    assert best_network(seconds, cpu(1), 20_000, 32) == name
    assert best_network(seconds, cpu(1), 50_000, 20) == name


def test_bfloat16_is_faster_on_tensorflow(monkeypatch):
    monkeypatch.setattr(network_choice, "cpu_multiplies_bfloat16", lambda: True)
    name, least = BEST[-1]
    assert best_network(least / 1.6, cpu(1, "tensorflow"), 50_000, 32) == name
    assert best_network(least / 1.6, cpu(1), 50_000, 32) != name


def test_devices_and_images_that_were_not_measured_get_the_default():
    assert best_network(1e9, GPU, 50_000, 32) == "resnet20"
    assert best_network(1e9, cpu(1), 50_000, 8) == "resnet20"
