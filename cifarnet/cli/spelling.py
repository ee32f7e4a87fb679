"""Spell the parameters that library messages name in backticks as options of the command line."""

import re

# Where the option has another name than the parameter.
_OPTIONS = {"directory": "--output", "mirrors": "--mirror"}


def with_options(message: str) -> str:
    """Return ``message`` with parameters as options: ``--test-split`` for `` `test_split` ``."""
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda match: _option(match[1]), message)


def _option(parameter: str) -> str:
    return _OPTIONS.get(parameter, "--" + parameter.replace("_", "-"))
