"""Options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

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
        "--test-split", metavar="FRACTION", help="Hold this much of every class out, for data without test images."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
OptionalWeights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="RUN|FILE", help="A run directory or a weight file.", show_default=False),
]
