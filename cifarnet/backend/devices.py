"""The device that a backend computes on, and how a training step runs there."""

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cifarnet.backend.gpus import GpuFacts, gpu_advice, has_jax_cpu, jax_gpus, tensorflow_gpus
from cifarnet.backend.select import use_backend
from cifarnet.plurals import counted

_SPEED_EXPONENT = 0.737

# Control groups: cpu.max is that of version 2, the folder cpu that of version 1.
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Device:
    """The device that computes.

    Attributes:
        backend: the Keras backend.
        kind: "cpu" or "gpu".
        name: the name that messages show.
        advice: how to use the machine's GPU, when it has one that the backend can't use; otherwise None.
        cores: the number of processor cores that the process may use.
    """

    backend: str
    kind: str
    name: str
    advice: str | None = None
    cores: int = 1

    def __str__(self) -> str:
        return f"{self.name} ({self.backend})"


def gpu_names(backend: str) -> list[str]:
    """Return the names of the GPUs that the running ``backend`` sees."""
    return tensorflow_gpus() if backend == "tensorflow" else jax_gpus()


def device() -> Device:
    """Return the device that the chosen backend computes on. Imports the backend."""
    backend = use_backend()
    gpus = gpu_names(backend)
    if gpus:
        return Device(backend, "gpu", f"GPU {gpus[0]}")
    return _cpu(backend, gpu_advice(backend, GpuFacts.collect()))


def devices() -> list[Device]:
    """Return the devices that the chosen backend sees, the one that it computes on first. Imports the backend."""
    first = device()
    if first.kind == "cpu":
        return [first]
    gpus = gpu_names(first.backend)
    has_cpu = first.backend == "tensorflow" or has_jax_cpu()
    return [*(Device(first.backend, "gpu", f"GPU {gpu}") for gpu in gpus), *([_cpu(first.backend)] if has_cpu else [])]


def _cpu(backend: str, advice: str | None = None) -> Device:
    cores = usable_cores()
    return Device(backend, "cpu", f"CPU, {counted(cores, 'core')}", advice, cores)


@dataclass(frozen=True)
class Execution:
    """How a training step runs on a device.

    Attributes:
        precision: the data type of the feature maps.
        jit: whether XLA compiles the step.
        steps_per_call: the number of steps that the device runs before it returns to the host.
    """

    precision: str
    jit: bool
    steps_per_call: int

    @classmethod
    def best_on(cls, device: Device) -> "Execution":
        """Return the fastest measured settings for ``device`` (benchmarks/README.md)."""
        if device.kind == "gpu":
            return cls("bfloat16", True, 32)
        if device.backend == "jax":
            return cls("float32", True, 1)
        return cls("bfloat16" if cpu_multiplies_bfloat16() else "float32", False, 1)

    @staticmethod
    def reasons(device: Device) -> tuple[str, str]:
        """Return why ``best_on`` chooses its precision and its compilation, as the ends of sentences."""
        if device.kind == "gpu":
            return "GPUs multiply it fastest", "GPUs need compiled steps"
        if device.backend == "jax":
            return "bfloat16 was not measured with JAX on CPUs", "JAX compiles on every device"
        if cpu_multiplies_bfloat16():
            return "this CPU multiplies it (AVX512_BF16 or AMX)", "XLA is slower on CPUs"
        return "this CPU does not multiply bfloat16 (it has neither AVX512_BF16 nor AMX)", "XLA is slower on CPUs"


def cpu_multiplies_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512_BF16 or AMX).

    Without that, bfloat16 is slower than float32.
    """
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_facts().get("flags", "").split())


def cpu_facts() -> dict[str, str]:
    """Return what Linux says about the first core, such as ``model name`` and ``flags``; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def relative_speed(cores: float) -> float:
    """Return how many times as fast a training is on ``cores`` CPU cores as on one.

    Two processes with a core each train 1.2 times as much as one process with two cores.
    """
    return float(cores**_SPEED_EXPONENT)


def cpu_quota() -> float:
    """Return the number of cores whose time a container may use; infinite without a limit, and where it is unknown."""
    found = []
    with suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        found.append(float(quota) / float(period))  # ``max`` is no limit.
    with suppress(OSError, ValueError):
        quota, period = ((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        found.append(float(quota) / float(period))  # -1 is no limit.
    return min((each for each in found if each > 0), default=math.inf)


def worker_count() -> int:
    """Return the number of threads or processes that are as fast as any more: one for each core, within the quota."""
    return math.ceil(min(usable_cores(), cpu_quota()))


def usable_cores() -> int:
    """Return the number of processor cores that this process may use. A quota of their time does not count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
