import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cifarnet.backend.devices import Device
from cifarnet.cli import training_screen as screen
from cifarnet.cli.main import app
from cifarnet.cli.options import seconds
from cifarnet.cli.spelling import with_options
from cifarnet.durations import duration, span
from cifarnet.errors import CifarnetError, InvalidValueError, StorageError
from cifarnet.events import EpochDone, Estimated, HistoryRow, StepDone, Warned
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES
from cifarnet.reports.terminal import training_lines
from cifarnet.runs.request import SAVE_INTERVAL, TrainRequest
from cifarnet.training.advice import BUDGETS, guessed_seconds, with_advice
from cifarnet.training.distribute import Strategy
from cifarnet.training.network_choice import with_best_network
from cifarnet.training.session import Session
from cifarnet.training.setup import named_recipe_of, prepare, read_images, resolve
from tests.support.commands import request_of_command
from tests.support.reports import PLAN as LIVE_PLAN

PLAN = replace(LIVE_PLAN, spec=ModelSpec("resnet110"), data="cifar10", held_out="test")
STEP = StepDone(1, 5, 391, 5, 2.0, 0.25, 0.1, 500.0, 100.0)
EPOCH = EpochDone(HistoryRow(1, 391, 32, 0.1, 1.5, 0.5, 1.25, 0.625), 250, "test", 60.0, 500.0, True)


def plan_lines(plan):
    return training_lines.plan_lines(with_advice(plan))


def estimate_lines(estimate, plan):
    return training_lines.estimate_lines(estimate, with_advice(plan))


@pytest.mark.slow
def test_train_evaluate_and_predict_work_one_after_the_other(tmp_path):
    runner = CliRunner()
    options = "--data synthetic:100 --depth 8 --recipe paper --epochs 2 --batch-size 25 --learning-rate 0.05 --no-flip"
    trained = runner.invoke(app, ["train", *options.split(), "--output", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    assert re.search(r"Epoch 1/2  loss \d", trained.stderr)
    assert "synthetic:100: " in trained.stderr  # no emoji
    assert "Test accuracy" in trained.stdout
    assert f"cifarnet evaluate {tmp_path / 'run'}" in trained.stdout
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["recipe"]["flip"] is False
    assert config["recipe"]["batch_size"] == 25
    for name in ("curves", "confusion", "reliability", "classes"):
        with Image.open(tmp_path / f"run/plots/{name}.png") as image:
            assert image.width == {"curves": 720, "reliability": 520, "classes": 720}.get(name, image.height)
            pixels = np.asarray(image.convert("L"))
        assert (pixels[0] == 255).all()  # a white margin
        assert (pixels < 128).mean() > 0.003  # lines and text
        assert (tmp_path / f"run/plots/{name}.svg").read_text().count("<text") > 5
    page = (tmp_path / "run/report.html").read_text()
    assert "cifarnet train --recipe paper --data synthetic:100 --model resnet8 --seed 0" in page
    assert "--no-flip" in page
    assert "Curves of loss, accuracy and learning rate over 2 epochs" in page
    evaluated = runner.invoke(app, ["evaluate", str(tmp_path / "run"), "--json"])
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert json.loads(evaluated.stdout)["accuracy"] == metrics["accuracy"]
    picture = Path(__file__).parents[2] / "docs/circle.png"
    predicted = runner.invoke(app, ["predict", str(picture), "--weights", str(tmp_path / "run"), "--json"])
    assert len(json.loads(predicted.stdout)[0]["predictions"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "runs/a", "new_head": False}, "Weights   runs/a"),
        ({"weights": "runs/a"}, "Weights   runs/a, with a new head for these classes"),
        (
            {"weights": "resnet32", "grown_from": ModelSpec("resnet32"), "new_head": False},
            "Weights   resnet32, a ResNet-32: 39 residual units added, which change nothing at first",
        ),
        (
            {"weights": "a\x1b.h5", "grown_from": ModelSpec("resnet104"), "new_head": False},
            "Weights   a\\x1b.h5, a ResNet-104: 3 residual units added, which change nothing at first",
        ),
    ],
)
def test_a_plan_names_the_initial_weights(changes, message):
    assert plan_lines(replace(PLAN, **changes))[1] == message
    assert not [line for line in plan_lines(PLAN) if line.startswith("Weights")]


def test_a_plan_tells_the_teachers():
    assert "Teacher   a\\x1b.h5" in plan_lines(replace(PLAN, teachers=("a\x1b.h5",)))
    assert "Teachers  resnet44, b" in plan_lines(replace(PLAN, teachers=("resnet44", "b")))
    assert not [line for line in plan_lines(PLAN) if line.startswith("Teacher")]


@pytest.mark.slow
def test_pictures_that_can_not_be_made_do_not_cost_the_result(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no font")

    monkeypatch.setattr("cifarnet.reports.figures.plots.curves", fail)
    options = f"--data synthetic:50 --depth 8 --steps 1 --recipe fast -q --output {tmp_path / 'run'}"
    result = CliRunner().invoke(app, ["train", *options.split()])
    assert result.exit_code == 0, result.output
    assert "no font The result is complete" in result.stderr
    assert result.stdout.startswith("Test accuracy")


@pytest.mark.parametrize("options", [["--recipe", "fast"], ["--budget", "9s"]])
def test_fast_suits_the_device_unless_sizes_are_given(monkeypatch, options):
    received = []

    def note(request, *arguments, **others):
        received.append((named_recipe_of(request), request.adapts_to_device))
        raise KeyboardInterrupt

    monkeypatch.setattr("cifarnet.training.start.train", note)
    sizes = ",".join(f"{side}:{share}" for side, share in RECIPES["fast"].resolutions)
    for chosen in ([], ["--resolutions", sizes]):
        CliRunner().invoke(app, ["train", "--data", "synthetic:50", *options, *chosen])
    assert received == [(RECIPES["fast"], True), (RECIPES["fast"], False)]


@pytest.mark.parametrize(("kind", "resolutions"), [("gpu", ()), ("cpu", RECIPES["fast"].resolutions)])
def test_a_run_on_a_gpu_has_no_small_images(kind, resolutions):
    # Long enough for small images where they pay.
    prepared = prepare(TrainRequest("fast", "synthetic:50", changes={"steps": 2000}))
    inputs, data, _ = read_images(prepared, Session())
    config, _ = resolve(prepared, inputs, data, "tensorflow", Device("tensorflow", kind, "a device"), Strategy())
    assert config.recipe.resolutions == resolutions


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", "documented"),
        ("--weights resnet20", "fine-tune"),
        ("--budget 1m", "fast"),
        ("--weights resnet20 --budget 1m", "fine-tune"),
        ("--weights resnet20 --recipe paper", "paper"),
    ],
)
def test_the_default_recipe_depends_on_the_options(monkeypatch, options, name):
    received = []

    def note(request, *arguments, **others):
        received.append((named_recipe_of(request), request.budget, request.weights))
        raise KeyboardInterrupt

    monkeypatch.setattr("cifarnet.training.start.train", note)
    CliRunner().invoke(app, ["train", *options.split()])
    weights = Path("resnet20") if "--weights" in options else None
    assert received == [(RECIPES[name], 60 if "--budget" in options else None, weights)]


@pytest.mark.parametrize("options", ["--depth 14", "--model resnet14", "--model resnet14 --depth 14"])
def test_a_depth_is_short_for_a_model(monkeypatch, options):
    received = []

    def note(request, *arguments, **others):
        received.append(request.model)
        raise KeyboardInterrupt

    monkeypatch.setattr("cifarnet.training.start.train", note)
    CliRunner().invoke(app, ["train", *options.split()])
    assert received == ["resnet14"]


def test_the_default_save_interval_is_three_minutes():
    options = {option.name: option for option in typer.main.get_command(app).commands["train"].params}
    assert options["save_interval"].default == SAVE_INTERVAL == 180


@pytest.mark.slow
def test_quiet_leaves_the_result_alone(tmp_path):
    options = f"--data synthetic:50 --depth 8 --steps 1 --recipe fast -q --output {tmp_path / 'run'}"
    result = CliRunner().invoke(app, ["train", *options.split()])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith("Test accuracy")


CPU = Device("tensorflow", "cpu", "CPU, 2 cores", cores=2)
FIXED = replace(RECIPES["fine-tune"], flip=False, crop_padding=0)
CIFAR10 = replace(PLAN, train_images=50_000, epochs=250, steps=97_750, recipe=RECIPES["documented"], device=CPU)


@pytest.mark.parametrize(
    ("plan", "hours"),
    [
        (replace(CIFAR10, spec=ModelSpec("resnet20")), 8.7),  # 12.5 million images at 400 a second; measured: 9 hours
        (CIFAR10, 54.1),  # 252.89 of 40.55 million multiply-accumulates
        (replace(CIFAR10, spec=ModelSpec("resnet20"), epochs=164, steps=64_000, recipe=RECIPES["paper"]), 5.7),
        (replace(CIFAR10, spec=ModelSpec("resnet20"), start_epoch=200), 1.74),
        (replace(CIFAR10, spec=ModelSpec("resnet20"), device=replace(CPU, cores=16)), 1.1),
        # 0.35, 0.25, 0.2, 0.1 and 0.1 of the run at 1/4, 25/64, 9/16, 49/64 and all of the pixels
        (replace(CIFAR10, spec=ModelSpec("resnet20"), epochs=20, steps=3920, recipe=RECIPES["fast"]), 0.328),
    ],
)
def test_a_cpu_needs_as_long_as_the_network_has_work(plan, hours):
    assert guessed_seconds(plan) / 3600 == pytest.approx(hours, rel=0.02)


@pytest.mark.parametrize(
    "changes",
    [{"device": Device("jax", "gpu", "GPU")}, {"budget": 60.0}, {"frozen_base": True, "recipe": FIXED}],
)
def test_no_time_is_guessed_where_it_is_unknown_or_short(changes):
    assert guessed_seconds(replace(CIFAR10, **changes)) is None


def test_a_deep_network_on_a_cpu_is_advised_a_budget_at_once():
    output = "\n".join(plan_lines(CIFAR10))
    assert "roughly 2 days" in output
    assert f"--budget {BUDGETS[0][0]} without --depth, --model or --recipe: " in output
    assert "--model resnet20: about 8.7 hours in all" in output
    # It is shown once.
    assert len(estimate_lines(Estimated(40 * 86400.0, 14_000.0, 21.0), CIFAR10)) == 1


def test_a_long_recipe_on_a_cpu_is_advised_a_budget_at_once():
    output = "\n".join(plan_lines(replace(CIFAR10, spec=ModelSpec("resnet20"))))
    assert "roughly 8.7 hours" in output
    assert f" --budget {BUDGETS[0][0]} without --depth, --model or --recipe: {BUDGETS[0][1]} on CIFAR-10" in output
    assert "--model resnet20" not in output


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPES["documented"], "--budget {} without --depth, --model or --recipe: "),
        (RECIPES["fast"].with_changes(epochs=400), "--budget {} without --depth, --model or --epochs: "),
        (RECIPES["paper"].with_changes(steps=63_000), "--budget {} without --depth, --model, --recipe or --steps: "),
        (
            RECIPES["documented"].with_changes(epochs=240, rotation=5.0),
            "--budget {} without --depth, --model, --recipe, --epochs or --rotation: ",
        ),
    ],
)
def test_advice_names_the_options_a_budget_replaces(recipe, message):
    plan = replace(CIFAR10, spec=ModelSpec("resnet20"), recipe=recipe)
    assert message.format(BUDGETS[0][0]) in "\n".join(plan_lines(plan))


def test_a_short_run_is_planned_without_advice():
    output = "\n".join(plan_lines(replace(CIFAR10, spec=ModelSpec("resnet20"), epochs=10, steps=3910)))
    assert "roughly" not in output
    assert "--budget" not in output


def test_the_budgets_that_are_advised_are_measured():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for budget, accuracy in BUDGETS:
        assert re.search(rf"^\| `--budget {budget}`.*two CPU cores.*{accuracy}", readme, re.MULTILINE)


SLOW = Estimated(40 * 86400.0, 5000.0, 210.0)
SMALL = replace(PLAN, device=CPU, epochs=2, steps=2)
"""A plan whose time is guessed to be short, before it turns out to be long."""


def test_long_plans_are_shown_with_faster_alternatives():
    output = "\n".join(estimate_lines(SLOW, SMALL))
    assert "about 40 days" in output
    assert "--model resnet20: about 6 days" in output  # 40.55 of 252.89 million multiply-accumulates
    assert f"--budget {BUDGETS[0][0]} without --depth, --model or --recipe: " in output
    assert "GPU" in output


@pytest.mark.parametrize(
    ("changes", "message", "never"),
    [
        ({"weights": "resnet32", "grown_from": ModelSpec("resnet32")}, "--model resnet32: about", "--model resnet20"),
        ({"weights": "runs/a"}, f"--budget {BUDGETS[0][0]}", "--model"),
        ({"start_epoch": 1}, "What would be sooner, as a new run:", "--model resnet20: "),
        ({"device": replace(CPU, backend="jax")}, "jax[cuda12]", "tensorflow"),
        ({"device": Device("tensorflow", "gpu", "GPU")}, "--budget", "a machine with"),
    ],
)
def test_faster_alternatives_fit_the_run(changes, message, never):
    said = "\n".join(estimate_lines(SLOW, replace(SMALL, **changes)))
    assert message in said
    assert never not in said


@pytest.mark.parametrize("device", [CPU, Device("tensorflow", "gpu", "GPU")])
@pytest.mark.parametrize(
    "words",
    [
        "",
        "--recipe documented",
        "--depth 20",
        "--model resnet110",
        "--recipe paper --steps 63000",
        "--recipe fast --epochs 900 --learning-rate 0.05",
        "--recipe fast --cycle-peak 0 --lr-drop 10",
        "--lr-drop 3 --rotation 5 --batch-size 64",
        "--recipe documented --resolutions 8:0.5",
        "--model airbench94 --recipe documented --muon 0.05",
        "--teacher resnet44",
        "--teacher resnet44 --recipe documented --depth 20 --distillation 0.5",
        "--weights resnet20 --recipe paper",
        "--weights resnet20 --recipe documented --lr-drop 3",
        "--weights resnet20 --depth 32 --epochs 900",
    ],
)
def test_faster_alternatives_are_valid_commands(words, device):
    options = dict(zip(words.split()[::2], words.split()[1::2], strict=True))

    def prepared(options):
        return prepare(request_of_command(f"cifarnet train {' '.join(' '.join(each) for each in options.items())}"))

    run = prepared(options)
    recipe, base = run.recipe.with_teacher() if run.request.teachers else run.recipe, run.origins.base
    plan = replace(
        CIFAR10,
        spec=ModelSpec(run.model),
        recipe=recipe,
        device=device,
        weights=run.inputs.weights,
        teachers=run.inputs.teacher,
        grown_from=base.spec if base and base.spec.name != run.model else None,
    )
    output = "\n".join(estimate_lines(SLOW, replace(plan, epochs=2, steps=2)))
    budget, without, outcome = re.search(r"--budget (\S+?)(?: without (.*?))?: (.*)", output).groups()
    kept = {name: value for name, value in options.items() if name not in re.split(", | or ", without or "")}
    for each in (budget, *re.findall(r"--budget (\S+):", outcome)):
        advised = prepared({**kept, "--budget": each})
        with_best_network(advised, device, plan.train_images)
        assert (device.kind == "cpu" and advised.request.leaves_network_open) == ("%" in outcome)
    for model in re.findall(r"--model (\S+): about", output):
        prepared({**{name: value for name, value in options.items() if name != "--depth"}, "--model": model})


def test_short_plans_are_shown_without_advice():
    assert len(estimate_lines(Estimated(600.0, 60.0, 500.0), PLAN)) == 1


@pytest.mark.parametrize(
    ("seconds", "message"), [(45, "45 s"), (720, "12 min"), (12_600, "3.5 hours"), (40 * 86400, "40 days")]
)
def test_durations_have_a_fitting_unit(seconds, message):
    assert duration(seconds) == message


def show(terminal: bool, monkeypatch, **environment: str) -> str:
    monkeypatch.delenv("CI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    monkeypatch.setattr(screen.console, "stderr", lambda: console)
    with screen.training_screen(quiet=False) as (report, _):
        for event in (PLAN, STEP, Estimated(100.0, 60.0, 500.0), EPOCH):
            report(event)
    return stream.getvalue()


def test_without_a_terminal_there_are_plain_lines_alone(monkeypatch):
    output = show(False, monkeypatch)
    assert "\x1b" not in output
    assert "\r" not in output
    assert output.splitlines()[-1].startswith("Epoch   1/250  loss 1.500 acc 50.00%  test loss 1.250 acc 62.50%")


def test_on_a_terminal_the_finished_epochs_stay_below_bars(monkeypatch):
    output = show(True, monkeypatch, TERM="xterm")
    assert "Epoch   1/250  loss 1.500" in output
    assert "loss 2.000 acc 25.0% lr 0.1 500 images/s" in output
    assert "2 min left" in output


def test_no_color_is_respected(monkeypatch):
    output = show(True, monkeypatch, TERM="xterm", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3\dm", output)


@pytest.mark.parametrize(
    ("text", "wanted"), [("20m", 1200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), (" 2H ", 7200), ("1h1m1s", 3661)]
)
def test_a_budget_is_given_in_hours_minutes_and_seconds(text, wanted):
    assert seconds(text, "--budget") == wanted


@pytest.mark.parametrize("text", ["", "20", "m", "20 minutes", "-5m", "30m1h"])
def test_a_budget_that_is_no_time_is_refused(text):
    with pytest.raises(InvalidValueError, match=f"--budget takes a time such as 20m.*Received: {text}"):
        seconds(text, "--budget")


@pytest.mark.parametrize(
    ("changes", "warmup"),
    [({}, (400, 0.01)), ({"warmup_learning_rate": 0.02}, (400, 0.02)), ({"warmup_steps": 0}, (0, 0.01))],
)
def test_the_papers_warmup_is_there_before_changes(changes, warmup):
    recipe = prepare(TrainRequest("paper", "synthetic:50", model="resnet110", changes=changes)).recipe
    assert (recipe.warmup_steps, recipe.warmup_learning_rate) == warmup


@pytest.mark.parametrize("wanted", [90, 1200, 5400, 3661, 45.5])
def test_a_budget_is_shown_as_it_is_given(wanted):
    assert seconds(span(wanted), "") == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget 5m --epochs 3", "Received: --epochs 3, --budget 300s"),
        ("--budget 0s", "--budget must be above 0 and at most 31,622,400 seconds. Received: 0.0"),
        ("--budget 5m --recipe paper", "fast, or one with a --cycle-peak"),
        ("--resolutions 20", "such as 20:0.4,24:0.3"),
        ("--resolutions 21:0.5", "It takes multiples of 4 pixels from 8 to 32; the nearest is 20."),
        ("--resolutions 30:0.5", "--resolutions has an image size that ResNet-20 does not take"),
        ("--resolutions 40:0.5", "the nearest is 32. Received: 40"),
        ("--resolutions 20:0.9,24:0.3", "together. Received: 20:0.9,24:0.3"),
        ("--resolutions 0:0.5", "a side (1 to 1,024 pixels)"),
        ("--recipe fast --lr-drop 3", "Set --cycle-peak 0 to use these. Received: --cycle-peak 0.2, --lr-drop 3"),
        ("--crop-padding 2", "--crop-padding can't be combined with --rotation or --shift"),
        ("--lr-boundaries 5,3", "rising steps at least 1 and at most 1,000,000,000. Received: 5,3"),
        ("--warmup-learning-rate 0.2", "--warmup-learning-rate is the learning rate of the first --warmup-steps"),
        ("--distillation 0.5", "Received: no teacher, --distillation 0.5"),
        ("--recipe paper --no-flip --alternate-flips", "--alternate-flips needs --flip. Received: no --flip"),
        ("--precision double", "float32, bfloat16 or float16"),
        ("--model resnet20 --depth 8", "Received: --model resnet20 --depth 8"),
        ("--model resnet21", "Received: "),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path, options, message):
    arguments = ["train", *options.split(), "--data", "synthetic:50", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert not (tmp_path / "run").exists()
    assert isinstance(result.exception, CifarnetError)
    assert message in with_options(str(result.exception))


def test_quiet_keeps_warnings(monkeypatch):
    stream = StringIO()
    monkeypatch.setattr(screen.console, "stderr", lambda: Console(file=stream, width=120))
    with screen.training_screen(quiet=True) as (report, _):
        for event in (PLAN, STEP, Warned("No room for checkpoint.h5"), EPOCH):
            report(event)
    assert stream.getvalue() == "No room for checkpoint.h5\n"


@pytest.mark.slow
def test_an_unwritable_report_is_exit_status_3(tmp_path, monkeypatch):
    def fail(path, html):
        raise StorageError(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("cifarnet.cli.reporting.write_page", fail)
    options = f"--data synthetic:50 --depth 8 --steps 1 --recipe fast -q --output {tmp_path / 'run'}"
    result = CliRunner().invoke(app, ["train", *options.split(), "--report", str(tmp_path / "run.html")])
    assert isinstance(result.exception, StorageError)
    assert result.exception.exit_code == 3
    assert result.stdout.startswith("Test accuracy")
