"""Time steps and a check before a run with a budget, so that it can be planned to end on time."""

import math
import time
from collections.abc import Callable
from itertools import pairwise

import keras
import numpy as np
from keras import ops

from cifarnet.durations import span
from cifarnet.evaluation.calibration import FITTED_ON
from cifarnet.events import BudgetPlanned, Measuring, Warned
from cifarnet.models.spec import ModelSpec
from cifarnet.plurals import counted
from cifarnet.recipes import Recipe
from cifarnet.training.budget import ENDING, Planner, too_little_time
from cifarnet.training.control import Stopped
from cifarnet.training.distribute import Strategy
from cifarnet.training.evaluator import Evaluator, ImageEvaluator
from cifarnet.training.loop import Loop
from cifarnet.training.model import epoch_order
from cifarnet.training.run_data import RunData
from cifarnet.training.schedule import FULL_SIZE_STEPS, Plan, ahead, full_size_steps, spans

# The first steps compile, so they are not timed.
WARMUP_STEPS = 2
TIMED_STEPS = 6

# Precise batch normalization: seconds before the first batch, and the time of an image relative to its classification.
_TRACING = 1.0
_TRAINING_MODE = 1.2

TIMING_SHARE = 0.1
"""The share of the budget for timing steps, in addition to the first two steps at full size and part of a check."""

CHECK_SHARE = 0.1
"""The share of the time left for the checks before the last one."""


def plan_by_timing(
    loop: Loop, budget: float, used: Callable[[], float], data_seconds: float, *, keeps_sizes: bool = False
) -> None:
    """Time steps and a check, adapt the recipe of a new run to its budget, and plan the run.

    If the budget is too small for them, ``loop.recipe`` has fewer checks, and loses the small images of ``fast`` unless
    it ``keeps_sizes``. The state of the
    network is restored after the timed steps. Their compiled functions are used in the run.

    Args:
        loop: the loop before its first or next step.
        budget: seconds.
        used: returns the seconds since the start of the command.
        data_seconds: the seconds of these for reading the images.
        keeps_sizes: whether the user gave the image sizes.

    Raises:
        Stopped: when a stop was requested during the timing. The state is restored.
        BudgetError: when a new run's budget is too small for one step.
    """
    began = used()
    is_new = loop.train_state.step == 0
    state = [ops.convert_to_numpy(variable).copy() for variable in _state(loop)]
    try:
        seconds, check, ending = _time(loop, is_new, budget, used, began, keeps_sizes)
    finally:
        for variable, value in zip(_state(loop), state, strict=True):
            variable.assign(value)
        loop.restore_metrics()
    model, train_state = loop.model, loop.train_state
    path = spans(loop.recipe, model.full_size)
    planner = Planner(budget, used, path, seconds, check, loop.recipe.checks, loop.steps_per_epoch, ending)
    if is_new:
        _require_time(loop, planner, budget, used, data_seconds)
    train_state.plan = planner.replan(train_state.plan, train_state.step)
    loop.planner = planner
    loop.step_timer.relative = {size: value / seconds[model.full_size] for size, value in seconds.items()}
    _report_plan(loop, planner, used, data_seconds)


def _time(
    loop: Loop, is_new: bool, budget: float, used: Callable[[], float], began: float, keeps_sizes: bool
) -> tuple[dict[int, float], float, float]:
    """Return seconds per step by image size, per check and after the last one, and adapt the recipe of a new run."""
    full, train_state = loop.model.full_size, loop.train_state
    ends = began + TIMING_SHARE * budget
    first, per_step = _seconds_per_step(loop, full, ends - used())
    seconds = {full: per_step}
    per_image = _seconds_per_image(loop, loop.parts.evaluator)
    check, ending = _seconds_per_check(loop, per_image), ENDING + _seconds_after(loop, per_image)
    if is_new:
        left = budget - ending - used()
        loop.use_recipe(adapted_recipe(loop.recipe, full, left, first, per_step, check, keeps_sizes=keeps_sizes))
    position = train_state.plan.at(train_state.step)
    sizes = [size for size, _ in ahead(spans(loop.recipe, full), position)]
    present = [train_state.image_size] if train_state.batch else []
    missing = [size for size in dict.fromkeys([*sizes, *present]) if size != full]
    for index, size in enumerate(missing):
        _, seconds[size] = _seconds_per_step(loop, size, (ends - used()) / (len(missing) - index))
    _stop_if_requested(loop)
    return seconds, check, ending


def _stop_if_requested(loop: Loop) -> None:
    if loop.control.stop_requested():
        raise Stopped


def adapted_recipe(
    recipe: Recipe,
    full_size: int,
    seconds_left: float,
    first: float,
    per_step: float,
    check: float,
    *,
    keeps_sizes: bool = False,
) -> Recipe:
    """Return ``recipe`` without the small images of ``fast``, or with fewer checks, if the time is too short for them.

    Small images are left out if fewer than ``FULL_SIZE_STEPS`` steps at full size would follow them, or if compiling
    for their sizes takes more than a tenth of the time.

    Args:
        recipe: the recipe of a new run.
        full_size: side of the images in pixels.
        seconds_left: seconds for training and checks.
        first: seconds of the first step at full size, with compilation.
        per_step: seconds of the other steps at full size.
        check: seconds of a check.
        keeps_sizes: whether the user gave the image sizes.
    """
    if recipe.has_fast_sizes and not keeps_sizes:
        path = spans(recipe, full_size)
        cost = sum((end - begin) * (size / full_size) ** 2 for begin, end, size in path)
        steps = (seconds_left - check) / (per_step * cost)
        compiling = (len({size for _, _, size in path}) - 1) * first
        few = full_size_steps(recipe, full_size, round(steps)) < FULL_SIZE_STEPS
        if few or compiling > TIMING_SHARE * seconds_left:
            recipe = recipe.with_changes(resolutions=())
    affordable = max(1, int(CHECK_SHARE * seconds_left / check))
    # 0 means a check after every epoch, and the number of epochs is not known here.
    if affordable < recipe.checks or (not recipe.checks and affordable == 1):
        recipe = recipe.with_changes(checks=affordable)
    return recipe


def _require_time(loop: Loop, planner: Planner, budget: float, used: Callable[[], float], data_seconds: float) -> None:
    """Raise a ``BudgetError`` if a new run has no time for one step; warn if it has no time for one epoch."""
    steps = planner.affordable_steps(0.0)
    if steps >= loop.steps_per_epoch:
        return
    one_epoch = (
        used() + planner.ending + planner.seconds_per_check + loop.steps_per_epoch * planner.mean_seconds_per_step
    )
    needed = span(30 * math.ceil(one_epoch / 30))
    if steps < 1:
        raise too_little_time(budget, used(), data_seconds, needed)
    loop.control.report(
        Warned(
            f"A budget of {span(budget)} is enough for {steps / loop.steps_per_epoch:.1%} of an epoch ({steps:,.0f} of"
            f" {counted(loop.steps_per_epoch, 'step')}): most training images are never seen. One epoch needs about"
            f" `budget` {needed}."
        )
    )


def _report_plan(loop: Loop, planner: Planner, used: Callable[[], float], data_seconds: float) -> None:
    plan, position = loop.train_state.plan, loop.train_state.plan.at(loop.train_state.step)
    left = ahead(planner.spans, position)
    steps = plan.steps - loop.train_state.step
    epochs = dict.fromkeys((size for size, _ in left), 0.0)
    for size, share in left:
        epochs[size] += steps * share / (1 - position) / loop.steps_per_epoch
    rates = {size: loop.recipe.batch_size / planner.seconds_per_step[size] for size in epochs}
    seconds = max(0.0, planner.budget - used())
    loop.control.report(BudgetPlanned(seconds, steps, epochs, rates, loop.recipe.checks, data_seconds))


def _state(loop: Loop) -> list[keras.Variable]:
    """Return the variables that a training step changes."""
    model = loop.model
    return [*model.network.variables, *model.optimizer.variables]


def _seconds_per_step(loop: Loop, size: int, limit: float) -> tuple[float, float]:
    """Return the seconds of the first step, with compilation, and of the others. Stop after ``limit`` seconds."""
    _stop_if_requested(loop)
    loop.control.report(Measuring(size))
    model, batch_size = loop.model, loop.recipe.batch_size
    model.use_size(size)
    # The learning rate does not matter, because the state is restored.
    model.sgd.follow(Plan(1))
    rows, draws = epoch_order(loop.recipe, loop.seed, loop.train_state.epoch, len(loop.data.train))
    clock = _Clock(limit, loop.strategy)
    # Few images are repeated. The last batch has the size of an epoch's last batch, because JAX compiles each batch
    # size separately.
    needed = (WARMUP_STEPS + TIMED_STEPS) * model.steps_per_execution * batch_size + len(rows) % batch_size
    chosen = np.resize(np.arange(len(rows)), needed)
    loop.fit(rows[chosen], draws[chosen], [clock])
    first, per_step = loop.strategy.of_writer(clock.first, clock.seconds_per_step())
    return first, per_step


def _seconds_per_image(loop: Loop, evaluator: Evaluator) -> float:
    """Return the seconds of classifying an image with ``evaluator``.

    A batch is classified twice, because the first time compiles. This takes about a second. With an estimate from the
    time of a training step, budgets of a minute ended 7 s late or 14 s early.
    """
    timed = min(len(evaluator.inputs), evaluator.batch_size)
    evaluator.time(timed)
    (per_image,) = loop.strategy.of_writer(evaluator.time(timed) / timed)
    return per_image


def _seconds_after(loop: Loop, per_image: float) -> float:
    """Return the estimated seconds of classifying images after the last check, where one takes ``per_image`` in it."""
    evaluator, spec = loop.parts.evaluator, loop.model.network.spec
    if not evaluator.exact:
        # The checks classify features with the head alone, the result classifies images with the whole network.
        whole = ImageEvaluator(spec, loop.model.normalization, loop.data.test.images)
        per_image = _seconds_per_image(loop, whole)
    return per_image * _images_after(loop.data, spec, evaluator.exact)


def _images_after(data: RunData, spec: ModelSpec, exact: bool) -> int:
    """Return how many images are classified after the last check: those of the calibration and the test images.

    Without validation images, the result is that of the last check, unless its logits are not ``exact``.
    """
    if not data.has_validation:
        return 0 if exact else len(data.test)
    statistics = min(FITTED_ON, len(data.train)) + len(data.held_out) if spec.family.distance_rejects else 0
    return statistics + len(data.held_out) + len(data.test)


def _seconds_per_check(loop: Loop, per_image: float) -> float:
    """Return the estimated seconds of a check: precise batch normalization, then the held-out images."""
    seconds = len(loop.data.held_out) * per_image
    if loop.parts.precise:
        seconds += _TRACING + _TRAINING_MODE * loop.parts.precise.count * per_image
    return seconds


class _Clock(keras.callbacks.Callback):
    """Times the calls of a training step in ``fit``; stops ``fit`` after ``limit`` seconds and at least two calls."""

    def __init__(self, limit: float, strategy: Strategy) -> None:
        super().__init__()
        self.limit = limit
        self.strategy = strategy
        self.began = time.monotonic()
        self.calls: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        now = time.monotonic()
        self.calls.append((batch + 1, now))
        if len(self.calls) > 1:
            (passed,) = self.strategy.of_writer(now - self.began)
            if passed >= self.limit:
                self.model.stop_training = True

    @property
    def first(self) -> float:
        """Seconds of the first call, with compilation."""
        return self.calls[0][1] - self.began

    def seconds_per_step(self) -> float:
        """Return the median of the timed steps, which ignores short disturbances by other programs."""
        warm = min(WARMUP_STEPS, len(self.calls) - 1)
        pairs = pairwise(self.calls[warm - 1 : WARMUP_STEPS + TIMED_STEPS])
        return float(np.median([(end - begin) / (done - before) for (before, begin), (done, end) in pairs]))
