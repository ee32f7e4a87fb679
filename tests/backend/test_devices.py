import pytest

from cifarnet.backend import devices
from cifarnet.backend.devices import Device, Execution


def test_gpu_runs_many_steps_per_call():
    assert Execution.best_on(Device("jax", "gpu", "GPU")).steps_per_call > 1
    assert Execution.best_on(Device("jax", "cpu", "CPU")).steps_per_call == 1


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("flags", ["avx2", "avx2 amx_bf16"])
def test_reasons_fit_what_is_chosen(backend, flags, monkeypatch):
    monkeypatch.setattr(devices, "cpu_facts", lambda: {"flags": flags})
    device = Device(backend, "cpu", "CPU")
    chosen, (precision, jit) = Execution.best_on(device), Execution.reasons(device)
    assert (chosen.precision == "bfloat16") == ("multiplies it" in precision)
    assert chosen.jit == ("slower" not in jit)
