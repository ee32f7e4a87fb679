"""The device that a backend computes on, and how a training step runs there."""

import os
from dataclasses import dataclass
from pathlib import Path

from cifarnet.backend.gpus import GpuFacts, gpu_advice, jax_gpus, tensorflow_gpus
from cifarnet.backend.select import cache_compiled_steps, use_backend


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
    if backend == "jax":
        cache_compiled_steps()
    gpus = gpu_names(backend)
    if gpus:
        return Device(backend, "gpu", f"GPU {gpus[0]}")
    cores = usable_cores()
    advice = gpu_advice(backend, GpuFacts.collect())
    return Device(backend, "cpu", f"CPU, {cores} core{'' if cores == 1 else 's'}", advice, cores)


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


def cpu_multiplies_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512_BF16 or AMX).

    Without that, bfloat16 is slower than float32.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
