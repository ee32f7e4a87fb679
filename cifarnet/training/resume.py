"""Continue a training run that was stopped, or make a finished one longer."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarnet import places
from cifarnet.backend.cluster import Cluster
from cifarnet.backend.placement import Placement
from cifarnet.backend.select import choose_backend, use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.data.sources import source_name
from cifarnet.errors import RunError, WeightsError
from cifarnet.evaluation.scored import Scored
from cifarnet.events import EventHandler, Warned, ignore
from cifarnet.files import StrPath
from cifarnet.models.spec import ModelSpec
from cifarnet.plurals import counted
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import FollowedRun, Run
from cifarnet.runs.request import SAVE_INTERVAL, teacher_texts
from cifarnet.shell import command_line
from cifarnet.training import messages
from cifarnet.training.checkpoint import Checkpoint, require_run
from cifarnet.training.checkpoints import CheckpointManager, latest_checkpoint, remove_previous
from cifarnet.training.distribute import Strategy, require_divisible, require_supported
from cifarnet.training.length import at_length, longer_from_weights, with_length
from cifarnet.training.origins import Origins, found_again, same_teachers, same_weights
from cifarnet.training.result import Result
from cifarnet.training.run import TrainingRun
from cifarnet.training.run_data import RunData
from cifarnet.training.session import Session
from cifarnet.training.setup import Setup, network_for, require_muon, warn_of_left_out
from cifarnet.training.signals import stopping_with
from cifarnet.weights.formats import load_weights
from cifarnet.weights.record import Weights


def resume(
    directory: StrPath,
    *,
    data: StrPath | None = None,
    teacher: StrPath | Sequence[StrPath] | None = None,
    on_nan: str | None = None,
    devices: str | int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | None = None,
    pictures: bool = False,
    backend: str | None = None,
    mirrors: Sequence[str] = (),
    save_interval: float = SAVE_INTERVAL,
    started: float | None = None,
    report: EventHandler = ignore,
    data_report: Progress = silent,
    start_backend: Callable[[str | None], str] = use_backend,
    cluster: Cluster | None = None,
) -> Result:
    """Continue the run in ``directory`` from its newest intact checkpoint, or from the start if it has none.

    On a CPU the result equals that of an uninterrupted run to the last bit. With a budget it depends on the clock; the
    time between the interruption and ``started`` does not count.

    Args:
        directory: the run.
        data: the current path of its images.
        teacher: the current paths of its teachers' weights, in any order. Those that did not move may be left out.
        on_nan: ``stop`` or ``restore``: what to do when its loss or a weight becomes NaN or infinite.
        devices: the devices to continue on, as in ``TrainRequest``; by default as many as before.
        epochs: a new total length. The result is that of a run that had this length from the beginning. The former
            result stays until the new one is written. Recipes whose schedule depends on the length can't be changed.
        steps: as ``epochs``.
        budget: not possible for an existing run, because a budget plans the whole run.
        pictures: score a finished run again if its plots or its page are missing.
        backend: the Keras backend, which must be that of the run.
        mirrors: as for ``train``.
        save_interval: as for ``train``.
        started: as for ``train``.
        report: as for ``train``.
        data_report: as for ``train``.
        start_backend: as for ``train``.
        cluster: as for ``train``.

    Raises:
        InterruptedRunError: when a signal stopped it again, after its state was saved.
        DivergedError: as for ``train``.
        StorageError: as for ``train``.
        LostRunError: as for ``train``.
        InvalidValueError: when it can't have the new length.
        RunError: when it is finished, when another process trains it, or when its images, initial weights or a
            teacher have changed.
        WeightsError: when all its checkpoints are damaged.
    """
    session = Session(
        mirrors=mirrors,
        save_interval=save_interval,
        started=time.monotonic() if started is None else started,
        report=report,
        data_report=data_report,
        start_backend=start_backend,
        cluster=cluster,
    )
    run = Run.open(directory)
    recorded = run.config
    config = with_length(recorded, run.path, {"epochs": epochs, "steps": steps, "budget": budget})
    config = _changed(config, data, on_nan)
    if (config.recipe, config.on_nan) != (recorded.recipe, recorded.on_nan):
        # This is not what the command that started the run asks for, so that command no longer continues it.
        config = replace(config, request_sha256=None)
    placement = _placement(devices, config, session.cluster)
    with run.locked() if session.writes else nullcontext():
        is_longer = config.recipe != recorded.recipe
        done = not is_longer and _has_result(run)
        if done and not (pictures and run.missing_pictures):
            raise RunError(messages.finished_message(config, run.path))
        _require_backend(run, backend)
        require_supported(placement, config.backend, session.cluster, synchronized=config.sync_batchnorm)
        if session.writes:
            run.remove_leftovers()
        config = found_again(config, run.path)
        if done and session.cluster:
            raise RunError(f"The run in {run.path} is finished. Write its plots and page with one process.")
        if done:
            session.start(config.backend, placement, config.sync_batchnorm)
            return _scored_again(run, config, session)
        checkpoint = latest_checkpoint(run.path, report, writes=session.writes)
        if checkpoint is None and is_longer and _has_result(run):
            raise RunError(
                f"The run in {run.path} can't be made longer: its {files.CHECKPOINT} is missing. Continue from its"
                f" weights in a new run: {longer_from_weights(recorded, run.path)}"
            )
        config, teachers = same_teachers(config, run.path, teacher_texts(teacher))
        setup = _setup(run, config, teachers, checkpoint, session)
        _, strategy = session.start(config.backend, placement, config.sync_batchnorm)
        config = _on_devices(config, strategy, run, report)
        strategy.require_same("configuration", config.common_text)
        if not session.writes:
            run = FollowedRun(run.path, recorded)
        _write_changes(run, config)
        messages.warn_of_other_cores(config, run.path, report)
        return TrainingRun(run, replace(setup, config=config), session, strategy).train(checkpoint)


def _changed(config: RunConfig, data: StrPath | None, on_nan: str | None) -> RunConfig:
    """Return ``config`` with the given changes for the rest of the run."""
    if on_nan is not None:
        config = replace(config, on_nan=on_nan)
    return config if data is None else _with_data(config, data)


def _with_data(config: RunConfig, data: StrPath) -> RunConfig:
    name = source_name(data)
    return replace(config, data=name, data_path=places.of_data(name))


def _placement(devices: str | int | None, config: RunConfig, cluster: Cluster | None) -> Placement:
    """Return the given placement, or as many devices as before."""
    if devices is not None:
        return Placement.parse(devices)
    kind = "auto" if config.cores is None else "cpu"
    return Placement(kind, None if cluster or config.devices == 1 else config.devices)


def _on_devices(config: RunConfig, strategy: Strategy, run: Run, report: EventHandler) -> RunConfig:
    """Return ``config`` with the devices of ``strategy``, and warn if they are not those of the run."""
    if strategy.devices == config.devices:
        return config
    require_divisible(config.recipe.batch_size, strategy.devices)
    changed = replace(config, devices=strategy.devices)
    strategy.require_trainable(changed, ModelSpec(config.model))
    report(
        Warned(
            f"The run in {run.path} continues on {strategy.devices} instead of"
            f" {counted(config.devices, 'device')}. Sums are rounded in another order, so its weights will differ from"
            " those of an uninterrupted run."
        )
    )
    return changed


def _require_backend(run: Run, given: str | None) -> None:
    """Check that the run's backend can be started, and that no other one was given.

    Raises:
        RunError: when another backend was given or is loaded.
    """
    wanted = run.config.backend
    backend = choose_backend(given or (None if "keras" in sys.modules else wanted))
    if backend != wanted:
        raise RunError(
            f"The run in {run.path} was trained with {wanted}, which rounds differently from {backend}."
            f" Resume it with: `backend` {wanted}"
        )


def _setup(
    run: Run, config: RunConfig, teachers: tuple[Weights, ...], checkpoint: Checkpoint | None, session: Session
) -> Setup:
    """Read the inputs of the rest of the run, and check that they have not changed."""
    # Without a checkpoint the run was stopped before its first step, so it starts from its initial weights.
    origins = Origins(None if checkpoint else same_weights(config, run.path), teachers)
    known = checkpoint.weights if checkpoint else origins.base
    began = time.monotonic()
    data = _same_data(config, run.path, session)
    data_seconds = time.monotonic() - began
    warn_of_left_out(data, session)
    if checkpoint:
        require_run(checkpoint, config, data.train, run.path)
        at_length(checkpoint, config, len(data.train), run.path)
    spec, normalization = network_for(config.model, config.recipe, known, data)
    require_muon(config.recipe, spec)
    return Setup(config, data, origins, spec, normalization, data_seconds)


def moved_inputs(
    config: RunConfig,
    directory: Path,
    data: StrPath | None,
    teacher: StrPath | Sequence[StrPath] | None,
    session: Session,
) -> dict[str, Any]:
    """Return the new places of the images and the teachers of a run by field, after a check that they are the same.

    Args:
        config: the configuration of the run.
        directory: the run, or the folder of the runs of several seeds, for messages.
        data: the current path of its images; None where they did not move.
        teacher: the current paths of its teachers' weights, as for ``resume``; None where they did not move.
        session: reads the images.

    Raises:
        DataError: when there are no images.
        RunError: when the images or a teacher are others.
    """
    found: dict[str, Any] = {}
    if teacher is not None:
        found["teacher"] = same_teachers(config, directory, teacher_texts(teacher))[0].teacher_places
    if data is not None:
        _same_data(_with_data(config, data), directory, session)
        found["data"] = data
    return found


def _same_data(config: RunConfig, directory: Path, session: Session) -> RunData:
    """Return the images of the run in ``directory``.

    Raises:
        RunError: when the images in ``config`` are not those that the run was started with.
    """
    data = RunData.load(config, session.mirrors, session.data_report)
    if data.sha256 != config.data_sha256:
        raise RunError(
            f"{config.source} does not hold the images that the run in {directory} was started with (their SHA-256"
            f" differs). Give the path of those: {command_line('train', '--resume', directory, '--data', 'PATH')}"
        )
    return data


def _has_result(run: Run) -> bool:
    """Return whether the run has a result of its length: metrics.json and the weights.h5 that it describes.

    Raises:
        RunError: when metrics.json can't be read.
    """
    if run.result is None or not (run.path / files.WEIGHTS).is_file():
        return False
    return run.result.weights_sha256 == load_weights(run.path / files.WEIGHTS).sha256()


def _scored_again(run: Run, config: RunConfig, session: Session) -> Result:
    """Return the result of the finished ``run`` after scoring it again. Write its history from the checkpoint."""
    from cifarnet.inference.classifier import Classifier

    weights, kept = load_weights(run.path / files.WEIGHTS), run.result or files.StoredResult()
    epoch, seconds = run.result_values("epoch", "training_seconds") or (0.0, 0.0)
    data = _same_data(config, run.path, session)
    _write_changes(run, config)
    with suppress(WeightsError):  # The result does not need the checkpoint.
        if checkpoint := latest_checkpoint(run.path, session.report):
            CheckpointManager(run, data.held_name, session.report).write_history(checkpoint.train_state.history)
    remove_previous(run.path)
    with stopping_with(messages.unwritten(run.path)):
        scored = Scored(data.test, weights.calibrated(Classifier(weights, engine="keras").logits(data.test.images)))
    return Result.of(run, config, weights, scored, (int(epoch), str(kept.selected_by)), seconds)


def _write_changes(run: Run, config: RunConfig) -> None:
    """Write ``config`` to config.json if it was changed, because reports and ``evaluate`` use it."""
    recorded = run.config
    if config == recorded:
        return
    stored = run.stored_result
    if config.recipe != recorded.recipe and run.metrics and stored and stored.length is None:
        # Files from before 0.2 have no length, and would be taken for the result of the new length.
        run.write_metrics({files.LENGTH: recorded.recipe.length, **run.metrics})
    run.write_config(config)
