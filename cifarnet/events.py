"""The events of a training run, as plain data. An event handler receives them.

Services print nothing. A terminal, a log or a test handles the events.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifarnet.backend.devices import Device
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import Recipe


@dataclass(frozen=True)
class Planned:
    """The run that is about to be trained; reported before the first step.

    Attributes:
        spec: the network.
        params: number of its parameters.
        trainable_params: number of those that are trained.
        data: the data source as it was given.
        train_images: number of training images.
        held_out_images: number of held-out images.
        held_out: ``validation`` or ``test``.
        recipe: the recipe.
        device: the device.
        epochs: number of epochs of the whole run.
        steps: number of steps of the whole run.
        directory: the run directory.
        start_epoch: number of epochs that are finished already.
        start_batch: number of batches of the next epoch that are finished already.
        frozen_base: whether only the head is trained.
        precision: number type of the feature maps.
        budget: seconds; None without a budget.
        weights: the initial weights as they were given; None for none.
        grown_from: the network of the initial weights, if the trained network has more units; None otherwise.
        new_head: whether the head starts from random weights.
        teachers: the teachers as they were given.
        history: the finished epochs.
        best_epoch: the epoch, from 1, with the best validation accuracy; None if unknown.
        notes: how the recipe was adapted to the run, as text for the user.
        data_note: how the data source was read where it can be read in several ways; empty otherwise.
        guessed_seconds: a guess of the time of the run; None if unknown.
        advice: what takes less time; None for no advice.
        devices: number of devices that each batch is split over.
        processes: number of processes of the run.
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
    teachers: tuple[str, ...] = ()
    history: "tuple[HistoryRow, ...]" = ()
    best_epoch: int | None = None
    notes: tuple[str, ...] = ()
    data_note: str = ""
    guessed_seconds: float | None = None
    advice: "Advice | None" = None
    devices: int = 1
    processes: int = 1

    @property
    def place(self) -> str:
        """The devices, as text."""
        if self.devices == 1:
            return str(self.device)
        processes = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.devices} devices{processes}: {self.device}"


@dataclass(frozen=True)
class Advice:
    """What takes less time than a run.

    Attributes:
        budget: a time budget.
        reached: time budgets, the first of which is ``budget``, each with the accuracy on CIFAR-10 that it reaches on
            two AVX2 cores with the network that it chooses; empty where it does not choose the network.
        replaced: options that can't be combined with the budget, or with which it reaches another accuracy.
        smaller_model: name of a smaller network to train instead; None without one.
        smaller_share: the time that the smaller network takes, as a share of the run's.
        gpu_packages: what to install to train on an NVIDIA GPU; None for a run on one.
    """

    budget: str
    reached: tuple[tuple[str, str], ...]
    replaced: tuple[str, ...]
    smaller_model: str | None
    smaller_share: float
    gpu_packages: str | None


@dataclass(frozen=True)
class Warned:
    """A warning: a problem that does not end the run."""

    message: str


@dataclass(frozen=True)
class Measuring:
    """Steps at ``image_size`` pixels are being timed before a run with a budget."""

    image_size: int


@dataclass(frozen=True)
class BudgetPlanned:
    """The plan of a run with a budget, from timed steps; reported before the first step.

    Attributes:
        seconds_left: the rest of the budget.
        steps: number of steps that are left.
        epochs: number of epochs by image size, in the order of training.
        images_per_second: the speed by image size.
        checks: number of checks; 0: after every epoch.
        data_seconds: seconds of the budget that reading the images took.
    """

    seconds_left: float
    steps: int
    epochs: dict[int, float]
    images_per_second: dict[int, float]
    checks: int
    data_seconds: float


@dataclass(frozen=True)
class Estimated:
    """The estimated time of the rest of the run, in seconds; reported once after the first steps."""

    seconds_left: float
    seconds_per_epoch: float
    images_per_second: float


@dataclass(frozen=True)
class StepDone:
    """A batch was trained. ``loss`` and ``accuracy`` are means over the epoch so far. Counts start at 1."""

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
    """The number of held-out images classified so far at the end of an epoch."""

    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is finished. ``seconds`` is its time, ``best`` whether it has the best validation accuracy so far."""

    row: "HistoryRow"
    epochs: int
    held_out: str
    seconds: float
    images_per_second: float | None
    best: bool


@dataclass(frozen=True)
class HistoryRow:
    """The values of an epoch. They don't depend on the clock, so a resumed run has the history of an uninterrupted one.

    Attributes:
        epoch: counted from 1.
        step: number of steps of the run at the end of the epoch.
        image_size: side of the images in pixels in the last step.
        learning_rate: of the last step.
        loss: mean cross-entropy over the training images.
        accuracy: mean accuracy over the training images.
        held_loss: mean cross-entropy over the held-out images; None if they were not classified.
        held_accuracy: accuracy on the held-out images; None if they were not classified.
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
        """Return the values by column of history.csv: ``held_loss`` is ``test_loss`` or ``validation_loss``."""
        return {name.replace("held", held_out): value for name, value in vars(self).items()}


Event = Planned | Warned | Measuring | BudgetPlanned | Estimated | StepDone | Classifying | EpochDone
EventHandler = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore ``event``: the event handler when the caller gives none."""
