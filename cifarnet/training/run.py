"""A training run, from its first or next step to its result."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cifarnet.backend.devices import device
from cifarnet.errors import StorageError
from cifarnet.events import Planned, Warned
from cifarnet.runs.directory import Run
from cifarnet.shell import command_line
from cifarnet.training import messages
from cifarnet.training.advice import with_advice
from cifarnet.training.checkpoint import RESTORES, Checkpoint, TrainState
from cifarnet.training.checkpoints import CheckpointManager, HeldCheckpoints
from cifarnet.training.control import LoopControl, NonFiniteLoss, Stopped
from cifarnet.training.distribute import Strategy
from cifarnet.training.length import at_length
from cifarnet.training.result import Result, scored_result
from cifarnet.training.schedule import Plan
from cifarnet.training.session import Session
from cifarnet.training.setup import Setup
from cifarnet.training.signals import StopRequest, stopping_with
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from cifarnet.training.loop import Loop


class TrainingRun:
    """Trains ``run`` with the inputs in ``setup`` on the devices of ``strategy``.

    The process that writes the run must have locked it. ``session`` has the clock and the reports.
    """

    def __init__(self, run: Run, setup: Setup, session: Session, strategy: Strategy):
        self.run = run
        self.setup = setup
        self.session = session
        self.strategy = strategy
        manager = CheckpointManager if strategy.is_writer else HeldCheckpoints
        self.checkpoints = manager(run, setup.data.held_name, session.report)
        self._began = session.started
        self._unsaved = False
        """Whether the last save failed, in the process that writes."""

    def train(self, checkpoint: Checkpoint | None) -> Result:
        """Train to the end, from ``checkpoint`` or from the beginning, and write the result.

        Raises:
            InterruptedRunError: when a signal stopped the run, after its state was saved.
            DivergedError: when the loss or a weight became NaN or infinite.
            BudgetError: when the budget is too small for one step.
            StorageError: when the result can't be written.
        """
        train_state = checkpoint.train_state if checkpoint else TrainState(0, 0, 0, 0.0, [])
        if not train_state.plan.steps:
            train_state.plan = Plan(self.setup.config.recipe.total_steps(len(self.setup.data.train)))
        self._began = self.session.started - train_state.seconds
        self._require_same(checkpoint)
        with StopRequest() as stop, self.strategy.together():
            loop = self._loop(train_state, checkpoint, stop)
            if checkpoint:
                loop.restore(checkpoint)
                self.checkpoints.hold(checkpoint)
            else:
                loop.save_now()
            self.session.report(with_advice(self._planned(loop)))
            self._train(loop, stop)
        try:
            with stopping_with(messages.unwritten(self.run.path)), self.strategy.together():
                result = self._finish(loop)
        except StorageError as error:
            raise error.with_advice(
                "The training is finished, but its result is not written. Free some space, or remove the cause, then"
                f" finish it with: {command_line('train', '--resume', self.run.path)}"
            ) from error
        # The others end after the result is written.
        self.strategy.largest(0)
        return result

    def _require_same(self, checkpoint: Checkpoint | None) -> None:
        """Check that all processes continue from the same checkpoint."""
        state = f"{checkpoint.train_state.step} {checkpoint.weights.sha256()}" if checkpoint else "none"
        path = self.run.path
        remedy = f"All of them must find it in {path}: keep that on a file system that they share, or copy it"
        self.strategy.require_same("checkpoint", state, remedy)

    def _used(self) -> float:
        """Return the seconds spent so far, including those before an interruption: those of the writing process."""
        (used,) = self.strategy.of_writer(time.monotonic() - self._began)
        return used

    def _loop(self, train_state: TrainState, checkpoint: Checkpoint | None, stop: StopRequest) -> "Loop":
        from cifarnet.training.build import build_parts, start_weights
        from cifarnet.training.loop import Loop

        tensors = checkpoint.weights.tensors if checkpoint else start_weights(self.setup)
        parts = build_parts(self.setup, tensors, self.strategy, self.session.data_report)

        def save() -> None:
            loop.train_state.seconds = self._used()
            checkpoint = loop.checkpoint(self._weights(loop.model.network.get_tensors()))
            self.checkpoints.save(checkpoint)
            (failed,) = self.strategy.of_writer(float(self.checkpoints.failure is not None))
            self._unsaved = failed > 0
            if not self._unsaved:
                self.checkpoints.hold(checkpoint)

        def stop_requested() -> bool:
            return self.strategy.largest(stop.signal_number or 0) > 0

        control = LoopControl(save, stop_requested, self.session.save_interval, self.session.report)
        loop = Loop(parts, self.setup.data, self.setup.config.seed, train_state, control)
        return loop

    def _train(self, loop: "Loop", stop: StopRequest) -> None:
        """Run ``loop`` to its end, and save the state after each epoch."""
        try:
            # A run that was stopped after its last step has no steps to plan: only the last check is missing.
            if self.setup.config.budget and loop.train_state.step < loop.steps:
                self._plan_budget(loop, self.setup.config.budget)
            recipe, size = self.setup.config.recipe, self.setup.spec.image_size
            messages.warn_of_short_run(recipe, loop.steps, size, self.session.report)
            while not loop.done:
                try:
                    row = loop.run_epoch()
                    if loop.train_state.best_epoch == row.epoch:
                        self.checkpoints.best = self._weights(loop.result_tensors())
                    loop.save_now()
                except NonFiniteLoss as error:
                    self._restore(loop, error)
                if loop.control.stop_requested():
                    raise Stopped
        except Stopped:
            try:
                loop.save_now()
            except NonFiniteLoss as error:
                checkpoint = self.checkpoints.latest()
                raise messages.diverged(self.run.path, loop.recipe, loop.train_state, error, checkpoint) from None
            number = int(self.strategy.largest(stop.signal_number or 0))
            failure = self._save_failure() if self._unsaved else None
            raise messages.interruption(self.run.path, loop, number, failure) from None

    def _save_failure(self) -> StorageError:
        """Return why the state was not saved. Only the process that writes knows the reason."""
        reason = OSError("process 0 could not save the run; its own message has the reason")
        return self.checkpoints.failure or StorageError(self.run.path, reason)

    def _plan_budget(self, loop: "Loop", budget: float) -> None:
        """Plan the run by timed steps, and store the recipe if it was adapted to the budget."""
        from cifarnet.training.timing import plan_by_timing

        setup = self.setup
        plan_by_timing(loop, budget, self._used, setup.data_seconds, keeps_sizes=setup.keeps_sizes)
        if loop.recipe != self.setup.config.recipe:
            self.setup = replace(self.setup, config=replace(self.setup.config, recipe=loop.recipe))
            self.run.require_in_place()
            self.run.write_config(self.setup.config)

    def _restore(self, loop: "Loop", error: Exception) -> None:
        """Restore the last good checkpoint, to continue at half the learning rate, or end the run as diverged."""
        config, report = self.setup.config, self.session.report
        checkpoint = self.checkpoints.latest()
        self._require_same(checkpoint)
        if checkpoint:
            at_length(checkpoint, config, len(self.setup.data.train), self.run.path)
        if config.on_nan == "stop" or not checkpoint or loop.train_state.restores >= RESTORES:
            raise messages.diverged(self.run.path, loop.recipe, loop.train_state, error, checkpoint)
        checkpoint.train_state.restores = loop.train_state.restores + 1
        loop.restore(checkpoint)
        step, factor = loop.train_state.step, loop.train_state.learning_rate_factor
        report(Warned(f"{error}. Continuing from step {step:,} at {factor:g} times the learning rate."))
        loop.save_now()

    def _weights(self, tensors: dict[str, np.ndarray]) -> Weights:
        """Return ``tensors`` of the network by full name, with everything that evaluation and prediction need."""
        setup, config = self.setup, self.setup.config
        return Weights(
            setup.spec,
            tensors,
            setup.data.train.class_names,
            setup.normalization,
            config.recipe.to_dict(),
            trained_on=config.trained_on,
        )

    def _planned(self, loop: "Loop") -> Planned:
        setup, config, network, train_state = self.setup, self.setup.config, loop.model.network, loop.train_state
        return Planned(
            spec=setup.spec,
            params=network.count_params(),
            trainable_params=sum(int(np.prod(variable.shape)) for variable in network.trainable_variables),
            data=config.data,
            data_note=setup.data.note,
            train_images=len(setup.data.train),
            held_out_images=len(setup.data.held_out),
            held_out=setup.data.held_name,
            recipe=config.recipe,
            device=device(),
            devices=self.strategy.devices,
            processes=self.strategy.processes,
            epochs=loop.epochs,
            steps=loop.steps,
            directory=self.run.path,
            start_epoch=train_state.epoch,
            start_batch=train_state.batch,
            frozen_base=config.freeze_base,
            precision=config.precision,
            budget=config.budget,
            weights=config.weights if setup.origins.base else None,
            new_head=not setup.keeps_head,
            teachers=config.teacher,
            grown_from=setup.grown_from,
            history=tuple(train_state.history),
            best_epoch=train_state.best_epoch,
            notes=(*setup.notes, *messages.mixing_note(config.recipe), *messages.memory_note(loop.model.images)),
        )

    def _finish(self, loop: "Loop") -> Result:
        """Select the weights, score them on the test images, and write the result."""
        self.run.require_in_place()
        if self._unsaved:
            loop.save_now()
        if self._unsaved:
            raise self._save_failure()
        history, data = loop.train_state.history, self.setup.data
        self.checkpoints.write_history(history)
        best = self.checkpoints.best_weights() if data.has_validation else None
        last = self._weights(loop.result_tensors())
        result, weights = scored_result(self.run, self.setup, loop, last, best, self._used)
        on_held_out = loop.train_state.best_accuracy if data.has_validation else result.metrics.accuracy
        config, report = self.setup.config, self.session.report
        messages.warn_of_better_check(config, history, data.held_name, on_held_out or 0.0, report)
        self.checkpoints.write_result(weights, result.to_dict())
        return result
