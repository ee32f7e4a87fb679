"""Engines compute logits from images. A new engine is one module here and one row of ``ENGINES``."""

import importlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from cifarnet.backend.select import use_backend
from cifarnet.data.progress import Progress
from cifarnet.errors import unknown_value
from cifarnet.models.memory import images_within_limit
from cifarnet.models.spec import ModelSpec
from cifarnet.weights.record import Weights

BATCH_SIZE = 250
"""Images per batch. Larger images have smaller batches; see ``default_batch_size``."""

ENGINES = {"keras": ("cifarnet.inference.engines.keras", "KerasEngine")}
"""The module and the class of each engine. The module is imported when the engine starts."""


class Engine(Protocol):
    """Computes the logits of one network. The logits of different engines agree to 1e-4.

    The constructor takes the weights and a function that starts the Keras backend. Engines without Keras don't call it.
    """

    def logits(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3).

        Args:
            images: the images.
            batch_size: images per batch.
            compiled: whether to compile the network. Without compilation the first batch is done sooner, and the
                others may take longer.
            report: called with the progress after every batch.
        """
        ...


def default_batch_size(spec: ModelSpec) -> int:
    """Return the images per batch for the network of ``spec``: ``BATCH_SIZE``, or fewer within the limit of memory."""
    return images_within_limit(spec, BATCH_SIZE)


def require_engine(name: str) -> None:
    """Check that there is an engine called ``name``.

    Raises:
        InvalidValueError: when there is not.
    """
    if name not in tuple(ENGINES):
        raise unknown_value("engine", name, ENGINES)


def start_engine(name: str, weights: Weights, start_backend: Callable[[], object] = use_backend) -> Engine:
    """Return the engine called ``name`` for the network of ``weights``.

    Raises:
        InvalidValueError: when there is no such engine.
    """
    require_engine(name)
    module, attribute = ENGINES[name]
    engine: Engine = getattr(importlib.import_module(module), attribute)(weights, start_backend)
    return engine
