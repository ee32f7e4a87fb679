import re
import tomllib
from pathlib import Path

import pytest

from cifarnet.backend.gpus import GpuFacts
from cifarnet.doctor import machine
from cifarnet.doctor.privacy import without_private_names

ROOT = Path(__file__).parents[2]


def test_packages_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for name in ("heic", "jax", "export") for each in project["optional-dependencies"][name]]
    wanted = {tuple(each.split(">=")) for each in [*project["dependencies"], *extras]}
    assert {(package.name, package.least) for package in machine.packages()} == wanted


def test_a_package_of_another_name_is_found():
    assert machine.version_of("PIL") == machine.version_of("pillow")
    assert machine.version_of("no-such-package") is None


def test_the_driver_has_a_version(tmp_path):
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12.2"
    (tmp_path / "version").write_text(text)
    assert machine._driver_version(tmp_path / "version") == "535.183.01"
    assert machine._driver_version(tmp_path / "none") is None
    assert machine.nvidia(GpuFacts("linux", True, False, "0", False)).hardware


def test_variables_that_matter_are_shown_without_secrets(monkeypatch):
    given = {
        "CIFARNET_MIRROR": "https://me:secret@host/a",
        "CIFARNET_CACHE": "/data/cache",
        "KERAS_BACKEND": "jax",
        "TF_VAR_password": "of Terraform",
        "TF_CONFIG": '{"cluster": {"worker": ["host:1"]}}',
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "1",
        "JAX_COORDINATOR_ADDRESS": "host:1",
        "EDITOR": "vi",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = {each.name: (each.value, each.ignored) for each in machine.variables()}
    assert {name: found[name] for name in given if name in found} == {
        "CIFARNET_MIRROR": (None, False),
        "CIFARNET_CACHE": ("/data/cache", False),
        "KERAS_BACKEND": ("jax", False),
        "TF_CONFIG": (None, False),
        "TF_ENABLE_ONEDNN_OPTS": ("0", True),
        "CUDA_VISIBLE_DEVICES": ("1", False),
        "JAX_COORDINATOR_ADDRESS": (None, True),
    }


def test_what_cifarnet_sets_itself_is_not_shown(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert "TF_ENABLE_ONEDNN_OPTS" not in [each.name for each in machine.variables()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/venv/lib", "~/venv/lib"),
        ("in /home/alice.", "in ~."),
        ("/home/alice2/x", "/home/alice2/x"),
        ("/scratch/alice/cache", "/scratch/USER/cache"),
        ("/scratch/alice", "/scratch/USER"),
        ("alice is a name", "alice is a name"),
    ],
)
def test_home_and_user_are_hidden(text, shown, monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("LOGNAME", "alice")
    assert without_private_names({"a": [text], "b": (1, None)}) == {"a": [shown], "b": [1, None]}


def test_a_machine_without_known_facts_has_none(monkeypatch):
    for name, value in (("cpu_facts", dict), ("memory", lambda: None), ("available_memory", lambda: None)):
        monkeypatch.setattr(machine, name, value)
    found = machine.machine()
    assert (found.instructions, found.memory, found.available) == ((), None, None)
    assert re.match(r"\d+\.\d+", found.python)
    assert found.cores >= 1
