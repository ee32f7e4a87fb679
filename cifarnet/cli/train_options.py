"""The options of ``cifarnet train``, made from the fields of ``TrainRequest`` and ``Recipe``."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarnet.cli.options import Depth, Mirror, ReportFile, annotation, chosen_model, parsed
from cifarnet.errors import InvalidValueError
from cifarnet.fields import Option, Panel, option_name, options_of
from cifarnet.recipes import Recipe
from cifarnet.runs.request import SAVE_INTERVAL, TrainRequest, request_of

# The options that people need first, in this order. The others follow by panel, in the order of their declaration.
_FIRST = (
    "data",
    "model",
    "depth",
    "recipe",
    "epochs",
    "budget",
    "weights",
    "output",
    "resume",
    "validation_split",
    "seed",
    "seeds",
)

# Options of the command, which do not change the result of a run.
_COMMAND: dict[str, tuple[Any, Any]] = {
    "depth": (Depth, None),
    "output": (
        Annotated[
            Path | None, typer.Option(metavar="DIR", help="Directory of the run. Default: runs/NETWORK-RECIPE-TIME.")
        ],
        None,
    ),
    "resume": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="RUN",
                help="Continue the run, or the runs of --seeds, in this directory; with --epochs or --steps, a run"
                " to that length in all.",
            ),
        ],
        None,
    ),
    "seeds": (
        Annotated[
            int | None,
            typer.Option(
                metavar="N",
                help="Train a run for each of N seeds, from --seed on, and compare them at the end.",
            ),
        ],
        None,
    ),
    "jobs": (
        Annotated[
            int | None,
            typer.Option(
                metavar="N",
                help="With --seeds: train N runs at a time, each on its share of the processor cores, or on a GPU of"
                " its own. Default: what is fastest; with --budget one.",
                rich_help_panel=Panel.DEVICE,
            ),
        ],
        None,
    ),
    "mirror": (Mirror, None),
    "save_interval": (
        Annotated[
            float,
            typer.Option(
                metavar="SECONDS",
                min=0.0,
                help=f"Longest time between two checkpoints. Default: {SAVE_INTERVAL:g}.",
                show_default=False,
                rich_help_panel=Panel.RUN,
            ),
        ],
        SAVE_INTERVAL,
    ),
    "report_file": (ReportFile, None),
    "tensorboard": (
        Annotated[
            bool,
            typer.Option(
                "--tensorboard", help="Write a log for TensorBoard into the run.", rich_help_panel=Panel.OUTPUT
            ),
        ],
        False,
    ),
    "quiet": (
        Annotated[
            bool,
            typer.Option(
                "--quiet", "-q", help="Print only the result, warnings and errors.", rich_help_panel=Panel.OUTPUT
            ),
        ],
        False,
    ),
}
_COMMAND_RESUMABLE = {"resume", "mirror", "save_interval", "report_file", "tensorboard", "quiet"}
_OPTIONS = {cls: options_of(cls) for cls in (TrainRequest, Recipe)}


def with_train_options(function: Callable[..., None]) -> Callable[..., None]:
    """Set the signature of ``function``, which takes a context and ``**options``, so that Typer finds the options."""
    context, *_ = inspect.signature(function).parameters.values()
    signature = inspect.Signature([context, *sorted(_parameters(), key=_position)])
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _parameters() -> Iterator[inspect.Parameter]:
    for cls, options in _OPTIONS.items():
        for name in options:
            # A flag of a request is False when it is not given. A flag of a recipe is then that of the named recipe.
            field = next(each for each in fields(cls) if each.name == name)
            unset = cls is Recipe or field.default is not False
            yield _parameter(name, annotation(cls, name, unset=unset), None if unset else field.default)
    for name, (hint, default) in _COMMAND.items():
        yield _parameter(name, hint, default)


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _position(parameter: inspect.Parameter) -> tuple[int, int]:
    if parameter.name in _FIRST:
        return 0, _FIRST.index(parameter.name)
    declaration = parameter.annotation.__metadata__[0]
    return 1, list(Panel).index(declaration.rich_help_panel)


def given_options(context: typer.Context) -> dict[str, Any]:
    """Return the values of the options that were given on the command line, by field.

    Raises:
        InvalidValueError: for an invalid word or a number out of range. The message names the option.
    """
    given = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
    }
    described: dict[str, Option] = {name: each for options in _OPTIONS.values() for name, each in options.items()}
    for name in given.keys() & described.keys():
        if notation := described[name].notation:
            given[name] = parsed(notation, given[name], option_name(name))
        if valid := described[name].range:
            valid.require(name, given[name])
    return given


def train_request(given: dict[str, Any]) -> TrainRequest:
    """Return the request for the ``given_options``.

    Raises:
        InvalidValueError: as for ``TrainRequest``, and when ``--model`` and ``--depth`` contradict each other.
    """
    described = {name: value for name, value in given.items() if any(name in known for known in _OPTIONS.values())}
    if (model := chosen_model(described.get("model"), given.get("depth"))) is not None:
        described["model"] = model
    return request_of(described)


def resume_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``resume`` among the ``given_options``.

    Raises:
        InvalidValueError: for options that can't be changed in an existing run.
    """
    taken = {name for options in _OPTIONS.values() for name, each in options.items() if each.resumable}
    if refused := sorted(given.keys() - taken - _COMMAND_RESUMABLE):
        raise InvalidValueError(
            "A resumed run keeps the settings in its config.json, so --resume can't be combined with"
            f" {', '.join(map(option_name, refused))}. Start a new run to change them (--recipe RUN/config.json uses"
            " the same recipe)."
        )
    return {name: value for name, value in given.items() if name in taken}
