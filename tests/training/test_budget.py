"""The planner against machines of every temper: a simulated clock, so that hours pass in milliseconds."""

import pytest

from cifarnet.recipes import RECIPES
from cifarnet.training.budget import ENDING, Planner
from cifarnet.training.schedule import Plan, learning_rate, size_at, spans

FAST = RECIPES["fast"]
SECONDS = {20: 0.1, 24: 0.15, 28: 0.18, 32: 0.25}
CHECK = 5.0
FRESH = Plan(1000)


class Machine:
    """A clock that steps and checks move on, ``slowness`` times as far as was measured before the run."""

    def __init__(self, slowness, used=0.0):
        self.slowness = slowness
        self.seconds = used

    def step(self, size):
        self.seconds += SECONDS[size] * self.slowness(self.seconds)

    def check(self):
        self.seconds += CHECK * self.slowness(self.seconds)
        return CHECK * self.slowness(self.seconds)


def run(budget, slowness, *, plan=FRESH, step=0, used=0.0, checks=5, steps_per_epoch=196):
    """Follow the planner as the loop does; returns the machine, the last plan and every step's (position, size)."""
    machine = Machine(slowness, used)
    planner = Planner(budget, lambda: machine.seconds, spans(FAST, 32), SECONDS, CHECK, checks)
    path = []
    checked = int(plan.at(step) * checks)
    plan = planner.replan(plan, step)
    while step < plan.steps:
        if step % steps_per_epoch == 0 or planner.due():
            plan = planner.replan(plan, step)
        size = size_at(FAST, 32, plan.at(step))
        path.append((plan.at(step + 0.5), size))
        machine.step(size)
        planner.note_steps(size, 1)
        step += 1
        if int(plan.at(step) * checks) > checked and step < plan.steps:
            checked += 1
            planner.note_check(machine.check())
    planner.note_check(machine.check())
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
def test_the_learning_rate_ends_at_zero_and_the_images_at_full_size(slowness):
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
    assert plan.steps == pytest.approx((1200 - ENDING - 5 * CHECK) / mean, rel=0.01)


def test_a_resumed_run_counts_the_time_used_before():
    plan = Plan(8000)
    machine, _, path = run(1200, steady, plan=plan, step=3000, used=700.0)
    assert machine.seconds + ENDING == pytest.approx(1200, rel=0.03)
    assert path[0][0] == pytest.approx(plan.at(3000), abs=1e-3)


def test_a_budget_that_is_already_over_still_ends_with_a_step():
    _, plan, path = run(1200, steady, plan=Plan(8000), step=3000, used=1300.0)
    assert len(path) == 1
    assert plan.at(plan.steps) == 1
