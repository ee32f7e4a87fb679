"""What receipts hold, uv 0.9 to 0.13 and pipx 1.8 wrote."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cifarnet.installation import Environment, install_command

GPU = "tensorflow[and-cuda]"


def command(prefix, *packages, **facts):
    environment = Environment(Path(prefix), f"{prefix}/bin/python", **facts)
    return install_command(*(packages or (GPU,)), environment=environment)


def uv_tool(folder, requirements, python=""):
    folder.mkdir()
    (folder / "uv-receipt.toml").write_text(f"[tool]\n{python}requirements = [\n{requirements}\n]\nentrypoints = []\n")
    return folder


def test_an_active_environment_is_changed_by_its_pip():
    assert command("/venv", pip=Path("/venv/bin/pip")) == "pip install 'tensorflow[and-cuda]'"


def test_an_environment_that_is_not_active_is_named():
    for pip in (None, Path("/usr/bin/pip")):
        assert command("/my venv", pip=pip) == "'/my venv/bin/python' -m pip install 'tensorflow[and-cuda]'"


def test_pipx_injects_into_the_environment_of_the_tool(tmp_path):
    venv = tmp_path / "cifarnet-old"  # as with pipx install --suffix=-old
    venv.mkdir()
    (venv / "pipx_metadata.json").touch()
    assert command(venv, has_pip=False) == "pipx inject cifarnet-old 'tensorflow[and-cuda]'"


@pytest.mark.parametrize(
    ("requirements", "wanted"),
    [
        ('{ name = "cifarnet", directory = "/src/cifarnet" }', "--with jax /src/cifarnet"),
        ('{ name = "cifarnet", editable = "/src/cifarnet" }', "--with jax --editable /src/cifarnet"),
        ('{ name = "cifarnet" }', "--with jax cifarnet"),
        ('{ name = "cifarnet", extras = ["gpu"], specifier = ">=0.2" }', "--with jax 'cifarnet[gpu]>=0.2'"),
        ('{ name = "cifarnet", path = "/c-0.2-py3-none-any.whl" }', "--with jax /c-0.2-py3-none-any.whl"),
        ('{ name = "cifarnet", git = "https://x.y/c?rev=v1" }', "--with jax 'cifarnet @ git+https://x.y/c@v1'"),
        ('{ name = "cifarnet", url = "https://x.y/c.zip" }', "--with jax 'cifarnet @ https://x.y/c.zip'"),
        (
            '{ name = "cifarnet", directory = "/src" },\n{ name = "six", specifier = ">=1" }',
            "--with 'six>=1' --with jax /src",
        ),
    ],
)
def test_a_uv_tool_is_installed_again_as_it_was(tmp_path, requirements, wanted):
    assert command(uv_tool(tmp_path / "tool", requirements), "jax", has_pip=False) == f"uv tool install {wanted}"


def test_a_uv_tool_keeps_its_python(tmp_path):
    folder = uv_tool(tmp_path / "tool", '{ name = "cifarnet" }', 'python = "3.12"\n')
    assert command(folder, "jax") == "uv tool install --python 3.12 --with jax cifarnet"


def test_a_damaged_uv_receipt_leaves_a_command(tmp_path):
    folder = uv_tool(tmp_path / "tool", "")
    for content in ("", "[tool", "[tool]\nrequirements = [3]"):
        (folder / "uv-receipt.toml").write_text(content)
        assert command(folder, "jax") == "uv tool install --with jax cifarnet"


def test_an_environment_without_pip_is_changed_by_uv():
    assert command("/venv", "jax", has_pip=False, uv=True) == "uv pip install --python /venv/bin/python jax"


def test_without_pip_and_uv_python_brings_pip():
    wanted = "/venv/bin/python -m ensurepip && /venv/bin/python -m pip install jax"
    assert command("/venv", "jax", has_pip=False) == wanted


@pytest.mark.parametrize(
    ("facts", "options"),
    [
        ({}, ""),
        ({"user_site": True}, "--user "),
        ({"externally_managed": True}, "--break-system-packages "),
        ({"user_site": True, "externally_managed": True}, "--user --break-system-packages "),
    ],
)
def test_a_system_python_is_changed_as_it_allows(facts, options):
    assert command("/usr", "jax", isolated=False, **facts) == f"/usr/bin/python -m pip install {options}jax"


def test_a_virtual_environment_of_a_managed_python_is_free():
    assert command("/venv", "jax", externally_managed=True) == "/venv/bin/python -m pip install jax"


def test_windows_commands_are_quoted_for_windows():
    environment = Environment(Path("C:/a b"), "C:/a b/python.exe", windows=True)
    wanted = '"C:/a b/python.exe" -m pip install jax'
    assert install_command("jax", environment=environment) == wanted


def test_command_for_this_process_is_understood_by_its_installer():
    words = shlex.split(install_command("numpy"))
    assert words[-1] == "numpy"
    if words[0] != sys.executable and words[0] != "pip":
        pytest.skip(f"this environment was made by {words[0]}")
    assert subprocess.run([*words, "--dry-run", "--no-index", "--quiet"], check=False).returncode == 0


def test_packages_are_installed_again(tmp_path):
    def again(prefix, **facts):
        environment = Environment(Path(prefix), f"{prefix}/bin/python", **facts)
        return install_command("jax", environment=environment, again=True)

    tool = uv_tool(tmp_path / "tool", '{ name = "cifarnet" }')
    (tmp_path / "pipx").mkdir()
    (tmp_path / "pipx" / "pipx_metadata.json").touch()
    assert again("/venv", pip=Path("/venv/bin/pip")) == "pip install --force-reinstall jax"
    assert again("/venv", has_pip=False, uv=True) == "uv pip install --python /venv/bin/python --reinstall jax"
    assert again(tool) == "uv tool install --reinstall --with jax cifarnet"
    assert again(tmp_path / "pipx") == "pipx inject --force pipx jax"
