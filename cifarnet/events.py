"""What a training run tells while it goes on: plain data, handed to the caller's ``report``.

Services print nothing; a terminal, a log or a test decides what to make of an event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifarnet.backend.devices import Device
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import Recipe


@dataclass(frozen=True)
class Planned:
    """What is about to be trained, told before the first step; a resumed run's with its ``history`` so far.

    ``weights`` are those that it begins with, as they were asked for; ``grown_from`` is their network, where the one
    that is trained has more units; ``new_head`` tells whether the head begins anew. ``teacher`` is whose answers it
    learns from, as it was asked for. ``notes`` say how the recipe was adapted to the run. ``guessed_seconds`` is None
    where no time can be guessed before steps are timed.
    """

    spec: ModelSpec
    params: int
    trainable_params: int
    data: str
    train_images: int
    held_out_images: int
    held_out: str
    recipe: Recipe
    device: Device
    epochs: int
    steps: int
    directory: Path
    start_epoch: int
    start_batch: int
    frozen_base: bool
    precision: str
    budget: float | None
    weights: str | None = None
    grown_from: ModelSpec | None = None
    new_head: bool = True
    teacher: str | None = None
    history: "tuple[HistoryRow, ...]" = ()
    best_epoch: int | None = None
    notes: tuple[str, ...] = ()
    guessed_seconds: float | None = None
    advice: "Advice | None" = None


@dataclass(frozen=True)
class Advice:
    """What takes less time than a run.

    Attributes:
        budgets: time budgets, each with the accuracy of the default network within it.
        budget_model: name of the network to train within a budget; None for the network of the run.
        replaced: options of the run that a budget replaces.
        smaller_model: name of a smaller network to train instead; None without one.
        smaller_share: the time that the smaller network takes, as a share of the run's.
        gpu_packages: what to install to train on an NVIDIA GPU; None for a run on one.
    """

    budgets: tuple[tuple[str, str], ...]
    budget_model: str | None
    replaced: tuple[str, ...]
    smaller_model: str | None
    smaller_share: float
    gpu_packages: str | None


@dataclass(frozen=True)
class Warned:
    """Something went wrong that does not end the run."""

    message: str


@dataclass(frozen=True)
class Measuring:
    """Steps at ``image_size`` pixels are timed before the run, to plan it by."""

    image_size: int


@dataclass(frozen=True)
class BudgetPlanned:
    """What the seconds left are enough for, by the steps that were timed; reported before the first step.

    ``epochs`` and ``images_per_second`` are by image size, in the order of training. ``checks`` is that of the recipe.
    ``data_seconds`` of the budget were spent on reading the images.
    """

    seconds_left: float
    steps: int
    epochs: dict[int, float]
    images_per_second: dict[int, float]
    checks: int
    data_seconds: float


@dataclass(frozen=True)
class Estimated:
    """How long the rest of the run will take, once a few steps have been timed; seconds."""

    seconds_left: float
    seconds_per_epoch: float
    images_per_second: float


@dataclass(frozen=True)
class StepDone:
    """One batch was trained; ``loss`` and ``accuracy`` are means over the epoch so far. Counts start at 1."""

    epoch: int
    batch: int
    batches: int
    step: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class Classifying:
    """Images classified so far at the end of an epoch."""

    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """One row of the history, with the time that it took."""

    row: "HistoryRow"
    epochs: int
    held_out: str
    seconds: float
    images_per_second: float | None
    best: bool


@dataclass(frozen=True)
class HistoryRow:
    """One epoch's figures; the fields are the columns of history.csv, ``held_*`` under the held-out split's name.

    ``image_size`` is in pixels; ``held_*`` are None in an epoch that did not classify the held-out images.
    Nothing in it depends on the clock, so a resumed run's history equals an uninterrupted one's.
    """

    epoch: int
    step: int
    image_size: int
    learning_rate: float
    loss: float
    accuracy: float
    held_loss: float | None
    held_accuracy: float | None

    def columns(self, held_out: str) -> dict[str, int | float | None]:
        """The row under its columns' names: ``held_loss`` as ``test_loss`` or ``validation_loss``."""
        return {name.replace("held", held_out): value for name, value in vars(self).items()}


Event = Planned | Warned | Measuring | BudgetPlanned | Estimated | StepDone | Classifying | EpochDone
EventHandler = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A ``report`` for whoever wants none."""
