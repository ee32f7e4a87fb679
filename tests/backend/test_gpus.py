import re
import sys
from types import SimpleNamespace

import pytest

from cifarnet.backend import gpus
from cifarnet.backend.gpus import GpuFacts, gpu_advice, jax_gpus
from cifarnet.errors import BackendError


def test_unknown_jax_platform_is_named(monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend 'nonsense'.\nMore lines")

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=devices))
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(BackendError, match=r"backend 'nonsense'\. Unset .* Received: JAX_PLATFORMS=nonsense"):
        jax_gpus()


FACTS = GpuFacts("linux", nvidia_hardware=True, nvidia_driver=True, visible_devices=None, cuda_libraries=True)


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        (FACTS, "don't fit"),
        (GpuFacts("linux", True, True, None, False), r"install 'tensorflow\[and-cuda\]'"),
        (GpuFacts("linux", True, False, None, True), "nvidia-smi"),
        (GpuFacts("linux", True, True, "-1", True), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_unusable_gpu_gets_reason_and_command(facts, advice):
    assert re.search(advice, gpu_advice("tensorflow", facts) or "")


def test_machine_without_gpu_gets_no_advice():
    assert gpu_advice("tensorflow", GpuFacts("linux", False, False, None, False)) is None


@pytest.mark.parametrize(
    ("driver", "visible", "installed", "expected"),
    [
        (True, None, {"jax_cuda12_plugin"}, True),
        (True, "1", {"jax_cuda13_plugin"}, True),
        (True, "", {"jax_cuda12_plugin"}, False),
        (True, None, {"nvidia"}, False),
        (False, None, {"jax_cuda12_plugin"}, False),
    ],
)
def test_jax_needs_a_driver_and_its_plugin_for_a_gpu(monkeypatch, driver, visible, installed, expected):
    facts = gpus.GpuFacts("linux", True, driver, visible, True)
    monkeypatch.setattr(gpus.GpuFacts, "collect", lambda: facts)
    monkeypatch.setattr(gpus, "is_installed", installed.__contains__)
    assert gpus.has_jax_gpu() is expected
