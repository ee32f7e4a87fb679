"""The training loop: Keras's ``fit``, epoch by epoch, stoppable and resumable between any two batches.

An epoch is one or more calls of ``fit``, each on the rows that are left. Whatever ends one early (a signal, a
checkpoint that is due) takes the same way: ``fit`` returns, the whole state is saved, and the epoch goes on from
it, in this process or in the next.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.inference import logits_model, run_batches
from cifarnet.evaluation.metrics import accuracy, cross_entropy
from cifarnet.training.checkpoint import Progress
from cifarnet.training.events import (
    Classifying,
    EpochDone,
    Estimated,
    HistoryRow,
    Report,
    StepDone,
)
from cifarnet.training.schedule import learning_rate
from cifarnet.training.trainee import Trainee, epoch_order

# The first steps trace and compile the network; what comes after tells how fast it is.
WARMUP_STEPS = 3
ESTIMATE_AFTER = 10


class Stopped(Exception):  # noqa: N818 - a request that was granted, no error
    """A stop was requested and the loop stands between two batches; the caller saves and ends."""


class Loop:
    """A trainee on its way through the epochs; ``progress`` says where, ``save`` is called to keep it.

    ``held_out`` are the images that every epoch ends with classifying; ``held_name`` says which they are.
    """

    def __init__(
        self,
        trainee: Trainee,
        train: Dataset,
        held_out: Dataset,
        held_name: str,
        seed: int,
        progress: Progress,
        *,
        save: Callable[[], None],
        stop_requested: Callable[[], bool],
        save_interval: float,
        report: Report,
    ):
        self.trainee = trainee
        self.train = train
        self.held_out = held_out
        self.held_name = held_name
        self.seed = seed
        self.progress = progress
        self.save = save
        self.stop_requested = stop_requested
        self.save_interval = save_interval
        self.report = report
        recipe = trainee.recipe
        self.steps_per_epoch = trainee.steps_per_epoch
        self.steps = recipe.steps or self.steps_per_epoch * (recipe.epochs or 0)
        self.epochs = -(-self.steps // self.steps_per_epoch)
        self.metrics: list[np.ndarray] = []
        self.pace = Pace()
        self._tester = logits_model(trainee.network, trainee.normalization)
        self._saved_at = time.monotonic()

    def run_epoch(self) -> HistoryRow:
        """Finish the epoch that ``progress`` stands in, and return its row.

        Raises:
            Stopped: when a stop was requested; ``progress`` then stands after the last finished batch.
        """
        started = time.monotonic()
        self._train_batches()
        logits = self._classify_held_out()
        row = self._row(logits)
        progress = self.progress
        progress.history.append(row)
        progress.epoch, progress.batch, self.metrics = progress.epoch + 1, 0, []
        best = self._note_best(row)
        seconds = time.monotonic() - started
        self.report(EpochDone(row, self.epochs, self.held_name, seconds, self.pace.images_per_second, best))
        return row

    def save_now(self) -> None:
        """Save the state and start the interval to the next save in between."""
        self.save()
        self._saved_at = time.monotonic()

    def restore_metrics(self) -> None:
        """Put the epoch's running metrics back into the trainee; there are none at an epoch's beginning."""
        for variable, value in zip(self.trainee.metrics_variables, self.metrics, strict=bool(self.metrics)):
            variable.assign(value)

    def _train_batches(self) -> None:
        progress, recipe = self.progress, self.trainee.recipe
        rows, draws = epoch_order(self.seed, progress.epoch, len(self.train))
        batches = min(self.steps_per_epoch, self.steps - progress.epoch * self.steps_per_epoch)
        end = batches * recipe.batch_size
        while progress.batch < batches:
            left = slice(progress.batch * recipe.batch_size, end)
            self.trainee.fit(
                {"rows": rows[left], "draws": draws[left]},
                self.train.labels[rows[left]],
                batch_size=recipe.batch_size,
                shuffle=False,
                verbose=0,
                callbacks=[_Segment(self, batches)],
            )
            self.metrics = [ops.convert_to_numpy(variable) for variable in self.trainee.metrics_variables]
            if self.stop_requested():
                raise Stopped
            if progress.batch < batches:
                self.save_now()

    def _classify_held_out(self) -> np.ndarray:
        def check(_: str, done: int, total: int | None) -> None:
            if self.stop_requested():
                raise Stopped
            self.report(Classifying(done, total or done))

        return run_batches(self._tester, self.held_out.images, 250, check)

    def _row(self, logits: np.ndarray) -> HistoryRow:
        values = self.trainee.get_metrics_result()
        step = self.progress.step
        return HistoryRow(
            epoch=self.progress.epoch + 1,
            step=step,
            learning_rate=self.learning_rate(step - 1),
            loss=float(values["cross_entropy"]),
            accuracy=float(values["accuracy"]),
            held_loss=cross_entropy(logits, self.held_out.labels),
            held_accuracy=accuracy(logits, self.held_out.labels),
        )

    def _note_best(self, row: HistoryRow) -> bool:
        progress = self.progress
        if self.held_name != "validation":  # The test set selects nothing.
            return False
        if progress.best_accuracy is not None and row.held_accuracy <= progress.best_accuracy:
            return False
        progress.best_epoch, progress.best_accuracy = row.epoch, row.held_accuracy
        return True

    def learning_rate(self, step: int) -> float:
        """The learning rate of ``step``, counted from 0."""
        return float(learning_rate(self.trainee.recipe, self.steps_per_epoch, step))

    def batch_done(self, batch: int, batches: int, logs: dict[str, Any]) -> bool:
        """Note a finished batch and tell about it; returns whether ``fit`` should return now."""
        progress = self.progress
        progress.batch += 1
        progress.step += 1
        recipe = self.trainee.recipe
        rate = self.pace.step(recipe.batch_size)
        steps_left = self.steps - progress.step
        seconds_left = None if rate is None else steps_left * recipe.batch_size / rate * self._testing_factor()
        self.report(
            StepDone(
                progress.epoch + 1,
                progress.batch,
                batches,
                progress.step,
                float(logs["cross_entropy"]),
                float(logs["accuracy"]),
                self.learning_rate(progress.step - 1),
                rate,
                seconds_left,
            )
        )
        if rate is not None and seconds_left is not None and self.pace.steps == ESTIMATE_AFTER:
            per_epoch = len(self.train) / rate * self._testing_factor()
            self.report(Estimated(seconds_left, per_epoch, rate))
        return self.stop_requested() or time.monotonic() - self._saved_at >= self.save_interval

    def _testing_factor(self) -> float:
        """What classifying the held-out images adds to an epoch: a forward pass, where training costs about three.

        With a fixed base nearly all of a training step is its forward pass too.
        """
        passes = 3 if self.trainee.network.stem.trainable else 1
        return 1 + len(self.held_out) / (passes * len(self.train))


class Pace:
    """Images per second of the steps so far, the first few left out and the last ones counting most."""

    def __init__(self) -> None:
        self.steps = 0
        self.images_per_second: float | None = None
        self._last = time.monotonic()

    def begin(self) -> None:
        """Start the clock, after something other than training took time."""
        self._last = time.monotonic()

    def step(self, images: int) -> float | None:
        """Note a finished step; returns the pace, None while it is too early to tell."""
        now = time.monotonic()
        self.steps += 1
        if self.steps > WARMUP_STEPS:
            rate = images / max(now - self._last, 1e-9)
            previous = self.images_per_second
            # A harmonic mean over about the last 20 steps, since it is the times that add up.
            self.images_per_second = rate if previous is None else 1 / (0.95 / previous + 0.05 / rate)
        self._last = now
        return self.images_per_second


class _Segment(keras.callbacks.Callback):
    """Connects one call of ``fit`` to the loop: puts the epoch's running metrics back, and stops it when asked."""

    def __init__(self, loop: Loop, batches: int):
        super().__init__()
        self.loop = loop
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # fit has just reset them; without this, an epoch in two parts would report its second part alone.
        self.loop.restore_metrics()
        self.loop.pace.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.loop.batch_done(batch, self.batches, logs or {}):
            self.model.stop_training = True
