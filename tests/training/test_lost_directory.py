import shutil
from types import SimpleNamespace

import pytest

from cifarnet.cli.main import main
from cifarnet.errors import LostRunError
from cifarnet.events import EpochDone
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.lock import OWNER, run_lock
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoints import CheckpointManager
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from tests.support.faults.saves import checkpoint

pytestmark = pytest.mark.usefixtures("tiny_family")

CONFIG = TrainRequest(RECIPES["paper"].with_changes(epochs=2, batch_size=32), data="synthetic:100", model="tiny2")


def delete(directory):
    shutil.rmtree(directory)


def move(directory):
    directory.rename(directory.with_name("elsewhere"))


def replace_by_file(directory):
    shutil.rmtree(directory)
    directory.write_text("a file")


def replace_by_folder(directory):
    shutil.rmtree(directory)
    directory.mkdir()


LOSSES = [
    (delete, "run was deleted"),
    (move, "run was moved to .*elsewhere .* --resume .*elsewhere"),
    (replace_by_file, "run was replaced"),
    (replace_by_folder, "run was replaced"),
]


@pytest.mark.parametrize(("lose", "message"), LOSSES)
def test_nothing_is_written_to_a_directory_that_was_lost(lose, message, tmp_path):
    directory = tmp_path / "run"
    run = Run(directory)
    with run.locked():
        manager = CheckpointManager(run, "test", lambda event: None)
        manager.save(checkpoint(1))
        lose(directory)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(LostRunError, match=message) as lost:
            manager.save(checkpoint(2))
        assert lost.value.exit_code == 3
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("lose", [delete, move])
def test_a_result_is_not_claimed_when_it_is_lost_meanwhile(lose, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    run = Run(directory)
    with run.locked():
        manager = CheckpointManager(run, "test", lambda event: None)

        def save_weights(path, weights):
            lose(directory)

        monkeypatch.setattr("cifarnet.training.checkpoints.save_weights", save_weights)
        with pytest.raises(LostRunError):
            manager.write_result(checkpoint(1).weights, {"epoch": 1})


@pytest.mark.slow
def test_a_moved_run_stops_and_resumes_there(tmp_path):
    directory = tmp_path / "run"

    def report(event):
        if isinstance(event, EpochDone) and directory.exists():
            move(directory)

    with pytest.raises(LostRunError, match="moved to"):
        train(CONFIG, directory, report=report)
    assert not directory.exists()
    assert resume(tmp_path / "elsewhere").epoch == 2


@pytest.mark.parametrize("moment", ["training", "plots"])
def test_the_command_of_a_deleted_run_ends_with_status_3(moment, tmp_path, monkeypatch, capsys):
    directory = tmp_path / "run"

    def finished(*_, **__):
        files.write_config(directory, {})
        for name in (files.WEIGHTS, files.METRICS):
            (directory / name).touch()
        return SimpleNamespace(run=Run(directory), directory=directory, to_dict=dict)

    def draw(result):
        delete(directory)
        (directory / files.PLOTS).mkdir(parents=True)
        raise OSError("no such file")

    def lost(*_, **__):
        raise LostRunError("The directory was deleted.")

    monkeypatch.setattr("cifarnet.training.start.train", lost if moment == "training" else finished)
    monkeypatch.setattr("cifarnet.cli.reporting.finish_run", draw)
    monkeypatch.setattr("sys.argv", ["cifarnet", "train", "--data", "synthetic:100", "--output", str(directory)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    output = capsys.readouterr().err
    assert "deleted" in output
    assert "is complete" not in output


def test_the_lock_of_another_training_at_the_old_place_stays(tmp_path):
    directory = tmp_path / "run"
    with run_lock(directory):
        move(directory)
        directory.mkdir()
        (directory / OWNER).write_text("the other training")
    assert (directory / OWNER).read_text() == "the other training"
