"""The reports of a run of ``cifarnet train --seeds`` to the command that shows them."""

import time
from collections.abc import Callable
from typing import Any

from cifarnet.cli.spelling import with_options
from cifarnet.durations import duration
from cifarnet.events import BudgetPlanned, Classifying, EpochDone, Event, Measuring, Planned, StepDone, Warned
from cifarnet.plurals import counted
from cifarnet.reports.terminal.training_lines import EventLines

_INTERVAL = 0.5
"""Seconds between two reports of the progress."""


class SeedReports:
    """Sends the events of a run as JSON-ready reports.

    A report has one of these fields: ``lines``, those of the log of a run; ``warning``, a text; or ``progress``, the
    finished share of the run, None where it is unknown, with ``text``, what it does.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send
        self._events = EventLines()
        self._steps = self._epochs = 0
        self._sent = 0.0
        self._share: float | None = None
        self._activities: set[str] = set()

    def handle(self, event: Event) -> None:
        """Send the reports on ``event``."""
        if isinstance(event, Warned):
            self._send({"warning": with_options(event.message)})
        elif lines := self._events.of(event):
            self._send({"lines": [with_options(line) for line in lines]})
        if isinstance(event, Planned | EpochDone):
            self._epochs = event.epochs
        if isinstance(event, Planned | BudgetPlanned):
            self._steps = event.steps
        elif isinstance(event, Measuring):
            self._progress("timing steps", at_once=True)
        elif isinstance(event, StepDone):
            self._share = min(1.0, event.step / self._steps) if self._steps else None
            left = "" if event.seconds_left is None else f", {duration(event.seconds_left)} left"
            epoch = f"epoch {event.epoch}/{max(self._epochs, event.epoch)}"
            self._progress(f"{epoch}: loss {event.loss:.3f} acc {event.accuracy:.1%}{left}")
        elif isinstance(event, Classifying):
            self._progress(f"classifying {event.done:,} of {counted(event.total, 'image')}")

    def handle_progress(self, activity: str, done: int, total: int | None) -> None:
        """Send the progress of reading images, or of the start of the backend."""
        if activity not in self._activities:
            self._activities.add(activity)
            self._send({"lines": [f"{activity} ..."]})
            self._progress(activity, at_once=True)

    def _progress(self, text: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._sent >= _INTERVAL:
            self._sent = now
            self._send({"progress": self._share, "text": text})
