"""The Keras backend: chosen before Keras is imported, quiet, fast by default, and told to the user."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarnet.choices import BACKENDS
from cifarnet.errors import BackendError, InvalidValueError, NoHomeError, unknown_value
from cifarnet.installation import install_command
from cifarnet.json_files import read_object
from cifarnet.paths import home_dir

# Keras's defaults, with which cifarnet computes; the variable KERAS_BACKEND wins over the file's "backend".
_KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last", "nnx_enabled": False}
# Of Keras 3.15: they end each epoch, or the training, early, and choose another kind of variables.
_KERAS_VARIABLES = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")

# Beginnings of the variables by which TensorFlow 2.21, oneDNN, cuDNN and XLA choose other algorithms or precisions.
# Numbers of threads and memory limits are not among them.
_NUMBER_VARIABLES = (
    *("DNNL_", "NVIDIA_TF32_OVERRIDE", "ONEDNN_", "TF2_BEHAVIOR", "TF_AUTO_MIXED_PRECISION_", "TF_CONV2D_"),
    *("TF_CUDNN_", "TF_DETERMINISTIC_", "TF_DISABLE_", "TF_ENABLE_", "TF_FP16_", "TF_JITRT_", "TF_MATMUL_"),
    *("TF_ONEDNN_", "TF_SET_ONEDNN_", "TF_USE_", "TF_XLA_", "XLA_FLAGS"),
)
# All others of JAX's configuration may change numbers.
_JAX_VARIABLES = (
    *("JAX_COMPILATION_CACHE_", "JAX_CUDA_", "JAX_ENABLE_COMPILATION_CACHE", "JAX_LOG", "JAX_PERSISTENT_CACHE_"),
    *("JAX_PLATFORM", "JAX_ROCM_", "JAX_TRACEBACK_"),
)
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def choose_backend(name: str | None = None) -> str:
    """Return the name of the Keras backend that ``use_backend(name)`` starts, without importing it.

    ``name`` wins over the variable KERAS_BACKEND, and that over TensorFlow.

    Raises:
        InvalidValueError: for a backend that cifarnet does not run on.
        BackendError: when it is not installed, or Keras already runs on another one.
    """
    running = sys.modules["keras"].backend.backend() if "keras" in sys.modules else None
    chosen = name or running or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen not in BACKENDS:
        where = "The backend" if name or running else "The backend in the variable KERAS_BACKEND"
        raise unknown_value(where, chosen, BACKENDS)
    if running not in (None, chosen):
        raise BackendError(
            f"Keras already runs on {running} in this process and can't change to {chosen}."
            f" Set KERAS_BACKEND={chosen} before Keras is imported."
        )
    if not running and not _is_installed(chosen):
        raise BackendError(f"The backend {chosen} is not installed. Install it with: {install_command(chosen)}")
    return chosen


def use_backend(name: str | None = None) -> str:
    """Start the Keras backend of this process and return its name, which ``choose_backend`` decides.

    Call it before anything imports Keras. The first call imports the backend, which takes seconds.

    Raises:
        InvalidValueError, BackendError: as ``choose_backend``.
    """
    chosen = choose_backend(name)
    if "keras" in sys.modules:
        _require_keras_settings(sys.modules["keras"])
        return chosen
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with native_notices_held(), _home_without_room(), _keras_settings():
        try:
            importlib.import_module("keras")
        except Exception as error:
            raise BackendError(
                f"{chosen} can't be started: {type(error).__name__}: {error}. Check its variables in the environment,"
                f" or install it again with: {install_command(chosen)}"
            ) from error

        if chosen == "tensorflow":
            _tensorflow_gpus()
        else:
            _keep_compiled_steps()
    return chosen


def ignore_number_variables() -> list[str]:
    """Remove the variables that change what a backend computes from the environment, and return their names.

    For the command line, whose numbers must not depend on them; a program that imports cifarnet decides for itself.
    Call it before the backend is imported. Of XLA_FLAGS, the place of the CUDA libraries is kept.
    """
    place = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.startswith("--xla_gpu_cuda_data_dir=")]
    # TensorFlow sets TF2_BEHAVIOR itself when it is imported.
    own = {_ONEDNN: "1", "TF2_BEHAVIOR": "1", **({"XLA_FLAGS": " ".join(place)} if place else {})}
    ignored = [name for name, value in os.environ.items() if _changes_numbers(name) and own.get(name) != value]
    for name in ignored:
        del os.environ[name]
    os.environ.update(own)
    return sorted(ignored)


def _changes_numbers(variable: str) -> bool:
    if variable.startswith("JAX_"):
        return not variable.startswith(_JAX_VARIABLES)
    return variable in _KERAS_VARIABLES or variable.startswith(_NUMBER_VARIABLES)


@contextmanager
def _keras_settings() -> Iterator[None]:
    """Import Keras with its default settings: without its variables, and without a keras.json that has others.

    Keras reads the file when it is imported, takes what it says for all that follows, and fails when it is damaged.
    """
    variables = {name: os.environ.pop(name) for name in _KERAS_VARIABLES if name in os.environ}
    try:
        with _keras_home():
            yield
    finally:
        os.environ.update(variables)


@contextmanager
def _keras_home() -> Iterator[None]:
    before = os.environ.get("KERAS_HOME")
    if before == "":  # Keras takes it for the current folder.
        del os.environ["KERAS_HOME"]
        before = None
    if _has_default_settings(before):
        yield
        return
    os.environ["KERAS_HOME"] = os.devnull
    try:
        yield
    finally:
        del os.environ["KERAS_HOME"]
        if before is not None:
            os.environ["KERAS_HOME"] = before


def _has_default_settings(keras_home: str | None) -> bool:
    """Return whether Keras would find its default settings, or none, in ``keras_home`` or its own folder."""
    home = os.path.expanduser("~")
    # Where it can't write to the home folder, Keras reads /tmp/.keras, which belongs to anybody.
    if keras_home is None and not os.access(home, os.W_OK):
        return False
    path = Path(os.path.expanduser(keras_home or os.path.join(home, ".keras"))) / "keras.json"
    if not os.path.lexists(path):
        return True
    try:
        found = read_object(path)
    except InvalidValueError:
        return False
    return all(_KERAS_SETTINGS.get(name) == value for name, value in found.items() if name != "backend")


def _require_keras_settings(keras: Any) -> None:
    """Refuse settings of the ``keras`` that this process has imported already with which numbers would be others.

    Raises:
        BackendError: naming the setting.
    """
    config = keras.config
    for name, found, wanted in (
        ("floatx", config.floatx(), "float32"),
        ("dtype_policy", config.dtype_policy().name, "float32"),
        ("max_epochs", config.max_epochs(), None),
        ("max_steps_per_epoch", config.max_steps_per_epoch(), None),
    ):
        if found != wanted:
            raise BackendError(
                f"cifarnet needs the setting {name} of Keras to be {wanted}: call keras.config.set_{name}({wanted!r})."
                f" Received: {found}"
            )


def _keep_compiled_steps() -> None:
    """Have JAX keep in the cache directory what it compiles for a GPU, unless the user has chosen a place.

    Half a minute for a training of ResNet-20 on an H100, most of it the choice of kernels by trying them; with the
    choices of an earlier run, of whatever depth, 4 to 8 s (benchmarks/README.md, section GPU).
    """
    import jax

    from cifarnet.data.cache import compiled_dir

    if _jax_gpus() and jax.config.jax_compilation_cache_dir is None:
        with suppress(NoHomeError):
            jax.config.update("jax_compilation_cache_dir", str(compiled_dir()))


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@contextmanager
def _home_without_room() -> Iterator[None]:
    """Set HOME, for an account without a home folder, to a path that can't hold files.

    Otherwise Keras and TensorFlow write their settings to a folder called ~ in the current folder, or read another
    user's settings from /tmp/.keras.
    """
    if home_dir() is not None:
        yield
        return
    os.environ["HOME"] = os.devnull
    try:
        yield
    finally:
        del os.environ["HOME"]


@contextmanager
def native_notices_held() -> Iterator[None]:
    """Hold back what C++ code writes to stderr, and show it only when the block fails.

    TensorFlow 2.21 logs from C++ before its logging is set up, so TF_CPP_MIN_LOG_LEVEL has no say: six lines about
    oneDNN and CUDA at every start, which say nothing that a user can act on. What he can, device() says.
    """
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    try:
        held, saved = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115 - closed below
    except OSError:  # stderr is closed, or no folder for temporary files can be written to.
        yield
        return
    with held:
        if sys.stderr:
            with suppress(OSError):
                sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # Not KeyboardInterrupt: a user who stops the program does not need them.
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@dataclass(frozen=True)
class Device:
    """Where the arithmetic runs: ``kind`` is "cpu" or "gpu", ``name`` for people, ``advice`` when a GPU lies idle.

    ``cores`` is the number of processor cores that the process may use.
    """

    backend: str
    kind: str
    name: str
    advice: str | None = None
    cores: int = 1

    def __str__(self) -> str:
        return f"{self.name} ({self.backend})"


def device() -> Device:
    """The device that the chosen backend computes on. Imports the backend."""
    backend = use_backend()
    gpus = _tensorflow_gpus() if backend == "tensorflow" else _jax_gpus()
    if gpus:
        return Device(backend, "gpu", f"GPU {gpus[0]}")
    cores = usable_cores()
    advice = _advice(backend, GpuFacts.collect())
    return Device(backend, "cpu", f"CPU, {cores} core{'' if cores == 1 else 's'}", advice, cores)


@dataclass(frozen=True)
class Execution:
    """How the training step runs on a device: what is fastest there, as far as it was measured.

    ``precision`` is that of the feature maps, ``jit`` whether XLA compiles the step, ``steps_per_call`` how many steps
    the device does before the host hears of them.
    """

    precision: str
    jit: bool
    steps_per_call: int

    @classmethod
    def best_on(cls, device: Device) -> "Execution":
        """The fastest on ``device``; the figures are in benchmarks/README.md."""
        if device.kind == "gpu":
            return cls("bfloat16", True, 32)
        if device.backend == "jax":
            return cls("float32", True, 1)
        return cls("bfloat16" if _cpu_multiplies_bfloat16() else "float32", False, 1)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has bfloat16 products (AVX512_BF16 or AMX); without them bfloat16 is slower than float32."""
    flags = next((line for line in _read(Path("/proc/cpuinfo")).splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass(frozen=True)
class GpuFacts:
    """What tells why a backend sees no GPU."""

    platform: str
    nvidia_hardware: bool
    nvidia_driver: bool
    visible_devices: str | None
    cuda_libraries: bool

    @classmethod
    def collect(cls) -> "GpuFacts":
        """Look at this machine, without loading a driver."""
        # 0x10de is NVIDIA's PCI vendor; class 0x03.... are display controllers (a card without a driver shows here).
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
            _is_installed("nvidia"),
        )


def _advice(backend: str, facts: GpuFacts) -> str | None:
    if not facts.nvidia_hardware or facts.platform != "linux":
        return None
    start = f"This machine has an NVIDIA GPU that {backend} can't use"
    if facts.visible_devices is not None and facts.visible_devices.strip() in ("", "-1"):
        return f"{start}: CUDA_VISIBLE_DEVICES={facts.visible_devices!r} hides it. Unset that variable."
    if not facts.nvidia_driver:
        return f"{start}: its driver is not loaded. Install NVIDIA's driver, then check with: nvidia-smi"
    extra = gpu_packages(backend)
    if not facts.cuda_libraries:
        return f"{start}: the CUDA libraries are not installed. Install them with: {extra}"
    return f"{start}: its CUDA libraries don't fit the driver or {backend}. Install fitting ones with: {extra}"


def gpu_packages(backend: str) -> str:
    """Return the command that installs what ``backend`` needs for an NVIDIA GPU into this Python."""
    return install_command("tensorflow[and-cuda]" if backend == "tensorflow" else "jax[cuda12]")


def _tensorflow_gpus() -> list[str]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def _jax_gpus() -> list[str]:
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        raise BackendError(
            f"JAX finds no device: {str(error).splitlines()[0]} Unset the variable JAX_PLATFORMS, or set it to cpu or"
            f" cuda. Received: JAX_PLATFORMS={wanted or ''}"
        ) from error
    return [device.device_kind for device in devices if device.platform != "cpu"]


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def versions() -> str:
    """Cifarnet's version with Python's, Keras's and the backends', without importing them."""
    from importlib import metadata

    from cifarnet import __version__

    chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
    installed = [f"{name} {metadata.version(name)}" for name in ("keras", "tensorflow", "jax") if _is_installed(name)]
    python = ".".join(map(str, sys.version_info[:3]))
    return f"cifarnet {__version__} (Python {python}, {', '.join(installed)}; backend: {chosen})"
