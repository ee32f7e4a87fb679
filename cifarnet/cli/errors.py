"""Convert exceptions to error messages and exit statuses."""

import os
import re
from collections.abc import Sequence
from typing import Any

import typer

from cifarnet.cli.spelling import with_options
from cifarnet.errors import CifarnetError, did_you_mean
from cifarnet.shell import command_line

# Pydantic's codes for values of another type (https://docs.pydantic.dev/latest/errors/validation_errors/).
_KINDS = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
}


def error_message(error: Exception, words: Sequence[str]) -> tuple[str, int]:
    """Return the message for ``error`` and the exit status.

    Args:
        error: the exception that ended the command.
        words: the command line without ``cifarnet``.
    """
    if isinstance(error, CifarnetError):
        return with_options(str(error)), error.exit_code
    if isinstance(error, typer.TyperException):
        return _usage_message(error, list(words)), error.exit_code
    if isinstance(error, typer.Abort | EOFError):
        return "The command was stopped.", 1
    if isinstance(error, MemoryError):
        return f"This machine has too little memory: {str(error) or 'no more was available'}", 1
    if isinstance(error, OSError):
        return _refusal(error), 1
    return (
        f"This is a fault of cifarnet: {type(error).__name__}: {error}. Set CIFARNET_TRACEBACK=1 to see where it"
        f" happened, and report it with the output of: cifarnet doctor --json. Received: {command_line(*words)}"
    ), 1


def _refusal(error: OSError) -> str:
    try:
        os.getcwd()
    except OSError:
        return "The current folder has been deleted or can't be read. Change to another one, then try again."
    return f"The system refused: {error}"


def _usage_message(error: typer.TyperException, words: list[str]) -> str:
    """Return the message for a usage error that Typer found.

    Typer does not export the classes of these errors, so they are distinguished by their attributes.
    """
    context = getattr(error, "ctx", None)
    option: str | None = getattr(error, "option_name", None)
    parameter = getattr(error, "param", None)
    command = context.command_path if context else " ".join(["cifarnet", *words[:1]])
    see = f"See {command} --help."
    if context and option and hasattr(error, "possibilities"):
        names = [name for each in context.command.get_params(context) for name in (*each.opts, *each.secondary_opts)]
        known = [name for name in names if name.startswith("--")]
        received = next((word.partition("=")[0] for word in words if _contains(word, option)), option)
        return f"{command} has no option {received}.{did_you_mean(received, known)} {see} Received: {received}"
    if option and "requires an argument" in error.message:
        return f"{option} needs a value. {see} Received: {option} without a value"
    if option:
        received = next((word for word in words if word.startswith(f"{option}=")), option)
        return f"{option} takes no value. {see} Received: {received}"
    if parameter is not None:
        name = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
        if hasattr(error, "param_type"):
            return f"{command} needs {name}. {see} Received: no {name}"
        return f"{name} must be {_valid_values(error, parameter)}. {see} Received: {_value(error)}"
    message = error.format_message().rstrip(".")
    if extra := re.fullmatch(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)", message):
        return f"{command} takes no argument {extra[1]}. {see} Received: {extra[1]}"
    return f"{message}. {see} Received: {command_line(*words)}"


def _contains(word: str, option: str) -> bool:
    """Return whether ``word`` of the command line contains the unknown ``option`` that Typer found.

    Typer reads ``-epochs`` as ``-e -p -o ...``, and reports that there is no option ``-e``.
    """
    return word.partition("=")[0] == option or (option[:2] != "--" and word.startswith(option))


def _pydantic_error(error: typer.TyperException) -> dict[str, Any]:
    """Return pydantic's description of an invalid value, or an empty dict."""
    cause = error.__cause__
    first: dict[str, Any] = cause.errors()[0] if cause is not None and hasattr(cause, "errors") else {}
    return first


def _valid_values(error: typer.TyperException, parameter: Any) -> str:
    """Return a phrase for the valid values of ``parameter``, such as ``a whole number of at least 1``."""
    kind = _KINDS.get(_pydantic_error(error).get("type", ""))
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if kind is None and low is None and high is None:
        return f"another value: {error.message.rstrip('.')}"
    limits = " and ".join(
        f"at {word} {limit:g}" for word, limit in (("least", low), ("most", high)) if limit is not None
    )
    return " of ".join(filter(None, [kind, limits]))


def _value(error: typer.TyperException) -> str:
    return str(_pydantic_error(error).get("input", "a value that can't be read"))
