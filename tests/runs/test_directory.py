import builtins
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import BudgetError, CifarnetError, RunError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.training.result import Result  # noqa: F401 - imported before opened files are counted
from tests.support.networks import save_image_folder, save_tiny_weights
from tests.support.runs import HISTORY, run_config

CONFIG = run_config(RECIPES["fast"], model="resnet8")
CLASSES = ("ant", "bee")


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened, and how often."""
    names = Counter()
    original = io.open

    def counting(file, *arguments, **options):
        if isinstance(file, str | Path):
            names[Path(file).name] += 1
        return original(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)
    return names


def finished_run(directory: Path, data: str) -> Path:
    """A run with all that the commands read, whose weights have never been trained."""
    with Run.create(directory, run_config(RECIPES["fast"], data, "resnet8")) as run:
        weights = save_tiny_weights(directory / files.WEIGHTS, CLASSES)
        assert weights.exists()
        scores = {"accuracy": 0.5, "loss": 1.0, "epoch": 1, "training_seconds": 2.0}
        run.write_metrics({**scores, "weights_sha256": "0" * 64})
        (directory / files.HISTORY).write_text(HISTORY)
    return directory


@pytest.mark.parametrize(
    ("command", "configs", "metrics", "histories"),
    [
        ("evaluate {run}", 1, 0, 0),
        ("evaluate {run} --report {page}", 1, 0, 1),
        ("predict {image} --weights {run}", 0, 0, 0),
        ("compare {run} {other}", 2, 2, 2),
        # Refused, since these are not the images of the training, after all files have been read.
        ("train --resume {run}", 1, 1, 0),
    ],
)
def test_a_command_opens_the_files_of_a_run_once(tmp_path, opened, command, configs, metrics, histories):
    data = save_image_folder(tmp_path / "pets", dict.fromkeys(CLASSES, (1, 2)))
    image = next(data.rglob("*.png"))
    run, other = (finished_run(tmp_path / name, str(data)) for name in ("a", "b"))
    opened.clear()
    result = CliRunner().invoke(
        app, command.format(run=run, other=other, image=image, page=tmp_path / "page.html").split()
    )
    assert isinstance(result.exception, CifarnetError | None), result.exception
    assert (opened[files.CONFIG], opened[files.METRICS], opened[files.HISTORY]) == (configs, metrics, histories)


def test_a_finished_training_opens_its_history_once(tmp_path, opened):
    run = tmp_path / "run"
    words = "train --quiet --data synthetic:50 --depth 8 --recipe fast --epochs 1 --report"
    result = CliRunner().invoke(app, [*words.split(), str(tmp_path / "page.html"), "--output", str(run)])
    assert result.exception is None, result.output
    assert (run / files.REPORT).exists()
    assert (opened[files.CONFIG], opened[files.METRICS], opened[files.HISTORY]) == (0, 0, 1)


def test_a_created_run_is_opened_again(tmp_path):
    with Run.create(tmp_path / "run", CONFIG) as run:
        assert run.config == CONFIG
    assert Run.open(str(tmp_path / "run")).config == CONFIG


def test_only_runs_are_opened(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.json"):
        Run.open(tmp_path)


def test_create_removes_what_a_killed_process_left(tmp_path):
    leftover = tmp_path / ".weights.1.00000000.tmp.h5"
    leftover.touch()
    with Run.create(tmp_path, CONFIG):
        assert not leftover.exists()


def test_create_refuses_a_directory_with_files(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(RunError, match="is not an empty folder"), Run.create(tmp_path, CONFIG):
        pass
    assert not (tmp_path / files.CONFIG).exists()


def test_a_run_without_a_step_in_its_budget_is_removed(tmp_path):
    with pytest.raises(BudgetError), Run.create(tmp_path / "run", CONFIG):
        raise BudgetError("too little")
    assert not (tmp_path / "run").exists()


def test_a_former_result_is_none_for_a_longer_run(tmp_path):
    with Run.create(tmp_path / "run", CONFIG) as run:
        run.write_metrics({"accuracy": 0.5, files.LENGTH: {"epochs": 1, "steps": None}})
        assert run.result is None
        run.write_metrics({"accuracy": 0.5, files.LENGTH: {"epochs": CONFIG.recipe.epochs, "steps": None}})
        assert run.result.accuracy == 0.5


def test_a_depth_is_read_as_the_name_of_its_resnet(tmp_path):
    with Run.create(tmp_path / "run", CONFIG) as run:
        record = {name: value for name, value in run.record.items() if name != "model"}
    (tmp_path / "run" / files.CONFIG).write_text(json.dumps({**record, "depth": 14}))
    assert Run.open(tmp_path / "run").config.model == "resnet14"


def test_a_changed_config_keeps_the_version_that_began_the_run(tmp_path):
    with Run.create(tmp_path / "run", CONFIG):
        pass
    path = tmp_path / "run" / files.CONFIG
    record = json.loads(path.read_text())
    del record["sha256"]
    path.write_text(json.dumps({**record, "cifarnet": "0.1.0"}))
    run = Run.open(tmp_path / "run")
    run.write_config(CONFIG)
    assert Run.open(tmp_path / "run").version == "0.1.0"


def test_a_run_may_be_given_as_text(tmp_path):
    assert Run(str(tmp_path / "run")).path == tmp_path / "run"


def test_a_run_is_in_place_once_its_lock_is_released(tmp_path):
    run = Run(tmp_path / "run")
    with run.locked():
        run.require_in_place()
    run.require_in_place()
