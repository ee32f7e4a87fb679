"""A training run as TensorBoard shows it: event files in the run's ``tensorboard/``, written as the run goes on.

The events are written as records of TensorFlow's, with no operation of it: under JAX it would take the GPU's memory.
"""

import os
import time
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from cifarnet import runs
from cifarnet.backend.environment import native_notices_held
from cifarnet.backend.select import use_backend
from cifarnet.errors import BackendError
from cifarnet.evaluation.scored import Scored
from cifarnet.installation import install_command
from cifarnet.models.spec import ModelSpec
from cifarnet.reports.text import printable
from cifarnet.training.events import EpochDone, Event, EventHandler, HistoryRow, Planned, Warned

MISTAKES = 24
"""Images of mistakes that are shown at the end."""

_FILE_VERSION = "brain.Event:2"


class TensorBoardLog:
    """A ``report`` that passes every event on to ``report`` and writes what TensorBoard shows of it.

    A resumed run goes on in a new file, which withdraws the epochs of the older ones that come again. When a file can't
    be written, ``report`` is told, and the training goes on without.

    Raises:
        BackendError: when TensorFlow is not installed.
    """

    def __init__(self, report: EventHandler):
        if find_spec("tensorflow") is None:
            raise BackendError(
                "--tensorboard needs TensorFlow to write its files, with every backend, and it is not installed."
                f" Install it with: {install_command('tensorflow')}; or train without --tensorboard."
            )
        self._tf: Any = None
        self.report = report
        self.epoch = 0
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        """Pass ``event`` on, and write it where it is the plan or an epoch."""
        if self._tf is None and isinstance(event, Planned):
            # Before the screen is drawn: what TensorFlow's import says on stderr is held back, with all else there.
            self._tf = _tensorflow()
        self.report(event)
        if isinstance(event, Planned):
            self._attempt(lambda: self._start(event))
        elif isinstance(event, EpochDone) and self._writer:
            self._attempt(lambda: self._epoch_done(event))

    def finish(self, scored: Scored) -> None:
        """Write the surest mistakes among the ``scored`` test images, and close the file."""
        if self._writer:
            self._attempt(lambda: self._write_mistakes(scored))
        if self._writer:
            self._attempt(self._writer.close)
        self._writer = None

    def _attempt(self, write: Any) -> None:
        try:
            write()
        except (OSError, ValueError, self._tf.errors.OpError) as error:
            self._writer = None
            reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
            self.report(
                Warned(f"{runs.TENSORBOARD}/ can't be written: {reason}. The training goes on without --tensorboard.")
            )

    def _start(self, plan: Planned) -> None:
        folder = plan.directory / runs.TENSORBOARD
        folder.mkdir(exist_ok=True)
        earlier = list(folder.iterdir())
        # TensorBoard reads the files in the order of their names. The process's number keeps two of one second apart.
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}"
        self._writer = self._tf.io.TFRecordWriter(str(folder / name))
        self._write(file_version=_FILE_VERSION)
        self._withdraw_from(plan.start_epoch + 1)
        self.epoch = plan.start_epoch
        if not earlier:
            for row in plan.history:  # Trained before a resumption, without a log.
                self._write_scalars(row, plan.held_out)
        if not earlier and (graph := _graph(plan.spec)):
            self._write(graph_def=graph)
        self._writer.flush()

    def _withdraw_from(self, epoch: int) -> None:
        """Have TensorBoard forget what earlier events say of ``epoch`` and later ones."""
        start = self._tf.compat.v1.SessionLog(status=self._tf.compat.v1.SessionLog.START)
        self._write(step=epoch, session_log=start)

    def _epoch_done(self, event: EpochDone) -> None:
        row = event.row
        if row.epoch <= self.epoch:  # The run went back to a checkpoint (--on-nan restore).
            self._withdraw_from(row.epoch)
        self.epoch = row.epoch
        self._write_scalars(row, event.held_out, event.images_per_second)
        self._writer.flush()

    def _write_scalars(self, row: HistoryRow, held_out: str, images_per_second: float | None = None) -> None:
        scalars = {_tag(column): value for column, value in row.columns(held_out).items()}
        scalars["speed/images_per_second"] = images_per_second
        values = [
            self._tf.compat.v1.Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars.items()
            if tag and value is not None
        ]
        self._write(step=row.epoch, summary=self._tf.compat.v1.Summary(value=values))

    def _write_mistakes(self, scored: Scored) -> None:
        from PIL import Image

        names = scored.data.class_names
        for place, row in enumerate(scored.mistakes(MISTAKES), start=1):
            pixels = scored.data.images[row]
            file = BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            picture = self._tf.compat.v1.Summary.Image(
                height=pixels.shape[0], width=pixels.shape[1], colorspace=3, encoded_image_string=file.getvalue()
            )
            true, predicted = names[scored.data.labels[row]], names[scored.predicted[row]]
            file_name = f", {scored.data.names[row]}" if scored.data.names else ""
            tag = f"mistakes/{place:02d} {true} taken for {predicted}, {scored.confidence[row]:.1%}{file_name}"
            value = self._tf.compat.v1.Summary.Value(tag=printable(tag), image=picture)
            self._write(step=self.epoch, summary=self._tf.compat.v1.Summary(value=[value]))

    def _write(self, **content: Any) -> None:
        event = self._tf.compat.v1.Event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())


def _tag(column: str) -> str:
    """The name in TensorBoard of a column of history.csv: one chart group a quantity; empty for what is no scalar."""
    split, _, quantity = column.rpartition("_")
    if quantity in ("loss", "accuracy"):
        return f"{quantity}/{split or 'training'}"
    return "learning_rate" if column == "learning_rate" else ""


def _tensorflow() -> Any:
    with native_notices_held():
        import tensorflow as tf
    return tf


def _graph(spec: ModelSpec) -> bytes | None:
    """The network's TensorFlow graph, from normalized images to logits; None on another backend."""
    if use_backend() != "tensorflow":
        return None
    from cifarnet.models.network import Network

    tf = _tensorflow()
    network = Network(spec)
    images = tf.TensorSpec((None, spec.image_size, spec.image_size, 3), tf.float32, name="images")
    graph = tf.function(network.logits).get_concrete_function(images).graph
    return graph.as_graph_def(add_shapes=True).SerializeToString()
