"""The options ``--engine`` and ``--precision`` of the commands that classify, and the start of the chosen engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cifarnet.choices import ENGINE_NAMES
from cifarnet.cli import console
from cifarnet.cli.options import choice
from cifarnet.errors import InvalidValueError

Engine = Annotated[
    str,
    choice(
        "--engine",
        ENGINE_NAMES,
        "What computes: onnx starts fastest, keras uses a GPU and explains, openvino is often the fastest on a CPU."
        " Default: auto, which is onnx on a CPU and keras on a GPU.",
        show_default=False,
    ),
]
Precision = Annotated[
    str | None,
    choice(
        "--precision",
        ("float32", "bfloat16"),
        "Data type of the computation. bfloat16 is less exact, and needs --engine openvino and a CPU that multiplies"
        " it. Default: float32.",
    ),
]


def chosen_engine(engine: str, backend: str | None, *, explains: bool = False, weights: Path | None = None) -> str:
    """Return the name of the engine for the options ``--engine`` and ``--backend``.

    ``explains`` is whether the command needs gradients, which only Keras computes. ``weights`` may be an exported
    network, which Keras can't run.

    Raises:
        InvalidValueError: when the options contradict each other, or for a backend that cifarnet does not run on.
        BackendError: when what the engine runs on is not installed.
    """
    from cifarnet.backend.select import choose_backend
    from cifarnet.inference.engines import choose_engine

    if weights is not None and (engine, backend, explains) != ("onnx", None, False):
        from cifarnet.weights.formats import is_exported

        if is_exported(weights):
            if engine == "keras" or backend is not None or explains:
                given = "--explain" if explains else "--backend" if backend is not None else "--engine keras"
                raise InvalidValueError(
                    f"{given} needs Keras, which can't run an exported network. Give the run or the weight file that it"
                    f" was made from, or leave out {given}. Received: {weights}"
                )
            engine = "onnx" if engine == "auto" else engine
    if engine not in ("auto", "keras"):
        if backend is not None:
            raise InvalidValueError(
                f"--backend is for --engine keras: leave out one of the two. Received: --engine {engine} --backend"
                f" {backend}"
            )
        if explains:
            raise InvalidValueError(
                f"--explain needs gradients, which the engine keras computes: leave out --engine. Received: --engine"
                f" {engine}"
            )
    chosen = "keras" if explains else choose_engine(engine, backend=backend)
    if chosen == "keras":
        choose_backend(backend)
    return chosen


def starter(backend: str | None, report: "console.ProgressReporter | None") -> Callable[[str], object]:
    """Return a function that is called with an engine's name before it starts, and starts Keras with ``backend``."""

    def start(engine: str) -> None:
        if engine == "keras":
            console.start_backend(backend, progress=report)

    return start
