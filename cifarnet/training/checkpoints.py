"""Save the state of a run. Failures leave complete files behind, and do not end the training."""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarnet.errors import StorageError, WeightsError
from cifarnet.events import EventHandler, HistoryRow, Warned
from cifarnet.files import write_text
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

DAMAGED = "checkpoint.damaged.h5"


class CheckpointManager:
    """Writes the best weights, the checkpoint and the history of ``run``, in this order.

    After a crash between the first two, the resumed run repeats the epoch and writes the same best weights again. When
    a file can't be written, ``report`` gets one warning, its content is kept in memory, and the next save tries again.
    """

    def __init__(self, run: Run, held_out: str, report: EventHandler):
        self.run, self.directory, self.held_out, self.report = run, run.path, held_out, report
        self.failure: StorageError | None = None
        """The error of the last save; None if it succeeded."""
        self.best: Weights | None = None
        """The best weights so far, until they are written."""
        self._epochs_written: int | None = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint``, the history, and the best weights if they are new. The class describes failures.

        Raises:
            LostRunError: when the directory was deleted, moved or replaced.
        """
        self.run.require_in_place()
        try:
            self._write(checkpoint)
        except StorageError as error:
            if not self.failure:
                self.report(Warned(f"{error} The training continues, and the next save tries again."))
            self.failure = error
            return
        if self.failure:
            self.report(Warned(f"Saving works again: {self.failure.path} is written."))
        self.failure = None

    def _write(self, checkpoint: Checkpoint) -> None:
        if self.best:
            save_weights(self.directory / files.BEST_WEIGHTS, self.best)
            self.best = None
        save_checkpoint(
            self.directory / files.CHECKPOINT, checkpoint, previous=self.directory / files.PREVIOUS_CHECKPOINT
        )
        self.write_history(checkpoint.train_state.history)

    def write_result(self, weights: Weights, metrics: dict[str, Any]) -> None:
        """Write weights.h5, then metrics.json, which marks the run as finished, and delete the previous checkpoint.

        Raises:
            LostRunError: when the directory was deleted, moved or replaced.
            StorageError: when a file can't be written.
        """
        self.run.require_in_place()
        save_weights(self.directory / files.WEIGHTS, weights)
        self.run.write_metrics(metrics)
        self.run.require_in_place()
        remove_previous(self.directory)

    def hold(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint`` in a process that can't read it from the run directory. This class keeps nothing."""

    def latest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint; see ``latest_checkpoint``."""
        return latest_checkpoint(self.directory, self.report)

    def best_weights(self) -> Weights:
        """Return the best weights so far.

        Raises:
            WeightsError: when their file is missing or damaged.
        """
        return self.best or load_weights(self.directory / files.BEST_WEIGHTS)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write history.csv, unless ``history`` is empty or already written.

        If a run is killed, its checkpoint may have an epoch that history.csv lacks.

        Raises:
            StorageError: when a file can't be written.
        """
        if history and self._epochs_written != len(history):
            rows = [row.columns(self.held_out) for row in history]
            text = io.StringIO()
            writer = csv.DictWriter(text, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            write_text(self.directory / files.HISTORY, text.getvalue())
            self._epochs_written = len(history)


class HeldCheckpoints(CheckpointManager):
    """Keeps in memory what another process writes."""

    _last: Checkpoint | None = None

    def hold(self, checkpoint: Checkpoint) -> None:
        """Keep a copy of ``checkpoint``."""
        state = checkpoint.train_state
        self._last = replace(checkpoint, train_state=replace(state, history=list(state.history)))

    def _write(self, checkpoint: Checkpoint) -> None:
        """Write nothing. The checkpoint is held when the other process has written it."""

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint of the last save that the other process could write."""
        if self._last is None:
            return None
        state = self._last.train_state
        return replace(self._last, train_state=replace(state, history=list(state.history)))

    def write_result(self, weights: Weights, metrics: dict[str, Any]) -> None:
        """Keep ``metrics``, and write nothing."""
        self.run.write_metrics(metrics)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write nothing."""


def remove_previous(directory: Path) -> None:
    """Delete the previous checkpoint, which a finished run does not need."""
    with suppress(OSError):
        (directory / files.PREVIOUS_CHECKPOINT).unlink(missing_ok=True)


def latest_checkpoint(directory: Path, report: EventHandler, *, writes: bool = True) -> Checkpoint | None:
    """Return the newest intact checkpoint in ``directory``; None if there is no checkpoint.

    A damaged checkpoint is reported as a warning and, if this process ``writes``, renamed, so that the next save does
    not keep it as the previous one.

    Raises:
        WeightsError: when all checkpoints are damaged.
        StorageError: when the damaged one can't be renamed.
    """
    newest, previous = directory / files.CHECKPOINT, directory / files.PREVIOUS_CHECKPOINT
    if not newest.exists():
        # The process was killed between the two renames of a save.
        return load_checkpoint(previous) if previous.exists() else None
    try:
        return load_checkpoint(newest)
    except WeightsError as error:
        if not previous.exists():
            raise
        checkpoint = load_checkpoint(previous)
        if not writes:
            return checkpoint
        aside = directory / DAMAGED
        try:
            newest.replace(aside)
        except OSError as refusal:
            raise StorageError(aside, refusal) from refusal
        report(Warned(f"{error} It is kept as {aside.name}. The training continues from the previous one."))
        return checkpoint
