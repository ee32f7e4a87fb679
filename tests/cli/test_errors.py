"""What users see of errors of every origin: one form on stderr, nothing on stdout, and the exit status."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cifarnet.cli import errors
from cifarnet.cli.main import app, main
from cifarnet.recipes import RECIPES
from cifarnet.weights import catalog
from tests.support.runs import run_config

CONFIG = run_config(RECIPES["fast"]).to_dict()
RECIPE = {"name": "mine", "epochs": 2}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs ``cifarnet`` in an empty folder and returns its exit status and its stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cifarnet", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        assert captured.out == ""
        return stopped.value.code, captured.err

    return run


USAGE = [
    # Names that are not known.
    (
        "trian",
        "cifarnet has no command trian. Did you mean train? Commands are train, *. See cifarnet --help.",
    ),
    (
        "weights lst",
        "cifarnet weights has no command lst. Commands are add, remove, convert. *",
    ),
    ("weights ad x y", "cifarnet weights has no command ad. Did you mean add? *"),
    ("train --epoch 3", "cifarnet train has no option --epoch. Did you mean --epochs? See cifarnet train --help."),
    ("train --epoch=3", "cifarnet train has no option --epoch. Did you mean --epochs? *"),
    ("train -epochs 3", "cifarnet train has no option -epochs. Did you mean --epochs? *"),
    ("train --lr 3", "cifarnet train has no option --lr. Did you mean --learning-rate? *"),
    ("train --no-flips", "cifarnet train has no option --no-flips. Did you mean --no-flip? *"),
    ("train -x", "cifarnet train has no option -x. See cifarnet train --help."),
    ("--verison", "cifarnet has no option --verison. Did you mean --version? *"),
    ("weights --jsn", "cifarnet weights has no option --jsn. Did you mean --json? *"),
    # Values of another type or out of range.
    ("train --seed x", "--seed must be a whole number. See cifarnet train --help."),
    ("train --epochs 2.5", "--epochs must be a whole number. *"),
    ("train --learning-rate fast", "--learning-rate must be a number. *"),
    ("predict a.png --top-k many", "--top-k must be a whole number. *"),
    ("evaluate --batch-size 0", "--batch-size must be at least 1. See cifarnet evaluate --help."),
    ("evaluate --batch-size x", "--batch-size must be a whole number of at least 1. *"),
    ("train --save-interval=-1", "--save-interval must be at least 0. *"),
    ("train --seed=-1", "--seed must be at least 0 and at most 9,223,372,036,854,775,808."),
    ("summary --depth 21", "A CIFAR ResNet has a depth of 6n+2 (8, 14, 20, 26, 32, ...); nearest: 20 and 26."),
    ("summary --classes 1", "A classifier needs at least 2 classes."),
    # One of a few names.
    ("predict a.png --crop centre", "--crop must be center, pad or stretch. Did you mean center?"),
    ("predict a.png --tta view", "--tta must be none, flip, shift or views. Did you mean views?"),
    ("predict a.png --tta shift-unsure", "--tta must be none, flip, shift or views."),
    ("evaluate --tta mirror", "--tta must be none, flip, shift or shift-unsure."),
    ("train --precision bf16", "--precision must be float32, bfloat16 or float16. Did you mean bfloat16?"),
    ("train --backend tf", "--backend must be tensorflow or jax. Did you mean tensorflow?"),
    ("evaluate --backend JAX", "--backend must be tensorflow or jax. Did you mean jax?"),
    ("train --on-nan retsore", "--on-nan must be stop or restore. Did you mean restore?"),
    ("train --recipe fsat", "There is no recipe or file fsat. Did you mean fast? Recipes are documented, *"),
    ("train --recipe mine.json", "There is no recipe or file mine.json. Recipes are documented, *"),
    # Too much and too little.
    ("train --seed", "--seed needs a value. See cifarnet train --help."),
    ("predict", "cifarnet predict needs IMAGE. See cifarnet predict --help."),
    ("compare", "cifarnet compare needs RUN. *"),
    ("weights add run", "cifarnet weights add needs NAME. See cifarnet weights add --help."),
    ("summary --json=yes", "--json takes no value. See cifarnet summary --help."),
    ("train my-images", "cifarnet train takes no argument my-images. See cifarnet train --help."),
    ("summary foo bar", "cifarnet summary takes no argument foo bar. *"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[arguments for arguments, _ in USAGE])
def test_a_usage_error_says_what_is_valid_and_received(arguments, message, command):
    status, printed = command(*arguments.split())
    assert status == 2
    assert printed.count("\n") == 1, "one line, without a box around it"
    pattern = re.escape(f"Error: {message}").replace(r"\*", ".*").removesuffix(r"\ .*") + ".* Received: .+\n"
    assert re.fullmatch(pattern, printed), printed


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("data CIFAR10", 1, "Did you mean cifar10?"),
        ("data cifar-10", 1, "Did you mean cifar10?"),
        ("data synthtic:40", 1, "Did you mean synthetic?"),
        ("data imgaes", 1, "Did you mean {here}/images?"),
        ("summary --weights resnet02", 1, "Did you mean resnet20?"),
        ("summary --weights runs/r2O", 1, "Did you mean runs/r20?"),
        ("train --resume runs/r2O", 1, "Did you mean runs/r20?"),
        ("weights remove mine", 2, "You have added no weights called mine. You have added: none."),
        ("predict a.png --depth 26", 1, f"there are: {', '.join(catalog.shipped())}."),
        ("train --recipe runs/r20", 2, "is a folder, not a recipe."),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(arguments, status, message, command, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "runs" / "r20").mkdir(parents=True)
    found, printed = command(*arguments.split())
    assert found == status
    assert printed.startswith("Error: ")
    assert message.format(here=Path.cwd()) in printed
    assert "Received: " in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "The recipe can't be read as JSON: "),
        ("[1]", "The recipe can't be read as JSON: it holds [1], not a JSON object. "),
        (
            {**RECIPE, "teacher": ["A", "B"]},
            "r.json: A recipe has no field teacher. It is an option of the training, not part of a recipe: give it as"
            " --teacher. Received: teacher",
        ),
        ({**RECIPE, "learningrate": 1}, "r.json: A recipe has no field learningrate. Did you mean learning_rate? "),
        ({**RECIPE, "epochs": "2"}, 'r.json: epochs must be a whole number or null. Received: "2"'),
        ({**RECIPE, "flip": "yes"}, 'r.json: flip must be true or false. Received: "yes"'),
        ({**RECIPE, "resolutions": [16]}, "r.json: resolutions must be a list, each item a list of a whole number"),
        ({**RECIPE, "resolutions": [[30, 0.5]]}, "--resolutions has an image size that ResNet-20 does not take. It"),
        ({"epochs": 2}, "r.json: A recipe needs the field name. Received: epochs"),
        ({**RECIPE, "batch_size": 0}, "r.json: batch_size must be at least 1 and at most 1,000,000. Received: 0"),
    ],
)
def test_a_wrong_recipe_file_names_file_field_and_type(content, message, command, tmp_path):
    (tmp_path / "r.json").write_text(content if isinstance(content, str) else json.dumps(content))
    status, printed = command("train", "--recipe", "r.json")
    assert status == 2
    assert printed.startswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**CONFIG, "modle": "resnet20"}, "A run's configuration has no field modle. Did you mean model?"),
        ({**CONFIG, "depth": "20"}, 'depth must be at least 0 and at most 1,202. Received: "20"'),
        ({**CONFIG, "data": None}, "data must be a text. Received: null"),
        ({**CONFIG, "freeze_base": 1}, "freeze_base must be true or false. Received: 1"),
        (
            {**CONFIG, "precision": "bf16"},
            "float32, bfloat16 or float16. Did you mean bfloat16? Received: bf16",
        ),
        ({"recipe": "fast"}, "recipe must be an object. Received: 'fast'"),
        ({}, "recipe must be an object. Received: None"),
    ],
)
def test_a_wrong_run_configuration_names_its_field(content, message, command, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    status, printed = command("train", "--resume", ".")
    assert status == 1
    assert printed.startswith("Error: config.json is not a valid run configuration: ")
    assert message in printed
    assert "__init__" not in printed


def test_the_variable_with_an_unknown_backend_is_named(command, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    status, printed = command("evaluate", "--engine", "keras")
    assert (status, printed) == (
        2,
        "Error: The variable KERAS_BACKEND must be tensorflow or jax. Received: torch\n",
    )


def test_without_a_command_the_help_is_shown_with_status_2(command):
    status, printed = command()
    assert status == 2
    assert printed.startswith("Usage: cifarnet [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize("status", [0, 1, 3, 4, 130, 143])
def test_the_status_of_an_exit_is_that_of_the_process(status, command, monkeypatch):
    def fail() -> None:
        raise typer.Exit(status)

    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    app.command("fail")(fail)
    assert command("fail") == (status, "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "This machine has too little memory: no more was available"),
        (OSError("no luck"), "The system refused: no luck"),
        (KeyError("x"), "This is a fault of cifarnet: KeyError: 'x'. Set CIFARNET_TRACEBACK=1 *"),
    ],
)
def test_an_unforeseen_error_is_a_message_too(error, message, command, monkeypatch):
    def fail() -> None:
        raise error

    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    app.command("fail")(fail)
    status, printed = command("fail")
    assert status == 1
    assert printed.startswith(f"Error: {message.removesuffix(' *')}")
    monkeypatch.setenv("CIFARNET_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["cifarnet", "fail"])
    with pytest.raises(type(error)):
        main()


def test_errors_are_red_on_a_terminal_and_plain_elsewhere():
    words = [sys.executable, "-m", "cifarnet", "trian"]
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment["TERM"] = "xterm-256color"
    plain = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert plain.stderr.startswith(b"Error: cifarnet has no command trian.")
    assert b"\x1b" not in plain.stderr
    ours, theirs = pty.openpty()
    subprocess.run(words, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"\x1b[1;31mError: cifarnet has no command trian.")
    os.close(ours)


def test_a_mistake_that_typer_words_itself_is_still_one_line():
    error = type("Odd", (typer.TyperException,), {"exit_code": 2})("Something is odd.")
    printed, status = errors.error_message(error, ["train", "--odd", "a b"])
    assert printed == "Something is odd. See cifarnet train --help. Received: cifarnet train --odd 'a b'"
    assert status == 2


@pytest.mark.parametrize(
    ("words", "completions"),
    [("cifarnet tr", ["train"]), ("cifarnet predict --crop ", ["center", "pad", "stretch"])],
)
def test_a_shell_completes_commands_and_values(words, completions):
    environment = {
        **os.environ,
        "_CIFARNET_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    command = [sys.executable, "-m", "cifarnet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == completions
