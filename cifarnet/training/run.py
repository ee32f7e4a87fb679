"""A training run from its configuration to its result, with everything it leaves in the run directory."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet import places, runs
from cifarnet.backend.devices import device, usable_cores
from cifarnet.backend.select import choose_backend, use_backend
from cifarnet.data.dataset import Dataset, Splits
from cifarnet.data.progress import Progress as DataProgress
from cifarnet.data.progress import silent
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import (
    BudgetError,
    CifarnetError,
    DivergedError,
    InterruptedRunError,
    InvalidValueError,
    RunError,
    StorageError,
    WeightsError,
)
from cifarnet.evaluation.metrics import Metrics, measure
from cifarnet.evaluation.scored import Scored
from cifarnet.files import StrPath, as_path, is_leftover, remove_leftovers, require_writable
from cifarnet.models.spec import ModelSpec, Normalization
from cifarnet.recipes import Recipe
from cifarnet.training.advice import with_advice
from cifarnet.training.budget import too_little_time
from cifarnet.training.checkpoint import RESTORES, Checkpoint, Progress, require_run
from cifarnet.training.config import PLACES, RunConfig
from cifarnet.training.events import Planned, Report, Warned, ignore
from cifarnet.training.length import at_length, longer, with_length
from cifarnet.training.lock import FILES as LOCK_FILES
from cifarnet.training.lock import LOCK, run_lock
from cifarnet.training.origins import (
    common_test_split,
    found_again,
    load_origin,
    origins,
    refuse_other_network,
    refuse_other_task,
    same_teacher,
    same_weights,
    warn_of_learned_images,
)
from cifarnet.training.run_data import RunData
from cifarnet.training.saving import Saver, latest_checkpoint, remove_previous
from cifarnet.training.schedule import ENOUGH_FULL_SIZE_STEPS, FULL_SIZE_STEPS, Plan, full_size_steps, require_sizes
from cifarnet.training.signals import StopRequest, stopping_with
from cifarnet.weights.formats import load_weights
from cifarnet.weights.record import Weights, require_storable

if TYPE_CHECKING:
    import keras

    from cifarnet.models.network import Network
    from cifarnet.training.held_out import Tester
    from cifarnet.training.loop import Loop
    from cifarnet.training.precise_batchnorm import PreciseBatchnorm
    from cifarnet.training.trainee import Trainee

FOLDER = Path("runs")
"""Where runs without a directory of their own are kept, below the current folder."""

SAVE_INTERVAL = 180.0
"""Seconds between checkpoints within an epoch."""


@dataclass(frozen=True)
class Result:
    """A finished run: its directory, its metrics on the test images, and the epoch (from 1) that was chosen.

    ``network`` is its name for people; ``scored`` has the test images with their logits.
    """

    directory: Path
    metrics: Metrics
    epoch: int
    selected_by: str
    seconds: float
    weights_sha256: str
    network: str
    scored: Scored
    length: dict[str, int | None]
    """The recipe's ``epochs`` and ``steps``; one is None."""

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            runs.LENGTH: self.length,
            "selected_by": self.selected_by,
            "epoch": self.epoch,
            "training_seconds": self.seconds,
            "weights_sha256": self.weights_sha256,
            **self.metrics.to_dict(),
        }


def make_default_directory(config: RunConfig, model: str) -> Path:
    """Make and return runs/<network>-<recipe>-<time>, with -2, -3 ... for runs that begin in the same second.

    Raises:
        StorageError: when the system refuses.
    """
    name = f"{model}-{config.recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    directory, number = FOLDER / name, 1
    while True:
        try:
            # Only one of several processes can make it.
            directory.mkdir(parents=True)
        except FileExistsError:
            number += 1
            directory = FOLDER / f"{name}-{number}"
        except OSError as error:
            raise StorageError(directory, error) from error
        else:
            return directory


def train(
    config: RunConfig,
    directory: StrPath | None = None,
    *,
    classes: int | None = None,
    suit_device: bool = False,
    mirrors: Sequence[str] = (),
    save_interval: float = SAVE_INTERVAL,
    started: float | None = None,
    report: Report = ignore,
    data_report: DataProgress = silent,
    start_backend: Callable[[str | None], str] = use_backend,
) -> Result:
    """Start the run that ``config`` describes in ``directory``, new or empty, and train it to its end.

    The data decide the number of classes; ``classes``, where given, is what they must have. ``started``, by
    ``time.monotonic()``, is what a budget counts from; by default this call. ``suit_device`` adapts the recipe to the
    device (``Recipe.on``). Data and arguments are read and checked before ``start_backend`` is called with the
    backend's name and imports it, which takes seconds.

    Raises:
        InterruptedRunError: when a signal stopped it, after its state was saved.
        DivergedError: when its loss or a weight became NaN or infinite.
        StorageError: when its result could not be written; what was written before is whole.
        LostRunError: when the directory was deleted, moved or replaced meanwhile.
        CifarnetError: when data, weights or directory can't be used; nothing has been trained then.
    """
    started = time.monotonic() if started is None else started
    choose_backend(config.backend)
    config = config.located()
    base, teacher = load_origin(config, "weights"), load_origin(config, "teacher")
    model = config.model or (base.spec.name if base else ModelSpec().name)
    if base:
        refuse_other_network(config, base.spec, model)
    require_storable(ModelSpec(model))
    if directory is not None:
        directory = as_path(directory, "directory")
        if (directory / LOCK).exists():
            with run_lock(directory):  # Refused with its owner's name, where there is one.
                pass
        _refuse_if_used(directory)
    require_writable(directory or FOLDER)
    image_size = base.spec.image_size if base else ModelSpec().image_size
    reading = time.monotonic()

    def load(source: str, split: float | None) -> Splits:
        return load_data(
            source,
            test_split=split,
            mirrors=mirrors,
            image_size=image_size,
            skip_broken=config.skip_broken,
            report=data_report,
        )

    config = replace(config, test_split=common_test_split(config, origins(config), load))
    data = RunData.load(config, image_size, mirrors, data_report)
    data_seconds = time.monotonic() - reading
    if config.budget and time.monotonic() - started > config.budget:
        raise too_little_time(config.budget, time.monotonic() - started, data_seconds)
    _warn_of_left_out(data, report)
    if teacher:
        refuse_other_task(config, teacher, data)
    for origin in origins(config):
        warn_of_learned_images(origin, config, data.sha256, report)
    if classes not in (None, len(data.train.class_names)):
        raise InvalidValueError(
            f"{config.data} has {len(data.train.class_names)} classes ({', '.join(data.train.class_names)})."
            f" Received: --classes {classes}"
        )
    spec, normalization = _network(config, base, data)
    backend = start_backend(config.backend)
    place = device()
    if suit_device:
        config = replace(config, recipe=config.recipe.on(place.kind))
    execution = config.execution(place)
    recipe, notes = _adapted_recipe(config, data, teacher is not None)
    config = replace(
        config,
        model=model,
        data_sha256=data.sha256,
        recipe=recipe,
        weights_sha256=base.sha256() if base else None,
        teacher_sha256=teacher.sha256() if teacher else None,
        backend=backend,
        precision=execution.precision,
        jit=execution.jit,
        cores=usable_cores() if place.kind == "cpu" else None,
    )
    directory = directory or make_default_directory(config, model)
    with run_lock(directory) as require_in_place:
        run = _Run(
            config,
            directory,
            data,
            base,
            teacher,
            spec,
            normalization,
            started,
            data_seconds,
            report,
            data_report,
            require_in_place,
            notes,
        )
        _refuse_if_used(directory)
        remove_leftovers(directory)
        runs.write_config(directory, config.to_dict())
        try:
            return run.go(None, save_interval)
        except BudgetError:
            _remove_untrained(directory)
            raise


def _remove_untrained(directory: Path) -> None:
    """Remove the run in ``directory``, which has no trained step and is locked, so that the next try can use its name.

    Its only checkpoint is that of the initial weights. A run with more than that stays.
    """
    if any((directory / name).exists() for name in (runs.WEIGHTS, runs.BEST_WEIGHTS, runs.PREVIOUS_CHECKPOINT)):
        return
    shutil.rmtree(directory / runs.TENSORBOARD, ignore_errors=True)
    with suppress(OSError):
        for name in (runs.CHECKPOINT, runs.CONFIG, *LOCK_FILES):
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()


def _adapted_recipe(config: RunConfig, data: RunData, taught: bool) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe adapted to the data and the length of the run, and notes on the changes.

    ``taught`` fills in the fields of distillation. A budget decides on small images later, by timed steps.
    """
    recipe, notes = config.recipe.with_teacher() if taught else config.recipe, []
    images, size = len(data.train), data.train.images.shape[1]
    fitting = recipe.for_images(images)
    if fitting != recipe:
        notes.append(f"batches of {fitting.batch_size}: {images:,} training images make few batches of more")
    recipe = fitting
    steps = full_size_steps(recipe, size, recipe.total_steps(images))
    if recipe.has_fast_sizes and not config.budget and steps < ENOUGH_FULL_SIZE_STEPS:
        notes.append("images at full size throughout: the run is too short to begin with small ones")
        recipe = recipe.with_changes(resolutions=())
    return recipe, tuple(notes)


def _refuse_if_used(directory: Path) -> None:
    if directory.exists() and (
        not directory.is_dir()
        or any(path.name not in LOCK_FILES and not is_leftover(path) for path in directory.iterdir())
    ):
        going_on = ""
        if (directory / runs.CONFIG).exists():
            finished = runs.read_result(directory) is not None
            going_on = (
                ": it has a finished run"
                if finished
                else f", or go on with its run: cifarnet train --resume {directory}"
            )
        raise RunError(f"{directory} exists and is not an empty folder. Choose another --output{going_on}.")


def resume(
    directory: StrPath,
    *,
    data: StrPath | None = None,
    teacher: StrPath | None = None,
    on_nan: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | None = None,
    pictures: bool = False,
    backend: str | None = None,
    mirrors: Sequence[str] = (),
    save_interval: float = SAVE_INTERVAL,
    started: float | None = None,
    report: Report = ignore,
    data_report: DataProgress = silent,
    start_backend: Callable[[str | None], str] = use_backend,
) -> Result:
    """Go on with the run in ``directory`` from its newest checkpoint that is whole, or from its beginning without one.

    ``data`` and ``teacher`` say where its images and its teacher's weights lie now, ``on_nan`` what this part of it
    does when the numbers go bad. The result is that of a run that was never stopped, to the last bit on the CPU; with a
    budget the clock has its say, and the time until ``started`` (see ``train``) does not count. ``backend``, where
    given, must be that of the run; ``start_backend`` is as for ``train``.

    ``epochs`` or ``steps`` give the run, even a finished one, a new length in all. The result is that of a run that had
    this length from the beginning; until it is written, the former result stays. A recipe whose course depends on its
    length refuses a new one, and every run refuses a ``budget``.

    With ``pictures``, a finished run that lacks its plots or page is scored again for them.

    Raises:
        InterruptedRunError: when a signal stopped it again, after its state was saved.
        DivergedError, StorageError, LostRunError: as ``train``.
        InvalidValueError: when it can't have that length.
        RunError: when it is finished, is being trained in by another process, or images, first weights or teacher are
            not those that it began with.
        WeightsError: when all its checkpoints are damaged.
    """
    started = time.monotonic() if started is None else started
    directory = as_path(directory, "directory")
    recorded = RunConfig.read(directory)
    config = replace(
        with_length(recorded, directory, {"epochs": epochs, "steps": steps, "budget": budget}),
        on_nan=recorded.on_nan if on_nan is None else on_nan,
    )
    if data is not None:
        name = source_name(data)
        config = replace(config, data=name, data_path=places.of_data(name))
    if teacher is not None:
        name = str(as_path(teacher, "teacher"))
        config = replace(config, teacher=name, teacher_path=places.of_weights(name))
    with run_lock(directory) as require_in_place:
        done = config.recipe == recorded.recipe and _has_result(directory)
        if done and not (pictures and runs.missing_pictures(directory)):
            raise RunError(finished_message(recorded, directory))
        backend = choose_backend(backend or (None if "keras" in sys.modules else config.backend))
        if backend != config.backend:
            raise RunError(
                f"The run in {directory} was trained with {config.backend}, which rounds differently from {backend}."
                f" Resume it with: --backend {config.backend}"
            )
        remove_leftovers(directory)
        remove_leftovers(directory / runs.PLOTS)
        config = found_again(config, directory)
        if done:
            start_backend(backend)
            return _scored_again(config, recorded, directory, mirrors, report, data_report)
        checkpoint = latest_checkpoint(directory, report)
        if checkpoint is None and config.recipe != recorded.recipe and _has_result(directory):
            raise RunError(
                f"The run in {directory} can't be made longer: its {runs.CHECKPOINT} is gone. Go on from its weights in"
                f" a new run: cifarnet train --weights {directory}"
            )
        # Without a checkpoint it was stopped before its first step: it begins as it began then.
        base = None if checkpoint else same_weights(config, directory)
        known_teacher = same_teacher(config, directory)
        known = checkpoint.weights if checkpoint else base
        # A stranger's checkpoint can name images so large that no memory holds the data set.
        image_size = known.spec.image_size if known and config.weights else ModelSpec().image_size
        reading = time.monotonic()
        loaded = _same_data(config, directory, image_size, mirrors, data_report)
        data_seconds = time.monotonic() - reading
        _warn_of_left_out(loaded, report)
        if checkpoint:
            require_run(checkpoint, config.recipe, config.budget, loaded.train, directory)
            at_length(checkpoint, config, len(loaded.train), directory)
        spec, normalization = _network(config, known, loaded)
        start_backend(backend)
        _write_changes(config, recorded, directory)
        _warn_of_other_cores(config, directory, report)
        run = _Run(
            config,
            directory,
            loaded,
            base,
            known_teacher,
            spec,
            normalization,
            started,
            data_seconds,
            report,
            data_report,
            require_in_place,
        )
        return run.go(checkpoint, save_interval)


def _warn_of_other_cores(config: RunConfig, directory: Path, report: Report) -> None:
    cores = usable_cores()
    if device().kind == "cpu" and config.cores not in (None, cores):
        report(
            Warned(
                f"The run in {directory} began on {_cores(config.cores)} and continues on {_cores(cores)}: sums are"
                " rounded in another order, so its weights will differ from those of a run that was never stopped. For"
                f" equal weights, resume it on {_cores(config.cores)}."
            )
        )


def _cores(count: int | None) -> str:
    return f"{count} core" if count == 1 else f"{count} cores"


def _warn_of_left_out(data: RunData, report: Report) -> None:
    for files in data.left_out:
        report(Warned(files.line))


def _same_data(
    config: RunConfig, directory: Path, image_size: int, mirrors: Sequence[str], data_report: DataProgress
) -> RunData:
    """Return the images that the run in ``directory`` began with.

    Raises:
        RunError: when ``config`` names others.
    """
    loaded = RunData.load(config, image_size, mirrors, data_report)
    if loaded.sha256 != config.data_sha256:
        raise RunError(
            f"{config.source} does not hold the images that the run in {directory} began with (their SHA-256"
            " differs). Give the place of those with --data."
        )
    return loaded


def finished_message(config: RunConfig, directory: Path) -> str:
    """Return the message for the finished run in ``directory``, with the next commands."""
    return (
        f"The run in {directory} is finished. Next:\n"
        f"  cifarnet evaluate {directory}\n"
        f"  cifarnet predict IMAGE --weights {directory}\n"
        f"To train it for longer: {longer(config, directory)}"
    )


def _has_result(directory: Path) -> bool:
    """Whether the run has a result of its length: a metrics.json, and the weights.h5 that it describes.

    Raises:
        RunError: when metrics.json can't be read.
    """
    result = runs.read_result(directory)
    if result is None or not (directory / runs.WEIGHTS).is_file():
        return False
    return result.weights_sha256 == load_weights(directory / runs.WEIGHTS).sha256()


def _scored_again(
    config: RunConfig,
    recorded: RunConfig,
    directory: Path,
    mirrors: Sequence[str],
    report: Report,
    data_report: DataProgress,
) -> Result:
    """Return the result of the finished run in ``directory``; its history is written again from the checkpoint."""
    from cifarnet.inference.classifier import Classifier

    weights, kept = load_weights(directory / runs.WEIGHTS), runs.read_result(directory) or runs.StoredResult()
    epoch, seconds = runs.result_values(directory, "epoch", "training_seconds") or (0.0, 0.0)
    data = _same_data(config, directory, weights.spec.image_size, mirrors, data_report)
    _write_changes(config, recorded, directory)
    with suppress(WeightsError):  # The result does not need the checkpoint.
        if checkpoint := latest_checkpoint(directory, report):
            Saver(directory, data.held_name, report).write_history(checkpoint.progress.history)
    remove_previous(directory)
    with stopping_with(_unwritten(directory)):
        scored = Scored(data.test, weights.calibrated(Classifier(weights).logits(data.test.images)))
    return Result(
        directory,
        measure(scored.logits, data.test.labels, data.test.class_names),
        int(epoch),
        str(kept.selected_by),
        seconds,
        weights.sha256(),
        weights.spec.title,
        scored,
        runs.length(vars(config.recipe)),
    )


def _write_changes(config: RunConfig, recorded: RunConfig, directory: Path) -> None:
    """Write the fields of ``config`` that a resumption may change into config.json, if they are not ``recorded``.

    The run's reports and ``evaluate`` use them.
    """
    if config == recorded:
        return
    result = runs.read_result(directory)
    if config.recipe != recorded.recipe and result is not None and result.length is None:
        # Written before 0.2: without its length it would pass for the result of the new one.
        metrics = {runs.LENGTH: runs.length(vars(recorded.recipe)), **runs.read_metrics(directory)}
        runs.write_metrics(directory, metrics)
    names = [*PLACES, *(f"{place}_path" for place in PLACES), "on_nan"]
    now = {name: getattr(config, name) for name in names}
    runs.write_config(directory, {**runs.read_config(directory), **now, "recipe": config.recipe.to_dict()})


def _unwritten(directory: Path) -> str:
    return f"Stopped while the result was being written. Finish it with: cifarnet train --resume {directory}"


def _network(config: RunConfig, known: Weights | None, data: RunData) -> tuple[ModelSpec, Normalization]:
    """The network that is trained on ``data``, and how its input is normalized: as ``known`` weights were.

    Raises:
        InvalidValueError: when it is larger than what is stored.
    """
    model = config.model or (known.spec.name if known else ModelSpec().name)
    spec = ModelSpec(model, len(data.train.class_names), data.train.images.shape[1])
    require_storable(spec)
    require_sizes(config.recipe, spec)
    return spec, known.normalization if known else Normalization.of(data.train.images)


@dataclass
class _Run:
    config: RunConfig
    directory: Path
    data: RunData
    base: Weights | None
    teacher: Weights | None
    spec: ModelSpec
    normalization: Normalization
    started: float
    data_seconds: float
    report: Report
    data_report: DataProgress
    require_in_place: Callable[[], None]
    """Raise a ``LostRunError`` when the directory was deleted, moved or replaced."""
    notes: tuple[str, ...] = ()

    def _start_weights(self) -> dict[str, np.ndarray]:
        """Initial weights, with those of ``base`` where there are; a head for other classes begins anew."""
        from cifarnet.models.initial import adopted_weights, initial_weights

        if self.base is None:
            return initial_weights(self.spec, self.config.seed)
        return adopted_weights(self.spec, self.config.seed, self.base.tensors, keep_head=self._keeps_head)

    @property
    def _keeps_head(self) -> bool:
        return self.base is not None and self.base.class_names == self.data.train.class_names

    def go(self, checkpoint: Checkpoint | None, save_interval: float) -> Result:
        """Train to the end, from ``checkpoint`` or from the beginning, and write the result."""
        from cifarnet.training.loop import Loop

        trainee, tester, precise = self._trainee(checkpoint.weights.tensors if checkpoint else self._start_weights())
        network, recipe = trainee.network, self.config.recipe
        progress = checkpoint.progress if checkpoint else Progress(0, 0, 0, 0.0, [])
        if not progress.plan.steps:
            progress.plan = Plan(recipe.total_steps(len(self.data.train)))
        began = self.started - progress.seconds
        saver = Saver(self.directory, self.data.held_name, self.report, self.require_in_place)

        def used() -> float:
            return time.monotonic() - began

        with StopRequest() as stop:

            def save() -> None:
                progress.seconds = used()
                saver.save(loop.checkpoint(self.weights(network)))

            loop = Loop(
                trainee,
                self.data.train,
                self.data.held_out,
                self.data.held_name,
                tester,
                self.config.seed,
                progress,
                precise=precise,
                save=save,
                stop_requested=lambda: bool(stop),
                save_interval=save_interval,
                report=self.report,
            )
            if checkpoint:
                loop.restore(checkpoint)
            else:
                loop.save_now()
            self.report(with_advice(self._plan(network, loop)))
            self._train(loop, saver, stop, used)
        try:
            with stopping_with(_unwritten(self.directory)):
                return self._finish(loop, saver, used)
        except StorageError as error:
            raise error.with_advice(
                "The training is done, its result is not written. Make room, or mend the cause, then finish it with:"
                f" cifarnet train --resume {self.directory}"
            ) from error

    def _train(self, loop: "Loop", saver: Saver, stop: StopRequest, used: Callable[[], float]) -> None:
        """Bring ``loop`` to its end, keeping each epoch; raise where it is stopped or its numbers go bad."""
        from cifarnet.training.loop import NumbersGoneBad, Stopped

        try:
            # Stopped after its last step, a run has nothing left to plan: its last epoch only has to be classified.
            if self.config.budget and loop.progress.step < loop.steps:
                self._plan_budget(loop, self.config.budget, used)
            self._warn_of_short_run(loop)
            while not loop.done:
                try:
                    row = loop.run_epoch()
                    if loop.progress.best_epoch == row.epoch:
                        saver.best = self.weights(loop.trainee.network)
                    loop.save_now()
                except NumbersGoneBad as bad:
                    self._go_back(loop, bad)
                if stop:
                    raise Stopped
        except Stopped:
            try:
                loop.save_now()
            except NumbersGoneBad as bad:
                raise self._diverged(loop, bad) from None
            raise self._interruption(loop, stop, saver) from None

    def _plan_budget(self, loop: "Loop", budget: float, used: Callable[[], float]) -> None:
        """Plan the run by timed steps, and keep the recipe as it was adapted to the budget."""
        from cifarnet.training.timing import plan_by_timing

        plan_by_timing(loop, budget, used, self.data_seconds)
        if loop.recipe != self.config.recipe:
            self.config = replace(self.config, recipe=loop.recipe)
            self.require_in_place()
            runs.write_config(self.directory, self.config.to_dict())

    def _warn_of_short_run(self, loop: "Loop") -> None:
        """Warn of a run that is too short for its moving averages, or for the small images it begins with."""
        recipe, size = self.config.recipe, self.spec.image_size
        if not recipe.precise_batchnorm and loop.steps < recipe.settling_steps:
            self.report(
                Warned(
                    f"This run has {loop.steps:,} steps. The moving averages of batch normalization need about"
                    f" {recipe.settling_steps:,} to settle (momentum {recipe.batchnorm_momentum:g}), so its result may"
                    " be far worse than the network. Train longer, or compute the moments from training images:"
                    " --precise-batchnorm 1024."
                )
            )
        at_full_size = full_size_steps(recipe, size, loop.steps)
        if recipe.resolutions and at_full_size < FULL_SIZE_STEPS:
            self.report(
                Warned(
                    f"This run trains {at_full_size:,} of its {loop.steps:,} steps on images of full size ({size}"
                    f" pixels). Its result is scored on these, and {FULL_SIZE_STEPS} or more are needed for a good one:"
                    " train longer, or leave the small images out (--resolutions '')."
                )
            )

    def _warn_of_better_check(self, loop: "Loop", accuracy: float) -> None:
        """Warn when the result's ``accuracy`` on the held-out images is over a point below the run's best check."""
        checked = [row for row in loop.progress.history if row.held_accuracy is not None]
        best = max(checked, key=lambda row: row.held_accuracy or 0.0)
        if (best.held_accuracy or 0.0) <= accuracy + 0.01:
            return
        remedy = "Train longer (--epochs) or at a lower --learning-rate"
        if self.data.held_name == "test":
            remedy += ", or keep the best epoch with --validation-split 0.1"
        self.report(
            Warned(
                f"The result has an accuracy of {accuracy:.1%} on the {self.data.held_name} images. The check after"
                f" epoch {best.epoch} had {best.held_accuracy:.1%}, at {best.image_size} pixels: training made it"
                f" worse. {remedy}."
            )
        )

    def _go_back(self, loop: "Loop", bad: Exception) -> None:
        """Put ``loop`` back to the last good checkpoint, to go on at half the learning rate, or end the run."""
        checkpoint = latest_checkpoint(self.directory, self.report)
        if checkpoint:
            at_length(checkpoint, self.config, len(self.data.train), self.directory)
        if self.config.on_nan == "stop" or not checkpoint or loop.progress.restores >= RESTORES:
            raise self._diverged(loop, bad)
        checkpoint.progress.restores = loop.progress.restores + 1
        loop.restore(checkpoint)
        step, factor = loop.progress.step, loop.progress.learning_rate_factor
        self.report(Warned(f"{bad}. Going on from step {step:,} at {factor:g} times the learning rate."))
        loop.save_now()

    def _diverged(self, loop: "Loop", bad: Exception) -> DivergedError:
        checkpoint, restores = latest_checkpoint(self.directory, self.report), loop.progress.restores
        saved = f" The last good checkpoint, of step {checkpoint.progress.step:,}, is kept." if checkpoint else ""
        tried = f", the learning rate halved {restores} times" if restores else ""
        going_on = (
            f", or go on from there and halve it where that diverges: cifarnet train --resume {self.directory}"
            " --on-nan restore"
            if checkpoint and restores < RESTORES
            else "."
        )
        return DivergedError(
            f"{bad}{tried}: the training has diverged.{saved} Train anew with a lower --learning-rate{going_on}"
        )

    def _trainee(self, tensors: dict[str, np.ndarray]) -> "tuple[Trainee, Tester, PreciseBatchnorm | None]":
        """Build what ``fit`` trains, what classifies the held-out images, and what settles batch normalization."""
        from cifarnet.models.network import build_model
        from cifarnet.training.distillation import Student
        from cifarnet.training.fixed_base import (
            HEAD_STEPS,
            FeatureTester,
            HeadTrainee,
            base_features,
        )
        from cifarnet.training.held_out import ImageTester
        from cifarnet.training.precise_batchnorm import PreciseFeatures, PreciseImages
        from cifarnet.training.trainee import Trainee

        config, data = self.config, self.data
        execution = config.execution(device())
        if not config.head_alone:
            network = build_model(self.spec, tensors, precision=execution.precision)
            if config.freeze_base:
                network.freeze_base()
            given = (data.train.images, self.normalization, config.recipe, execution)
            trainee = Student(network, self.teacher, *given) if self.teacher else Trainee(network, *given)
            precise = None
            if count := config.recipe.precise_batchnorm:
                precise = PreciseImages(self._twin(), data.train.images, self.normalization, count, config.seed)
            return trainee, ImageTester(self.spec, self.normalization, data.held_out.images), precise
        network = build_model(self.spec, tensors)
        network.freeze_base()

        def features(dataset: Dataset, name: str) -> "keras.Variable":
            activity = f"Computing the features of {len(dataset):,} {name} images"
            return base_features(network, dataset.images, self.normalization, self.data_report, activity)

        execution = replace(execution, steps_per_call=max(execution.steps_per_call, HEAD_STEPS))
        trained_on = features(data.train, "training")
        trainee = HeadTrainee(network, trained_on, self.normalization, config.recipe, execution)
        tester = FeatureTester(network, features(data.held_out, data.held_name))
        count = config.recipe.precise_batchnorm
        return trainee, tester, PreciseFeatures(self._twin(), trained_on, count, config.seed) if count else None

    def _twin(self) -> "Network":
        """Build a float32 network with the layers of the trained one, the same of them frozen."""
        from cifarnet.models.network import build_model

        network = build_model(self.spec)
        if self.config.freeze_base:
            network.freeze_base()
        return network

    def weights(self, network: "Network") -> Weights:
        """The network's weights as they are now, with all that using them needs."""
        return Weights(
            self.spec,
            network.get_tensors(),
            self.data.train.class_names,
            self.normalization,
            self.config.recipe.to_dict(),
            trained_on=self.config.trained_on,
        )

    def _plan(self, network: "Network", loop: "Loop") -> Planned:
        trainable = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
        return Planned(
            spec=self.spec,
            params=network.count_params(),
            trainable_params=trainable,
            data=self.config.data,
            train_images=len(self.data.train),
            held_out_images=len(self.data.held_out),
            held_out=self.data.held_name,
            recipe=self.config.recipe,
            device=device(),
            epochs=loop.epochs,
            steps=loop.steps,
            directory=self.directory,
            start_epoch=loop.progress.epoch,
            start_batch=loop.progress.batch,
            frozen_base=self.config.freeze_base,
            precision=self.config.precision or "float32",
            budget=self.config.budget,
            weights=self.config.weights if self.base else None,
            new_head=not self._keeps_head,
            teacher=self.config.teacher,
            grown_from=self.base.spec if self.base and self.base.spec.name != self.spec.name else None,
            history=tuple(loop.progress.history),
            best_epoch=loop.progress.best_epoch,
            notes=self.notes,
        )

    def _interruption(self, loop: "Loop", stop: StopRequest, saver: Saver) -> CifarnetError:
        if saver.failure:
            return saver.failure.with_advice(
                "So the training stopped without saving its last steps. Make room, then go on from the last checkpoint:"
                f" cifarnet train --resume {self.directory}"
            )
        progress = loop.progress
        where = f"after {progress.epoch} of {loop.epochs} epochs"
        if progress.batch:
            where += f" and {progress.batch} batches of the next"
        return InterruptedRunError(
            f"Stopped {where}; everything is saved. Go on with: cifarnet train --resume {self.directory}",
            stop.signal_number or 0,
        )

    def _finish(self, loop: "Loop", saver: Saver, used: Callable[[], float]) -> Result:
        """Choose the weights, score them on the test images, and write the result."""
        self.require_in_place()
        if saver.failure:
            loop.save_now()
        if saver.failure:
            raise saver.failure
        saver.write_history(loop.progress.history)
        from cifarnet.evaluation.calibration import with_calibration
        from cifarnet.inference.classifier import Classifier

        test, held_out = self.data.test, self.data.held_out
        if self.data.has_validation:
            # They may have been written before the run was made longer, or its data were moved.
            best = load_weights(self.directory / runs.BEST_WEIGHTS)
            weights = replace(best, recipe=self.config.recipe.to_dict(), trained_on=self.config.trained_on)
            classifier = Classifier(weights)
            weights = with_calibration(weights, classifier.logits(held_out.images), held_out.labels)
            epoch, selected_by = loop.progress.best_epoch or 0, "best validation accuracy"
            logits = classifier.logits(test.images)
        else:
            weights = self.weights(loop.trainee.network)
            epoch, selected_by = loop.progress.epoch, "last epoch"
            known = loop.last_logits if loop.tester.exact else None
            logits = Classifier(weights).logits(test.images) if known is None else known
        scored = Scored(test, weights.calibrated(logits))
        metrics = measure(scored.logits, test.labels, test.class_names)
        on_held_out = metrics.accuracy if self.data.held_name == "test" else loop.progress.best_accuracy
        self._warn_of_better_check(loop, on_held_out or 0.0)
        result = Result(
            self.directory,
            metrics,
            epoch,
            selected_by,
            used(),
            weights.sha256(),
            self.spec.title,
            scored,
            runs.length(vars(self.config.recipe)),
        )
        saver.write_result(replace(weights, accuracy=metrics.accuracy), result.to_dict())
        return result
