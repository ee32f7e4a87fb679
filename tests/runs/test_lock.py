import os
import subprocess
import sys
from pathlib import Path

import pytest

from cifarnet.errors import RunError
from cifarnet.events import StepDone
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.lock import OWNER, run_lock
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from tests.support.runs import run_config

ROOT = Path(__file__).parents[2]
CONFIG = TrainRequest(RECIPES["paper"].with_changes(steps=3, batch_size=32), data="synthetic:100", model="resnet8")


def locked_elsewhere(directory):
    """A process that holds the run in ``directory`` until its standard input ends."""
    code = (
        "import sys; from pathlib import Path; from cifarnet.runs.lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code, str(directory)], env=environment, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(
    ("start", "advice"),
    [
        (lambda directory: train(CONFIG, directory), "Wait for it, stop it, or choose another `directory`."),
        (resume, "Wait for it, or stop it."),
    ],
)
def test_a_second_training_is_refused_naming_the_first(tmp_path, start, advice):
    files.write_config(tmp_path, run_config(CONFIG.recipe, "synthetic:100", "resnet8").to_dict())
    with locked_elsewhere(tmp_path) as process:
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(RunError, match=rf"in use by a training: process {process.pid} on \S+, since 20") as refused:
            start(tmp_path)
        assert advice in str(refused.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        process.stdin.close()
    assert process.returncode == 0


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = locked_elsewhere(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / OWNER).exists()
    with run_lock(tmp_path):
        pass
    assert not (tmp_path / OWNER).exists()


@pytest.mark.slow
def test_the_same_process_can_not_train_twice_in_it_either(tmp_path):
    output = []

    def again(event):
        if isinstance(event, StepDone) and not output:
            with pytest.raises(RunError, match=f"process {os.getpid()}") as refused:
                resume(tmp_path / "run")
            output.append(refused)

    train(CONFIG, tmp_path / "run", report=again)
    assert output


@pytest.mark.slow
def test_a_directory_that_an_early_kill_left_is_taken_for_empty(tmp_path):
    directory = tmp_path / "run"
    process = locked_elsewhere(directory)
    process.kill()
    process.communicate()
    (directory / ".config.1234.tmp.json").write_text("{")
    train(CONFIG, directory)
    assert (directory / files.METRICS).exists()
    assert not list(directory.glob("*.tmp*"))
