import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from cifarnet.errors import InterruptedRunError, InvalidValueError, RunError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.events import HistoryRow, StepDone
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.compare import compare
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.length import again_from_weights, longer, with_length
from cifarnet.training.messages import warn_of_better_check
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from tests.support.runs import run_config
from tests.support.training import Recorder, assert_same_state

pytestmark = pytest.mark.usefixtures("tiny_family")

# 4 steps an epoch; the learning rate is halved after every epoch, by steps.
RECIPE = RECIPES["documented"].with_changes(epochs=2, batch_size=25, lr_drop=1, learning_rate=0.02)
CONFIG = TrainRequest(RECIPE, data="synthetic:100", model="tiny2", seed=5)


def assert_same_run(one, other):
    """All that the two runs leave is equal, but for the clock."""
    assert_same_state(one, other)
    assert (one / files.HISTORY).read_text() == (other / files.HISTORY).read_text()
    found, wanted = (json.loads((run / files.METRICS).read_text()) for run in (one, other))
    assert {**found, "training_seconds": 0} == {**wanted, "training_seconds": 0}
    assert load_weights(one / files.WEIGHTS).header() == load_weights(other / files.WEIGHTS).header()
    # The request differs: one run was planned with another length at first.
    configs = [{**files.read_config(run), "request_sha256": None} for run in (one, other)]
    assert configs[0] == configs[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "longer", "validation_split"),
    [
        ({"epochs": 2}, {"epochs": 4}, None),
        ({"epochs": 2}, {"epochs": 4}, 0.25),
        ({"steps": 6}, {"steps": 11}, None),  # Both end within an epoch.
        ({"steps": 6}, {"epochs": 3}, None),
    ],
)
def test_a_longer_run_equals_one_planned_so(tmp_path, first, longer, validation_split):
    config = replace(CONFIG, validation_split=validation_split)
    train(replace(config, recipe=RECIPE.with_changes(**first)), tmp_path / "run")
    resume(tmp_path / "run", **longer)
    train(replace(config, recipe=RECIPE.with_changes(**longer)), tmp_path / "planned")
    assert_same_run(tmp_path / "run", tmp_path / "planned")


@pytest.mark.slow
def test_an_unfinished_run_gets_another_length(tmp_path):
    stop = Recorder(lambda event: isinstance(event, StepDone) and event.step == 5)
    with pytest.raises(InterruptedRunError):
        train(replace(CONFIG, recipe=RECIPE.with_changes(epochs=9)), tmp_path / "run", report=stop)
    for too_short in ({"epochs": 1}, {"steps": 5}):
        with pytest.raises(InvalidValueError, match="must be greater"):
            resume(tmp_path / "run", **too_short)
    again = Recorder(lambda event: isinstance(event, StepDone) and event.step == 6)
    with pytest.raises(InterruptedRunError):
        resume(tmp_path / "run", epochs=2, report=again)
    with pytest.raises(RunError, match=r"or continue its run: .*--resume"):  # Not to another length than it asks for.
        train(replace(CONFIG, recipe=RECIPE.with_changes(epochs=9)), tmp_path / "run")
    resume(tmp_path / "run")
    train(CONFIG, tmp_path / "planned")
    assert_same_run(tmp_path / "run", tmp_path / "planned")


@pytest.mark.slow
def test_the_former_result_stays_until_the_longer_run_has_one(tmp_path):
    run = tmp_path / "run"
    former = train(CONFIG, run)
    metrics = json.loads((run / files.METRICS).read_text())
    del metrics[files.LENGTH]  # As cifarnet 0.1 wrote it.
    (run / files.METRICS).write_text(json.dumps(metrics))
    stop = Recorder(lambda event: isinstance(event, StepDone) and event.step == 10)
    with pytest.raises(InterruptedRunError, match="--resume"):
        resume(run, epochs=4, report=stop)
    assert evaluate(run).metrics.accuracy == former.metrics.accuracy
    assert load_weights(run / files.WEIGHTS).sha256() == former.weights_sha256
    (record,) = compare([run]).groups[0].runs
    assert (record.outcome, record.epochs, record.epoch) == (None, 4, 2)
    resume(run)
    train(replace(CONFIG, recipe=RECIPE.with_changes(epochs=4)), tmp_path / "planned")
    assert_same_run(run, tmp_path / "planned")
    with pytest.raises(InvalidValueError, match="trained for 4 epochs: its new length must be greater"):
        resume(run, epochs=3)
    with pytest.raises(RunError, match="finished"):
        resume(run, epochs=4)


@pytest.mark.slow
def test_a_longer_run_needs_its_checkpoint(tmp_path):
    train(CONFIG, tmp_path / "run")
    (tmp_path / "run" / files.CHECKPOINT).unlink()
    with pytest.raises(RunError, match=r"checkpoint\.h5 is missing.*--data synthetic:100.*--weights"):
        resume(tmp_path / "run", epochs=4)
    assert Run(tmp_path / "run").config.recipe.epochs == 2


@pytest.mark.slow
def test_a_longer_run_does_not_read_the_former_result(tmp_path):
    train(CONFIG, tmp_path / "run")
    (tmp_path / "run" / files.WEIGHTS).write_bytes(b"damaged")
    resume(tmp_path / "run", epochs=3)
    train(replace(CONFIG, recipe=RECIPE.with_changes(epochs=3)), tmp_path / "planned")
    assert_same_run(tmp_path / "run", tmp_path / "planned")


@pytest.mark.parametrize(
    ("recipe", "budget", "length", "reason", "words"),
    [
        ("fast", None, {"epochs": 30}, "cycle_peak", "--recipe fast --data"),
        ("fine-tune", None, {"steps": 30}, "cycle_peak", "--recipe fine-tune --data"),
        ("fast", 60.0, {"budget": 90.0}, "a budget plans", "--recipe fast --data"),
        ("fast", 60.0, {"epochs": 30}, "a budget plans", "--epochs 30"),
        ("paper", None, {"budget": 90.0}, "a budget plans", "--budget 90s"),
    ],
)
def test_a_course_of_fixed_length_is_refused_with_the_command(tmp_path, recipe, budget, length, reason, words):
    config = run_config(RECIPES[recipe], "synthetic:100", "resnet8", budget=budget)
    files.write_config(tmp_path / "run", config.to_dict())
    with pytest.raises(InvalidValueError, match=reason) as refused:
        resume(tmp_path / "run", **length)
    assert words in str(refused.value)
    assert f"--weights {tmp_path / 'run'} " in str(refused.value)
    ((name, value),) = length.items()
    written = f"{value:g}s" if name == "budget" else f"{value:g}"
    assert f"--{name} {written}" in str(refused.value)
    assert str(refused.value).endswith(f"Received: `{name}` {written}")
    assert Run.open(tmp_path / "run").config == config


@pytest.mark.parametrize("changes", [{"checks": 2}, {"resolutions": ((16, 0.5),)}])
def test_checks_and_image_sizes_are_planned_for_the_whole_run(tmp_path, changes):
    config = run_config(RECIPE.with_changes(**changes), "synthetic:100", "resnet8")
    files.write_config(tmp_path / "run", config.to_dict())
    with pytest.raises(InvalidValueError, match=f"{next(iter(changes))}.*--weights"):
        resume(tmp_path / "run", epochs=4)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ({"epochs": 3, "budget": 300.0}, "`epochs` and `budget` give.*Received: `epochs` 3, `budget` 300s"),
        ({"epochs": 2.5}, "`epochs` must be a whole number or None. Received: 2.5"),
        ({"budget": "5m"}, "`budget` must be a number or None. Received: '5m'"),
    ],
)
def test_an_invalid_length_is_refused(tmp_path, length, message):
    with pytest.raises(InvalidValueError, match=message):
        with_length(run_config(RECIPE), tmp_path, length)


def test_a_schedule_that_has_a_planned_length_is_named(tmp_path):
    with pytest.raises(InvalidValueError, match=r"end of the planned run \(`cycle_peak`\).*--epochs 30"):
        with_length(run_config(RECIPES["fast"]), tmp_path, {"epochs": 30})


@pytest.mark.parametrize("budget", [None, 60.0])
def test_a_finished_run_goes_on_with_its_images_and_teachers(budget):
    run, data, teachers = Path("/a/my run"), "/a/my images", ("/a/my teacher", "resnet44")
    config = run_config(
        RECIPES["fast"].with_changes(l2=1e-5).with_teacher(),
        "my images",
        data_path=data,
        image_size=64,
        test_split=0.2,
        validation_split=0.1,
        budget=budget,
        teacher=("my teacher", "resnet44"),
        teacher_path=(teachers[0], None),
        teacher_sha256=("0" * 64, "1" * 64),
    )
    words = shlex.split(longer(config, run))
    assert words[:2] == ["cifarnet", "train"]
    given = list(zip(words[2::2], words[3::2], strict=True))
    assert given[-1] == (("--epochs", "N") if budget is None else ("--budget", "TIME"))
    expected = {
        ("--data", data),
        ("--weights", str(run)),
        *(("--teacher", teacher) for teacher in teachers),
        ("--recipe", "fast"),
        ("--l2", "1e-05"),
        ("--image-size", "64"),
        ("--test-split", "0.2"),
        ("--validation-split", "0.1"),
    }
    assert expected <= set(given)
    assert not {"--model", "--precision", "--backend"} & set(words)


@pytest.mark.parametrize(
    ("recipe", "budget", "length"),
    [
        ("documented", None, ["--epochs", "250"]),
        ("paper", None, ["--steps", "64000"]),
        ("fast", 60.0, ["--budget", "60s"]),
    ],
)
def test_a_run_is_repeated_from_its_weights_with_its_images_and_its_length(recipe, budget, length):
    config = run_config(RECIPES[recipe], "my images", data_path="/a/my images", test_split=0.2, budget=budget)
    words = shlex.split(again_from_weights(config, Path("/a/run")))
    assert words[-2:] == length
    assert [words[words.index(option) + 1] for option in ("--data", "--test-split", "--weights", "--recipe")] == [
        "/a/my images",
        "0.2",
        "/a/run",
        recipe,
    ]


def test_a_finished_run_of_any_length_goes_on_by_itself():
    command = "cifarnet train --resume '/a/my run' --epochs N, with N epochs in all"
    assert longer(run_config(RECIPES["documented"]), Path("/a/my run")) == command


@pytest.mark.parametrize(
    ("recipe", "budget", "name"),
    [("documented", None, "epochs"), ("paper", None, "steps"), ("fast", 60.0, "budget")],
)
def test_the_advice_to_train_longer_names_the_length_of_the_run(recipe, budget, name):
    warnings = []
    rows = [HistoryRow(epoch, epoch, 32, 0.1, 1.0, 0.5, 1.0, accuracy) for epoch, accuracy in ((1, 0.8), (2, 0.5))]
    warn_of_better_check(run_config(RECIPES[recipe], budget=budget), rows, "test", 0.5, warnings.append)
    assert f"Train longer (`{name}`) or" in warnings[0].message


def test_an_own_recipe_of_fixed_length_gets_the_new_length():
    config = run_config(RECIPES["fast"].with_changes(name="mine"))
    with pytest.raises(InvalidValueError, match=r"--recipe \S+config.json .*--epochs 30\n"):
        with_length(config, Path("/a/run"), {"epochs": 30})
