"""Probes of packages that are really broken."""

import sys

import pytest

from cifarnet.doctor.processes import ProbeError, _ending, run_probe
from tests.support.doctor import package

CRASH = "import ctypes\nctypes.string_at(0)"


def broken(folder, monkeypatch, code, patience=60.0):
    package(folder, "onnxruntime", code)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    from cifarnet.doctor.probe import packed
    from cifarnet.doctor.selftest import untrained_weights

    request = {"kind": "engine", "name": "onnx", "tensors": [packed(untrained_weights().tensors)]}
    with pytest.raises(ProbeError) as caught:
        run_probe(request, lambda activity: None, patience)
    return caught.value


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ImportError('libgone.so: cannot open\\nmore')", "fails: ImportError: libgone.so: cannot open"),
        ("import sys; sys.exit(3)", "fails: SystemExit: 3"),
        ("import os; os._exit(3)", "ends the process with status 3"),
        (CRASH, "ends the process with SIGSEGV"),
    ],
    ids=["raises", "exits", "ends", "crashes"],
)
def test_a_broken_package_is_reported(code, message, tmp_path, monkeypatch):
    error = broken(tmp_path, monkeypatch, code)
    assert str(error) == message
    assert error.culprit == (None if "_exit" in code else "onnxruntime")


def test_a_package_that_hangs_is_ended(tmp_path, monkeypatch):
    error = broken(tmp_path, monkeypatch, "import time\nwhile True: time.sleep(1)", patience=4)
    assert str(error) == "does not answer. It was ended after 4 s without a sign of life"


def test_what_a_package_prints_is_no_answer(tmp_path, monkeypatch):
    error = broken(tmp_path, monkeypatch, "print('{}')\nprint('x' * 100_000)\nraise OSError('end')")
    assert str(error) == "fails: OSError: end"


def test_an_error_that_says_what_to_do_is_kept(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(ProbeError, match="Received: JAX_PLATFORMS=nonsense") as caught:
        run_probe({"kind": "backend", "name": "jax", "test": False}, lambda activity: None)
    assert caught.value.advises


@pytest.mark.parametrize(
    ("status", "text"), [(-4, "SIGILL, which says"), (-9, "SIGKILL, which often"), (-250, "signal 250")]
)
def test_how_a_process_ended_is_named(status, text):
    assert f"with {text}" in _ending(status)
