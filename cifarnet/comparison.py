"""What sets training runs apart and what they came to, from what they left in their directories."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cifarnet import runs
from cifarnet.errors import InvalidValueError, RunError
from cifarnet.json_files import shown
from cifarnet.training.config import PLACES, RunConfig


@dataclass(frozen=True)
class Outcome:
    """What a finished run came to on the test images; ``epoch`` (from 1) is the one whose weights were chosen."""

    accuracy: float
    loss: float
    epoch: int
    seconds: float


@dataclass(frozen=True)
class RunRecord:
    """A run's directory as plain data.

    ``settings`` are all fields of its recipe and configuration but the seed, by the names of their options, and the
    ``cifarnet`` that wrote them. ``outcome`` is None while the run is unfinished.
    """

    directory: Path
    seed: int
    settings: dict[str, Any]
    history: list[dict[str, float | None]]
    outcome: Outcome | None

    @property
    def epoch(self) -> int:
        """The last epoch that has ended, counted from 1; 0 before the first."""
        return int(self.history[-1]["epoch"] or 0) if self.history else 0

    @property
    def epochs(self) -> int | None:
        """Epochs from beginning to end; None where that is open: with a budget, or by steps before the first epoch."""
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
        """The images that its epochs ended with: validation or test."""
        return runs.held_out_name(self.history)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest accuracy on the held-out images; None where none has been measured."""
        if self.outcome and self.held_out == "validation":
            return self.outcome.epoch
        column = f"{self.held_out}_accuracy"
        checked = [row for row in self.history if row.get(column) is not None]
        return int(max(checked, key=lambda row: row[column] or 0.0)["epoch"] or 0) if checked else None

    def to_dict(self) -> dict[str, Any]:
        """The run in JSON-ready form."""
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
    """Runs that are equal but for their seed, the best first."""

    runs: tuple[RunRecord, ...]

    def values(self, quantity: str) -> list[float]:
        """A field of the ``Outcome`` for each seed that has finished; runs that share their seed are one, their mean.

        Two runs with the same seed say nothing of how much seeds differ.
        """
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            if run.outcome:
                by_seed.setdefault(run.seed, []).append(getattr(run.outcome, quantity))
        return [mean(each) for each in by_seed.values()]

    @cached_property
    def accuracy(self) -> float | None:
        """Mean test accuracy over the finished seeds; None without one."""
        return mean(values) if (values := self.values("accuracy")) else None

    def to_dict(self, differing: Iterable[str]) -> dict[str, Any]:
        """The group in JSON-ready form, with those of its settings that are ``differing``."""
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
    """Groups of runs, the highest mean accuracy first and those without a finished run last.

    ``differing`` are the settings that are not the same in all groups, in the order of their declaration.
    """

    groups: tuple[Group, ...]
    differing: tuple[str, ...]

    @property
    def same_images(self) -> bool:
        """Whether all runs were trained and tested on the same images, so that their accuracies can be compared."""
        return not {"data_sha256", "data"} & set(self.differing)

    def to_dict(self) -> dict[str, Any]:
        """What ``cifarnet compare --json`` prints."""
        return {
            "same_images": self.same_images,
            "differing": list(self.differing),
            "groups": [group.to_dict(self.differing) for group in self.groups],
        }


def compare(directories: Sequence[Path]) -> Comparison:
    """The runs in ``directories`` beside each other; a directory that is given twice counts once.

    Raises:
        InvalidValueError: when there is none.
        RunError: when one is no run, or what it holds is damaged.
    """
    distinct = list({path.resolve(): path for path in reversed(directories)}.values())[::-1]
    if not distinct:
        raise InvalidValueError("There is nothing to compare: give run directories, runs/* say.")
    records = [read_run(path) for path in distinct]
    for place in PLACES:
        _tell_once(records, place, f"{place}_sha256")
    by_settings: dict[str, list[RunRecord]] = {}
    for record in records:
        by_settings.setdefault(json.dumps(record.settings), []).append(record)
    groups = [Group(tuple(sorted(members, key=_accuracy, reverse=True))) for members in by_settings.values()]
    groups.sort(key=lambda group: -1.0 if group.accuracy is None else group.accuracy, reverse=True)
    first = records[0].settings
    differing = [name for name in first if any(record.settings[name] != first[name] for record in records)]
    return Comparison(tuple(groups), tuple(differing))


def read_run(directory: Path) -> RunRecord:
    """The run in ``directory``.

    Raises:
        RunError: when it is no run, or what it holds is damaged.
    """
    if not directory.exists():
        raise RunError(f"There is no run {directory}. Give run directories, such as those that train writes to runs/.")
    config = RunConfig.read(directory)
    version = runs.read_config(directory).get("cifarnet")
    if not isinstance(version, str | None):
        raise RunError(
            f"{directory / runs.CONFIG} is not a valid run configuration: cifarnet must be a text. Received:"
            f" {shown(version)}"
        )
    fields = {**asdict(config), "cifarnet": version}
    for place in PLACES:
        fields[place] = fields.pop(f"{place}_path") or fields[place]
    del fields["recipe"], fields["seed"]
    recipe = config.recipe.to_dict()
    settings = {"recipe": recipe.pop("name"), **recipe, **fields}
    return RunRecord(directory, config.seed, settings, runs.read_history(directory), _outcome(directory))


def _accuracy(run: RunRecord) -> float:
    return run.outcome.accuracy if run.outcome else -1.0


def _tell_once(records: list[RunRecord], place: str, checksum: str) -> None:
    """Have ``records`` say once, and not twice, whose images, first weights or teacher are others."""
    # The same images may lie at different places: all are told by the first of them.
    first: dict[str, Any] = {}
    for record in records:
        if (known := record.settings[checksum]) is not None:
            record.settings[place] = first.setdefault(known, record.settings[place])
    told = {(record.settings[place], record.settings[checksum]) for record in records}
    # Others at the same place can be told by their checksums alone.
    if len({where for where, _ in told}) == len(told):
        for record in records:
            del record.settings[checksum]


def _outcome(directory: Path) -> Outcome | None:
    values = runs.result_values(directory, "accuracy", "loss", "epoch", "training_seconds")
    if values is None:
        return None
    accuracy, loss, epoch, seconds = values
    return Outcome(accuracy, loss, int(epoch), seconds)
