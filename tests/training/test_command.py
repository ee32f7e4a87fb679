import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cifarnet.cli import training_screen
from cifarnet.cli.main import app
from cifarnet.recipes import RECIPES
from cifarnet.training import run
from cifarnet.training.config import RunConfig

CONFIGS = {
    "plain": RunConfig(RECIPES["documented"], model="resnet20", precision="float32", jit=False),
    "changed": RunConfig(
        RECIPES["fast"].with_changes(epochs=3, flip=False, alternate_flips=False, cutout=8, l2=1e-5, resolutions=()),
        data="some images",
        model="resnet8",
        seed=7,
        test_split=0.2,
        validation_split=0.1,
        precision="bfloat16",
        jit=True,
        on_nan="restore",
        skip_broken=True,
    ),
    "sizes": RunConfig(
        RECIPES["fast"].with_changes(resolutions=((16, 0.35), (28, 0.1))), model="resnet8", budget=5400.0
    ),
    "long": RunConfig(RECIPES["fast"], model="resnet8", budget=1_000_000.5),
    "backend": RunConfig(RECIPES["fast"], model="resnet8", budget=60.0, backend="tensorflow"),
    "boundaries": RunConfig(RECIPES["paper"].with_changes(lr_boundaries=(), steps=40), model="resnet14"),
    "shares": RunConfig(RECIPES["fast"].with_changes(resolutions=((16, 1 / 3), (28, 0.1))), model="resnet8"),
    "no warm-up": RunConfig(RECIPES["paper"].for_model("resnet110").with_changes(warmup_steps=0), model="resnet110"),
    "grown": RunConfig(RECIPES["fast"].with_changes(epochs=9), model="resnet44", weights="resnet32"),
    "taught": RunConfig(
        RECIPES["fast"].with_changes(distillation=0.5, distillation_temperature=2.0),
        model="resnet20",
        teacher="resnet32",
    ),
    "resnet110": RunConfig(
        RECIPES["paper"].for_model("resnet110").with_changes(lr_boundaries=(5, 9)), model="resnet110"
    ),
    "tuned": RunConfig(RECIPES["fine-tune"], model="resnet20", weights="resnet20", freeze_base=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_of_a_run_makes_the_run_again(monkeypatch, name):
    received = []

    def note(config, *arguments, **options):
        received.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", note)
    assert training_screen  # imported by the command
    words = CONFIGS[name].command(Path("run/config.json"))
    CliRunner().invoke(app, words[1:])
    assert received == [CONFIGS[name]], shlex.join(words)


def test_a_recipe_of_ones_own_is_taken_from_the_runs_configuration():
    recipe = RECIPES["fast"].with_changes(name="mine", epochs=3)
    words = RunConfig(recipe, model="resnet20").command(Path("run/config.json"))
    assert words[words.index("--recipe") + 1] == "run/config.json"
    assert "--epochs" not in words


def test_a_budget_takes_the_place_of_the_recipes_length():
    words = RunConfig(RECIPES["fast"].with_changes(epochs=30), model="resnet20", budget=60.0).command(
        Path("run/config.json")
    )
    assert "--budget" in words
    assert "--epochs" not in words
