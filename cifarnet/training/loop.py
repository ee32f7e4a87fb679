"""The training loop: Keras's ``fit``, epoch by epoch, stoppable and resumable between any two batches.

An epoch is one or more calls of ``fit``, each on the rows that are left. A signal, or a checkpoint or new plan that is
due, ends a call early: ``fit`` returns, the loop does what is due, and the epoch continues from there, in this process
or in the next.
"""

import math
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.errors import WeightsError
from cifarnet.evaluation.metrics import accuracy, cross_entropy
from cifarnet.events import Classifying, EpochDone, Estimated, HistoryRow, StepDone
from cifarnet.models.network import Network
from cifarnet.recipes import Recipe
from cifarnet.training.budget import Planner
from cifarnet.training.build import Parts
from cifarnet.training.checkpoint import Checkpoint, TrainState
from cifarnet.training.control import LoopControl, NonFiniteLoss, Stopped
from cifarnet.training.fitting import Segment, fit
from cifarnet.training.model import epoch_order
from cifarnet.training.run_data import RunData
from cifarnet.training.schedule import ahead, checks_due, ends_with_check, learning_rate, size_at, spans
from cifarnet.training.step_timer import ESTIMATE_AFTER, StepTimer
from cifarnet.weights.record import Weights


class Loop:
    """Trains the epochs of a run.

    Args:
        parts: the training model and what scores it.
        data: the images of the run.
        seed: the seed of the order and the augmentation of the images.
        train_state: the position in the run to start from; updated during training.
        control: the functions that the loop calls.
    """

    def __init__(self, parts: Parts, data: RunData, seed: int, train_state: TrainState, control: LoopControl):
        self.parts = parts
        self.model = parts.model
        self.strategy = parts.strategy
        self.data = data
        self.seed = seed
        self.train_state = train_state
        self.control = control
        self.recipe = parts.model.recipe
        self.steps_per_epoch = parts.model.steps_per_epoch
        self.metrics: list[np.ndarray] = []
        self.step_timer = StepTimer(parts.model.relative_cost)
        self.planner: Planner | None = None
        self.last_logits: np.ndarray | None = None
        self._check_seconds: float | None = None
        self._loss = 0.0
        self._saved_at = time.monotonic()

    def use_recipe(self, recipe: Recipe) -> None:
        """Replace the recipe before the first step, by one that differs only in ``resolutions`` and ``checks``."""
        self.recipe = self.model.recipe = recipe

    @property
    def steps(self) -> int:
        """Number of batches of the whole run by the current plan."""
        return self.train_state.plan.steps

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run by the current plan. The last one may be shorter."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def done(self) -> bool:
        """Whether the last step is trained and its epoch is finished."""
        return self.train_state.batch == 0 and self.train_state.step >= self.steps

    def run_epoch(self) -> HistoryRow:
        """Finish the current epoch, and return its row of the history.

        Raises:
            Stopped: when a stop was requested. ``train_state`` is then that after the last finished batch.
            NonFiniteLoss: when the loss, a weight or a logit is NaN or infinite.
        """
        started = time.monotonic()
        self._train_batches()
        logits = self._classify_held_out() if self._checks() else None
        row = self._row(logits)
        train_state = self.train_state
        train_state.history.append(row)
        train_state.epoch, train_state.batch = train_state.epoch + 1, 0
        # The means of an epoch that the end of the run cuts short are kept, because a longer run continues them.
        if train_state.step % self.steps_per_epoch == 0:
            self.metrics = []
        self.last_logits = logits
        best = self._note_best(row)
        seconds = time.monotonic() - started
        self.control.report(EpochDone(row, self.epochs, self.data.held_name, seconds, self.images_per_second, best))
        return row

    @property
    def images_per_second(self) -> float | None:
        """The speed at the current image size; None during the first steps."""
        seconds = self.step_timer.seconds_per_step(self.model.image_size)
        return None if seconds is None else self.recipe.batch_size / seconds

    def save_now(self) -> None:
        """Save the state, and restart the interval to the next save within an epoch.

        Raises:
            NonFiniteLoss: when a weight is NaN or infinite. Nothing is saved then.
        """
        self._check_weights()
        self.control.save()
        self._saved_at = time.monotonic()

    def checkpoint(self, weights: Weights) -> Checkpoint:
        """Return the complete state, with the network's ``weights``."""
        optimizer = [np.array(ops.convert_to_numpy(variable)) for variable in self._optimizer_variables()]
        return Checkpoint(weights, self.train_state, optimizer, self.metrics)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state in ``checkpoint``.

        Raises:
            WeightsError: when its arrays do not fit the optimizer or the metrics.
        """
        self.train_state = checkpoint.train_state
        self.model.network.set_tensors(checkpoint.weights.tensors)
        variables = self._optimizer_variables()
        _require_shapes("optimizer", variables, checkpoint.optimizer)
        if checkpoint.metrics:
            # Each device may have its own row.
            metrics = [
                array[0] if array.ndim > len(variable.shape) and len(array) else array
                for variable, array in zip(self.model.metrics_variables, checkpoint.metrics, strict=False)
            ]
            metrics += checkpoint.metrics[len(metrics) :]
            _require_shapes("metrics", self.model.metrics_variables, metrics)
        for variable, array in zip(variables, checkpoint.optimizer, strict=True):
            variable.assign(array)
        self.metrics = checkpoint.metrics
        # A run that was stopped after the last batch of an epoch reads the metrics without another call of fit.
        self.restore_metrics()

    def _optimizer_variables(self) -> list[keras.Variable]:
        """Return all variables but the plan, which is part of the train state."""
        plan = self.model.sgd.plan
        return [variable for variable in self.model.optimizer.variables if variable is not plan]

    def restore_metrics(self) -> None:
        """Restore the epoch's running metrics in the model. There are none at the beginning of an epoch."""
        for variable, value in zip(self.model.metrics_variables, self.metrics, strict=bool(self.metrics)):
            self.strategy.assign(variable, value)

    def seed_draws(self) -> None:
        """Set the random states of the network's layers to those of the next batch."""
        train_state = self.train_state
        self.model.network.seed_draws(self.seed, train_state.epoch, train_state.batch)

    def fit(self, rows: np.ndarray, draws: np.ndarray, callbacks: list[keras.callbacks.Callback]) -> None:
        """Train on these rows, in their order; see ``cifarnet.training.fitting.fit``."""
        with self.strategy.scope():
            fit(self.model, rows, draws, self.data.train.labels[rows], callbacks)

    def _train_batches(self) -> None:
        train_state, batch_size = self.train_state, self.recipe.batch_size
        rows, draws = epoch_order(self.recipe, self.seed, train_state.epoch, len(self.data.train))
        if not train_state.batch:
            self._replan()
        else:  # A run that was stopped after the last batch of an epoch is checked at the size of that batch.
            self.model.use_size(train_state.image_size)
        while train_state.batch < (batches := self._batches()):
            end = train_state.batch + self._use_size_of_next_steps(batches - train_state.batch)
            self.model.sgd.follow(train_state.plan, train_state.learning_rate_factor)
            left = slice(train_state.batch * batch_size, end * batch_size)
            self.fit(rows[left], draws[left], [Segment(self, batches, end)])
            self.metrics = [self.strategy.values(variable) for variable in self.model.metrics_variables]
            if not math.isfinite(self._loss):
                raise NonFiniteLoss(f"The loss became {self._loss}", train_state.step)
            if self.control.stop_requested():
                raise Stopped
            if train_state.batch < batches:
                if self._save_due():
                    self.save_now()
                self._replan()
        self._check_weights()

    def _use_size_of_next_steps(self, most: int) -> int:
        """Set the image size of the next step, and return how many of the next ``most`` steps have it."""
        train_state, full = self.train_state, self.model.full_size
        sizes = (size_at(self.recipe, full, train_state.plan.at(train_state.step + k + 0.5)) for k in range(most))
        train_state.image_size = next(sizes)
        self.model.use_size(train_state.image_size)
        return 1 + sum(1 for _ in takewhile(lambda size: size == train_state.image_size, sizes))

    def _check_weights(self) -> None:
        # The loss of a step is that of the weights before it, so the update of the last step is not covered by it. And
        # the loss can hide a NaN, because TensorFlow's ReLU on CPUs returns 0 for NaN.
        variables = {**self.model.network.tensors(), **{v.path: v for v in self.model.optimizer.variables}}
        for name, variable in variables.items():
            if not np.isfinite(ops.convert_to_numpy(variable)).all():
                raise NonFiniteLoss(f"{name} has values that are NaN or infinite", self.train_state.step)

    def _batches(self) -> int:
        """Return the batches of the current epoch: at least those already trained, also when a new plan has fewer."""
        planned = min(self.steps_per_epoch, self.steps - self.train_state.epoch * self.steps_per_epoch)
        return max(planned, self.train_state.batch)

    def _replan(self) -> None:
        if self.planner:
            self.train_state.plan = self.planner.replan(self.train_state.plan, self.train_state.step)

    def _checks(self) -> bool:
        """Return whether the current epoch, whose batches are done, ends with classifying the held-out images."""
        train_state = self.train_state
        done = sum(row.held_accuracy is not None for row in train_state.history)
        return ends_with_check(self.recipe.checks, done, train_state.plan, train_state.step)

    def _classify_held_out(self) -> np.ndarray:
        def stop_if_requested() -> None:
            if self.control.stop_requested():
                raise Stopped

        def check(_: str, done: int, total: int | None) -> None:
            stop_if_requested()
            self.control.report(Classifying(done, total or done))

        started = time.monotonic()
        # The last check gives the result, so it uses full size, also if the last epoch was trained on smaller images.
        last = self.train_state.step >= self.steps
        size = self.model.full_size if last else self.model.image_size
        try:
            network = self._network_to_check(size, stop_if_requested)
            logits = self.parts.evaluator.logits(network.get_tensors(), size, check)
        except WeightsError as error:
            raise NonFiniteLoss("Logits became NaN or infinite", self.train_state.step) from error
        # The same in all processes, because the plan of a budget depends on it.
        (self._check_seconds,) = self.strategy.of_writer(time.monotonic() - started)
        if self.planner:
            self.planner.note_check(self._check_seconds)
        return logits

    def _network_to_check(self, size: int, check: Callable[[], None]) -> Network:
        """Return the network to classify images of ``size`` pixels with; ``check`` is called now and then."""
        network = self.model.network
        if self.parts.averaged:
            network = self.parts.averaged
            network.set_tensors(self.model.averaged_tensors())
        if self.parts.precise:
            self.parts.precise.update(network, size, check, self.strategy.of_writer)
        return network

    def result_tensors(self) -> dict[str, np.ndarray]:
        """Return the weights of the network that the last check has classified with: averages with ``ema``."""
        if not self.parts.averaged:
            return self.model.network.get_tensors()
        # The averages are in the state of the optimizer, but their moments are not: a run that was stopped after its
        # last check computes them again.
        if self.last_logits is None:
            self._network_to_check(self.model.full_size, lambda: None)
        return self.parts.averaged.get_tensors()

    def _row(self, logits: np.ndarray | None) -> HistoryRow:
        values = self.model.get_metrics_result()
        step = self.train_state.step
        return HistoryRow(
            epoch=self.train_state.epoch + 1,
            step=step,
            image_size=self.model.image_size,
            learning_rate=self.learning_rate(step - 1),
            loss=float(values["cross_entropy"]),
            accuracy=float(values["accuracy"]),
            held_loss=None if logits is None else cross_entropy(logits, self.data.held_out.labels),
            held_accuracy=None if logits is None else accuracy(logits, self.data.held_out.labels),
        )

    def _note_best(self, row: HistoryRow) -> bool:
        train_state = self.train_state
        if self.data.held_name != "validation" or row.held_accuracy is None:  # The test set selects nothing.
            return False
        if row.image_size < self.model.full_size and train_state.step < self.steps:  # The check used smaller images.
            return False
        if train_state.best_accuracy is not None and row.held_accuracy <= train_state.best_accuracy:
            return False
        train_state.best_epoch, train_state.best_accuracy = row.epoch, row.held_accuracy
        return True

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        position = self.train_state.plan.at(step + 0.5)
        rate = learning_rate(self.recipe, self.steps_per_epoch, step, position)
        return float(rate) * self.train_state.learning_rate_factor

    def steps_done(self, steps: int, batches: int, logs: dict[str, Any]) -> bool:
        """Record and report ``steps`` finished steps, and return whether ``fit`` should return now.

        Args:
            steps: number of steps since the last call.
            batches: number of batches in the current epoch.
            logs: means over the epoch so far: ``cross_entropy`` and ``accuracy``.
        """
        train_state, size = self.train_state, self.model.image_size
        train_state.batch += steps
        train_state.step += steps
        self.step_timer.step(size, steps)
        if self.planner:
            self.planner.note_steps(size, steps)
        seconds_left = self._seconds_left()
        self._loss = float(logs["cross_entropy"])
        self.control.report(
            StepDone(
                train_state.epoch + 1,
                train_state.batch,
                batches,
                train_state.step,
                self._loss,
                float(logs["accuracy"]),
                self.learning_rate(train_state.step - 1),
                self.images_per_second,
                seconds_left,
            )
        )
        rate = self.images_per_second
        if not self.planner and rate and seconds_left is not None and self.step_timer.calls == ESTIMATE_AFTER:
            self.control.report(Estimated(seconds_left, self._seconds_per_epoch(seconds_left), rate))
        due = self._save_due() or bool(self.planner and self.planner.due())
        return due or self.control.stop_requested() or not math.isfinite(self._loss)

    def _save_due(self) -> bool:
        (due,) = self.strategy.of_writer(float(time.monotonic() - self._saved_at >= self.control.save_interval))
        return due > 0

    def _seconds_left(self) -> float | None:
        if self.planner:
            return max(0.0, self.planner.budget - self.planner.clock())
        train_state, full = self.train_state, self.step_timer.seconds_per_step(self.model.full_size)
        if full is None:
            return None
        position = train_state.plan.at(train_state.step)
        seconds = sum(
            share / train_state.plan.slope * (self.step_timer.seconds_per_step(size) or 0.0)
            for size, share in ahead(spans(self.recipe, self.model.full_size), position)
        )
        return seconds + self._checks_left() * self._seconds_per_check(full)

    def _seconds_per_epoch(self, seconds_left: float) -> float:
        """Return the mean seconds of a complete epoch with its checks, from the ``seconds_left`` of the run.

        A run may be shorter than an epoch: it then has one check, as a complete epoch has.
        """
        check = self._seconds_per_check(self.step_timer.seconds_per_step(self.model.full_size) or 0.0)
        training = max(0.0, seconds_left - self._checks_left() * check)
        steps = max(1, self.steps - self.train_state.step)
        return training / steps * self.steps_per_epoch + self._planned_checks() / self.epochs * check

    def _planned_checks(self) -> int:
        """Return the number of checks in the run. There is at most one after each epoch."""
        return min(self.recipe.checks or self.epochs, self.epochs)

    def _checks_left(self) -> int:
        checks = self._planned_checks()
        return checks - checks_due(checks, self.train_state.plan.at(self.train_state.step))

    def _seconds_per_check(self, step: float) -> float:
        """Return the measured seconds of a check, or a guess for a training step of ``step`` seconds."""
        return self._check_seconds or self._guessed_check(step)

    def _guessed_check(self, step: float) -> float:
        """Return the estimated seconds of classifying the held-out images, for a training step of ``step`` seconds.

        Classifying is one forward pass; a training step costs about three. With a frozen base, nearly all of a training
        step is the forward pass.
        """
        passes = 3 if self.model.network.trains_base else 1
        return step / self.recipe.batch_size * len(self.data.held_out) / passes


def _require_shapes(what: str, variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise WeightsError(
            f"The state of the {what} in the checkpoint does not fit the recipe. It must have {len(shapes)} arrays"
            f" with the shapes that they have in the run. Received: {len(arrays)}"
        )
