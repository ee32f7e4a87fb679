"""Whole trainings on a disk that refuses, and killed ones."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.errors import RunError, StorageError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoints import latest_checkpoint
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from tests.support.faults.disk import KILL, Killed, disk

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("tiny_family")]

ROOT = Path(__file__).parents[2]
CONFIG = TrainRequest(
    RECIPES["paper"].with_changes(epochs=2, batch_size=32), data="synthetic:100", model="tiny2", validation_split=0.2
)
FAULTS = (errno.ENOSPC, errno.EIO, errno.EACCES, KILL)


def result(directory):
    return (directory / files.HISTORY).read_text(), load_weights(directory / files.WEIGHTS).sha256()


@pytest.fixture(scope="module")
def reference(tiny_family, tmp_path_factory):
    """The result of a run that was left alone, and how many operations on its files it needed."""
    directory = tmp_path_factory.mktemp("reference") / "run"
    with disk(directory) as healthy:
        train(CONFIG, directory)
    return result(directory), healthy.operations


def train_on_a_bad_disk(directory, refused, code, for_ever):
    """Return the error that ``cifarnet train`` ended with, or None."""
    error = None
    with disk(directory, refused, code, for_ever) as bad:
        try:
            train(CONFIG, directory)
        except (StorageError, RunError, Killed) as caught:
            error = caught
    assert bad.operations >= refused
    return error


def assert_it_can_be_finished(directory, wanted):
    """What is there is whole, and the run goes on to the result of one that was left alone."""
    if (directory / files.METRICS).exists():
        assert result(directory) == wanted
    elif (directory / files.CONFIG).exists():
        latest_checkpoint(directory, lambda event: pytest.fail(str(event)))
        resume(directory)
        assert result(directory) == wanted
    else:
        train(CONFIG, directory)
        assert result(directory) == wanted


SAMPLE = 8
"""Operations that are refused, and kills, at --scale 1."""


@pytest.mark.slow
def test_a_run_survives_each_refused_operation_on_its_files(reference, tmp_path, scaled, tried):
    wanted, operations = reference
    assert operations > 30
    went_on = 0
    places = range(1, operations + 1, operations // scaled(SAMPLE, most=operations))
    for index, refused in enumerate(places):
        directory = tmp_path / str(refused)
        error = train_on_a_bad_disk(directory, refused, FAULTS[index % 4], for_ever=False)
        assert error is None or isinstance(error, StorageError | Killed)
        went_on += error is None
        assert_it_can_be_finished(directory, wanted)
    result = f"{went_on} went on, {len(places) - went_on} stopped and were finished later; all results equal"
    tried("an operation on a run's file: ENOSPC, EIO, EACCES once, or killed", len(places), result)


@pytest.mark.slow
def test_run_on_a_disk_stays_full_says_so_and_is_finished_later(reference, tmp_path, scaled, tried):
    wanted, operations = reference
    places = range(6, operations - 2, (operations - 9) // scaled(2, most=operations - 9))
    for refused in places:
        directory = tmp_path / str(refused)
        error = train_on_a_bad_disk(directory, refused, errno.ENOSPC, for_ever=True)
        assert isinstance(error, StorageError)
        assert error.exit_code == 3
        assert "No space left on device" in str(error)
        assert_it_can_be_finished(directory, wanted)
    tried(
        "an operation on a run's file: ENOSPC from then on", len(places), "all were finished later; all results equal"
    )


def can_mount(folder):
    """Whether a small disk of one's own can be had here."""
    if shutil.which("mount") is None or os.geteuid():
        return False
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", folder], capture_output=True, check=False
    )
    return mounted.returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk that holds one checkpoint of ResNet-8 and not two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_real_disk_full_ends_with_message_and_exit_status_own(tmp_path, small_disk):
    train(replace(CONFIG, model="resnet8"), tmp_path / "run")
    directory = small_disk / "run"
    recipe = small_disk / "recipe.json"
    recipe.write_text(json.dumps(CONFIG.recipe.to_dict()))
    options = ["--data", "synthetic:100", "--depth", "8", "--recipe", recipe, "--validation-split", "0.2"]
    command = [sys.executable, "-m", "cifarnet", "train", *options, "--output", directory]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert f"cifarnet train --resume {directory}" in done.stderr
    assert latest_checkpoint(directory, lambda event: pytest.fail(str(event))) is not None
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    resume(directory)
    assert result(directory) == result(tmp_path / "run")


@pytest.mark.slow
def test_killed_trainings_go_on_to_result_of_one_was_left_alone(tmp_path, scaled, tried):
    command = [sys.executable, "-m", "tests.support.faults.kills", tmp_path / "kills", str(scaled(4)), "114"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["kills"] == scaled(4)
    assert counts["resumed"] > 0  # 3 here: this seed's first kill comes late.
    assert counts["equal"] == counts["finished"] >= 1
    equal = f"{counts['equal']} of {counts['finished']} results equal to the last bit"
    tried("training killed at a random moment", counts["kills"], f"all went on from their last save; {equal}")


# A shell's background job inherits an ignored SIGINT.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import cifarnet.cli.main as m; m.main()"
)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_at_random_moments_save_and_stop_training(tmp_path, number, status, scaled, tried):
    rng, seconds = np.random.default_rng(0), []
    for index in range(scaled(1)):
        directory = tmp_path / str(index)
        options = ["--data", "synthetic:500", "--depth", "8", "--recipe", "paper", "--epochs", "50"]
        command = [sys.executable, "-c", INTERRUPTIBLE, "train", *options, "--output", directory]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while not (directory / files.CHECKPOINT).exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0, 2)))
        began = time.monotonic()
        process.send_signal(number)
        _, messages = process.communicate()
        seconds.append(time.monotonic() - began)
        assert process.returncode == status, messages
        assert "--resume" in messages
        assert "Traceback" not in messages
        shutil.rmtree(directory)
    times = f"median {np.median(seconds):.1f} s, at most {max(seconds):.1f} s"
    tried(f"{signal.Signals(number).name} during a training", len(seconds), f"all saved and exited {status}; {times}")
