"""Choice and start of the Keras backend.

Keras takes its backend from the environment when it is imported. So every module that needs Keras calls
``use_backend`` first.
"""

import importlib
import logging
import os
import sys
from contextlib import suppress
from typing import Any

from cifarnet.backend.environment import account_without_home, default_keras_settings, native_notices_held
from cifarnet.backend.gpus import has_jax_gpu, tensorflow_gpus
from cifarnet.choices import BACKENDS
from cifarnet.errors import BackendError, NoHomeError, unknown_value
from cifarnet.installation import install_command, is_installed


def choose_backend(name: str | None = None) -> str:
    """Return the name of the Keras backend that ``use_backend(name)`` would start, without importing it.

    The choice is ``name`` if given, else the variable KERAS_BACKEND, else TensorFlow.

    Raises:
        InvalidValueError: for a backend that cifarnet does not run on.
        BackendError: when the backend is not installed, or Keras already runs on another one.
    """
    running = sys.modules["keras"].backend.backend() if "keras" in sys.modules else None
    chosen = name or running or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen not in BACKENDS:
        what = None if name or running else "The variable KERAS_BACKEND"
        raise unknown_value("backend", chosen, BACKENDS, what)
    if running not in (None, chosen):
        raise BackendError(
            f"Keras already runs on {running} in this process and can't change to {chosen}."
            f" Set KERAS_BACKEND={chosen} before Keras is imported."
        )
    if not running and not is_installed(chosen):
        raise BackendError(f"The backend {chosen} is not installed. Install it with: {install_command(chosen)}")
    return chosen


def use_backend(name: str | None = None) -> str:
    """Start the Keras backend of this process and return its name.

    Call it before anything imports Keras. ``choose_backend`` picks the backend. The first call imports it, which takes
    seconds.

    Raises:
        InvalidValueError: for a backend that cifarnet does not run on.
        BackendError: when the backend can't be used or fails to start.
    """
    chosen = choose_backend(name)
    if "keras" in sys.modules:
        _require_keras_settings(sys.modules["keras"])
        return chosen
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with native_notices_held(), account_without_home(), default_keras_settings():
        try:
            importlib.import_module("keras")
        except Exception as error:
            raise BackendError(
                f"{chosen} can't be started: {type(error).__name__}: {error}. Check its variables in the environment,"
                f" or install it again with: {install_command(chosen)}"
            ) from error

        if chosen == "tensorflow":
            tensorflow_gpus()  # Here, so that what its C++ code logs is held back too.
            logging.getLogger("tensorflow").addFilter(_is_no_retracing)
        elif has_jax_gpu():
            _cache_compiled_steps()
    return chosen


def _is_no_retracing(record: logging.LogRecord) -> bool:
    # A run that begins with small images traces its step once for each size, and TensorFlow advises against it.
    return "tf.function retracing" not in record.getMessage()


def _require_keras_settings(keras: Any) -> None:
    """Check the settings of the ``keras`` that this process has already imported.

    Raises:
        BackendError: for a setting that would change the numbers.
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


def _cache_compiled_steps() -> None:
    """Let JAX cache what it compiles for a GPU in cifarnet's cache folder, unless the user has set another folder.

    Compiling the training step of ResNet-20 takes half a minute on an H100, most of it to time candidate kernels. With
    the cache of an earlier run of any depth it takes 4 to 8 s (benchmarks/README.md, section GPU).
    """
    import jax

    from cifarnet.data.cache import compiled_dir

    if jax.config.jax_compilation_cache_dir is None:
        with suppress(NoHomeError):
            jax.config.update("jax_compilation_cache_dir", str(compiled_dir()))
