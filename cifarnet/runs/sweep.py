"""A folder with a run for each of several seeds: its file sweep.json, and the runs in it.

sweep.json              the request, the seeds and the processors of each run
seed-0/, seed-1/ ...    the runs
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from cifarnet import __version__, places
from cifarnet.data.sources import source_name
from cifarnet.errors import InvalidValueError, RunError, invalid, without_marks
from cifarnet.fields import Range, convert_fields, options_of, typed_fields
from cifarnet.files import remove_leftovers, write_text
from cifarnet.json_files import read_object, shown
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import Run
from cifarnet.runs.lock import run_lock
from cifarnet.runs.provenance import SEEDS
from cifarnet.runs.recipe_files import find_recipe
from cifarnet.runs.request import TrainRequest, request_of
from cifarnet.shell import command_line

SWEEP = "sweep.json"
COUNTS = Range(1, 1000)
"""The numbers of seeds that a sweep may have."""

MOVABLE = ("data", "teacher")
"""The fields of a request that may get another place when a sweep is resumed."""

_FORMAT = 1
_JOBS = Range(1, 2**20)
_OPTIONS = options_of(TrainRequest)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The content of sweep.json.

    Attributes:
        options: the options of ``cifarnet train`` that are not at their defaults, by field; paths are absolute.
        seed: the first seed.
        seeds: the number of seeds.
        jobs: the number of runs that are trained at a time.
        cores: the processor cores of each run, because its weights depend on them; None on a GPU.
        recipe: the recipe; None for a named one, which is an option.

    Raises:
        InvalidValueError: for a value out of range.
    """

    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    seeds: int
    jobs: int = 1
    cores: int | None = None
    recipe: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        # Tuples become lists, as in sweep.json, so that plans can be compared.
        options = json.loads(json.dumps(self.options))
        if isinstance(teacher := options.get("teacher"), str):  # From before there could be several.
            options["teacher"] = [teacher]
        object.__setattr__(self, "options", options)
        SEEDS.require("seed", self.seed)
        require_seeds(self.seed, self.seeds)
        _JOBS.require("jobs", self.jobs)
        _JOBS.require("cores", self.cores)
        if self.recipe is not None:
            Recipe.from_dict(self.recipe)
        self.request(self.seed)

    @classmethod
    def of(cls, request: TrainRequest, seeds: int, jobs: int, cores: int | None) -> Self:
        """Return the plan to train ``request`` for ``seeds`` seeds, from its seed on."""
        options = {
            each.name: value
            for each in fields(TrainRequest)
            if each.name in _OPTIONS and (value := getattr(request, each.name)) not in (each.default, MISSING)
        }
        options |= {name: value for name, value in request.changes.items() if value is not None}
        if "data" in options:
            name = source_name(request.data)
            options["data"] = places.of_data(name) or name
        if "weights" in options:
            options["weights"] = places.of_weights(text := str(options["weights"])) or text
        if "teacher" in options:
            options["teacher"] = [places.of_weights(text) or text for text in request.teachers]
        # A copy, because a file may be changed or deleted before the last seed starts.
        recipe = options.pop("recipe", None)
        if isinstance(recipe, str) and recipe in RECIPES:
            options["recipe"], recipe = recipe, None
        elif isinstance(recipe, str):
            recipe = find_recipe(recipe)
        options.pop("seed", None)
        content = recipe.to_dict() if recipe else None
        return cls(options=options, seed=request.seed, seeds=seeds, jobs=jobs, cores=cores, recipe=content)

    @property
    def all_seeds(self) -> range:
        """The seeds."""
        return range(self.seed, self.seed + self.seeds)

    def request(self, seed: int) -> TrainRequest:
        """Return the request for the run with ``seed``."""
        named = request_of({**self.options, "seed": seed})
        return named if self.recipe is None else replace(named, recipe=Recipe.from_dict(self.recipe))

    def moved(self, new: Mapping[str, Any]) -> Self:
        """Return the plan with ``new`` places of ``data`` or ``teacher``, by field.

        Raises:
            InvalidValueError: for another number of teachers.
        """
        request = self.request(self.seed)
        changed = replace(request, **new)
        if (given := len(changed.teachers)) != (valid := len(request.teachers)):
            problem = (
                f"must be given for each teacher, in the same order ({valid} in all)"
                if valid
                else "can't be given, because these runs have no teacher"
            )
            raise invalid("teacher", problem, given, valid=valid, received=", ".join(changed.teachers) or "none")
        return self.of(changed, self.seeds, self.jobs, self.cores)

    def placed(self, config: RunConfig) -> RunConfig:
        """Return ``config`` of one of the runs with the places of its teachers in the plan."""
        teachers = tuple(self.options.get("teacher", ()))
        return replace(config, teacher=teachers, teacher_path=tuple(map(places.of_weights, teachers)))

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Return the plan in ``record``, the content of sweep.json.

        Raises:
            InvalidValueError: when it was written by a later version, a field is missing, unknown or invalid, or it
                does not match its checksum.
        """
        data = {key: value for key, value in record.items() if key not in (files.CHECKSUM, "cifarnet", "format")}
        if record.get("format") != _FORMAT:
            valid = f"must be {_FORMAT}, the format of cifarnet {__version__}"
            raise invalid("format", valid, record.get("format"), received=shown(record.get("format")))
        if record.get(files.CHECKSUM) != files.checksum({k: v for k, v in record.items() if k != files.CHECKSUM}):
            raise InvalidValueError("its SHA-256 does not match: it is damaged, or was changed by hand")
        return cls(**typed_fields(cls, data, "A sweep"))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data, with its checksum."""
        plan = {"cifarnet": __version__, "format": _FORMAT, **asdict(self)}
        if self.recipe is None:
            del plan["recipe"]
        return {**plan, files.CHECKSUM: files.checksum(plan)}


def require_seeds(first: int, count: int) -> None:
    """Check that ``count`` seeds, from ``first`` on, are valid seeds.

    Raises:
        InvalidValueError: when they are not.
    """
    COUNTS.require("seeds", count)
    if first + count - 1 not in SEEDS:
        raise invalid("seed", f"must be at most 2**63 - {count - 1} for {count} `seeds`", first)


@dataclass(frozen=True)
class Sweep:
    """The sweep in the folder ``path``."""

    path: Path
    plan: SweepPlan

    @classmethod
    @contextmanager
    def create(cls, path: Path, plan: SweepPlan) -> Iterator[Self]:
        """Create and lock a sweep in the folder ``path``, which must be new or empty, and yield it.

        Raises:
            RunError: when another process holds the folder, or it is not empty.
            StorageError: when the folder can't be written to.
        """
        with run_lock(path, is_new=True):
            require_unused(path)
            remove_leftovers(path)
            sweep = cls(path, plan)
            sweep._write()
            yield sweep

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Lock the sweep in the folder ``path``, and yield it.

        Raises:
            RunError: when another process holds the folder, or sweep.json is damaged.
            StorageError: when the folder can't be written to.
        """
        plan = read_plan(path)
        with run_lock(path):
            remove_leftovers(path)
            yield cls(path, plan)

    def replanned(self, plan: SweepPlan) -> Self:
        """Return the sweep with another ``plan``, which is written to sweep.json if it differs.

        Raises:
            StorageError: when it can't be written.
        """
        sweep = replace(self, plan=plan)
        if plan != self.plan:
            sweep._write()
        return sweep

    def _write(self) -> None:
        write_text(self.path / SWEEP, json.dumps(self.plan.to_dict(), indent=2) + "\n")

    def directory(self, seed: int) -> Path:
        """Return the directory of the run with ``seed``."""
        return self.path / f"seed-{seed}"

    def is_started(self, seed: int) -> bool:
        """Return whether the run with ``seed`` has a configuration, so that it can be resumed."""
        return (self.directory(seed) / files.CONFIG).exists()

    def is_finished(self, seed: int) -> bool:
        """Return whether the run with ``seed`` has its result. A damaged run has none."""
        try:
            run = Run.open(self.directory(seed))
            return run.result is not None and (run.path / files.WEIGHTS).is_file()
        except RunError:
            return False

    def is_complete(self, seed: int) -> bool:
        """Return whether the run with ``seed`` has its result, its plots and its page."""
        return self.is_finished(seed) and not Run(self.directory(seed)).missing_pictures

    def words(self, seed: int) -> list[str]:
        """Return the command that starts or resumes the run with ``seed``, as words after ``cifarnet``.

        A started run gets the places of images and teachers that are others in the plan.

        Raises:
            RunError: when its directory has a run with another seed.
        """
        directory, request = self.directory(seed), self.plan.request(seed)
        if self.is_started(seed):
            self.require_own(seed)
            moved = self._moved_since(directory)
            new = [word for name in moved for word in _OPTIONS[name].words(name, vars(request)[name])]
            return ["train", "--resume", str(directory), *new]
        words = ["train", "--output", str(directory), "--seed", str(seed)]
        if self.plan.recipe is not None:
            words += ["--recipe", str(self.path / SWEEP)]
        words += self._choices_of_the_first(request)
        for cls, source in ((TrainRequest, vars(request)), (Recipe, request.changes)):
            for name, described in options_of(cls).items():
                if name in self.plan.options:
                    words += described.words(name, source[name])
        return words

    def require_own(self, seed: int) -> None:
        """Check that the directory of the run with ``seed`` has no run with another seed.

        Raises:
            RunError: when it has one.
        """
        directory = self.directory(seed)
        found: object = seed
        if self.is_started(seed):
            with suppress(RunError):  # The process of the run reports a damaged configuration.
                found = Run(directory).record.get("seed")
        if found != seed:
            raise RunError(f"{directory} has a run with the seed {shown(found)}. Move it to another folder.")

    def _choices_of_the_first(self, request: TrainRequest) -> list[str]:
        """Return the options that give a new run the network and the image sizes of the first run within its budget.

        The time that the machine had for the first run chose them. It may have another speed now, or fewer processors.
        """
        first = self.first_config() if request.budget is not None else None
        # Default weights decide the network of every run.
        if first is None or first.weights:
            return []
        words = _OPTIONS["model"].words("model", first.model) if request.leaves_network_open else []
        if request.adapts_to_device:
            words += options_of(Recipe)["resolutions"].words("resolutions", first.recipe.resolutions)
        return words

    def first_config(self) -> RunConfig | None:
        """Return the configuration of the first started run whose configuration can be read; None without any."""
        for seed in filter(self.is_started, self.plan.all_seeds):
            with suppress(RunError):  # The process of the run reports a damaged configuration.
                return Run.open(self.directory(seed)).config
        return None

    def _moved_since(self, directory: Path) -> list[str]:
        """Return the fields whose place in the plan is another one than the run in ``directory`` has, and is there."""
        try:
            config = Run(directory).config
        except RunError:  # The process of the run reports a damaged configuration.
            return []
        request = self.plan.request(config.seed)
        recorded = {"data": {config.source}, "teacher": set(config.teacher_places)}
        planned = {"data": {source_name(request.data)}, "teacher": set(request.teachers)}
        moved = []
        for name in MOVABLE:
            others = planned[name] - recorded[name]
            # A name may need a download, so that a run keeps its own place as long as it is there.
            is_needed = any(map(places.is_there, others)) or not all(
                _is_usable(name, place) for place in recorded[name]
            )
            if others and is_needed and all(_is_usable(name, place) for place in others):
                moved.append(name)
        return moved


def _is_usable(field: str, place: str) -> bool:
    """Return whether the ``place`` of images or of a teacher is a name, or there is something at it.

    Paths in plans and configurations are absolute.
    """
    is_name = places.is_name(place) if field == "data" else not os.path.isabs(place)
    return is_name or places.is_there(place)


def read_plan(path: Path) -> SweepPlan:
    """Return the plan of the sweep in the folder ``path``.

    Raises:
        RunError: when its sweep.json is damaged.
    """
    file = path / SWEEP
    try:
        return SweepPlan.from_dict(read_object(file))
    except InvalidValueError as error:
        raise RunError(
            f"{file} can't be used: {without_marks(str(error))}. Restore it from a copy. The runs in {path} are"
            f" unchanged; each can be continued by itself: {command_line('train', '--resume', path / 'seed-N')}"
        ) from error


def require_unused(path: Path) -> None:
    """Check that the folder ``path`` is new or empty.

    Raises:
        RunError: when it is not. The message gives the next step.
    """
    if is_sweep(path):
        raise RunError(
            f"{path} has the runs of several seeds already. Choose another `directory`, or continue with:"
            f" {command_line('train', '--resume', path)}"
        )
    Run(path).require_unused()


def is_sweep(path: Path) -> bool:
    """Return whether the folder ``path`` has a sweep."""
    return os.path.exists(path / SWEEP)


def runs_at(path: Path) -> list[Path]:
    """Return the runs of the sweep ``path``, a folder or its sweep.json, by seed; ``path`` itself for anything else.

    ``runs/sweep/*`` includes sweep.json.
    """
    folder = path.parent if path.name == SWEEP and path.is_file() else path
    if not is_sweep(folder):
        return [path]
    sweep = Sweep(folder, read_plan(folder))
    return [sweep.directory(seed) for seed in sweep.plan.all_seeds if sweep.is_started(seed)]
