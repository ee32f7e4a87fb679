"""From uint8 images to logits, with the preprocessing that the weights carry."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from cifarnet.backend.select import use_backend
from cifarnet.choices import TTA
from cifarnet.data.progress import Progress
from cifarnet.errors import DataError, WeightsError, unknown_value
from cifarnet.files import StrPath
from cifarnet.models.weights import Weights

BATCH_SIZE = 250


class Classifier:
    """A network that classifies images.

    The network is built when it is first used. That imports Keras and its backend, which takes seconds.

    Args:
        weights: the weights, or a run directory, weight file or name that they are read from.
        start_backend: imports the backend; by default the one that ``use_backend`` chooses.

    Raises:
        InvalidValueError: when ``weights`` is neither weights nor a path or name.
        WeightsError: when there are no readable weights.
    """

    def __init__(self, weights: Weights | StrPath, start_backend: Callable[[], object] = use_backend):
        if not isinstance(weights, Weights):
            from cifarnet.weights.catalog import load

            weights = load(weights)
        self.weights = weights
        self._start_backend = start_backend

    @cached_property
    def network(self) -> Any:
        """The Keras model."""
        self._start_backend()
        from cifarnet.models.network import build_model

        return build_model(self.weights.spec, self.weights.tensors)

    @cached_property
    def _model(self) -> Any:
        return logits_model(self.network, self.weights.normalization)

    def logits(
        self,
        images: np.ndarray,
        *,
        tta: str = "none",
        batch_size: int = BATCH_SIZE,
        compiled: bool = True,
        report: Progress | None = None,
    ) -> np.ndarray:
        """Logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3).

        ``tta="flip"`` averages the logits of each image and its mirror image (test-time augmentation). ``compiled`` is
        that of ``run_batches``.

        Raises:
            DataError: for images of another type or size than the network takes.
            InvalidValueError: for an unknown ``tta``.
            WeightsError: when a logit is not a finite number.
        """
        size = self.weights.spec.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise DataError(
                f"{self.weights.spec.title} takes uint8 images of shape (n, {size}, {size}, 3)."
                f" Received: {images.dtype} {images.shape}"
            )
        if tta not in TTA:
            raise unknown_value("Test-time augmentation", tta, TTA)
        logits = run_batches(self._model, images, batch_size, report, compiled)
        if tta == "flip":
            logits = (logits + run_batches(self._model, images[:, :, ::-1], batch_size, report, compiled)) / 2
        return finite(logits, self.weights.spec.title)


def finite(logits: np.ndarray, title: str) -> np.ndarray:
    """``logits`` of the network called ``title``.

    Raises:
        WeightsError: when one is not a finite number.
    """
    if not np.isfinite(logits).all():
        raise WeightsError(
            f"The {title} gives logits that are not finite numbers: its training diverged, or its weights are damaged."
            " Train it again, with a lower learning rate where it diverged."
        )
    return logits


def logits_model(network: Any, normalization: Any, image_size: int | None = None) -> Any:
    """A Keras model from uint8 images (batch, size, size, 3) to the network's logits (batch, classes).

    Normalization happens inside, on the device: four times fewer bytes travel than with float32 images. With
    ``image_size`` the network sees the images shrunk to it, as training with progressive resizing shows them.
    """
    import keras

    from cifarnet.data.augmentation import normalize, shrink

    class Logits(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="logits")
            self.network = network

        def call(self, images: Any) -> Any:
            shrunk = shrink(normalize(images, normalization), image_size or images.shape[1])
            return self.network.logits(shrunk, training=False)

    return Logits()


def run_batches(
    model: Any, images: np.ndarray, batch_size: int, report: Progress | None = None, compiled: bool = True
) -> np.ndarray:
    """``model``'s outputs for ``images``, batch by batch.

    Not ``compiled``, TensorFlow runs operation by operation, which answers the first batch 0.2 s sooner and the
    others later; JAX compiles in any case, since it would compile every operation on its own otherwise.

    A last batch that is not full is filled up with zeros when full ones came before it: another shape would be
    another compilation, which takes longer than the wasted arithmetic.
    """
    import keras

    by_operation = not compiled and keras.backend.backend() == "tensorflow"
    answer = model if by_operation else model.predict_on_batch
    outputs = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        count = len(batch)
        if start and count < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - count, *batch.shape[1:]), batch.dtype)])
        outputs.append(np.asarray(answer(batch))[:count])
        if report:
            report("Classifying images", start + count, len(images))
    return np.concatenate(outputs) if outputs else np.zeros((0, model.network.spec.classes), np.float32)
