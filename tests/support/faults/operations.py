"""What cifarnet writes, each as a set-up, an action and a check: for a fault at every operation on files of the action.

Nothing here imports a backend.
"""

import errno
import functools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cifarnet.cli import reporting
from cifarnet.data.cache import DecodedSet
from cifarnet.data.dataset import Dataset, Parts
from cifarnet.data.download import fetch
from cifarnet.errors import CifarnetError
from cifarnet.files import is_leftover, remove_leftovers, write_bytes
from cifarnet.recipes import RECIPES
from cifarnet.reports.figures import plots
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.training import checkpoints as checkpoints_module
from cifarnet.training import resume
from cifarnet.training.checkpoints import CheckpointManager, latest_checkpoint
from cifarnet.weights import catalog
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import INDEX
from cifarnet.weights.record import Weights
from tests.support.faults import saves
from tests.support.faults.disk import KILL, ForgetfulDisk, Killed, disk, watched
from tests.support.runs import run_config
from tests.support.serving import CONTENT, NAME, Server

checkpoint = functools.cache(saves.checkpoint)
FAULTS = (errno.ENOSPC, errno.EIO, KILL)


@dataclass(frozen=True)
class Action:
    """Something that writes into a folder.

    ``prepare`` makes the state before it. ``check`` asserts that the old state or the new is whole. ``again`` does it
    without a fault, and asserts that the new state is whole and that nothing else is left.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    check: Callable[[Path], None]
    again: Callable[[Path], None]


def _manager(folder: Path) -> CheckpointManager:
    return CheckpointManager(Run(folder), "test", lambda event: None)


def _step(weights: Weights) -> float:
    """The step of ``checkpoint`` that ``weights`` are of, found in each tensor."""
    (step,) = {float(tensor.flat[-1]) for tensor in weights.tensors.values()}
    return step


def _prepare_save(folder: Path) -> None:
    for step in (1, 2):
        manager = _manager(folder)
        manager.best = checkpoint(step).weights
        manager.save(checkpoint(step))


def _save(folder: Path, step: int = 3) -> None:
    manager = _manager(folder)
    manager.best = checkpoint(step).weights
    manager.save(checkpoint(step))
    if manager.failure:
        raise manager.failure


def _check_save(folder: Path) -> None:
    found = latest_checkpoint(folder, lambda event: pytest.fail(f"{event}"))
    assert found
    step = found.train_state.step
    assert step in (2, 3)
    assert _step(found.weights) == step
    assert _step(catalog.load_weights(folder / files.BEST_WEIGHTS)) in (step, 3)
    # One row less than the checkpoint is written again by the next save, and by the end of the run.
    assert len(files.read_history(folder)) in (step, step - 1)


def _save_again(folder: Path) -> None:
    remove_leftovers(folder)
    _save(folder, 4)
    found = latest_checkpoint(folder, lambda event: pytest.fail(f"{event}"))
    assert found
    assert found.train_state.step == 4
    assert len(files.read_history(folder)) == 4
    assert not list(filter(is_leftover, folder.iterdir()))


def _source(folder: Path, step: int) -> Path:
    path = folder.parent / f"source-{step}.h5"
    if not path.exists():
        save_weights(path, checkpoint(step).weights)
    return path


def _prepare_weights(folder: Path) -> None:
    _source(folder, 2)
    catalog.add(_source(folder, 1), "mine")
    catalog.add(_source(folder, 1), "other")


def _named(name: str) -> float | None:
    """The step of the weights called ``name``; None when there are none."""
    return _step(catalog.load(name)) if name in catalog.entries() else None


def _check_weights(name: str, *steps: int | None) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        assert _named("other") == 1
        assert _named(name) in steps

    return check


def _tidy(folder: Path) -> None:
    names = {entry.path.name for entry in catalog.entries().values() if not entry.shipped}
    assert {path.name for path in folder.iterdir()} == {*names, INDEX, ".lock"}


def _add(name: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        catalog.add(_source(folder, 2), name, replace=True)

    return act


def _add_again(name: str) -> Callable[[Path], None]:
    def again(folder: Path) -> None:
        catalog.add(_source(folder, 1), "unrelated")
        _tidy(folder)
        _add(name)(folder)
        _check_weights(name, 2)(folder)
        _tidy(folder)

    return again


def _remove_again(folder: Path) -> None:
    if "mine" in catalog.entries():
        catalog.remove("mine")
    catalog.add(_source(folder, 1), "unrelated")
    assert "mine" not in catalog.entries()
    _tidy(folder)


def _prepare_run(folder: Path) -> None:
    files.write_config(folder, run_config(RECIPES["paper"].with_changes(epochs=3)).to_dict())
    _manager(folder).save(checkpoint(2))
    _manager(folder).save(checkpoint(3))


def _metrics() -> dict[str, Any]:
    length = {"epochs": 3, "steps": None}
    return {files.LENGTH: length, "weights_sha256": checkpoint(3).weights.sha256(), "epoch": 3, "accuracy": 0.5}


def _finish(folder: Path) -> None:
    """Finish the run as a training does after its last save, which was killed before history.csv."""
    manager = _manager(folder)
    manager.write_history(checkpoint(3).train_state.history)
    manager.write_result(checkpoint(3).weights, _metrics())
    _draw(folder)


def _draw(folder: Path) -> None:
    result = SimpleNamespace(
        run=Run(folder), directory=folder, scored=None, to_dict=_metrics, epoch=3, selected_by="last epoch"
    )
    result.seconds, result.weights_sha256, result.network = 1.0, _metrics()["weights_sha256"], "ResNet-8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "_figures", lambda *_: dict.fromkeys(files.PLOT_NAMES))
        patch.setattr(reporting, "evaluation_html", lambda *_: f"<p>{_metrics()['weights_sha256']}</p>")
        patch.setattr(plots, "_rendered", lambda figure, kind: kind.encode())
        reporting.finish_run(result)  # type: ignore[arg-type]


def _check_run(folder: Path) -> None:
    if resume._has_result(Run(folder)):
        assert files.read_metrics(folder) == _metrics()
        assert len(files.read_history(folder)) == 3
        if not Run(folder).missing_pictures:
            assert {path.read_bytes() for path in (folder / files.PLOTS).glob("[!.]*")} == {b"png", b"svg"}
    else:
        found = latest_checkpoint(folder, lambda event: pytest.fail(f"{event}"))
        assert found
        assert found.train_state.step == 3


def _finish_again(folder: Path) -> None:
    # As --resume does it, without the scoring.
    remove_leftovers(folder)
    remove_leftovers(folder / files.PLOTS)
    if not resume._has_result(Run(folder)):
        _finish(folder)
    elif Run(folder).missing_pictures:
        _draw(folder)
    assert resume._has_result(Run(folder))
    assert not Run(folder).missing_pictures
    assert len(files.read_history(folder)) == 3
    assert not list(filter(is_leftover, folder.rglob("*")))


def _decoded(seed: int) -> Parts:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    dataset = Dataset(images, np.array([0, 1, 0, 1], np.int32), ("a", "b"))
    return Parts(dataset, None, None)


def _store(seed: int) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        DecodedSet(folder / "images", 32).store(str(seed), _decoded(seed))

    return act


def _is_stored(folder: Path, seed: int) -> bool:
    found = DecodedSet(folder / "images", 32).load(str(seed))
    if found:
        np.testing.assert_array_equal(found.train.images, _decoded(seed).train.images)
    return found is not None


def _check_store(folder: Path) -> None:
    assert _is_stored(folder, 1) or _is_stored(folder, 2)


def _store_again(folder: Path) -> None:
    _store(2)(folder)
    assert _is_stored(folder, 2)


def downloads(server: Server) -> Action:
    """A download from ``server``."""

    def check(folder: Path) -> None:
        assert not (folder / NAME).exists() or (folder / NAME).read_bytes() == CONTENT

    def act(folder: Path) -> None:
        fetch(server.file("good"), folder)

    def again(folder: Path) -> None:
        assert fetch(server.file("good"), folder).read_bytes() == CONTENT
        assert {path.name for path in folder.iterdir()} <= {NAME, f".{NAME}.lock"}

    return Action(lambda folder: None, act, check, again)


ACTIONS = {
    "save": Action(_prepare_save, _save, _check_save, _save_again),
    "weights add": Action(_prepare_weights, _add("new"), _check_weights("new", None, 2), _add_again("new")),
    "weights add --replace": Action(_prepare_weights, _add("mine"), _check_weights("mine", 1, 2), _add_again("mine")),
    "weights remove": Action(
        _prepare_weights, lambda folder: catalog.remove("mine"), _check_weights("mine", 1, None), _remove_again
    ),
    "finish": Action(_prepare_run, _finish, _check_run, _finish_again),
    "decoded images": Action(_store(1), _store(2), _check_store, _store_again),
}


# What _quick_files has built, parsed and digested. Objects are kept, so that their numbers stay theirs.
_BUILT: dict[int, tuple[Any, bytes]] = {}
_PARSED: dict[tuple[Any, bytes], Any] = {}
_DIGESTS: dict[int, tuple[Weights, str]] = {}


@contextmanager
def _quick_files() -> Iterator[None]:
    """Build and parse each HDF5 content once, which takes 50 ms: here only reaching the disk as bytes matters."""

    def saving(original: Callable[..., None]) -> Callable[..., None]:
        def save(path: Path, what: Any, previous: Path | None = None) -> None:
            if id(what) not in _BUILT:
                scratch = Path(temporary) / "file.h5"
                original(scratch, what)
                _BUILT[id(what)] = what, scratch.read_bytes()
            write_bytes(path, _BUILT[id(what)][1], previous)

        return save

    def loading(original: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def load(path: Path) -> Any:
            key = original, path.read_bytes() if path.is_file() else b""
            if key not in _PARSED:
                _PARSED[key] = original(path)
            return _PARSED[key]

        return load

    sha256 = Weights.sha256

    def digest(weights: Weights) -> str:
        if id(weights) not in _DIGESTS:
            _DIGESTS[id(weights)] = weights, sha256(weights)
        return _DIGESTS[id(weights)][1]

    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Weights, "sha256", digest)
        for name in ("save_weights", "save_checkpoint"):
            patch.setattr(checkpoints_module, name, saving(getattr(checkpoints_module, name)))
        for module, name in (
            (checkpoints_module, "load_checkpoint"),
            (catalog, "load_weights"),
            (catalog, "load_header"),
            (checkpoints_module, "load_weights"),
            (resume, "load_weights"),
        ):
            patch.setattr(module, name, loading(getattr(module, name)))
        yield


@contextmanager
def _prepared(action: Action, folder: Path) -> Iterator[Path]:
    """The folder that ``action`` works in, prepared; it is also the cache and the folder of the user's own weights."""
    trial = folder / "trial"
    trial.mkdir(parents=True)
    with _quick_files(), pytest.MonkeyPatch.context() as patch:
        for variable in ("CIFARNET_CACHE", "CIFARNET_WEIGHTS"):
            patch.setenv(variable, str(trial))
        # A sync shows only on a disk that forgets, and takes milliseconds.
        patch.setattr(os, "fsync", lambda descriptor: None)
        # Each of the others is written in the same way.
        patch.setattr(files, "PLOT_NAMES", files.PLOT_NAMES[:1])
        action.prepare(trial)
        yield trial


def meet(action: Action, folder: Path, fault: int) -> Counter[str]:
    """Let each operation of ``action`` on a file in ``folder`` meet ``fault``, one after the other.

    Returns how many of these actions ``went on``, ``reported`` the fault or were ``killed``.
    """
    counts: Counter[str] = Counter()
    with _prepared(action, folder) as trial:
        before = folder / "before"
        shutil.copytree(trial, before)
        with disk(trial) as healthy:
            action.act(trial)
        for refused in range(1, healthy.operations + 1):
            shutil.rmtree(trial)
            shutil.copytree(before, trial)
            with disk(trial, refused, fault) as bad:
                try:
                    action.act(trial)
                    counts["went on"] += 1
                except Killed:
                    counts["killed"] += 1
                except CifarnetError:
                    counts["reported"] += 1
            assert bad.operations >= refused
            action.check(trial)
            action.again(trial)
    return counts


def forget(action: Action, folder: Path) -> int:
    """Check each state that a power cut during ``action`` could leave in ``folder``; return their number."""
    with _prepared(action, folder) as trial:
        forgetful = ForgetfulDisk(trial)
        with watched(forgetful):
            action.act(trial)
        for state in forgetful.states:
            shutil.rmtree(trial)
            trial.mkdir()
            for name, content in state.items():
                (trial / name).parent.mkdir(parents=True, exist_ok=True)
                (trial / name).write_bytes(content)
            action.check(trial)
            action.again(trial)
        return len(forgetful.states)
