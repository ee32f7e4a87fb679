"""Budgets: the planner and whole runs on a simulated clock, and one short run by the real one."""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cifarnet.errors import InterruptedRunError, InvalidValueError
from cifarnet.events import BudgetPlanned, EpochDone, Measuring, Planned, StepDone
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.budget import ENDING, Planner
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.resume import resume
from cifarnet.training.schedule import Plan, checks_due, ends_with_check, full_size_steps, learning_rate, size_at, spans
from cifarnet.training.setup import prepare
from cifarnet.training.start import train
from cifarnet.training.timing import _images_after, _require_time, adapted_recipe
from cifarnet.weights.formats import load_weights

pytestmark = pytest.mark.usefixtures("tiny_family")

FAST = RECIPES["fast"]
SECONDS = {16: 0.07, 20: 0.1, 24: 0.15, 28: 0.18, 32: 0.25}
CHECK = 5.0
SAVE = 2.0  # what the end of an epoch takes, which no step shows
FRESH = Plan(1000)


class Machine:
    """A clock that steps and checks move on, ``slowness`` times as far as was measured before the run."""

    def __init__(self, slowness, used=0.0):
        self.slowness = slowness
        self.seconds = used
        self.checked = []  # the positions of the checks

    def step(self, size):
        self.seconds += SECONDS[size] * self.slowness(self.seconds)

    def check(self):
        before = self.seconds
        self.seconds += CHECK * self.slowness(self.seconds)
        return self.seconds - before


def run(budget, slowness, *, plan=FRESH, step=0, used=0.0, checks=5, steps_per_epoch=196):
    """Follow the planner as the loop does; returns the machine, the last plan and every step's (position, size)."""
    machine = Machine(slowness, used)
    planner = Planner(budget, lambda: machine.seconds, spans(FAST, 32), SECONDS, CHECK, checks, steps_per_epoch)
    path = []
    earlier = checks_due(checks, plan.at(step))
    plan = planner.replan(plan, step)
    while step < plan.steps:
        if step % steps_per_epoch == 0 or planner.due():
            plan = planner.replan(plan, step)
        size = size_at(FAST, 32, plan.at(step))
        path.append((plan.at(step + 0.5), size))
        machine.step(size)
        planner.note_steps(size, 1)
        step += 1
        if step % steps_per_epoch == 0 or step == plan.steps:
            if ends_with_check(checks, earlier + len(machine.checked), plan, step):
                machine.checked.append(plan.at(step))
                planner.note_check(machine.check())
            machine.seconds += SAVE
    return machine, plan, path


def steady(_):
    return 1.0


def slower_from_half(seconds):
    return 1.0 if seconds < 600 else 2.0


def faster_from_half(seconds):
    return 1.0 if seconds < 600 else 0.5


def slow_at_the_very_end(seconds):
    return 1.0 if seconds < 1150 else 2.0


def in_fits(seconds):
    return 3.0 if int(seconds / 20) % 5 == 0 else 1.0


def misjudged(_):
    return 1.7


@pytest.mark.parametrize(
    "slowness", [steady, slower_from_half, faster_from_half, slow_at_the_very_end, in_fits, misjudged]
)
def test_a_run_ends_within_five_percent_of_its_budget(slowness):
    machine, _, _ = run(1200, slowness)
    assert 0.95 * 1200 < machine.seconds + ENDING < 1.05 * 1200


@pytest.mark.parametrize("slowness", [steady, slower_from_half, faster_from_half, in_fits])
def test_a_budget_ends_at_rate_zero_and_full_size(slowness):
    _, plan, path = run(1200, slowness)
    position, size = path[-1]
    assert size == 32
    assert learning_rate(FAST, 196, plan.steps - 1, position) < 0.005 * FAST.learning_rate


def test_a_plan_never_goes_back():
    _, _, path = run(1200, in_fits)
    positions = [position for position, _ in path]
    assert positions == sorted(positions)
    assert [size for _, size in path] == sorted(size for _, size in path)


def test_a_steady_machine_is_used_to_the_end():
    machine, plan, _ = run(1200, steady)
    assert machine.seconds + ENDING == pytest.approx(1200, rel=0.01)
    mean = sum((end - begin) * SECONDS[size] for begin, end, size in spans(FAST, 32))
    seconds = 1200 - ENDING - 5 * CHECK - SAVE * (plan.steps // 196)
    assert plan.steps == pytest.approx(seconds / mean, rel=0.01)


@pytest.mark.parametrize(("budget", "slowness"), [(250, 0.5), (1280, 2.0)])
def test_a_new_plan_within_an_epoch_neither_omits_nor_repeats_a_check(budget, slowness):
    """The machine changes its speed after half of the budget."""
    machine, _, _ = run(budget, lambda seconds: 1.0 if seconds < budget / 2 else slowness)
    assert [checks_due(5, position) for position in machine.checked] == [1, 2, 3, 4, 5]


def test_the_first_plan_has_room_for_a_check_after_every_epoch():
    machine = Machine(steady)
    planner = Planner(1200, lambda: machine.seconds, spans(FAST, 32), SECONDS, CHECK, 0, steps_per_epoch=50)
    planned = planner.replan(FRESH, 0).steps
    _, plan, _ = run(1200, steady, checks=0, steps_per_epoch=50)
    # What the end of an epoch takes otherwise (SAVE) is not known beforehand.
    assert plan.steps == pytest.approx(planned * (1 - SAVE * planned / 50 / 1200), rel=0.03)


def test_a_pause_is_not_taken_for_a_slow_machine():
    """A step at a new image size that is compiled first, for ten seconds: once cut a run to a third of its length."""

    def pausing(seconds):
        return 100.0 if 400 < seconds < 410 else 1.0

    machine, plan, _ = run(1200, pausing)
    _, undisturbed, _ = run(1200, steady)
    assert plan.steps > 0.97 * undisturbed.steps
    assert machine.seconds + ENDING == pytest.approx(1200, rel=0.02)


def test_a_resumed_run_counts_the_time_used_before():
    plan = Plan(8000)
    machine, _, path = run(1200, steady, plan=plan, step=3000, used=700.0)
    assert machine.seconds + ENDING == pytest.approx(1200, rel=0.03)
    assert path[0][0] == pytest.approx(plan.at(3000), abs=1e-3)


def test_a_budget_that_is_already_over_still_ends_with_a_step():
    _, plan, path = run(1200, steady, plan=Plan(8000), step=3000, used=1300.0)
    assert len(path) == 1
    assert plan.at(plan.steps) == 1


BUDGET = TrainRequest(FAST.with_changes(batch_size=32), data="synthetic:200", model="tiny2", budget=20.0)
LONG = replace(BUDGET, budget=600.0)


@pytest.mark.slow
def test_budget_is_planned_and_spent_across_a_stop(tmp_path):
    before, after = [], []

    def stop(event):
        before.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(BUDGET, tmp_path / "run", report=stop)
    used = load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.seconds
    result = resume(tmp_path / "run", report=after.append)
    first, second = (next(event for event in events if isinstance(event, BudgetPlanned)) for events in (before, after))
    sizes = [event.image_size for event in before if isinstance(event, Measuring)]
    assert sizes[0] == 32
    assert sorted(sizes) == list(first.epochs) == list(first.images_per_second)
    assert 0 < first.seconds_left < 20
    assert 0 < second.seconds_left < 20 - used
    rows = [event.row for event in after if isinstance(event, EpochDone)]
    assert rows[-1].image_size == 32
    # Near the end of the way down: a busy machine may end a few steps early.
    assert rows[-1].learning_rate < 0.1 * FAST.learning_rate
    # Not a measurement (other tests may keep the machine busy): only that the time is used, and the end not forgotten.
    assert 10 < result.seconds < 60
    recorded = Run(tmp_path / "run").config
    assert recorded.budget == 20
    assert recorded.recipe == BUDGET.recipe.with_changes(
        checks=second.checks, resolutions=recorded.recipe.resolutions if len(sizes) > 1 else ()
    )
    assert load_weights(tmp_path / "run" / files.WEIGHTS).recipe == recorded.recipe.to_dict()


# (seconds left, first step, seconds a step, seconds a check) -> (small images kept, checks)
@pytest.mark.parametrize(
    ("seconds", "adapted"),
    [
        ((1180.0, 2.0, 0.6, 8.0), (True, 5)),
        ((590.0, 2.0, 0.6, 8.0), (True, 5)),
        ((590.0, 20.0, 0.6, 8.0), (False, 5)),  # Four more sizes to compile would take more than a tenth.
        ((200.0, 2.0, 0.6, 8.0), (True, 2)),
        ((100.0, 2.0, 0.6, 8.0), (True, 1)),  # A tenth is enough for one check; about 320 steps in all.
        ((60.0, 1.0, 0.6, 8.0), (False, 1)),  # About 180 steps, 18 of them at full size.
        ((70.0, 1.0, 0.6, 8.0), (True, 1)),  # About 220.
        ((-5.0, 2.0, 0.6, 8.0), (False, 1)),
    ],
)
def test_recipe_is_adapted_to_the_time_left(seconds, adapted):
    recipe = adapted_recipe(FAST, 32, *seconds)
    assert (recipe.resolutions == FAST.resolutions, recipe.checks) == adapted
    assert recipe == FAST.with_changes(resolutions=recipe.resolutions, checks=recipe.checks)


def test_sizes_of_the_user_s_own_are_kept():
    recipe = FAST.with_changes(resolutions=((16, 0.9),))
    assert adapted_recipe(recipe, 32, 20.0, 2.0, 0.6, 8.0) == recipe.with_changes(checks=1)
    given = adapted_recipe(FAST, 32, 20.0, 2.0, 0.6, 8.0, keeps_sizes=True)
    assert given == FAST.with_changes(checks=1)


@pytest.mark.parametrize("changes", [{}, {"resolutions": FAST.resolutions}])
def test_only_sizes_of_the_recipe_are_left_out_of_a_short_run(tmp_path, changes):
    request = TrainRequest("fast", data="synthetic:64", model="resnet8", changes={"epochs": 1, **changes})
    train(request, tmp_path / "run")
    assert Run(tmp_path / "run").config.recipe.resolutions == changes.get("resolutions", ())


@pytest.mark.parametrize(("checks", "adapted"), [(0, 0), (1, 1), (9, 7)])
def test_checks_never_become_more(checks, adapted):
    assert adapted_recipe(FAST.with_changes(checks=checks), 32, 590.0, 2.0, 0.6, 8.0).checks == adapted


def test_full_size_steps_are_the_share_without_small_images():
    assert full_size_steps(FAST, 32, 420) == 42  # A tenth.
    assert full_size_steps(FAST.with_changes(resolutions=()), 32, 50) == 50
    assert full_size_steps(FAST.with_changes(resolutions=((32, 0.25), (16, 0.5))), 32, 100) == 50
    assert full_size_steps(FAST.with_changes(resolutions=((16, 1.0),)), 32, 100) == 0


def required(budget, used, data_seconds=0.0):
    """The warning of a new run when timing has ended at ``used`` of its ``budget`` seconds."""
    events = []
    planner = Planner(budget, lambda: used, spans(FAST.with_changes(resolutions=()), 32), {32: 0.5}, 8.0, 1, 196)
    loop = SimpleNamespace(steps_per_epoch=196, control=SimpleNamespace(report=events.append))
    _require_time(loop, planner, budget, lambda: used, data_seconds)
    return [event.message for event in events]


def test_calibration_and_test_images_come_after_the_last_check():
    data = SimpleNamespace(has_validation=True, train=range(49_000), held_out=range(1_000), test=range(10_000))
    spec = ModelSpec("resnet8")
    for exact in (True, False):
        assert _images_after(data, spec, exact) == 10_000 + 2 * 1_000 + 10_000
        assert _images_after(data, ModelSpec("airbench94-slim"), exact) == 1_000 + 10_000
    data.train = range(300)
    assert _images_after(data, spec, exact=True) == 300 + 2_000 + 10_000
    data.has_validation = False
    assert _images_after(data, spec, exact=True) == 0
    assert _images_after(data, spec, exact=False) == 10_000
    planner = Planner(1000, lambda: 0.0, ((0.0, 1.0, 32),), {32: 0.5}, 8.0, 1, 196, ending=92.0)
    assert planner.affordable_steps(0.0) == (1000 - 92 - 8) / 0.5


def test_budget_for_an_epoch_is_taken_without_a_word():
    assert required(20 + ENDING + 8 + 98.5, 20.0) == []


def test_budget_below_an_epoch_is_warned_of():
    (message,) = required(20 + ENDING + 8 + 49, 20.0)
    assert "is enough for 50.0% of an epoch (98 of 196 steps)" in message
    # 20 s, the ending, a check and 98 s: rounded up to half minutes.
    assert "One epoch needs about `budget` 2m30s." in message


def test_budget_below_a_step_is_refused():
    with pytest.raises(InvalidValueError, match=r"too small for a single training step.*Received: 30s") as error:
        required(30.0, 21.0, data_seconds=12.0)
    assert "Reading the images took 12 s; a second run finds them in the cache." in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.slow
def test_refused_budget_leaves_the_directory_free(tmp_path, clock):
    def wait(event):
        clock.seconds += 1.1 * isinstance(event, Planned)

    with pytest.raises(InvalidValueError, match="too small for a single training step"):
        train(replace(BUDGET, budget=0.001), tmp_path / "run")
    assert not (tmp_path / "run" / files.CONFIG).exists()
    with pytest.raises(InvalidValueError, match="too small"):
        train(replace(BUDGET, budget=1.0), tmp_path / "run", report=wait)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_spans_of_one_image_size_are_reported_as_a_sum(tmp_path, clock):
    events = []
    recipe = BUDGET.recipe.with_changes(resolutions=((32, 0.5), (20, 0.25)))

    def stop(event):
        events.append(event)
        if isinstance(event, BudgetPlanned):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(replace(BUDGET, recipe=recipe, budget=600.0), tmp_path / "run", report=stop)
    assert [event.image_size for event in events if isinstance(event, Measuring)] == [32, 20]
    (planned,) = (event for event in events if isinstance(event, BudgetPlanned))
    assert planned.epochs[32] == pytest.approx(3 * planned.epochs[20])


@pytest.mark.slow
def test_timing_steps_leaves_no_trace_in_the_network(tmp_path, clock):
    """What the network holds when the first real step begins is what it was made with."""
    calls = []

    def stop(event):
        if isinstance(event, BudgetPlanned):
            os.kill(os.getpid(), signal.SIGTERM)
        calls.append(event)

    with pytest.raises(InterruptedRunError):
        train(LONG, tmp_path / "run", report=stop)
    checkpoint = load_checkpoint(tmp_path / "run" / files.CHECKPOINT)
    # The stop is seen after the first step, whose learning rate is next to zero: only the batch moments have moved.
    assert checkpoint.train_state.step == 1
    fresh = initial_weights(checkpoint.weights.spec, BUDGET.seed)
    for name, tensor in checkpoint.weights.tensors.items():
        if not name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_allclose(tensor, fresh[name], atol=0.02, err_msg=name)
    assert int(checkpoint.optimizer[0]) == 1


@pytest.mark.slow
def test_a_stop_during_timing_restores_the_network(tmp_path, clock):
    events = []

    def stop(event):
        events.append(event)
        if isinstance(event, Measuring):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(LONG, tmp_path / "run", report=stop)
    assert [type(event) for event in events if isinstance(event, Measuring | BudgetPlanned)] == [Measuring]
    checkpoint = load_checkpoint(tmp_path / "run" / files.CHECKPOINT)
    assert checkpoint.train_state.step == 0
    fresh = initial_weights(checkpoint.weights.spec, BUDGET.seed)
    for name, tensor in checkpoint.weights.tensors.items():
        np.testing.assert_array_equal(tensor, fresh[name], err_msg=name)
    assert int(checkpoint.optimizer[0]) == 0
    assert not any(velocity.any() for velocity in checkpoint.optimizer if velocity.ndim > 1)


def test_a_budget_needs_a_recipe_that_can_end_at_any_time():
    with pytest.raises(InvalidValueError, match=r"fast, or one with a `cycle_peak`\. Received: paper"):
        prepare(TrainRequest("paper", budget=60.0))


@pytest.mark.slow
def test_resume_after_last_step_only_evaluates(tmp_path):
    def stop(event):
        if isinstance(event, StepDone):
            os.kill(os.getpid(), signal.SIGTERM)

    # One step, which is an epoch, at less than full size.
    recipe = BUDGET.recipe.with_changes(batch_size=200, steps=1, resolutions=((16, 0.9),), precise_batchnorm=0)
    with pytest.raises(InterruptedRunError):
        train(replace(BUDGET, recipe=recipe, budget=None), tmp_path / "run", report=stop)
    stopped = load_checkpoint(tmp_path / "run" / files.CHECKPOINT)
    assert (stopped.train_state.step, stopped.train_state.plan.steps, stopped.train_state.image_size) == (1, 1, 16)
    events = []
    resume(tmp_path / "run", report=events.append)
    assert not [event for event in events if isinstance(event, StepDone | BudgetPlanned)]
    weights = load_weights(tmp_path / "run" / files.WEIGHTS)
    for name, tensor in stopped.weights.tensors.items():
        np.testing.assert_array_equal(weights.tensors[name], tensor)


@pytest.mark.parametrize("steps_per_epoch", [10, 196, 391])
def test_five_checks_in_thirty_epochs_are_after_every_sixth(steps_per_epoch):
    plan = Plan(30 * steps_per_epoch)
    due = [checks_due(5, plan.at(epoch * steps_per_epoch)) for epoch in range(31)]
    assert due == [epoch // 6 for epoch in range(31)]
