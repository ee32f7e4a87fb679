import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cifarnet
from cifarnet.cli import sweep as cli_sweep
from cifarnet.cli.main import app
from cifarnet.cli.sweep import plan_lines, start_process
from cifarnet.data.progress import silent
from cifarnet.errors import InvalidValueError, RunError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.runs.sweep import SWEEP, Sweep, SweepPlan, read_plan
from cifarnet.training import sweep as training_sweep
from cifarnet.training.run_data import RunData
from cifarnet.training.setup import located_inputs
from cifarnet.training.sweep import Outcome, Slot
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from tests.support.datasets import image_folder
from tests.support.runs import CONFIG, run_config, save_run
from tests.support.weights import make

OPTIONS = ["--data", "synthetic:50", "--depth", "8", "--recipe", "fast", "--epochs", "5", "--checks", "1"]
PLAN = SweepPlan.of(TrainRequest(data="synthetic:64"), 3, 1, 1)


def train(*options: object):
    return CliRunner().invoke(app, ["train", *map(str, options)])


def start(core: int, *words: object) -> subprocess.Popen[str]:
    """Start cifarnet on a core, which a process has from the thread that starts it."""
    command = [sys.executable, "-m", "cifarnet", *map(str, words)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, before)


def wait_for(condition, process) -> None:
    ending = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ending
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seeds 0", "`seeds` must be at least 1 and at most 1,000"),
        ("--seeds -2", "`seeds` must be at least 1"),
        ("--seeds 100000", "`seeds` must be at least 1"),
        ("--seeds 2 --seed 9223372036854775808", "`seed` must be at most"),
        ("--seeds 2 --jobs 0", "`jobs` must be at least 1"),
        ("--seeds 2 --jobs 100000", "`jobs` must be at least 1 and at most"),
        ("--jobs 2", "--jobs is for runs of several seeds: give --seeds too. Received: --jobs 2"),
        ("--seeds 2 --resume runs/a", "leave out --seeds, or give a new --output"),
        ("--seeds 2 --epochs 3 --steps 4", "`epochs` and `steps`"),
        ("--seeds 2 --recipe fst", "Did you mean fast?"),
        ("--seeds 2 --devices gpu", "each run gets a GPU of its own"),
        ("--seeds 2 --devices cpu:3 --data synthetic:64", "divisible by the number of devices, 3: 126 or 129"),
        # Of the network that the budget chooses.
        ("--seeds 2 --budget 9m --data synthetic:64 --resolutions 8:0.5", "CNN airbench94-slim is the network of this"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_made(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = train(*options.split())
    assert isinstance(result.exception, InvalidValueError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_settings_of_a_resumed_sweep_are_refused_by_name(tmp_path):
    with Sweep.create(tmp_path / "s", PLAN) as sweep:
        pass
    result = train("--resume", tmp_path / "s", "--epochs", 9, "--no-flip")
    assert str(result.exception).endswith("with --epochs, --flip. Start new runs with another --output to change them.")
    save_run(sweep.directory(1), None, replace(CONFIG, seed=1))
    result = train("--resume", tmp_path / "s", "--epochs", 9)
    assert str(result.exception).endswith(
        f"To change one run, resume it by itself: cifarnet train --resume {tmp_path}/s/seed-1"
    )


@pytest.fixture
def started(monkeypatch):
    """The commands of the seeds, which are not run."""
    commands = []

    def note(seeds, slots, start, report):
        for seed in seeds:
            start(seed, slots[0])
        return Outcome()

    monkeypatch.setattr(training_sweep, "train_seeds", note)
    monkeypatch.setattr(cli_sweep, "start_process", lambda words, slot: commands.append(" ".join(words)))
    return commands


def moved_sweep(folder, first_started=True):
    """Make a sweep of two seeds whose images and teacher were moved to ``new``. The first seed may have started."""
    teacher, images = make(folder / "old" / "teacher.h5"), image_folder(folder / "old" / "images")
    request = TrainRequest("fast", data=str(images), model="resnet8", teacher=(str(teacher), "resnet20"))
    inputs = located_inputs(request)
    checksums = (load_weights(teacher).sha256(), catalog.read_named("resnet20", load_weights)[1].sha256())
    data_sha256 = RunData.load(inputs, (), silent).sha256
    with Sweep.create(folder / "s", SweepPlan.of(request, 2, 1, 1)) as sweep:
        if first_started:
            given = {**vars(inputs), "data_sha256": data_sha256, "teacher_sha256": checksums}
            config = run_config(RECIPES["fast"].with_teacher(), model="resnet8", **given)
            save_run(sweep.directory(0), None, config)
    (folder / "old").rename(folder / "new")
    return sweep


@pytest.mark.parametrize("first_started", [True, False])
def test_a_sweep_goes_on_with_moved_images_and_teachers(tmp_path, started, first_started):
    sweep = moved_sweep(tmp_path, first_started)
    new = tmp_path / "new"
    moved = ["--data", new / "images", "--teacher", new / "teacher.h5", "--teacher", "resnet20"]
    result = train("--resume", sweep.path, *moved)
    assert result.exit_code == 0, result.output
    assert len(started) == 2
    assert started[0].startswith("train --resume" if first_started else "train --output")
    assert started[1].startswith("train --output")
    for command in started:
        assert f"--data {new}/images" in command
        assert f"--teacher {new}/teacher.h5 --teacher resnet20" in command
    # Without the options it stays so: for runs that have not saved the new places, and for those that start later.
    started.clear()
    assert train("--resume", sweep.path).exit_code == 0
    assert all(f"--teacher {new}/teacher.h5 --teacher resnet20" in command for command in started)
    assert all(f"--data {new}/images" in command for command in started)
    assert read_plan(sweep.path).request(1).teachers == (str(new / "teacher.h5"), "resnet20")


def test_a_sweep_finds_one_moved_teacher_by_its_checksum(tmp_path, monkeypatch, started):
    sweep = moved_sweep(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = train("--resume", sweep.path, "--data", "new/images", "--teacher", "new/teacher.h5")
    assert result.exit_code == 0, result.output
    assert all(f"--teacher {tmp_path}/new/teacher.h5 --teacher resnet20" in command for command in started)


def test_a_sweep_takes_names_in_place_of_paths_that_are_gone(tmp_path, started):
    sweep = moved_sweep(tmp_path)
    new = tmp_path / "new"
    catalog.add(new / "teacher.h5", "mine")
    names = ["--teacher", "mine", "--teacher", "resnet20"]
    result = train("--resume", sweep.path, "--data", new / "images", *names)
    assert result.exit_code == 0, result.output
    assert all("--teacher mine --teacher resnet20" in command for command in started)


def test_a_sweep_that_has_not_started_needs_all_its_teachers(tmp_path, started):
    sweep = moved_sweep(tmp_path, first_started=False)
    result = train("--resume", sweep.path, "--teacher", tmp_path / "new" / "teacher.h5")
    assert "`teacher` must be given for each teacher, in the same order (2 in all)" in str(result.exception)
    assert not started


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--teacher resnet32", r"does not hold the weights of a teacher of the run in .*s, which learns from .*old"),
        ("--data synthetic:64", "does not hold the images that the run in .*s was started with"),
    ],
)
def test_other_images_and_teachers_of_a_sweep_are_refused(tmp_path, monkeypatch, started, options, message):
    sweep = moved_sweep(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = (sweep.path / SWEEP).read_text()
    assert re.search(message, str(train("--resume", sweep.path, *options.split()).exception))
    assert not started
    assert (sweep.path / SWEEP).read_text() == before


def test_data_that_can_not_be_read_end_the_command_at_once(tmp_path):
    result = train("--seeds", 3, "--data", tmp_path / "none", "--output", tmp_path / "s")
    assert result.exception is not None
    assert not (tmp_path / "s").exists()


def test_a_damaged_plan_is_not_replaced(tmp_path):
    with Sweep.create(tmp_path / "s", PLAN):
        (tmp_path / "s" / SWEEP).write_text("{")
    for options in (["--resume", tmp_path / "s"], ["--seeds", 2, "--output", tmp_path / "s"]):
        assert isinstance(train(*options).exception, RunError)
        assert (tmp_path / "s" / SWEEP).read_text() == "{"


def finished_sweep(folder, accuracies):
    plan = replace(PLAN, seeds=len(accuracies))
    with Sweep.create(folder, plan) as sweep:
        for seed, accuracy in enumerate(accuracies):
            run = save_run(sweep.directory(seed), accuracy, replace(CONFIG, seed=seed), weights_sha256="ab" * 32)
            (run / files.WEIGHTS).write_bytes(b"")
            (run / files.PLOTS).mkdir()
            for name in files.PLOT_NAMES:
                for kind in (".png", ".svg"):
                    (run / files.PLOTS / f"{name}{kind}").touch()
            (run / files.REPORT).write_text("ab" * 32)
    return sweep


def test_a_finished_sweep_prints_its_comparison_again(tmp_path):
    finished_sweep(tmp_path / "s", [0.7, 0.8, 0.9])
    page = tmp_path / "page.html"
    result = train("--resume", tmp_path / "s", "--report", page)
    assert result.exit_code == 0, result.output
    # The sample standard deviation: the population's would be 8.16.
    assert "Test accuracy 80.00 ± 10.00 % (mean ± standard deviation of 3 seeds)" in result.stdout
    assert re.search(r"seed-2, seed 2 +90.00 %", result.stdout)
    assert "80.00 ± 10.00 %" in page.read_text(encoding="utf-8")
    assert "Seeds  " not in result.stderr


def test_one_seed_has_no_deviation(tmp_path):
    finished_sweep(tmp_path / "s", [0.7])
    assert "Test accuracy 70.00 % (1 seed)" in train("--resume", tmp_path / "s").stdout


@pytest.mark.parametrize(
    ("budget", "left", "slots", "lines"),
    [
        (None, [0, 1, 2], [Slot((0, 1))], ["Seeds     0 to 2, one at a time, each on 2 cores (another number gives"]),
        (None, [2], [Slot(gpu="0"), Slot(gpu="1")], ["Seeds     0 to 2, 1 of them left, 2 at a time, each on a GPU"]),
        (60.0, [0, 1, 2], [Slot((0,)), Slot((1,))], ["on 1 core (", "less than alone on the machine"]),
    ],
)
def test_a_plan_tells_how_many_run_at_a_time(tmp_path, budget, left, slots, lines):
    plan = SweepPlan.of(TrainRequest(budget=budget), 3, len(slots), 1)
    shown = plan_lines(plan, tmp_path, left, slots)
    assert len(shown) == len(lines) + 1
    for line, expected in zip(shown, lines, strict=False):
        assert expected in line


def test_python_refuses_several_seeds_with_advice():
    with pytest.raises(InvalidValueError, match=r"`seeds` is for the command, .* Train each seed by itself"):
        cifarnet.train(seeds=5)


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_as_if_it_never_stopped(tmp_path):
    """Also: a seed that fails costs no other, and a seed is the run that the command alone makes on as many cores."""
    core, folder = min(os.sched_getaffinity(0)), tmp_path / "s"
    process = start(core, "train", *OPTIONS, "--seeds", 2, "--output", folder)
    wait_for(lambda: (folder / "seed-0" / files.CHECKPOINT).exists(), process)
    refused = train("--resume", folder)
    assert "is in use by a training" in str(refused.exception)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (143, "")
    stopped = "Stopped; 0 of 2 seeds are finished, and those that were running are saved."
    assert errors.endswith(f"{stopped}\nContinue with: cifarnet train --resume {folder}\n")
    assert not (folder / "seed-1").exists()
    assert "seed 0  Network   ResNet-8" in errors

    (folder / "seed-1").mkdir()
    (folder / "seed-1" / files.CONFIG).write_text("{")
    process = start(core, "train", *OPTIONS, "--seeds", 2, "--output", folder)  # As well as --resume.
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "1 of 2 seeds failed:\n  seed 1: " in errors
    assert re.search(r"Test accuracy [\d.]+ % \(1 seed\)", output)

    alone = start(core, "train", *OPTIONS, "--seed", 0, "--output", tmp_path / "alone", "--quiet")
    assert alone.wait(120) == 0
    alone.communicate()
    one, other = (load_weights(run / files.WEIGHTS).sha256() for run in (folder / "seed-0", tmp_path / "alone"))
    assert one == other
    recorded = [json.loads((run / files.CONFIG).read_text()) for run in (folder / "seed-0", tmp_path / "alone")]
    assert recorded[0] == recorded[1]


def test_the_process_of_a_seed_has_its_processors_and_ends_with_its_parent():
    """The system closes its stdin when the parent is killed."""
    core = max(os.sched_getaffinity(0))
    process = start_process(["train", "--data", "synthetic:64", "--output", os.devnull], Slot((core,), "1"))
    assert process.stdin
    ending = time.monotonic() + 30
    while os.sched_getaffinity(process.pid) != {core}:
        assert time.monotonic() < ending
        time.sleep(0.01)
    assert "CUDA_VISIBLE_DEVICES=1" in Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    process.stdin.close()
    assert process.wait(30) == 128 + signal.SIGUSR1
    for pipe in (process.stdout, process.stderr):
        assert pipe
        pipe.close()
