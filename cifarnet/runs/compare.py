"""Compare training runs: the settings in which they differ, and their results."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cifarnet.errors import InvalidValueError, RunError
from cifarnet.runs import files
from cifarnet.runs.config import PLACES
from cifarnet.runs.directory import Run
from cifarnet.runs.sweep import runs_at


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run on the test images. ``epoch``, from 1, is the epoch whose weights were selected."""

    accuracy: float
    loss: float
    epoch: int
    seconds: float


@dataclass(frozen=True)
class RunRecord:
    """A run as plain data.

    Attributes:
        directory: the run directory.
        seed: the run's seed.
        settings: all other fields of the recipe and configuration, and the version of cifarnet that wrote them.
        history: the rows of history.csv.
        outcome: the result; None while the run is unfinished.
    """

    directory: Path
    seed: int
    settings: dict[str, Any]
    history: list[dict[str, float | None]]
    outcome: Outcome | None

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return int(self.history[-1]["epoch"] or 0) if self.history else 0

    @property
    def epochs(self) -> int | None:
        """The planned number of epochs; None if unknown: with a budget, or with steps before the first epoch ends."""
        if self.outcome:
            return self.epoch
        if self.settings["budget"]:
            return None
        if self.settings["epochs"]:
            return int(self.settings["epochs"])
        per_epoch = self.history[0]["step"] if self.history else None
        return math.ceil(self.settings["steps"] / per_epoch) if per_epoch else None

    @property
    def held_out(self) -> str:
        """The images that were scored after each epoch: "validation" or "test"."""
        return files.held_out_name(self.history)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest accuracy on the held-out images; None if there is no measurement."""
        if self.outcome and self.held_out == "validation":
            return self.outcome.epoch
        column = f"{self.held_out}_accuracy"
        checked = [row for row in self.history if row.get(column) is not None]
        return int(max(checked, key=lambda row: row[column] or 0.0)["epoch"] or 0) if checked else None

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON-ready data."""
        outcome = self.outcome
        return {
            "run": str(self.directory),
            "seed": self.seed,
            "finished": outcome is not None,
            "accuracy": outcome and outcome.accuracy,
            "loss": outcome and outcome.loss,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "held_out": self.held_out,
            "best_epoch": self.best_epoch,
            "training_seconds": outcome and outcome.seconds,
        }


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, the best first."""

    runs: tuple[RunRecord, ...]

    def values(self, quantity: str) -> list[float]:
        """Return a field of ``Outcome`` for each finished seed.

        Runs with the same seed count once, with their mean, because they don't show how much seeds differ.
        """
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            if run.outcome:
                by_seed.setdefault(run.seed, []).append(getattr(run.outcome, quantity))
        return [mean(each) for each in by_seed.values()]

    @cached_property
    def accuracy(self) -> float | None:
        """The mean test accuracy over the finished seeds; None if no run has finished."""
        return mean(values) if (values := self.values("accuracy")) else None

    def to_dict(self, differing: Iterable[str]) -> dict[str, Any]:
        """Return the group as JSON-ready data, with its ``differing`` settings."""
        accuracy, loss, seconds = (self.values(name) for name in ("accuracy", "loss", "seconds"))
        return {
            "settings": {name: self.runs[0].settings[name] for name in differing},
            "seeds": len({run.seed for run in self.runs}),
            "finished_seeds": len(accuracy),
            "accuracy": self.accuracy,
            "accuracy_deviation": stdev(accuracy) if len(accuracy) > 1 else None,
            "loss": mean(loss) if loss else None,
            "training_seconds": mean(seconds) if seconds else None,
            "runs": [run.to_dict() for run in self.runs],
        }


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, sorted by mean accuracy, the highest first. Groups without a finished run are last.

    ``differing`` are the names of the settings that differ between groups, in the order of their declaration.
    """

    groups: tuple[Group, ...]
    differing: tuple[str, ...]

    @property
    def same_images(self) -> bool:
        """Whether all runs used the same images, so that their accuracies are comparable."""
        return not {"data_sha256", "data"} & set(self.differing)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready data that ``cifarnet compare --json`` prints."""
        return {
            "same_images": self.same_images,
            "differing": list(self.differing),
            "groups": [group.to_dict(self.differing) for group in self.groups],
        }


def compare(directories: Sequence[Path]) -> Comparison:
    """Compare the runs in ``directories``. A directory that is given twice counts once.

    The folder of a sweep stands for the runs of its seeds.

    Raises:
        InvalidValueError: when ``directories`` is empty.
        RunError: when one is not a run, or a file of it is damaged.
    """
    runs = [run for path in directories for run in runs_at(path)]
    distinct = list({path.resolve(): path for path in reversed(runs)}.values())[::-1]
    if not distinct:
        raise InvalidValueError("There is nothing to compare. Give run directories, such as runs/*. Received: none")
    records = [read_run(path) for path in distinct]
    for place in PLACES:
        _merge_places(records, place, f"{place}_sha256")
    by_settings: dict[str, list[RunRecord]] = {}
    for record in records:
        by_settings.setdefault(json.dumps(record.settings), []).append(record)
    groups = [Group(tuple(sorted(members, key=_accuracy, reverse=True))) for members in by_settings.values()]
    groups.sort(key=lambda group: -1.0 if group.accuracy is None else group.accuracy, reverse=True)
    first = records[0].settings
    differing = [name for name in first if any(record.settings[name] != first[name] for record in records)]
    return Comparison(tuple(groups), tuple(differing))


def read_run(directory: Path) -> RunRecord:
    """Return the run in ``directory``.

    Raises:
        RunError: when it is not a run, or a file of it is damaged.
    """
    if not os.path.exists(directory):
        raise RunError(f"There is no run {directory}. Give run directories, such as those that train writes to runs/.")
    run = Run.open(directory)
    config = run.config
    fields = {**asdict(config), "cifarnet": run.version}
    fields |= {"data": config.source, "weights": config.weights_place}
    for place in PLACES:
        del fields[f"{place}_path"]
    # The mean of several teachers does not depend on their order.
    teachers = sorted(zip(config.teacher_sha256, config.teacher_places, strict=True))
    fields["teacher_sha256"], fields["teacher"] = zip(*teachers, strict=True) if teachers else ((), ())
    # The digest of the request includes the seed.
    del fields["recipe"], fields["seed"], fields["request_sha256"]
    recipe = config.recipe.to_dict()
    settings = {"recipe": recipe.pop("name"), **recipe, **fields}
    if config.budget is not None:
        # The speed of the machine decides how many checks there is time for, so that seeds may differ.
        settings["checks"] = None
    return RunRecord(directory, config.seed, settings, run.history, _outcome(run))


def _accuracy(run: RunRecord) -> float:
    return run.outcome.accuracy if run.outcome else -1.0


def _merge_places(records: list[RunRecord], place: str, checksum: str) -> None:
    """Let ``records`` with equal content have the same ``place``, and drop a ``checksum`` that adds no difference.

    ``place`` is the setting with the path of the images, initial weights or teachers, and ``checksum`` the setting with
    their SHA-256.
    """
    # Equal content may be at different paths. All get the first path.
    first: dict[str, Any] = {}
    for record in records:
        if (known := record.settings[checksum]) is not None:
            record.settings[place] = first.setdefault(known, record.settings[place])
    # The same pictures have another checksum at each image size.
    sizes = [record.settings["image_size"] if place == "data" else None for record in records]
    distinct = {(r.settings[place], size, r.settings[checksum]) for r, size in zip(records, sizes, strict=True)}
    # If the paths alone distinguish the contents, the checksums are redundant.
    if len({(path, size) for path, size, _ in distinct}) == len(distinct):
        for record in records:
            del record.settings[checksum]


def _outcome(run: Run) -> Outcome | None:
    values = run.result_values("accuracy", "loss", "epoch", "training_seconds")
    if values is None:
        return None
    accuracy, loss, epoch, seconds = values
    return Outcome(accuracy, loss, int(epoch), seconds)
