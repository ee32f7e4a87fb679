import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from cifarnet.backend import select
from cifarnet.errors import BackendError

SETTINGS = """
import os
from cifarnet.backend.select import use_backend

use_backend()
import keras

config = keras.config
print(config.floatx(), config.epsilon(), config.image_data_format(), config.max_epochs(), config.is_nnx_enabled())
print(os.environ["KERAS_HOME"])
"""


def test_keras_starts_with_default_settings(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 1, "image_data_format": "channels_first"}')
    variables = {"KERAS_MAX_EPOCHS": "x", "KERAS_MAX_STEPS_PER_EPOCH": "1", "KERAS_NNX_ENABLED": "1"}
    backend = "jax" if find_spec("jax") else "tensorflow"  # The quicker one.
    environment = {**os.environ, **variables, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines() == ["float32 1e-07 channels_last None False", str(tmp_path)]


def _keras(**changes):
    settings = {"floatx": "float32", "dtype_policy": SimpleNamespace(name="float32"), "max_epochs": None}
    settings |= {"max_steps_per_epoch": None, **changes}
    return SimpleNamespace(
        backend=SimpleNamespace(backend=lambda: "tensorflow"),
        config=SimpleNamespace(**{name: lambda value=value: value for name, value in settings.items()}),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"floatx": "float16"}, r"floatx of Keras to be float32: .*set_floatx\('float32'\)\. Received: float16"),
        ({"dtype_policy": SimpleNamespace(name="mixed_float16")}, "dtype_policy of Keras to be float32"),
        ({"max_epochs": 1}, r"max_epochs of Keras to be None: .*set_max_epochs\(None\)\. Received: 1"),
        ({"max_steps_per_epoch": 1}, "max_steps_per_epoch of Keras to be None"),
    ],
)
def test_running_keras_with_other_settings_is_refused(changes, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", _keras())
    assert select.use_backend() == "tensorflow"
    monkeypatch.setitem(sys.modules, "keras", _keras(**changes))
    with pytest.raises(BackendError, match=message):
        select.use_backend()


JAX_CACHE = """
from cifarnet.backend import select

select.has_jax_gpu = lambda: True
select.use_backend("jax")
import jax

print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [True, False])
def test_jax_caches_what_it_compiles_for_a_gpu(tmp_path, chosen):
    pytest.importorskip("jax")
    environment = {**os.environ, "CIFARNET_CACHE": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if chosen:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "mine")
    done = subprocess.run(
        [sys.executable, "-c", JAX_CACHE], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == str(tmp_path / ("mine" if chosen else "xla"))


def test_a_step_for_many_image_sizes_has_no_advice_of_tensorflow():
    code = """
from cifarnet.backend.select import use_backend
use_backend("tensorflow")
import tensorflow as tf
double = tf.function(lambda images: 2 * images)
for size in range(1, 9):
    double(tf.zeros((size, size)))
tf.get_logger().warning("Other warnings are shown.")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "retracing" not in ended.stderr
    assert "Other warnings are shown." in ended.stderr
