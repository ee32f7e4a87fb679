import re
import shlex

import pytest
import typer

from cifarnet.cli.main import app

ROOT = typer.main.get_command(app)
COMMANDS = {
    **ROOT.commands,
    **{f"weights {name}": command for name, command in ROOT.commands["weights"].commands.items()},
}


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every option of every command: a new one is added here on purpose.
OPTIONS = {
    "train": words(
        """
        --data --model --depth --recipe --epochs --budget --weights --output --resume --validation-split --seed
        --seeds --jobs
        --test-split --skip-broken --image-size --classes --mirror
        --steps --batch-size --learning-rate --momentum --nesterov --no-nesterov --l2 --label-smoothing
        --batchnorm-momentum --precise-batchnorm --ema --muon
        --lr-decay --lr-drop --lr-boundaries --cycle-peak --warmup-steps --warmup-learning-rate
        --rotation --shift --crop-padding --flip --no-flip --alternate-flips --no-alternate-flips --cutout --jitter
        --trivial-augment --no-trivial-augment --mixup --cutmix --resolutions
        --freeze-base --teacher --distillation --distillation-temperature
        --checks --save-interval --on-nan
        --report --tensorboard --quiet -q
        --precision --jit --no-jit --backend --devices --sync-batchnorm --no-sync-batchnorm
        """
    ),
    "evaluate": words(
        "--data --tta --batch-size --fair --corrupt --corrupt-images --test-split --skip-broken --mirror --report"
        " --json --engine --precision --backend"
    ),
    "compare": words("--report --json"),
    "summary": words("--model --depth --weights --classes --image-size --units --plain --json"),
    "predict": words(
        "--weights --model --depth --top-k --crop --tta --reject --explain --csv --json --report --engine --precision"
        " --backend"
    ),
    "export": words("--format --output --int8 --data --test-split --replace --json --backend"),
    "doctor": words("--test --no-test --json"),
    "data": words("--download --clear-cache --test-split --skip-broken --image-size --mirror --grid --recipe --json"),
    "weights": words("--json"),
    "weights add": words("--replace"),
    "weights remove": words(""),
    "weights convert": words("--mean --std --classes-file --replace"),
}
COMMON = [
    "data",
    "model",
    "depth",
    "recipe",
    "epochs",
    "budget",
    "weights",
    "output",
    "resume",
    "validation_split",
    "seed",
    "seeds",
]


def page(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    context = ROOT.make_context("cifarnet", [], resilient_parsing=True)
    for word in name.split():
        context = context.command.commands[word].make_context(word, [], parent=context, resilient_parsing=True)
    return re.sub(r"\x1b\[[\d;]*m", "", context.get_help())


def test_the_options_of_all_commands_are_those_listed_here():
    declared = {
        name: frozenset(
            option
            for parameter in command.params
            if parameter.param_type_name == "option"
            for option in (*parameter.opts, *parameter.secondary_opts)
        )
        for name, command in COMMANDS.items()
    }
    assert declared == OPTIONS


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_help_page_fits_its_terminal(name, width, monkeypatch):
    text = page(name, width, monkeypatch)
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert "<" not in text, "no <bool> or other type of Python's"
    assert "…" not in text
    assert "..." not in text.partition("Commands:")[2].partition("Options:")[0], "no cut description"
    for option in OPTIONS.get(name, ()):
        assert re.search(rf"(^|[ ,]){option}( |,|$)", text, re.MULTILINE), option


def test_a_pair_of_flags_is_on_one_line(monkeypatch):
    lines = page("train", 80, monkeypatch).splitlines()
    for pair in ("--flip / --no-flip", "--alternate-flips / --no-alternate-flips", "--jit / --no-jit"):
        assert any(line.strip().startswith(pair) for line in lines)


def test_common_options_come_first_in_a_panel_of_their_own(monkeypatch):
    panel = page("train", 100, monkeypatch).partition("\nOptions:\n")[2].partition("\n\n")[0]
    names = re.findall(r"^  (?:-h, )?--([\w-]+)", panel, re.MULTILINE)
    assert names == [name.replace("_", "-") for name in [*COMMON, "help"]]


@pytest.mark.parametrize("name", [name for name in ["", *COMMANDS] if not name.startswith("weights ")])
def test_three_examples_end_a_help_page(name, monkeypatch):
    examples = page(name, 80, monkeypatch).partition("\nExamples:\n")[2].splitlines()
    commands = [line.strip() for line in examples if not line.strip().startswith("#")]
    assert len(examples) == 2 * len(commands) == 6
    for command in commands:
        program, subcommand, *words = shlex.split(command)
        assert program == "cifarnet"
        if subcommand == "weights" and words:
            subcommand, words = f"weights {words[0]}", words[1:]
        assert COMMANDS[subcommand].make_context(subcommand, words).command is COMMANDS[subcommand]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text_of_sentences(name):
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith(".")


def test_colours_of_a_help_page_follow_no_color(monkeypatch):
    context = ROOT.make_context("cifarnet", [], resilient_parsing=True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in context.get_help()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in context.get_help()
