import os

import pytest

from cifarnet.backend import environment

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
def test_keras_json_with_other_settings_is_ignored(content, is_default, tmp_path):
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert environment._has_default_settings(str(tmp_path)) is is_default


def test_keras_json_that_is_a_fifo_is_ignored(tmp_path):
    os.mkfifo(tmp_path / "keras.json")
    assert not environment._has_default_settings(str(tmp_path))


def test_shared_tmp_keras_is_ignored(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not environment._has_default_settings(None)


def test_variables_that_change_numbers_are_ignored(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", *environment._NUMBER_VARIABLES))]:
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
    assert environment.ignore_number_variables() == sorted(ignored)
    assert {name: os.environ[name] for name in kept} == kept
    assert {name: os.environ[name] for name in ignored if name in os.environ} == {
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "XLA_FLAGS": "--xla_gpu_cuda_data_dir=/cuda",
    }
    assert environment.ignore_number_variables() == []
