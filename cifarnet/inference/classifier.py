"""Classify images with trained weights and the preprocessing that is stored with them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from cifarnet.choices import TTA
from cifarnet.data.progress import Progress
from cifarnet.errors import CifarnetError, DataError, InvalidValueError, WeightsError, unknown_value
from cifarnet.fields import require_whole
from cifarnet.files import StrPath
from cifarnet.inference.engines import BATCH_SIZE, Engine, choose_engine, choose_precision, start_engine
from cifarnet.weights.record import Weights


class Classifier:
    """A trained network that classifies images.

    The engine starts at its first use, which may take seconds.

    Args:
        weights: the weights, or the run directory, weight file or name to read them from.
        engine: ``"auto"`` or one of ``cifarnet.inference.engines.ENGINES``; see ``choose_engine``.
        precision: the data type of the computation. By default float32. The engine ``openvino`` also computes in
            ``"bfloat16"`` on CPUs that multiply it.
        on_start: called with the engine's name before the engine starts.

    Attributes:
        weights: the weights.
        engine_name: the name of the engine.
        precision: the data type of the computation.

    Raises:
        InvalidValueError: when ``weights`` is neither weights nor a path or name, for an unknown ``engine``, or for a
            ``precision`` that the engine does not compute in.
        BackendError: when the package that the engine runs on is not installed.
        WeightsError: when there are no readable weights.
    """

    def __init__(
        self,
        weights: Weights | StrPath,
        *,
        engine: str = "auto",
        precision: str | None = None,
        on_start: Callable[[str], object] = lambda engine: None,
    ):
        self.engine_name = choose_engine(engine)
        if not isinstance(weights, Weights):
            from cifarnet.weights import catalog
            from cifarnet.weights.formats import load_network

            weights = catalog.read(weights, load_network)[1]
        if weights.graph is not None and self.engine_name == "keras":
            if engine == "keras":
                raise InvalidValueError(
                    "`engine` keras can't run an exported network: use onnx, or the weights that it was made from."
                    " Received: keras",
                    field="engine",
                    value=engine,
                )
            self.engine_name = choose_engine("onnx")
        self.precision = choose_precision(self.engine_name, precision)
        self.weights = weights
        self._on_start = on_start

    @cached_property
    def engine(self) -> Engine:
        """The engine, which starts at the first access."""
        self._on_start(self.engine_name)
        return start_engine(self.engine_name, self.weights, precision=self.precision)

    def logits(
        self,
        images: np.ndarray,
        *,
        tta: str = "none",
        batch_size: int = BATCH_SIZE,
        compiled: bool = True,
        report: Progress | None = None,
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3).

        Args:
            images: the images. Normalization is part of the network.
            tta: test-time augmentation. ``"flip"`` averages the logits of each image and its mirror image.
            batch_size: images per batch.
            compiled: whether to compile the network, as in ``Engine.logits``.
            report: called with the progress, as in ``Engine.logits``.

        Raises:
            DataError: for images of the wrong type or size.
            InvalidValueError: for an unknown ``tta``, or a ``batch_size`` below 1.
            WeightsError: when a logit is not a finite number.
        """
        size = self.weights.spec.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise DataError(
                f"{self.weights.spec.title} takes uint8 images of shape (n, {size}, {size}, 3)."
                f" Received: {images.dtype} {images.shape}"
            )
        if tta not in TTA:
            raise unknown_value("tta", tta, TTA)
        require_whole("batch_size", batch_size, low=1)
        try:
            logits = self.engine.logits(images, batch_size=batch_size, compiled=compiled, report=report)
            if tta == "flip":
                mirrored = images[:, :, ::-1]
                logits += self.engine.logits(mirrored, batch_size=batch_size, compiled=compiled, report=report)
                logits /= 2
        except Exception as error:
            # Only a crafted file, whose checksum is right, can hold a graph that does not run.
            if self.weights.graph is None or isinstance(error, CifarnetError):
                raise
            raise WeightsError(f"The exported {self.weights.spec.title} can't be run: {error!s:.200}.") from error
        return require_finite(logits, self.weights.spec.title)


def require_finite(logits: np.ndarray, title: str) -> np.ndarray:
    """Return ``logits``, after a check that all are finite. The message names the network by its ``title``.

    Raises:
        WeightsError: when a logit is not a finite number.
    """
    if not np.isfinite(logits).all():
        raise WeightsError(
            f"The {title} gives logits that are not finite numbers: its training diverged, or its weights are damaged."
            " Train it again, with a lower learning rate if it diverged."
            f" Received: {np.count_nonzero(~np.isfinite(logits)):,} non-finite logits"
        )
    return logits
