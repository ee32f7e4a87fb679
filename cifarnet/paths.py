"""The folders of cifarnet's cache and weights, and the expansion and names of paths that users type."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath

from cifarnet.errors import NoHomeError


def cache_dir() -> Path:
    """Return the folder of what can be made or downloaded again: $CIFARNET_CACHE, else the platform's cache folder.

    Raises:
        NoHomeError: when the variable is not set and the account has no home folder.
    """
    if chosen := os.environ.get("CIFARNET_CACHE"):
        return typed(Path(chosen))
    from platformdirs import user_cache_path

    return _platform_dir(user_cache_path, "cache", "CIFARNET_CACHE")


def graphs_dir() -> Path:
    """Return the cache folder of ONNX graphs.

    Raises:
        NoHomeError: as ``cache_dir``.
    """
    return cache_dir() / "onnx"


def duplicates_dir() -> Path:
    """Return the cache folder of near-duplicates of test images.

    Raises:
        NoHomeError: as ``cache_dir``.
    """
    return cache_dir() / "duplicates"


def weights_dir() -> Path:
    """Return the folder of the user's weights: $CIFARNET_WEIGHTS, else one in the platform's user data folder.

    Raises:
        NoHomeError: when the variable is not set and the account has no home folder.
    """
    if chosen := os.environ.get("CIFARNET_WEIGHTS"):
        return typed(Path(chosen))
    from platformdirs import user_data_path

    return _platform_dir(user_data_path, "named weights", "CIFARNET_WEIGHTS") / "weights"


def keras_dir() -> Path | None:
    """Return Keras's folder: $KERAS_HOME, else ~/.keras; None for an account without a home folder."""
    if chosen := os.environ.get("KERAS_HOME"):
        return typed(Path(chosen))
    home = home_dir()
    return None if home is None else home / ".keras"


def home_dir() -> Path | None:
    """Return the user's home folder; None for an account without one, such as in ``docker run --user 12345``."""
    try:
        return Path.home().absolute()
    except RuntimeError:
        return None


def typed(path: Path) -> Path:
    """Return a ``path`` that a user typed as an absolute path.

    A leading ``~`` or ``~name`` is replaced by the home folder, unless a file or folder has that name or there is no
    such home folder.
    """
    if not os.path.lexists(path):
        with suppress(RuntimeError):
            path = path.expanduser()
    return path.absolute()


def last_name(path: str) -> str:
    """Return the last name in ``path`` as text for a title; for ``.`` and ``..``, the name of that folder."""
    name = PurePath(path).name
    return (PurePath(os.path.realpath(path)).name or path) if name in ("", "..") else name


def _platform_dir(find: Callable[..., Path], purpose: str, variable: str) -> Path:
    folder = None
    with suppress(RuntimeError):
        folder = find("cifarnet", appauthor=False)
    # Without a home, platformdirs 4.14 raises RuntimeError; earlier versions return a path that begins with a ~.
    if folder is None or folder.parts[:1] == ("~",):
        raise NoHomeError(
            f"There is no folder for the {purpose}, because this account has no home folder. Set {variable} to a"
            f" writable folder. Received: HOME={os.environ.get('HOME', '')}"
        )
    return folder.absolute()
