"""The GPUs that a backend sees, and why it sees none."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cifarnet.errors import BackendError
from cifarnet.installation import install_command, is_installed

# Of the packages of JAX for CUDA.
_CUDA_VERSIONS = (12, 13)


@dataclass(frozen=True)
class GpuFacts:
    """What decides why a backend sees no GPU.

    Attributes:
        platform: ``sys.platform``.
        nvidia_hardware: whether the machine has an NVIDIA GPU.
        nvidia_driver: whether NVIDIA's driver is loaded.
        visible_devices: the variable CUDA_VISIBLE_DEVICES, or None.
        cuda_libraries: whether CUDA's Python packages are installed.
    """

    platform: str
    nvidia_hardware: bool
    nvidia_driver: bool
    visible_devices: str | None
    cuda_libraries: bool

    @classmethod
    def collect(cls) -> "GpuFacts":
        """Return the facts of this machine, without loading a driver."""
        # 0x10de is NVIDIA's PCI vendor id. Class 0x03.... is a display controller; cards without a driver are listed.
        vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
        hardware = any(
            _read(vendor) == "0x10de" and _read(vendor.with_name("class")).startswith("0x03") for vendor in vendors
        )
        driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()
        return cls(
            sys.platform,
            hardware or driver,
            driver,
            os.environ.get("CUDA_VISIBLE_DEVICES"),
            is_installed("nvidia"),
        )

    @property
    def hidden(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES hides all GPUs."""
        return self.visible_devices is not None and self.visible_devices.strip() in ("", "-1")


def visible_gpus(variable: str | None, count: int) -> tuple[str, ...]:
    """Return the GPUs of a machine with ``count`` that CUDA_VISIBLE_DEVICES=``variable`` shows.

    CUDA ignores the names from the first invalid one on.
    """
    if variable is None:
        return tuple(map(str, range(count)))
    names = [name.strip() for name in variable.split(",")]
    invalid_at = next((index for index, name in enumerate(names) if name in ("", "-1")), len(names))
    return tuple(names[:invalid_at])


def has_usable_gpu() -> bool:
    """Return whether the machine has an NVIDIA GPU with a driver and CUDA's Python packages. Loads no driver."""
    facts = GpuFacts.collect()
    return facts.nvidia_driver and facts.cuda_libraries and not facts.hidden


def has_jax_gpu() -> bool:
    """Return whether JAX can use a GPU of this machine, without listing its devices.

    Listing them starts JAX's client, after which a process can't join the others of a run.
    """
    facts = GpuFacts.collect()
    plugins = any(is_installed(f"jax_cuda{version}_plugin") for version in _CUDA_VERSIONS)
    return facts.nvidia_driver and plugins and not facts.hidden


def gpu_advice(backend: str, facts: GpuFacts) -> str | None:
    """Return how to make the machine's GPU usable for ``backend``; None for a machine without an NVIDIA GPU."""
    if not facts.nvidia_hardware or facts.platform != "linux":
        return None
    start = f"This machine has an NVIDIA GPU that {backend} can't use"
    if facts.hidden:
        return f"{start}: CUDA_VISIBLE_DEVICES={facts.visible_devices!r} hides it. Unset that variable."
    if not facts.nvidia_driver:
        return f"{start}: its driver is not loaded. Install NVIDIA's driver, then check with: nvidia-smi"
    extra = gpu_packages(backend)
    if not facts.cuda_libraries:
        return f"{start}: the CUDA libraries are not installed. Install them with: {extra}"
    return f"{start}: its CUDA libraries don't fit the driver or {backend}. Install fitting ones with: {extra}"


def gpu_packages(backend: str) -> str:
    """Return the shell command that installs what ``backend`` needs for an NVIDIA GPU."""
    return install_command("tensorflow[and-cuda]" if backend == "tensorflow" else "jax[cuda12]")


def tensorflow_gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees. Imports TensorFlow."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def jax_gpus() -> list[str]:
    """Return the names of the GPUs that JAX sees. Imports JAX.

    Raises:
        BackendError: when JAX finds no device at all.
    """
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        remedy = "Unset the variable JAX_PLATFORMS, or set it to cpu or cuda."
        raise BackendError(
            f"JAX finds no device: {str(error).splitlines()[0]} {remedy} Received: JAX_PLATFORMS={wanted or ''}",
            remedy=remedy,
        ) from error
    return [device.device_kind for device in devices if device.platform != "cpu"]


def has_jax_cpu() -> bool:
    """Return whether JAX sees the CPU: JAX_PLATFORMS=cuda hides it. Imports JAX."""
    import jax

    try:
        return bool(jax.devices("cpu"))
    except RuntimeError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
