"""Plan a run with a time budget: the number of steps at each image size for the seconds that are left."""

import math
from collections.abc import Callable, Mapping, Sequence

from cifarnet.durations import span
from cifarnet.errors import BudgetError
from cifarnet.training.schedule import Plan, ahead, checks_due

# Time between two plans, as a fraction of the budget. A machine that slows to half its speed right after the last plan
# makes the run late by this much.
REPLAN = 1 / 40

# Time constant of the measured speed, as a fraction of the budget: the last tenth decides the current speed.
MEMORY = 1 / 10

# Seconds after the last check, for writing the result, its plots and its page, and for the end of the process.
# Measured: 5 s on one slow core (2.5 GHz, without other work).
ENDING = 5.0


class Planner:
    """Plans a run so that it ends within its budget.

    The times of a step and a check are measured before the run. During the run the planner measures how much slower or
    faster the machine has become.

    Args:
        budget: seconds.
        clock: returns the seconds used so far, including those before an interruption.
        spans: the run as (begin, end, image size), as ``schedule.spans`` returns it.
        seconds_per_step: by image size, as measured before the run.
        seconds_per_check: seconds of classifying the held-out images, as measured before the run.
        checks: number of checks, spread evenly over the run; 0: one after every epoch.
        steps_per_epoch: number of batches in an epoch.
        ending: seconds after the last check.
    """

    def __init__(
        self,
        budget: float,
        clock: Callable[[], float],
        spans: Sequence[tuple[float, float, int]],
        seconds_per_step: Mapping[int, float],
        seconds_per_check: float,
        checks: int,
        steps_per_epoch: int,
        ending: float = ENDING,
    ):
        self.budget = budget
        self.clock = clock
        self.spans = spans
        self.seconds_per_step = seconds_per_step
        self.seconds_per_check = seconds_per_check
        self.checks = checks
        self.steps_per_epoch = steps_per_epoch
        self.ending = ending
        self._since = clock()
        self._work = 0.0
        # Exponentially weighted sums of the seconds passed and of the seconds expected for the same work. Their ratio
        # measures the machine. With a mean of ratios, a second lost between two short steps would look like a machine
        # ten times slower.
        self._lately = self._lately_expected = budget * MEMORY

    def note_steps(self, size: int, steps: int) -> None:
        """Record that ``steps`` on images of ``size`` pixels were trained."""
        self._work += steps * self.seconds_per_step[size]

    def note_check(self, seconds: float) -> None:
        """Record that classifying the held-out images took ``seconds``."""
        self.seconds_per_check = seconds
        self._since += seconds

    def due(self) -> bool:
        """Return whether a new plan is due."""
        return self.clock() - self._since >= self.budget * REPLAN

    def replan(self, plan: Plan, step: int) -> Plan:
        """Return the plan from ``step`` on: as many steps as fit into the time left, at least one."""
        self._note_pace()
        position = plan.at(step)
        return Plan(step + max(1, round(self.affordable_steps(position))), step, position)

    def affordable_steps(self, position: float) -> float:
        """Return how many steps from ``position`` on fit into the time left, minus that of checks and the ending."""
        checks = max(1, self.checks - checks_due(self.checks, position))
        left = self.budget - self.ending - self.clock() - checks * self.seconds_per_check
        per_step = self._lately / self._lately_expected * self._seconds_per_step_from(position)
        if not self.checks:
            per_step += self.seconds_per_check / self.steps_per_epoch
        return left / per_step

    @property
    def mean_seconds_per_step(self) -> float:
        """Seconds per step over the whole run, as measured before it."""
        return self._seconds_per_step_from(0.0)

    def _note_pace(self) -> None:
        now = self.clock()
        if self._work:
            passed = now - self._since
            kept = math.exp(-passed / (self.budget * MEMORY))
            self._lately = self._lately * kept + passed
            self._lately_expected = self._lately_expected * kept + self._work
        self._since, self._work = now, 0.0

    def _seconds_per_step_from(self, position: float) -> float:
        """Return the mean over the steps from ``position`` to the end, at the speed measured before the run."""
        left = ahead(self.spans, position)
        if not left:
            return self.seconds_per_step[self.spans[-1][2]]
        return sum(share * self.seconds_per_step[size] for size, share in left) / sum(share for _, share in left)


def too_little_time(budget: float, used: float, data_seconds: float, needed: str | None = None) -> BudgetError:
    """Return the error for a budget that ends before the first step.

    Args:
        budget: seconds.
        used: seconds used before the first step.
        data_seconds: seconds of ``used`` for reading the images.
        needed: the budget that one epoch needs, as text; None if unknown.
    """
    reading = ""
    if data_seconds > 0.1 * budget:
        reading = f" Reading the images took {data_seconds:.0f} s; a second run finds them in the cache."
    remedy = f" One epoch needs about `budget` {needed}." if needed else " Give a larger `budget`."
    return BudgetError(
        f"The budget is too small for a single training step: {used:.0f} s passed before it, and checking and writing"
        f" the result take time too.{reading}{remedy} Received: {span(budget)}"
    )
