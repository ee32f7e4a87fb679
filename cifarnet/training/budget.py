"""Planning a run that ends on time: how many steps, at which image size, for the seconds that are left."""

import math
from collections.abc import Callable, Mapping, Sequence

from cifarnet.durations import span
from cifarnet.errors import BudgetError
from cifarnet.training.schedule import Plan, ahead, checks_due

# How often a plan is made anew, as a fraction of the budget: a machine that slows to half its speed just after the
# last time makes the run late by this much.
REPLAN = 1 / 40

# How long a measurement is remembered, as a fraction of the budget: the last tenth tells how fast the machine is now.
MEMORY = 1 / 10

# Seconds for what follows the last check: writing the result, its plots and its page, and the end of the process.
# Measured: 5 s on one slow core (2.5 GHz, without other work).
ENDING = 5.0


class Planner:
    """Keeps a run within ``budget`` seconds by its ``clock``, which tells the seconds used so far, restarts included.

    ``seconds_per_step`` by image size and ``seconds_per_check`` (classifying the held-out images) were measured before
    the run; what the planner goes on measuring is how much slower or faster than that the machine has become.
    ``checks`` of them are spread over the run; 0 stands for one after every ``steps_per_epoch``.
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
    ):
        self.budget = budget
        self.clock = clock
        self.spans = spans
        self.seconds_per_step = seconds_per_step
        self.seconds_per_check = seconds_per_check
        self.checks = checks
        self.steps_per_epoch = steps_per_epoch
        self._since = clock()
        self._work = 0.0
        # Seconds that lately passed, and seconds that the same work was expected to take; the newest count most. It is
        # their ratio that says how slow the machine is: a mean of ratios would make a second lost between two short
        # steps look like a machine ten times slower.
        self._lately = self._lately_expected = budget * MEMORY

    def note_steps(self, size: int, steps: int) -> None:
        """``steps`` on images of ``size`` pixels were done."""
        self._work += steps * self.seconds_per_step[size]

    def note_check(self, seconds: float) -> None:
        """The held-out images were classified, which took ``seconds``."""
        self.seconds_per_check = seconds
        self._since += seconds

    def due(self) -> bool:
        """Whether the last plan is old enough for a new one."""
        return self.clock() - self._since >= self.budget * REPLAN

    def replan(self, plan: Plan, step: int) -> Plan:
        """Return the plan from ``step`` on: as many steps as the time left is enough for, at least one."""
        self._note_pace()
        position = plan.at(step)
        return Plan(step + max(1, round(self.affordable_steps(position))), step, position)

    def affordable_steps(self, position: float) -> float:
        """Return how many steps the time left is enough for from ``position`` on, after checks and the ending."""
        checks = max(1, self.checks - checks_due(self.checks, position))
        left = self.budget - ENDING - self.clock() - checks * self.seconds_per_check
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
        """The mean over the steps from ``position`` to the end, on the machine as it was measured."""
        left = ahead(self.spans, position)
        if not left:
            return self.seconds_per_step[self.spans[-1][2]]
        return sum(share * self.seconds_per_step[size] for size, share in left) / sum(share for _, share in left)


def too_little_time(budget: float, used: float, data_seconds: float, needed: str | None = None) -> BudgetError:
    """Return the error for a ``budget`` that ends before the first step; ``needed`` is what one epoch takes."""
    reading = ""
    if data_seconds > 0.1 * budget:
        reading = f" Reading the images took {data_seconds:.0f} s; a second run finds them in the cache."
    remedy = f" One epoch needs about `budget` {needed}." if needed else " Give a larger `budget`."
    return BudgetError(
        f"The budget is too small for a single training step: {used:.0f} s passed before it, and checking and writing"
        f" the result take time too.{reading}{remedy} Received: {span(budget)}"
    )
