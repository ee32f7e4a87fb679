"""Collect what is known about the machine and the installation without importing a backend."""

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from cifarnet import __version__
from cifarnet.backend.devices import cpu_facts, cpu_multiplies_bfloat16, usable_cores
from cifarnet.backend.environment import number_variables, set_variables
from cifarnet.backend.gpus import GpuFacts
from cifarnet.backend.memory import available_memory, memory
from cifarnet.doctor.diagnosis import Folder, Machine, Nvidia, Package, Variable
from cifarnet.doctor.privacy import shown_value
from cifarnet.errors import NoHomeError
from cifarnet.installation import is_installed
from cifarnet.paths import cache_dir, weights_dir

CURRENT, CACHE, WEIGHTS, TEMPORARY = "runs (the current folder)", "the cache", "your weights", "temporary files"
"""The purposes of folders."""

# The flags of /proc/cpuinfo that decide the speed, with the names that Intel uses.
_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512_BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "BF16",
}

# Name, lowest version and purpose, as in pyproject.toml. Those without a purpose are always needed.
_PACKAGES = (
    ("tensorflow", "2.21", None),
    ("keras", "3.15.1", None),
    ("numpy", "2.0", None),
    ("onnx", "1.20", None),
    ("onnxruntime", "1.23", None),
    ("h5py", "3.12", None),
    ("pillow", "11.0", None),
    ("matplotlib", "3.10", None),
    ("tensorboard", "2.20", None),
    ("rich", "13.9", None),
    ("typer", "0.29", None),
    ("jinja2", "3.1", None),
    ("filelock", "4.3", None),
    ("platformdirs", "4.3", None),
    ("requests", "2.32", None),
    ("jax", "0.6", "the backend jax"),
    ("openvino", "2026.0", "the engine and the export format openvino"),
    ("ai-edge-litert", "2.0", "the export format litert"),
    ("safetensors", "0.5", "the export format safetensors"),
    ("pillow-heif", "1.0", "HEIC pictures"),
)

# Variables that choose a backend, a device or a folder, or limit the threads. Those that change numbers are added.
# TF_CLI_, TF_VAR_ and TF_TOKEN_ are Terraform's, and may hold secrets.
_VARIABLES = re.compile(
    r"CIFARNET_|KERAS_|TF_(?!CLI_|VAR_|TOKEN_)|XLA_|JAX_|CUDA_|NVIDIA_(?!REQUIRE|DRIVER|PRODUCT)|(LD_LIBRARY_PATH|OMP_NUM_THREADS)$"
)


def machine() -> Machine:
    """Return the program, the system and the hardware."""
    facts = cpu_facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    isolated = sys.prefix != sys.base_prefix
    return Machine(
        cifarnet=__version__,
        python=f"{platform.python_version()}, {'in a virtual environment' if isolated else 'of the system'}",
        system=platform.platform(),
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        instructions=tuple(name for flag, name in _INSTRUCTIONS.items() if flag in flags),
        bfloat16=cpu_multiplies_bfloat16(),
        memory=memory(),
        available=available_memory(),
    )


def folders() -> tuple[Folder, ...]:
    """Return the folders that cifarnet writes to."""
    found = []
    for purpose, find in (
        (CURRENT, Path.cwd),
        (CACHE, cache_dir),
        (WEIGHTS, weights_dir),
        (TEMPORARY, lambda: Path(tempfile.gettempdir())),
    ):
        try:
            path = find()
        except (NoHomeError, OSError):  # No home folder; a deleted current folder; no folder for temporary files.
            found.append(Folder(purpose, None, None, False))
            continue
        # A folder that does not exist yet is made in the first one above it that does.
        existing = next(each for each in (path, *path.parents) if os.path.exists(each))
        writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        try:
            free = shutil.disk_usage(existing).free
        except OSError:
            free = None
        found.append(Folder(purpose, str(path), free, writable))
    return tuple(found)


def packages() -> tuple[Package, ...]:
    """Return the packages that cifarnet needs or can use."""
    return tuple(Package(name, version_of(name), least, purpose) for name, least, purpose in _PACKAGES)


def version_of(package: str) -> str | None:
    """Return the installed version of ``package``; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    if not is_installed(package):
        return None
    # The module may come from a package of another name, such as tensorflow-cpu.
    found = distribution_of(package)
    return "of unknown version" if found == package else metadata.version(found)


def distribution_of(module: str) -> str:
    """Return the name under which the package with the top-level ``module`` is installed."""
    return next(iter(metadata.packages_distributions().get(module, ())), module)


def nvidia(facts: GpuFacts) -> Nvidia:
    """Return what is known about NVIDIA's hardware and software."""
    named = {str(each.metadata["Name"]).lower(): each.version for each in metadata.distributions()}
    cuda = {name: version for name, version in sorted(named.items()) if name.startswith(("nvidia-", "jax-cuda"))}
    return Nvidia(facts.nvidia_hardware, _driver_version(), cuda, facts.visible_devices)


def _driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    # NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
    try:
        found = re.search(r"\s(\d+\.\d[\d.]*)\s", path.read_text())
    except OSError:
        return None
    return found[1] if found else None


def variables(environment: Mapping[str, str] = os.environ) -> tuple[Variable, ...]:
    """Return the variables of the environment that change what is chosen or computed."""
    ignored, own = number_variables(), set_variables()
    return tuple(
        Variable(name, shown_value(name, value), name in ignored)
        for name, value in sorted(environment.items())
        if (_VARIABLES.match(name) or name in ignored) and own.get(name) != value
    )
