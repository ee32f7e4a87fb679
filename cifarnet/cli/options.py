"""Options that several commands share, so that they read the same everywhere."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarnet.choices import BACKENDS
from cifarnet.errors import InvalidValueError, unknown_value

# The panels of help pages that several commands have.
DATA, OUTPUT, DEVICE = "Data", "Output", "Device"


def choice(name: str, values: Sequence[str], help: str, **settings: Any) -> Any:
    """Return the declaration of the option ``name``, which takes one of ``values``.

    Another value is refused with the nearest one before anything else happens.
    """

    def check(value: str | None) -> str | None:
        if value not in (None, *values):
            raise unknown_value(name.lstrip("-").replace("-", "_"), str(value), values)
        return value

    return typer.Option(
        name, metavar="|".join(values), help=help, callback=check, autocompletion=lambda: list(values), **settings
    )


Backend = Annotated[
    str | None,
    choice(
        "--backend",
        BACKENDS,
        "Keras backend. Default: the variable KERAS_BACKEND, or tensorflow.",
        rich_help_panel=DEVICE,
    ),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Try this address before the official one of CIFAR-10. May be repeated. The variable CIFARNET_MIRROR adds"
        " more addresses.",
        rich_help_panel=DATA,
    ),
]
TestSplit = Annotated[
    float | None,
    typer.Option(
        "--test-split",
        metavar="FRACTION",
        help="Hold out this fraction of each class as test images, for data without any: 0.2.",
        rich_help_panel=DATA,
    ),
]
SkipBroken = Annotated[
    bool,
    typer.Option(
        "--skip-broken", help="Leave out pictures that can't be read, instead of stopping.", rich_help_panel=DATA
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
WEIGHTS = "RUN|FILE|NAME"
"""The metavar of options that take a run directory, a weight file or a name that ``cifarnet weights`` lists."""

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
    typer.Option("--model", metavar="NAME", help="Network: resnet20, resnet32, resnet44, resnet56, resnet110, ..."),
]
Depth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", help="Short for --model resnetN. N is 8, 14, 20, ... (6n+2)."),
]


def chosen_model(model: str | None, depth: int | None, weights: object = None) -> str | None:
    """Return the name of the network that ``--model`` or ``--depth`` gives; None without either.

    With ``weights``, which name their network themselves, neither may be given.

    Raises:
        InvalidValueError: when the options contradict each other, or no network has that depth.
    """
    from cifarnet.models.spec import model_name

    if weights is not None and (model, depth) != (None, None):
        option = "--depth" if model is None else "--model"
        raise InvalidValueError(
            f"--weights gives the network too: give {option} or --weights, not both. Received: both"
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


def seconds(text: str, option: str) -> float:
    """Return the seconds in a span of time such as ``1h30m``, ``20m`` or ``90s``.

    Raises:
        InvalidValueError: for anything else, naming ``option``.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    if not text.strip() or not match:
        raise InvalidValueError(f"{option} takes a time such as 20m, 1h30m or 90s. Received: {text}")
    return sum(float(part) * unit for part, unit in zip(match.groups("0"), (3600, 60, 1), strict=True))
