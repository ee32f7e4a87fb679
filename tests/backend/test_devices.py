import math

import pytest

from cifarnet.backend import devices
from cifarnet.backend.devices import Device, Execution, cpu_quota, worker_count


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


@pytest.mark.parametrize(
    ("text", "quota", "workers"),
    [
        ("max 100000", math.inf, 4),
        ("200000 100000", 2, 2),
        ("150000 100000", 1.5, 2),
        ("10000 100000", 0.1, 1),
        ("800000 100000", 8, 4),
        ("", math.inf, 4),
    ],
)
def test_a_quota_of_processor_time_limits_the_workers(monkeypatch, tmp_path, text, quota, workers):
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    monkeypatch.setattr(devices, "usable_cores", lambda: 4)
    (tmp_path / "cpu.max").write_text(f"{text}\n")
    assert (cpu_quota(), worker_count()) == (quota, workers)


@pytest.mark.parametrize(("quota", "cores"), [(None, math.inf), ("-1", math.inf), ("150000", 1.5)])
def test_quotas_of_version_1_are_read(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    if quota:
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota() == cores
