"""Spell the parameters that library messages name in backticks as options of the command line."""

import importlib
from functools import cache

from cifarnet.errors import PARAMETER
from cifarnet.fields import option_name

# Where the option has another name than the parameter.
_OPTIONS = {"class_names": "--classes-file", "directory": "--output", "path": "--output", "mirrors": "--mirror"}


def with_options(message: str) -> str:
    """Return ``message`` with parameters as options: ``--test-split`` for `` `test_split` ``.

    Other words in backticks, which a name of the user's own may have, stay as they are.
    """
    return PARAMETER.sub(lambda match: _options().get(match[1], match[0]), message)


def help_text(text: str) -> str:
    """Return the help ``text`` of an option with all parameters in backticks as options."""
    return PARAMETER.sub(lambda match: _spelled(match[1]), text)


def _spelled(parameter: str) -> str:
    return _OPTIONS.get(parameter) or option_name(parameter)


@cache
def _options() -> dict[str, str]:
    import typer

    # Not imported by name: the module imports all commands, and these import this one.
    app = importlib.import_module("cifarnet.cli.main").app
    known = dict(_OPTIONS)
    commands = [typer.main.get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name:
                known[parameter.name] = _spelled(parameter.name)
    return known
