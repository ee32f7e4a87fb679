"""Replace the parameters in library messages, which are in backticks, by options of the command line."""

import re

# Options whose names differ from those of the parameters.
_OPTIONS = {"directory": "--output", "mirrors": "--mirror"}


def with_options(message: str) -> str:
    """Return ``message`` with parameters as options: ``--test-split`` for `` `test_split` ``."""
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda match: _option(match[1]), message)


def _option(parameter: str) -> str:
    return _OPTIONS.get(parameter, "--" + parameter.replace("_", "-"))
