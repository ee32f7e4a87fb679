"""What is installed, and the shell command that installs more packages beside cifarnet.

The command names the packages themselves, not extras of cifarnet. So it works whether cifarnet was installed from an
index, a folder, an archive or a repository.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cifarnet.errors import BackendError
from cifarnet.shell import shell_line


@dataclass(frozen=True)
class Environment:
    """The Python environment that runs cifarnet.

    Attributes:
        prefix: the folder of the environment, ``sys.prefix``.
        python: the interpreter.
        isolated: whether it is a virtual environment.
        has_pip: whether it has pip.
        pip: the command ``pip`` in the shell's path, or None.
        uv: whether the command ``uv`` is in the shell's path.
        externally_managed: whether the system forbids pip to change the environment (PEP 668).
        user_site: whether cifarnet is installed only for this user, outside ``prefix``.
        windows: whether commands are quoted for Windows.
    """

    prefix: Path
    python: str
    isolated: bool = True
    has_pip: bool = True
    pip: Path | None = None
    uv: bool = False
    externally_managed: bool = False
    user_site: bool = False
    windows: bool = False

    @classmethod
    def current(cls) -> Self:
        """Return the environment of this process."""
        import site

        pip = shutil.which("pip")
        stdlib = sysconfig.get_path("stdlib")
        return cls(
            prefix=Path(sys.prefix),
            python=sys.executable or "python3",
            isolated=sys.prefix != sys.base_prefix,
            has_pip=is_installed("pip"),
            pip=Path(pip) if pip else None,
            uv=shutil.which("uv") is not None,
            externally_managed=(Path(stdlib) / "EXTERNALLY-MANAGED").exists(),
            user_site=Path(site.getusersitepackages()) in Path(__file__).parents,
            windows=sys.platform == "win32",
        )

    def install_words(self, packages: Sequence[str], again: bool = False) -> list[list[str]]:
        """Return the commands that install ``packages``, each as a list of words.

        With ``again``, packages that are installed are replaced.
        """
        if (self.prefix / "pipx_metadata.json").is_file():
            return [["pipx", "inject", *(["--force"] if again else []), self.prefix.name, *packages]]
        if (receipt := self.prefix / "uv-receipt.toml").is_file():
            words = _uv_tool_words(receipt, packages)
            return [[*words[:3], *(["--reinstall"] if again else []), *words[3:]]]
        if self.has_pip:
            force = ["--force-reinstall"] if again else []
            return [[*self._pip, "install", *self._pip_options, *force, *packages]]
        if self.uv:
            force = ["--reinstall"] if again else []
            return [["uv", "pip", "install", "--python", self.python, *force, *packages]]
        return [[self.python, "-m", "ensurepip"], [self.python, "-m", "pip", "install", *self._pip_options, *packages]]

    @property
    def _pip(self) -> list[str]:
        # If the environment is not activated in the shell, the command pip belongs to another environment.
        own = self.pip is not None and self.pip.parent == Path(self.python).parent
        return ["pip"] if own else [self.python, "-m", "pip"]

    @property
    def _pip_options(self) -> list[str]:
        if self.isolated:
            return []
        user = ["--user"] if self.user_site else []
        return [*user, "--break-system-packages"] if self.externally_managed else user


def install_command(*packages: str, environment: Environment | None = None, again: bool = False) -> str:
    """Return the shell command that installs ``packages`` into the environment, with the tool that installed cifarnet.

    Args:
        packages: requirements in pip's format, such as ``"tensorflow[and-cuda]"``.
        environment: the environment; by default that of this process.
        again: whether packages that are installed are replaced.
    """
    environment = environment or Environment.current()
    return " && ".join(
        shell_line(words, windows=environment.windows) for words in environment.install_words(packages, again)
    )


def _uv_tool_words(receipt: Path, packages: Sequence[str]) -> list[str]:
    """Return the ``uv tool install`` command that reinstalls the tool of ``receipt`` with ``packages`` added."""
    try:
        tool: dict[str, Any] = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]
        own, *others = tool["requirements"]
        words = ["uv", "tool", "install"]
        if python := tool.get("python"):
            words += ["--python", str(python)]
        # uv removes packages of an earlier --with that are not repeated.
        for other in [*map(_uv_requirement, others), *packages]:
            words += ["--with", other]
        return [*words, *(["--editable"] if "editable" in own else []), _uv_requirement(own)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ["uv", "tool", "install", *(word for package in packages for word in ("--with", package)), "cifarnet"]


def _uv_requirement(recorded: Mapping[str, Any]) -> str:
    """Return a requirement from uv's receipt in the format of its command line."""
    extras = f"[{','.join(recorded['extras'])}]" if recorded.get("extras") else ""
    for local in ("directory", "editable", "path"):
        if local in recorded:
            return f"{recorded[local]}{extras}"
    name = f"{recorded['name']}{extras}"
    if "git" in recorded:
        address, _, query = str(recorded["git"]).partition("?")
        revision = dict(part.partition("=")[::2] for part in query.split("&"))
        chosen = next((f"@{revision[kind]}" for kind in ("rev", "tag", "branch") if kind in revision), "")
        return f"{name} @ git+{address}{chosen}"
    if "url" in recorded:
        return f"{name} @ {recorded['url']}"
    return f"{name}{recorded.get('specifier', '')}"


def is_installed(module: str) -> bool:
    """Return whether the top-level ``module`` is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def require_package(what: str, module: str, package: str | None = None) -> None:
    """Check that the top-level ``module`` is installed, which ``what`` needs.

    Args:
        what: what needs it, for the message, such as ``"The engine onnx"``.
        module: the module, as Python imports it.
        package: the name under which it is installed; by default that of the module.

    Raises:
        BackendError: when it is not installed. The message says how to install it.
    """
    package = package or module
    if not is_installed(module):
        raise BackendError(
            f"{what} needs {package}, which is not installed. Install it with: {install_command(package)}"
        )


def versions() -> str:
    """Return the versions of cifarnet, Python, Keras and the installed backends as a line, importing none of them."""
    from importlib import metadata

    from cifarnet import __version__

    chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
    installed = [f"{name} {metadata.version(name)}" for name in ("keras", "tensorflow", "jax") if is_installed(name)]
    python = ".".join(map(str, sys.version_info[:3]))
    return f"cifarnet {__version__} (Python {python}, {', '.join(installed)}; backend: {chosen})"
