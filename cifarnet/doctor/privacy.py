"""Leave out of a diagnosis what its reader need not know: the user's home folder and name, and secrets."""

import os
import re
from typing import Any

from cifarnet.paths import home_dir

# Variables whose values may hold a password, a key or the address of a machine.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|ADDRESS|URL|PROXY|HOST|MIRROR|TF_CONFIG", re.IGNORECASE)


def shown_value(name: str, value: str) -> str | None:
    """Return the ``value`` of the environment variable ``name``; None where it may be secret."""
    return None if _SECRET.search(name) or "://" in value or "@" in value else value


def without_private_names(data: Any) -> Any:
    """Return JSON-ready ``data`` with ``~`` for the home folder, and USER for the user's name in other paths."""
    if isinstance(data, str):
        return _hidden(data)
    if isinstance(data, dict):
        return {name: without_private_names(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_private_names(value) for value in data]
    return data


def _hidden(text: str) -> str:
    home = home_dir()
    if home is not None and len(home.parts) > 1:
        for path in {str(home), os.path.realpath(home)}:
            text = re.sub(rf"{re.escape(path)}(?![\w-]|\.\w)", "~", text)
    if user := _user_name():
        text = re.sub(rf"(?<=[/\\]){re.escape(user)}(?=[/\\]|$)", "USER", text, flags=re.MULTILINE)
    return text


def _user_name() -> str | None:
    import getpass

    try:
        return getpass.getuser() or None
    except (OSError, KeyError, ImportError):  # An account without a name, as in docker run --user 12345.
        return None
