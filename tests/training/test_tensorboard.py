import io
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import BackendError, InterruptedRunError
from cifarnet.events import EpochDone, Warned, ignore
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training import tensorboard
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.training.tensorboard import MISTAKES, TensorBoardLog
from cifarnet.weights.formats import load_weights
from tests.support.jax import quick_jax

RECIPE = RECIPES["documented"].with_changes(epochs=3, batch_size=50)
CONFIG = TrainRequest(RECIPE, data="synthetic:200", model="resnet8", seed=5)
SCALARS = {
    "loss/training": "loss",
    "loss/test": "test_loss",
    "accuracy/training": "accuracy",
    "accuracy/test": "test_accuracy",
    "learning_rate": "learning_rate",
}


def read(run: Path):
    """All that TensorBoard itself reads in the files of ``run``."""
    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def assert_scalars_are_the_history(run: Path) -> None:
    found, history = read(run), files.read_history(run)
    assert len(history) == 3
    for tag, column in SCALARS.items():
        events = found.Scalars(tag)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx([row[column] for row in history], rel=1e-6)


class StopAt:
    """Passes events on; sends this process SIGTERM at the end of ``epoch``."""

    def __init__(self, epoch: int, report=ignore):
        self.epoch, self.report = epoch, report

    def __call__(self, event):
        self.report(event)
        if isinstance(event, EpochDone) and event.row.epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run with a log, and its result."""
    log = TensorBoardLog(ignore)
    result = train(CONFIG, tmp_path_factory.mktemp("logged") / "run", report=log)
    log.finish(result.scored)
    return result


@pytest.mark.slow
def test_the_scalars_are_those_of_the_history_and_the_pace(logged):
    assert_scalars_are_the_history(logged.directory)
    assert all(event.value > 0 for event in read(logged.directory).Scalars("speed/images_per_second"))


@pytest.mark.slow
def test_the_surest_mistakes_are_shown_with_both_classes(logged):
    found, scored = read(logged.directory), logged.scored
    tags = found.Tags()["images"]
    wrong = scored.mistakes(MISTAKES)
    assert len(tags) == len(wrong) > 0
    names, row = scored.data.class_names, wrong[0]
    assert tags[0].startswith(
        f"mistakes/01 {names[scored.data.labels[row]]} taken for {names[scored.predicted[row]]}, "
    )
    with Image.open(io.BytesIO(found.Images(tags[0])[0].encoded_image_string)) as image:
        np.testing.assert_array_equal(np.asarray(image), scored.data.images[row])


@pytest.mark.slow
def test_the_graph_leads_from_the_images_to_the_logits(logged):
    nodes = {node.name: node for node in read(logged.directory).Graph().node}
    assert nodes["images"].op == "Placeholder"
    # The stem, two convolutions in each of the three stages' one unit, and the head.
    assert sum(node.op == "Conv2D" for node in nodes.values()) == 8


@pytest.mark.slow
def test_the_log_leaves_the_result_as_it_is(logged, tmp_path):
    plain = train(CONFIG, tmp_path / "run")
    assert plain.weights_sha256 == logged.weights_sha256 == load_weights(logged.directory / files.WEIGHTS).sha256()


@pytest.mark.slow
def test_a_resumed_run_has_each_step_once(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(CONFIG, run, report=StopAt(2, TensorBoardLog(ignore)))
    log = TensorBoardLog(ignore)
    log.finish(resume(run, report=log).scored)
    assert len(list((run / "tensorboard").iterdir())) == 2
    assert_scalars_are_the_history(run)


@pytest.mark.slow
def test_epochs_that_come_again_after_a_crash_are_withdrawn(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(CONFIG, run, report=StopAt(1, TensorBoardLog(ignore)))
    (run / "before").mkdir()
    for name in (files.CHECKPOINT, files.HISTORY):  # As they are when the process is killed right after the next epoch.
        shutil.copy(run / name, run / "before" / name)
    with pytest.raises(InterruptedRunError):
        resume(run, report=StopAt(2, TensorBoardLog(ignore)))
    for name in (files.CHECKPOINT, files.HISTORY):
        (run / "before" / name).replace(run / name)
    log = TensorBoardLog(ignore)
    log.finish(resume(run, report=log).scored)
    assert_scalars_are_the_history(run)


@pytest.mark.slow
def test_repeated_epochs_replace_the_earlier_ones(logged, tmp_path):
    events = []
    train(CONFIG, tmp_path / "run", report=events.append)
    run = tmp_path / "again"
    run.mkdir()
    (run / files.HISTORY).write_bytes((tmp_path / "run" / files.HISTORY).read_bytes())
    log = TensorBoardLog(ignore)
    plan, epochs = events[0], [event for event in events if isinstance(event, EpochDone)]
    wrong = replace(epochs[1], row=replace(epochs[1].row, loss=99.0))
    for event in (replace(plan, directory=run), epochs[0], wrong, *epochs[1:]):
        log(event)
    log.finish(logged.scored)
    assert_scalars_are_the_history(run)


@pytest.mark.slow
def test_a_later_log_starts_with_the_history(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(CONFIG, run, report=StopAt(2))
    result = CliRunner().invoke(app, ["train", "--resume", str(run), "--tensorboard", "-q"])
    assert result.exit_code == 0, result.output
    assert_scalars_are_the_history(run)


@pytest.mark.slow
def test_training_continues_without_an_unwritable_log(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TENSORBOARD", files.CONFIG)  # A file stands where the folder should.
    events = []
    log = TensorBoardLog(events.append)
    result = train(CONFIG, tmp_path / "run", report=log)
    log.finish(result.scored)
    output = [event.message for event in events if isinstance(event, Warned) and "`tensorboard`" in event.message]
    assert len(output) == 1
    assert "can't be written: File exists" in output[0]


def test_without_tensorboard_it_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    arguments = ["train", "--data", "synthetic:50", "--tensorboard", "-q", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, BackendError)
    assert "install tensorboard" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_events_are_written_without_tensorflow(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from cifarnet.training.tensorboard import _EventFile\n"
        f"file = _EventFile(Path({str(tmp_path / 'events.out.tfevents.1.1')!r}))\n"
        "file.restart_at(1)\n"
        "file.add_scalars(1, {'loss/training': 0.5, 'loss/test': None})\n"
        "file.add_image(1, 'mistakes/01', np.full((2, 3, 3), 7, np.uint8))\n"
        "file.flush()\n"
        "print([name for name in ('tensorflow', 'keras', 'jax') if name in sys.modules])"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss/training")] == [(1, 0.5)]
    assert found.Tags()["scalars"] == ["loss/training"]
    assert (found.Images("mistakes/01")[0].width, found.Images("mistakes/01")[0].height) == (3, 2)


@pytest.mark.slow
def test_jax_writes_all_but_the_graph_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    options = "--data synthetic:50 --depth 8 --epochs 3 --batch-size 20 --backend jax --tensorboard"
    command = [sys.executable, "-m", "cifarnet", "train", *options.split(), "--output", str(tmp_path / "run")]
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | quick_jax(tmp_path)
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "oneDNN" not in done.stderr
    assert_scalars_are_the_history(tmp_path / "run")
    tags = read(tmp_path / "run").Tags()
    assert tags["images"]
    assert not tags["graph"]
