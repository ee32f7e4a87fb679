"""One call of Keras's ``fit``: a part of an epoch, which can be stopped after any batch."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cifarnet.training.model import HostArray

if TYPE_CHECKING:
    from cifarnet.training.loop import Loop
    from cifarnet.training.model import TrainingModel


def fit(
    model: "TrainingModel",
    rows: np.ndarray,
    draws: np.ndarray,
    labels: np.ndarray,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train ``model`` on batches of these rows, in their order.

    Args:
        model: the training model, whose recipe gives the batch size.
        rows: int32 (n,), row numbers of training images.
        draws: float32 (n, draws), the random numbers of their augmentation.
        labels: int32 (n,).
        callbacks: as for Keras's ``fit``.
    """
    batch, size = {"rows": rows, "draws": draws}, model.recipe.batch_size
    on_host = model.images if isinstance(model.images, HostArray) else None
    if keras.backend.backend() == "tensorflow":
        model.fit(_tensorflow_batches((batch, labels), size, on_host), shuffle=False, verbose=0, callbacks=callbacks)
    elif on_host:
        model.fit(_HostBatches(batch, labels, size, on_host), shuffle=False, verbose=0, callbacks=callbacks)
    else:
        model.fit(batch, labels, batch_size=size, shuffle=False, verbose=0, callbacks=callbacks)


class _HostBatches(keras.utils.PyDataset):
    """Batches with inputs from an array on the host."""

    def __init__(self, batch: dict[str, np.ndarray], labels: np.ndarray, batch_size: int, on_host: HostArray):
        super().__init__()
        self.batch = batch
        self.labels = labels
        self.batch_size = batch_size
        self.on_host = on_host

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        batch = {name: values[part] for name, values in self.batch.items()}
        return {**batch, "inputs": self.on_host.take(batch["rows"])}, self.labels[part]


def _tensorflow_batches(slices: Any, batch_size: int, on_host: HostArray | None) -> Any:
    """Return a TensorFlow data set of batches of ``slices``, with inputs from an array ``on_host`` if there is one.

    The data set that Keras makes of arrays tunes itself in a thread. Deleting it took a second after every call of
    ``fit`` (TensorFlow 2.21), and up to nine when some of its batches had not been read.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices(slices).batch(batch_size)
    if on_host is not None:
        array = on_host

        def with_inputs(batch: Any, labels: Any) -> Any:
            inputs = tf.numpy_function(array.take, [batch["rows"]], array.array.dtype)
            inputs.set_shape((None, *array.shape[1:]))
            return {**batch, "inputs": inputs}, labels

        # The next batch is read during a step.
        batches = batches.map(with_inputs).prefetch(2)
    return batches.with_options(options)


class Segment(keras.callbacks.Callback):
    """Connects one call of ``fit`` to ``loop``: restores the epoch's running metrics, and stops ``fit`` when needed.

    The call trains the batches up to ``end`` of an epoch of ``batches``.
    """

    def __init__(self, loop: "Loop", batches: int, end: int):
        super().__init__()
        self.loop = loop
        self.batches = batches
        self.steps = end - loop.train_state.batch
        self.done = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore the state of the epoch."""
        # fit has just reset the metrics. Without this, an epoch in two parts would report only its second part.
        self.loop.restore_metrics()
        self.loop.seed_draws()
        self.loop.model.last_logs = None
        self.loop.step_timer.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass the finished steps to the loop."""
        # With several steps in one call, ``batch`` is the last of them, even if the batches ran out before it.
        done = min(batch + 1, self.steps)
        steps, self.done = done - self.done, done
        if self.loop.steps_done(steps, self.batches, logs or {}):
            self.model.stop_training = True
