"""Options of the command line: those of several commands, and those made from fields of dataclasses."""

from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from cifarnet.cli.spelling import help_text
from cifarnet.durations import DURATION
from cifarnet.errors import InvalidValueError, unknown_value
from cifarnet.fields import Notation, Option, Panel, option_name, options_of
from cifarnet.runs.request import WEIGHTS, TrainRequest

# The panels of help pages that several commands have.
OUTPUT = Panel.OUTPUT


def choice(name: str, values: Sequence[str], help: str, **settings: Any) -> Any:
    """Return the declaration of the option ``name``, which takes one of ``values``.

    Other values are errors before the command runs. The message has the nearest valid value.
    """

    def check(value: str | None) -> str | None:
        if value not in (None, *values):
            raise unknown_value(name.lstrip("-").replace("-", "_"), str(value), values)
        return value

    return typer.Option(
        name, metavar="|".join(values), help=help, callback=check, autocompletion=lambda: list(values), **settings
    )


def annotation(cls: type, name: str, *, unset: bool = True) -> Any:
    """Return the annotation of a command's parameter for the field ``name`` of the dataclass ``cls``.

    With ``unset``, the value is None if the option is not given, and a flag also has a ``--no-`` form.
    """
    described, hint = options_of(cls)[name], get_type_hints(cls)[name]
    kind = _kind(described, hint)
    optional = unset or type(None) in get_args(hint)
    return Annotated[kind | None if optional else kind, _declaration(name, described, kind, optional)]


def _kind(described: Option, hint: Any) -> Any:
    """Return the type to which Typer converts the word of the option."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if described.notation:
        return str
    if any(get_origin(kind) is tuple for kind in kinds):
        return list[str]
    return next((kind for kind in (Path, str, bool, int, float) if kind in kinds), str)


def _declaration(name: str, described: Option, kind: Any, optional: bool) -> Any:
    panel = None if described.panel is Panel.COMMON else described.panel
    text = help_text(described.help)
    if described.choices:
        return choice(option_name(name), described.choices, text, rich_help_panel=panel)
    names = [option_name(name)]
    if kind is bool and optional:
        names = [f"{names[0]}/{option_name(f'no_{name}')}"]
    return typer.Option(*names, metavar=described.metavar, help=text, rich_help_panel=panel)


def parsed(notation: Notation, word: str, option: str) -> Any:
    """Return the value of the ``word`` for ``option``.

    Raises:
        InvalidValueError: for an invalid word.
    """
    try:
        return notation.parse(word)
    except ValueError:
        raise InvalidValueError(
            f"{option} takes {notation.what} such as {notation.example}. Received: {word}"
        ) from None


def seconds(text: str, option: str) -> float:
    """Return the seconds of a time such as ``1h30m``, ``20m`` or ``90s``.

    Raises:
        InvalidValueError: for an invalid text. The message names ``option``.
    """
    value: float = parsed(DURATION, text, option)
    return value


Backend = annotation(TrainRequest, "backend")
TestSplit = annotation(TrainRequest, "test_split")
SkipBroken = annotation(TrainRequest, "skip_broken", unset=False)
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Try this address before the official one of CIFAR-10 or CIFAR-100. May be repeated. The variable"
        " CIFARNET_MIRROR adds more addresses.",
        rich_help_panel=Panel.DATA,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.", rich_help_panel=OUTPUT)]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a self-contained HTML page with the results.",
        rich_help_panel=OUTPUT,
    ),
]
OptionalWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar=WEIGHTS,
        help="Trained weights: a run directory, a weight file, or a name that `cifarnet weights` lists.",
    ),
]


Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Network, such as resnet20; `cifarnet summary` lists them."),
]
Depth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", help="Short for --model resnetN. N is 8, 14, 20, ... (6n+2)."),
]


def chosen_model(model: str | None, depth: int | None, weights: object = None) -> str | None:
    """Return the name of the network from ``--model`` or ``--depth``; None if neither is given.

    With ``weights``, which give the network, neither is valid.

    Raises:
        InvalidValueError: when the options contradict each other, or no network has that depth.
    """
    from cifarnet.models.spec import model_name

    if weights is not None and (model, depth) != (None, None):
        option = "--depth" if model is None else "--model"
        raise InvalidValueError(
            f"--weights already gives the network: give {option} or --weights, not both. Received: both"
        )
    if depth is None:
        return model
    name = model_name(depth)
    if model not in (None, name):
        raise InvalidValueError(
            f"--depth {depth} is short for --model {name}: give one of the two. Received: --model {model} --depth"
            f" {depth}"
        )
    return name
