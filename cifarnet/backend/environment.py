"""The environment in which a backend is imported: variables, Keras's settings file, the home folder, stderr."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cifarnet.errors import InvalidValueError
from cifarnet.json_files import read_object
from cifarnet.paths import home_dir

# Keras's defaults. "backend" is missing, since the variable KERAS_BACKEND takes precedence over the file.
_KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last", "nnx_enabled": False}
# Keras 3.15: the first two end an epoch or the training early, the third selects another class of variables.
_KERAS_VARIABLES = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")

# Prefixes of the variables that make TensorFlow 2.21, oneDNN, cuDNN and XLA use other algorithms or precisions.
# Thread counts and memory limits don't change numbers and are left out.
_NUMBER_VARIABLES = (
    *("DNNL_", "NVIDIA_TF32_OVERRIDE", "ONEDNN_", "TF2_BEHAVIOR", "TF_AUTO_MIXED_PRECISION_", "TF_CONV2D_"),
    *("TF_CUDNN_", "TF_DETERMINISTIC_", "TF_DISABLE_", "TF_ENABLE_", "TF_FP16_", "TF_JITRT_", "TF_MATMUL_"),
    *("TF_ONEDNN_", "TF_SET_ONEDNN_", "TF_USE_", "TF_XLA_", "XLA_FLAGS"),
)
# JAX's variables that don't change numbers. All its others may.
_HARMLESS_JAX_VARIABLES = (
    *("JAX_COMPILATION_CACHE_", "JAX_CUDA_", "JAX_ENABLE_COMPILATION_CACHE", "JAX_LOG", "JAX_PERSISTENT_CACHE_"),
    *("JAX_PLATFORM", "JAX_ROCM_", "JAX_TRACEBACK_"),
)
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def ignore_number_variables() -> list[str]:
    """Remove the variables that change what a backend computes from the environment, and return their names.

    Call it before the backend is imported. The command line does, so that its numbers don't depend on them; a program
    that imports cifarnet may choose not to. The folder of the CUDA libraries in XLA_FLAGS is kept.
    """
    wanted, ignored = set_variables(), number_variables()
    for name in ignored:
        del os.environ[name]
    os.environ.update(wanted)
    return ignored


def number_variables() -> list[str]:
    """Return the names of the variables that ``ignore_number_variables`` would remove."""
    wanted = set_variables()
    return sorted(name for name, value in os.environ.items() if _changes_numbers(name) and wanted.get(name) != value)


def set_variables() -> dict[str, str]:
    """Return the variables that the command line sets before it imports a backend."""
    cuda = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.startswith("--xla_gpu_cuda_data_dir=")]
    # TensorFlow sets TF2_BEHAVIOR itself when it is imported.
    return {_ONEDNN: "1", "TF2_BEHAVIOR": "1", **({"XLA_FLAGS": " ".join(cuda)} if cuda else {})}


def _changes_numbers(variable: str) -> bool:
    if variable.startswith("JAX_"):
        return not variable.startswith(_HARMLESS_JAX_VARIABLES)
    return variable in _KERAS_VARIABLES or variable.startswith(_NUMBER_VARIABLES)


@contextmanager
def default_keras_settings() -> Iterator[None]:
    """Hide Keras's variables, and a keras.json with other settings than the defaults, while Keras is imported.

    Keras reads the file once, when it is imported, and fails when the file is damaged.
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
    if before == "":  # Keras would use the current folder.
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
    """Return whether ``keras_home``, by default ~/.keras, has no keras.json or one with the default settings."""
    home = os.path.expanduser("~")
    # When the home folder is not writable, Keras reads /tmp/.keras, which any user can write.
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


@contextmanager
def account_without_home() -> Iterator[None]:
    """For an account without a home folder, set HOME to a path that can't hold files.

    Otherwise Keras and TensorFlow write their settings to a folder named ~ in the current folder, or read another
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

    TensorFlow 2.21 logs six lines about oneDNN and CUDA from C++ at every start, before TF_CPP_MIN_LOG_LEVEL takes
    effect. They hold nothing that a user can act on; ``device`` gives advice where a GPU can't be used.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
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
        except Exception:  # Not KeyboardInterrupt: a user who stops the program doesn't need the log.
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
