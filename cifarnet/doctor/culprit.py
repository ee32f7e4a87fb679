"""Find the package in which an error happened.

A broken package breaks others: TensorFlow 2.21 imports JAX where it is installed.
"""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable

# A line of a traceback of Python or of its faulthandler.
_FRAME = re.compile(r'^ *File "(.+?)", line \d+', re.MULTILINE)


def package_of_error(error: BaseException) -> str | None:
    """Return the package whose code raised ``error`` or its cause; None for Python and cifarnet."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_package(frame.filename for frame in reversed(traceback.extract_tb(error.__traceback__)))


def package_of_log(log: str) -> str | None:
    """Return the package whose code ran when Python's faulthandler wrote ``log``; None for Python and cifarnet."""
    return _first_package(_FRAME.findall(log))


def _first_package(files: Iterable[str]) -> str | None:
    return next((package for file in files if (package := _package_at(file))), None)


def _package_at(file: str) -> str | None:
    """Return the top-level module that the source ``file`` belongs to; None for Python's own and for cifarnet."""
    roots = [os.path.join(os.path.abspath(path), "") for path in sys.path if path]
    root = max((root for root in roots if file.startswith(root)), key=len, default=None)
    if root is None or os.path.dirname(root) in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        return None
    module = file.removeprefix(root).split(os.sep)[0].removesuffix(".py")
    return None if module == "cifarnet" else module
