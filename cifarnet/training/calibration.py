"""Timing a run before it begins, so that it can be planned to end on time."""

import time
from collections.abc import Callable
from itertools import pairwise

import keras
import numpy as np
from keras import ops

from cifarnet.evaluation.inference import BATCH_SIZE
from cifarnet.training.budget import Planner
from cifarnet.training.events import BudgetPlanned, Measuring
from cifarnet.training.loop import Loop, Stopped
from cifarnet.training.schedule import ahead, spans
from cifarnet.training.trainee import epoch_order

# The first of these compile.
WARMUP_STEPS = 2
TIMED_STEPS = 6


def calibrate(loop: Loop, budget: float, used: Callable[[], float]) -> None:
    """Time a few steps at each image size and a batch of the held-out images, plan by them, and tell the plan.

    The state is put back afterwards: what was trained here does not count. Nor is the time lost: each size is compiled
    once, now or later.

    Raises:
        Stopped: when a stop was requested meanwhile, with the state put back.
    """
    trainee, progress = loop.trainee, loop.progress
    state = [ops.convert_to_numpy(variable).copy() for variable in _state(loop)]
    position = progress.plan.at(progress.step)
    path = spans(loop.recipe, trainee.full_size)
    left = ahead(path, position)
    present = [progress.image_size] if progress.batch else []
    seconds: dict[int, float] = {}
    try:
        for size in dict.fromkeys([*(size for size, _ in left), *present]):
            if loop.stop_requested():
                raise Stopped
            loop.report(Measuring(size))
            seconds[size] = _seconds_per_step(loop, size)
        check = _seconds_per_check(loop)
    finally:
        for variable, value in zip(_state(loop), state, strict=True):
            variable.assign(value)
        loop.restore_metrics()
    planner = Planner(budget, used, path, seconds, check, loop.recipe.checks, loop.steps_per_epoch)
    progress.plan = planner.replan(progress.plan, progress.step)
    loop.planner = planner
    loop.pace.relative = {size: value / seconds[path[-1][2]] for size, value in seconds.items()}
    steps = progress.plan.steps - progress.step
    epochs = dict.fromkeys((size for size, _ in left), 0.0)
    for size, share in left:
        epochs[size] += steps * share / (1 - position) / loop.steps_per_epoch
    rates = {size: loop.recipe.batch_size / value for size, value in seconds.items()}
    loop.report(BudgetPlanned(max(0.0, budget - used()), steps, epochs, rates))


def _state(loop: Loop) -> list[keras.Variable]:
    """All that a training step changes."""
    trainee = loop.trainee
    return [*trainee.network.variables, *trainee.optimizer.variables]


def _seconds_per_step(loop: Loop, size: int) -> float:
    trainee, batch_size = loop.trainee, loop.recipe.batch_size
    trainee.use_size(size)
    trainee.sgd.follow(loop.progress.plan)
    rows, draws = epoch_order(loop.recipe, loop.seed, loop.progress.epoch, len(loop.train))
    clock = _Clock()
    # As often as it takes where the images fill fewer batches than that. With an epoch's rest, because JAX compiles a
    # batch of another size anew.
    needed = (WARMUP_STEPS + TIMED_STEPS) * trainee.steps_per_execution * batch_size + len(rows) % batch_size
    chosen = np.resize(np.arange(len(rows)), needed)
    loop.fit(rows[chosen], draws[chosen], [clock])
    return clock.seconds_per_step()


def _seconds_per_check(loop: Loop) -> float:
    images = len(loop.held_out)
    loop.tester.time(min(images, BATCH_SIZE))
    return loop.tester.time(min(images, 1000)) * images / min(images, 1000)


class _Clock(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.calls.append((batch + 1, time.monotonic()))

    def seconds_per_step(self) -> float:
        calls = self.calls[WARMUP_STEPS - 1 : WARMUP_STEPS + TIMED_STEPS]
        pairs = pairwise(calls)
        # The median: a moment in which the machine did something else should not plan the run.
        return float(np.median([(end - begin) / (done - before) for (before, begin), (done, end) in pairs]))
