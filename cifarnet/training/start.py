"""Start a training run."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cifarnet.backend.cluster import Cluster
from cifarnet.backend.devices import device
from cifarnet.backend.placement import Placement
from cifarnet.backend.select import choose_backend, use_backend
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import StorageError, invalid
from cifarnet.events import EventHandler, ignore
from cifarnet.files import StrPath, as_path, require_writable
from cifarnet.json_files import shown
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import FollowedRun, Run
from cifarnet.runs.lock import LOCK
from cifarnet.runs.request import SAVE_INTERVAL, TrainRequest
from cifarnet.training.distribute import Strategy, require_supported
from cifarnet.training.network_choice import with_best_network, with_default_weights
from cifarnet.training.result import Result
from cifarnet.training.resume import resume
from cifarnet.training.run import TrainingRun
from cifarnet.training.session import Session
from cifarnet.training.setup import (
    Prepared,
    Setup,
    network_for,
    prepare,
    read_images,
    request_sha256,
    resolve,
)

FOLDER = Path("runs")
"""The folder for runs without a given directory, relative to the current folder."""


def train(
    request: TrainRequest,
    directory: StrPath | None = None,
    *,
    mirrors: Sequence[str] = (),
    save_interval: float = SAVE_INTERVAL,
    started: float | None = None,
    report: EventHandler = ignore,
    data_report: Progress = silent,
    start_backend: Callable[[str | None], str] = use_backend,
    cluster: Cluster | None = None,
) -> Result:
    """Start a run in ``directory``, which must be new or empty, and train it to its end.

    If the directory has an interrupted run of the same request, that run continues (``resume``). Arguments and data are
    checked before the backend is imported.

    Args:
        request: the network, the recipe, the data and the other settings.
        directory: the directory of the run; by default a new one in ``runs``.
        mirrors: addresses to try before the official ones of named data sets.
        save_interval: seconds between checkpoints within an epoch.
        started: the start of the time budget, by ``time.monotonic()``; by default now.
        report: receives the events of the run (``cifarnet.events``).
        data_report: receives the progress of reading images.
        start_backend: imports the backend with the given name, and returns its name.
        cluster: the processes of the run, each of which calls this function; None for one process.

    Raises:
        InterruptedRunError: when a signal stopped the run, after its state was saved.
        DivergedError: when the loss or a weight became NaN or infinite.
        StorageError: when the result can't be written. Files that were written before are intact.
        LostRunError: when the directory was deleted, moved or replaced during the training.
        InvalidValueError: when ``request`` is not a ``TrainRequest``.
        CifarnetError: when data, weights or directory can't be used. Nothing has been trained then.
    """
    if not isinstance(request, TrainRequest):
        valid = "must be a TrainRequest, such as TrainRequest('fast')"
        raise invalid("request", valid, request, received=shown(request))
    session = Session(
        mirrors=mirrors,
        save_interval=save_interval,
        started=time.monotonic() if started is None else started,
        report=report,
        data_report=data_report,
        start_backend=start_backend,
        cluster=cluster,
    )
    placement = Placement.parse(request.devices)
    require_supported(placement, choose_backend(request.backend), session.cluster, synchronized=request.sync_batchnorm)
    prepared = prepare(request)
    path = None if directory is None else as_path(directory, "directory")
    if cluster and path is None:
        raise invalid(
            "output", "must be given for several processes, such as `output` runs/mine", None, received="none"
        )
    digest = request_sha256(prepared)
    if path is not None and Run(path).is_interrupted(digest):
        return resume(
            path,
            data=request.data,
            teacher=request.teachers,
            devices=None if request.devices == "auto" else request.devices,
            backend=request.backend,
            mirrors=mirrors,
            save_interval=save_interval,
            started=session.started,
            report=report,
            data_report=data_report,
            start_backend=start_backend,
            cluster=cluster,
        )
    if session.writes:
        if path is not None:
            _require_free(Run(path))
        require_writable(path or FOLDER)
    inputs, data, data_seconds = read_images(prepared, session)
    prepared, start = with_default_weights(prepared, data)
    inputs = replace(inputs, weights=prepared.inputs.weights, weights_path=prepared.inputs.weights_path)
    spec, normalization = network_for(prepared.model, prepared.recipe, prepared.origins.base, data)
    backend, strategy = session.start(request.backend, placement, request.sync_batchnorm)
    used = device()
    prepared, choice = with_best_network(prepared, used, len(data.train))
    config, notes = resolve(prepared, inputs, data, backend, used, strategy)
    config, spec = replace(config, request_sha256=digest), replace(spec, name=config.model)
    notes, keeps_sizes = (*start, *choice, *notes), "resolutions" in prepared.request.changes
    setup = Setup(config, data, prepared.origins, spec, normalization, data_seconds, notes, keeps_sizes)
    strategy.require_same("configuration", config.common_text)
    with _new_run(path, config, strategy) as run:
        return TrainingRun(run, setup, session, strategy).train(None)


def _new_run(path: Path | None, config: RunConfig, strategy: Strategy) -> AbstractContextManager[Run]:
    """Return the context of a new run. One of several processes writes it, and the others follow."""
    if not strategy.is_writer:
        return nullcontext(FollowedRun(path or FOLDER, config))
    return Run.create(path or make_default_directory(config), config)


def _require_free(run: Run) -> None:
    """Check that the directory is unused and that no process trains in it, before the images are read."""
    if (run.path / LOCK).exists():
        with run.locked(is_new=True):  # The error names the process that holds the lock.
            pass
    run.require_unused()


def make_default_directory(config: RunConfig | Prepared) -> Path:
    """Make and return runs/<network>-<recipe>-<time>, with -2, -3 ... for runs that start in the same second.

    Raises:
        StorageError: when it can't be made.
    """
    name = f"{config.model}-{config.recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
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
