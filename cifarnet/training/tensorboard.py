"""Write a training run as event files for TensorBoard, in the run's ``tensorboard/``.

Events are written by the package ``tensorboard`` without TensorFlow, whose import takes seconds and, under JAX, the
GPU's memory. ``tensorboard``'s ``EventFileWriter`` imports TensorFlow where it is installed, so the events go through
its ``RecordWriter``.
"""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from cifarnet.backend.select import use_backend
from cifarnet.errors import BackendError
from cifarnet.evaluation.scored import Scored
from cifarnet.events import EpochDone, Event, EventHandler, HistoryRow, Planned, Warned
from cifarnet.installation import install_command
from cifarnet.models.spec import ModelSpec
from cifarnet.printable import printable
from cifarnet.runs import files

MISTAKES = 24
"""The number of mistakes whose images are written at the end."""

_FILE_VERSION = "brain.Event:2"


class TensorBoardLog:
    """An event handler that passes each event on to ``report`` and writes it for TensorBoard.

    A resumed run writes a new file, which replaces the epochs of earlier files that are trained again. When a file
    can't be written, ``report`` gets a warning, and the training continues without the log.

    Raises:
        BackendError: when the package ``tensorboard`` is not installed.
    """

    def __init__(self, report: EventHandler):
        if find_spec("tensorboard") is None:
            raise BackendError(
                "`tensorboard` needs the package tensorboard, which is not installed."
                f" Install it with: {install_command('tensorboard')}; or train without `tensorboard`."
            )
        self.report = report
        self.epoch = 0
        self._file: _EventFile | None = None

    def __call__(self, event: Event) -> None:
        """Pass ``event`` on, and write it if it is the plan or an epoch."""
        self.report(event)
        if isinstance(event, Planned):
            self._attempt(lambda: self._start(event))
        elif isinstance(event, EpochDone) and (file := self._file):
            self._attempt(lambda: self._write_epoch(file, event))

    def finish(self, scored: Scored) -> None:
        """Write the most confident mistakes among the ``scored`` test images."""
        if file := self._file:
            self._attempt(lambda: self._write_mistakes(file, scored))
        self._file = None

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, ValueError) as error:
            self._file = None
            reason = getattr(error, "strerror", None) or str(error)
            self.report(
                Warned(
                    f"{files.TENSORBOARD}/ can't be written: {reason}. The training continues without `tensorboard`."
                )
            )

    def _start(self, plan: Planned) -> None:
        folder = plan.directory / files.TENSORBOARD
        folder.mkdir(exist_ok=True)
        earlier = list(folder.iterdir())
        # TensorBoard reads the files in the order of their names; the process id separates files of the same time.
        file = _EventFile(folder / f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}")
        file.restart_at(plan.start_epoch + 1)
        self.epoch = plan.start_epoch
        if not earlier:
            for row in plan.history:  # Epochs that were trained before without a log.
                file.add_scalars(row.epoch, _scalars(row, plan.held_out))
            if graph := _graph(plan.spec):
                file.add(graph_def=graph)
        file.flush()
        self._file = file

    def _write_epoch(self, file: "_EventFile", event: EpochDone) -> None:
        row = event.row
        if row.epoch <= self.epoch:  # The run restored an earlier checkpoint (--on-nan restore).
            file.restart_at(row.epoch)
        self.epoch = row.epoch
        file.add_scalars(
            row.epoch, {**_scalars(row, event.held_out), "speed/images_per_second": event.images_per_second}
        )
        file.flush()

    def _write_mistakes(self, file: "_EventFile", scored: Scored) -> None:
        names = scored.data.class_names
        for place, row in enumerate(scored.mistakes(MISTAKES), start=1):
            true, predicted = names[scored.data.labels[row]], names[scored.predicted[row]]
            file_name = f", {scored.data.names[row]}" if scored.data.names else ""
            tag = f"mistakes/{place:02d} {true} taken for {predicted}, {scored.confidence[row]:.1%}{file_name}"
            file.add_image(self.epoch, printable(tag), scored.data.images[row])
        file.flush()


class _EventFile:
    """An event file, to which ``flush`` appends the events that were added."""

    def __init__(self, path: Path):
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._path = path
        self._added = BytesIO()
        self._records = RecordWriter(self._added)
        self.add(file_version=_FILE_VERSION)

    def add(self, **content: Any) -> None:
        """Add an event with these fields of TensorBoard's ``Event``."""
        from tensorboard.compat.proto.event_pb2 import Event as Record

        self._records.write(Record(wall_time=time.time(), **content).SerializeToString())

    def restart_at(self, epoch: int) -> None:
        """Make TensorBoard drop earlier events of ``epoch`` and later epochs."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self.add(step=epoch, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, epoch: int, scalars: dict[str, int | float | None]) -> None:
        """Add the values of ``scalars`` by tag, except None."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if value is not None]
        self.add(step=epoch, summary=Summary(value=values))

    def add_image(self, epoch: int, tag: str, pixels: Any) -> None:
        """Add an image, uint8 (height, width, 3)."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        png = BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        height, width = pixels.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.getvalue())
        self.add(step=epoch, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))

    def flush(self) -> None:
        """Append the added events to the file.

        Raises:
            OSError: when the file can't be written.
        """
        with self._path.open("ab") as file:
            file.write(self._added.getvalue())
        self._added.seek(0)
        self._added.truncate()


def _scalars(row: HistoryRow, held_out: str) -> dict[str, int | float | None]:
    """Return the scalars of an epoch by their tags in TensorBoard."""
    tagged = {_tag(column): value for column, value in row.columns(held_out).items()}
    return {tag: value for tag, value in tagged.items() if tag}


def _tag(column: str) -> str:
    """Return the tag of a column of history.csv, with one group of charts for each quantity; empty for no scalar."""
    split, _, quantity = column.rpartition("_")
    if quantity in ("loss", "accuracy"):
        return f"{quantity}/{split or 'training'}"
    return "learning_rate" if column == "learning_rate" else ""


def _graph(spec: ModelSpec) -> bytes | None:
    """Return the network's TensorFlow graph, from normalized images to logits; None with another backend."""
    if use_backend() != "tensorflow":
        return None
    import tensorflow as tf

    from cifarnet.models.network import Network

    network = Network(spec)
    images = tf.TensorSpec((None, spec.image_size, spec.image_size, 3), tf.float32, name="images")
    graph = tf.function(network.logits).get_concrete_function(images).graph
    return graph.as_graph_def(add_shapes=True).SerializeToString()
