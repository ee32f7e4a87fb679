import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from cifarnet import runtime
from cifarnet.errors import BackendError

DEFAULT = '{"floatx": "float32", "epsilon": 1e-07, "backend": "jax", "image_data_format": "channels_last"}'


@pytest.mark.parametrize(
    ("content", "is_default"),
    [
        (None, True),
        (DEFAULT, True),
        ("{}", True),
        (DEFAULT.replace("float32", "float16"), False),
        (DEFAULT.replace("float32", "nonsense"), False),
        (DEFAULT.replace("1e-07", "0.001"), False),
        (DEFAULT.replace("1e-07", '"small"'), False),
        (DEFAULT.replace("last", "first"), False),
        ('{"nnx_enabled": true}', False),
        ('{"floatx": ["float32"]}', False),
        ('{"floatx": "float32"', False),
        ("[]", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_a_keras_json_with_other_settings_is_not_read(content, is_default, tmp_path):
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert runtime._has_default_settings(str(tmp_path)) is is_default


def test_a_keras_json_that_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "keras.json")
    assert not runtime._has_default_settings(str(tmp_path))


def test_where_home_cannot_be_written_tmp_is_not_read(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not runtime._has_default_settings(None)


SETTINGS = """
import os
from cifarnet.runtime import use_backend

use_backend()
import keras

config = keras.config
print(config.floatx(), config.epsilon(), config.image_data_format(), config.max_epochs(), config.is_nnx_enabled())
print(os.environ["KERAS_HOME"])
"""


def test_keras_has_its_default_settings_whatever_the_environment(tmp_path):
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
def test_other_settings_of_a_running_keras_are_refused(changes, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", _keras())
    assert runtime.use_backend() == "tensorflow"
    monkeypatch.setitem(sys.modules, "keras", _keras(**changes))
    with pytest.raises(BackendError, match=message):
        runtime.use_backend()


def test_variables_that_change_numbers_are_ignored_and_named(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", *runtime._NUMBER_VARIABLES))]:
        monkeypatch.delenv(name)
    ignored = {
        "JAX_ENABLE_X64": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true --xla_gpu_cuda_data_dir=/cuda",
    }
    kept = {
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "TF_NUM_INTRAOP_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    for name, value in {**ignored, **kept}.items():
        monkeypatch.setenv(name, value)
    assert runtime.ignore_number_variables() == sorted(ignored)
    assert {name: os.environ[name] for name in kept} == kept
    assert {name: os.environ[name] for name in ignored if name in os.environ} == {
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "XLA_FLAGS": "--xla_gpu_cuda_data_dir=/cuda",
    }
    assert runtime.ignore_number_variables() == []


def test_a_platform_that_jax_does_not_know_is_named(monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend 'nonsense'.\nMore lines")

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=devices))
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(BackendError, match=r"backend 'nonsense'\. Unset .* Received: JAX_PLATFORMS=nonsense"):
        runtime._jax_gpus()
