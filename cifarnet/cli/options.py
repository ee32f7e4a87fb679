"""Options that several commands share, so that they read the same everywhere."""

import re
from pathlib import Path
from typing import Annotated

import typer

from cifarnet.errors import InvalidValueError

Backend = Annotated[
    str | None,
    typer.Option("--backend", metavar="tensorflow|jax", help="Keras backend. (default: KERAS_BACKEND or tensorflow)"),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Address to try before CIFAR-10's official one; may be repeated. CIFARNET_MIRROR holds more.",
    ),
]
TestSplit = Annotated[
    float | None,
    typer.Option(
        "--test-split",
        metavar="FRACTION",
        help="Hold this fraction of every class out (0.2, say), for data without test images.",
    ),
]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave pictures out that can't be read, and name them, instead of stopping."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.html", help="Write one self-contained page to look at.", show_default=False),
]
OptionalWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="RUN|FILE|NAME",
        help="A run directory, a weight file, or a name that `cifarnet weights` lists.",
        show_default=False,
    ),
]


def seconds(text: str, option: str) -> float:
    """The seconds in a span of time such as ``1h30m``, ``20m`` or ``90s``.

    Raises:
        InvalidValueError: for anything else, naming ``option``.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    if not text.strip() or not match:
        raise InvalidValueError(f"{option} takes a time such as 20m, 1h30m or 90s. Received: {text}")
    return sum(float(part) * unit for part, unit in zip(match.groups("0"), (3600, 60, 1), strict=True))
