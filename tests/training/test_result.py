"""The result of a run that was stopped while it was being written, and where runs are written to."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InterruptedRunError, RunError, StorageError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.lock import LOCK
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import make_default_directory, train
from tests.support.runs import run_config

pytestmark = pytest.mark.usefixtures("tiny_family")

OPTIONS = "--data synthetic:100 --model tiny2 --recipe paper --epochs 2 --batch-size 25 -q"
CONFIG = TrainRequest(RECIPES["paper"].with_changes(epochs=2, batch_size=25), data="synthetic:100", model="tiny2")
RUN = run_config(CONFIG.recipe, model="resnet8")
PICTURES = [*(f"plots/{name}{kind}" for name in files.PLOT_NAMES for kind in (".png", ".svg")), files.REPORT]


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def resume_by_command(run: Path, *options: str):
    return CliRunner().invoke(app, ["train", "--resume", str(run), "-q", *options])


@pytest.fixture(scope="module")
def finished(tiny_family, tmp_path_factory):
    """A whole run, where it was trained: its page has its place."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = CliRunner().invoke(app, ["train", *OPTIONS.split(), "--output", str(run)])
    assert done.exit_code == 0, done.output
    return run, contents(run)


@pytest.fixture
def whole(finished):
    """The whole run, put back after the test, and its files."""
    run, content = finished
    yield run, content
    shutil.rmtree(run)
    for name, data in content.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(data)


@pytest.mark.slow
def test_a_run_has_all_its_files(whole):
    run, content = whole
    assert content.keys() - {LOCK} == {
        *PICTURES,
        *(files.CONFIG, files.HISTORY, files.CHECKPOINT, files.WEIGHTS, files.METRICS),
    }
    done = resume_by_command(run)
    assert isinstance(done.exception, RunError)
    assert f"is finished. Next:\n  cifarnet evaluate {run}" in str(done.exception)
    assert f"cifarnet train --resume {run} --epochs N" in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost",
    [
        pytest.param([files.REPORT], id="the page"),
        pytest.param(PICTURES, id="all pictures"),
        pytest.param(PICTURES[3:], id="the later plots"),
        pytest.param(["plots/curves.svg"], id="one plot"),
        pytest.param([files.REPORT, files.CHECKPOINT], id="the page and the checkpoint"),
    ],
)
def test_missing_pictures_are_drawn_as_they_were(whole, monkeypatch, tmp_path, lost):
    run, content = whole
    for name in lost:
        (run / name).unlink()
    monkeypatch.chdir(run.parent)  # Paths in the page don't depend on where it is written.
    done = resume_by_command(Path("run"))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Test accuracy")
    wanted = {name: data for name, data in content.items() if name != files.CHECKPOINT or name not in lost}
    assert contents(run) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost", [[files.METRICS], [files.METRICS, *PICTURES], [files.WEIGHTS, files.METRICS, *PICTURES], [files.WEIGHTS]]
)
def test_a_missing_result_is_written_as_it_was(whole, lost):
    run, content = whole
    for name in lost:
        (run / name).unlink()
    done = resume_by_command(run)
    assert done.exit_code == 0, done.output
    found = contents(run)
    assert found.keys() == content.keys()
    kept = found.keys() - {files.METRICS, files.REPORT}  # They have the seconds that were needed.
    assert {name: found[name] for name in kept} == {name: content[name] for name in kept}
    metrics = [json.loads(each[files.METRICS]) for each in (found, content)]
    assert {**metrics[0], "training_seconds": 0} == {**metrics[1], "training_seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("lost", [[files.METRICS], [files.REPORT]])
def test_the_last_epoch_is_put_into_a_history_that_lacks_it(whole, lost):
    run, content = whole
    for name in lost:
        (run / name).unlink()
    rows = content[files.HISTORY].splitlines(keepends=True)
    (run / files.HISTORY).write_bytes(b"".join(rows[:-1]))
    assert resume_by_command(run).exit_code == 0
    assert (run / files.HISTORY).read_bytes() == content[files.HISTORY]


@pytest.mark.slow
def test_a_page_of_a_former_result_is_replaced(whole):
    run, content = whole
    digits = json.loads(content[files.METRICS])["weights_sha256"][: files.SHOWN_DIGITS]
    (run / files.REPORT).write_bytes(content[files.REPORT].replace(digits.encode(), b"0" * len(digits)))
    assert resume_by_command(run).exit_code == 0
    assert (run / files.REPORT).read_bytes() == content[files.REPORT]


@pytest.mark.slow
def test_damaged_metrics_are_named_with_the_remedy(whole):
    run, _ = whole
    (run / files.METRICS).write_text("{")
    assert "delete it, then use: cifarnet train --resume" in str(resume_by_command(run).exception)
    (run / files.METRICS).unlink()
    assert resume_by_command(run).exit_code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("place", ["result.measure", "checkpoints.save_weights", "checkpoints.remove_previous"])
def test_ctrl_c_while_writing_the_result_names_the_command(tmp_path, monkeypatch, place):
    run = tmp_path / "run"

    def stop(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("nothing stopped it")

    monkeypatch.setattr(f"cifarnet.training.{place}", stop)
    with pytest.raises(InterruptedRunError, match=f"result was being written.*--resume {run}") as stopped:
        train(CONFIG, run)
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "cache"))
    assert resume_by_command(run).exit_code == 0
    assert not Run(run).missing_pictures


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_drawing_names_the_command(whole, monkeypatch, number):
    run, content = whole
    (run / files.REPORT).unlink()

    def stop(*arguments):
        os.kill(os.getpid(), number)
        pytest.fail("nothing stopped it")

    with monkeypatch.context() as patch:
        patch.setattr("cifarnet.reports.figures.plots.save", stop)
        stopped = resume_by_command(run).exception
    assert isinstance(stopped, InterruptedRunError)
    assert stopped.exit_code == 128 + number
    assert f"The result is complete. Write them with: cifarnet train --resume {run}" in str(stopped)
    assert resume_by_command(run).exit_code == 0
    assert contents(run) == content


@pytest.mark.slow
def test_the_library_accepts_a_run_without_pictures(whole):
    run, _ = whole
    (run / files.REPORT).unlink()
    with pytest.raises(RunError, match="finished"):
        resume(run)
    assert resume(run, pictures=True).metrics.images == json.loads((run / files.METRICS).read_text())["images"]


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 29, 12)


def test_runs_of_one_second_have_directories_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cifarnet.training.start.datetime", Noon)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_default_directory(RUN), range(24)))
    name = "resnet8-paper-20240229-120000"
    assert {path.name for path in made} == {name, *(f"{name}-{number}" for number in range(2, 25))}
    assert all(path.is_dir() for path in made)


def test_a_directory_that_can_not_be_made_is_a_storage_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        make_default_directory(RUN)


@pytest.mark.slow
def test_two_trainings_of_one_second_both_have_their_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cifarnet.training.start.datetime", Noon)
    config = TrainRequest(RECIPES["paper"].with_changes(steps=1, batch_size=25), data="synthetic:50", model="resnet8")
    made = [train(config).directory for _ in range(2)]
    assert [path.name for path in made] == ["resnet8-paper-20240229-120000", "resnet8-paper-20240229-120000-2"]
    assert all((path / files.METRICS).exists() for path in made)
