import shutil
from collections import Counter

import pytest

from cifarnet.errors import StorageError
from cifarnet.events import Warned
from cifarnet.files import is_leftover, remove_leftovers, write_text
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.training.checkpoints import DAMAGED, CheckpointManager, latest_checkpoint
from cifarnet.weights.formats import load_weights
from tests.support.faults.saves import ERRORS, can_trace, checkpoint, faults, saved_under

pytestmark = pytest.mark.faults

needs_strace = pytest.mark.skipif(not can_trace(), reason="needs strace")

SAMPLE = 12
"""Faults of each kind at --scale 1."""


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A run directory in which two saves have been finished, and the system calls of the third."""
    directory = tmp_path_factory.mktemp("saves") / "run"
    manager = CheckpointManager(Run(directory), "test", lambda event: None)
    for step in (1, 2):
        manager.best = checkpoint(step).weights
        manager.save(checkpoint(step))
    trial = directory.with_name("trial")
    shutil.copytree(directory, trial)
    return directory, faults(trial, 3) if can_trace() else []


def sample(items, count):
    return items[:: max(1, len(items) // count)]


def assert_whole(directory, steps):
    """The newest checkpoint is whole and of one of ``steps``, and the best weights are those or the ones before."""
    remove_leftovers(directory)
    assert not list(filter(is_leftover, directory.iterdir()))
    found = latest_checkpoint(directory, lambda event: pytest.fail(f"{event}"))
    step = found.train_state.step
    assert step in steps
    assert found.weights.sha256() == checkpoint(step).weights.sha256()
    assert load_weights(directory / files.BEST_WEIGHTS).sha256() in [checkpoint(k).weights.sha256() for k in (step, 3)]
    return step


@pytest.mark.slow
@needs_strace
def test_save_killed_at_any_system_call_leaves_old_state_or_new(before, tmp_path, scaled, tried):
    directory, calls = before
    assert len(calls) > 20
    found = Counter()
    for index, call in enumerate(sample(calls, scaled(SAMPLE))):
        copy = tmp_path / str(index)
        shutil.copytree(directory, copy)
        outcome = saved_under(copy, 3, call, "signal=SIGKILL")
        assert outcome.reached, call
        assert outcome.status != 0
        found[assert_whole(copy, (2, 3))] += 1
    result = f"{found[2]} old states whole, {found[3]} new"
    tried("a system call of a save: SIGKILL", found.total(), result)


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize("error", ERRORS)
def test_save_whose_system_calls_fail_keeps_old_state_says_so(before, tmp_path, error, scaled, tried):
    directory, calls = before
    found = Counter()
    for index, call in enumerate(sample(calls, scaled(SAMPLE // 2))):
        copy = tmp_path / str(index)
        shutil.copytree(directory, copy)
        outcome = saved_under(copy, 3, call, f"error={error}")
        assert outcome.reached, call
        assert outcome.status == 0, (call, outcome)
        step = assert_whole(copy, (2, 3))
        found[step] += 1
        if step == 2:
            assert "can't be written" in outcome.warned[0]
    tried(f"a system call of a save: {error}", found.total(), f"{found[2]} old states whole, {found[3]} new")


def test_refused_save_is_tried_again_with_it_should_have_written(tmp_path, monkeypatch):
    events = []
    manager = CheckpointManager(Run(tmp_path / "run"), "test", events.append)
    manager.save(checkpoint(1))
    monkeypatch.setattr("os.replace", refuse)
    manager.best = checkpoint(2).weights
    manager.save(checkpoint(2))
    manager.save(checkpoint(3))
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path / "run", events.append).train_state.step == 1
    (warning,) = events
    assert "No space left on device. The training continues" in warning.message
    manager.save(checkpoint(4))
    assert manager.failure is None
    assert load_weights(tmp_path / "run" / files.BEST_WEIGHTS).sha256() == checkpoint(2).weights.sha256()
    assert len((tmp_path / "run" / files.HISTORY).read_text().splitlines()) == 5
    assert "Saving works again" in events[1].message


def refuse(*_):
    raise OSError(28, "No space left on device")


def test_a_write_fails_names_file_and_reason_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match=r"a\.txt can't be written: No space left on device\.") as failed:
        write_text(tmp_path / "a.txt", "new")
    assert failed.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_damaged_newest_checkpoint_gives_way_one_before_and_kept(before, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(before[0], directory)
    newest = directory / files.CHECKPOINT
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    events: list[Warned] = []
    assert latest_checkpoint(directory, events.append).train_state.step == 1
    assert "SHA-256 does not match" in events[0].message
    assert (directory / DAMAGED).read_bytes() == content
    CheckpointManager(Run(directory), "test", events.append).save(checkpoint(3))
    assert latest_checkpoint(directory, events.append).train_state.step == 3
    assert len(events) == 1
