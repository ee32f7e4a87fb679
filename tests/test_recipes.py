import json

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs.recipe_files import read_recipe
from cifarnet.training.optimizer import PlannedSGD
from cifarnet.training.schedule import Plan, learning_rate, size_at, spans


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    assert Recipe.from_dict(json.loads(json.dumps(RECIPES[name].to_dict()))) == RECIPES[name]


def test_the_documented_recipe_is_the_documents():
    recipe = RECIPES["documented"]
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.momentum) == (250, 128, 0.1, 0.9)
    assert (recipe.lr_decay, recipe.lr_drop, recipe.nesterov, recipe.l2) == (1e-6, 20, True, 1e-4)
    assert (recipe.rotation, recipe.shift, recipe.flip) == (15, 0.1, True)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.1), (7819, 0.1 / (1 + 7819e-6)), (7820, 0.05 / (1 + 7820e-6)), (15640, 0.025 / (1 + 15640e-6))],
)
def test_documented_learning_rate_decays_and_halves(step, rate):
    assert learning_rate(RECIPES["documented"], 391, step, 0.5) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.01), (499, 0.01), (500, 0.1), (31_999, 0.1), (32_000, 0.01), (48_000, 0.001)]
)
def test_revised_learning_rate_warms_up_and_drops(step, rate):
    assert learning_rate(RECIPES["revised"], 391, step, 0.5) == pytest.approx(rate)


@pytest.mark.parametrize("name", RECIPES)
def test_the_optimizer_sees_the_learning_rate_that_is_shown(name):
    recipe, plan = RECIPES[name], Plan(70_000)
    optimizer = PlannedSGD(recipe, 391)
    optimizer.build([])
    optimizer.follow(plan)
    for step in (0, 499, 500, 7819, 7820, 31_999, 32_000, 47_999, 48_000, 60_000):
        shown = learning_rate(recipe, 391, step, plan.at(step + 0.5))
        optimizer.iterations.assign(step)
        assert float(np.asarray(optimizer.learning_rate)) == pytest.approx(float(shown), rel=1e-4), step


@pytest.mark.parametrize("name", RECIPES)
def test_the_optimizer_scales_the_learning_rate(name):
    recipe, plan = RECIPES[name], Plan(70_000)
    optimizer = PlannedSGD(recipe, 391)
    optimizer.build([])
    for step in (499, 7820, 48_000):
        optimizer.follow(plan, 0.25)
        optimizer.iterations.assign(step)
        whole = float(learning_rate(recipe, 391, step, plan.at(step + 0.5)))
        assert float(np.asarray(optimizer.learning_rate)) == pytest.approx(whole / 4, rel=1e-4), step


@pytest.mark.parametrize(("position", "rate"), [(0, 0), (0.1, 0.2), (0.2, 0.4), (0.6, 0.2), (1, 0), (1.01, 0)])
def test_a_cycle_rises_to_its_peak_and_ends_at_zero(position, rate):
    recipe = RECIPES["fast"].with_changes(learning_rate=0.4, cycle_peak=0.2)
    assert learning_rate(recipe, 391, 0, position) == pytest.approx(rate)


def test_a_new_plan_continues_from_the_old_position():
    old = Plan(100)
    new = Plan(60, 40, old.at(40))
    assert new.at(40) == pytest.approx(0.4)
    assert new.at(50) == pytest.approx(0.7)
    assert new.at(60) == pytest.approx(1)


def test_image_sizes_follow_shares_and_end_at_full_size():
    recipe = RECIPES["fast"].with_changes(resolutions=((20, 0.5), (24, 0.25)))
    assert spans(recipe, 32) == [(0, 0.5, 20), (0.5, 0.75, 24), (0.75, 1, 32)]
    assert [size_at(recipe, 32, position) for position in (0, 0.49, 0.5, 0.75, 1, 1.1)] == [20, 20, 24, 32, 32, 32]
    assert spans(RECIPES["paper"], 32) == [(0, 1, 32)]


def test_on_a_gpu_the_fast_recipe_trains_at_full_size():
    fast, chosen = RECIPES["fast"], RECIPES["fast"].with_changes(resolutions=((16, 0.5),))
    assert fast.on("gpu").resolutions == ()
    assert fast.on("cpu") == fast
    assert chosen.on("gpu") == chosen


@pytest.mark.parametrize(
    ("model", "recipe", "changes"),
    [
        ("resnet110", "paper", {"warmup_steps": 400}),
        ("resnet56", "paper", {}),
        ("resnet20-v1", "paper", {"batchnorm_momentum": 0.9}),
        ("resnet110-v1b", "paper", {"batchnorm_momentum": 0.9, "warmup_steps": 400}),
        ("resnet110-v1", "documented", {}),
        ("vgg16", "documented", {"l2": 5e-4}),
        ("vgg16", "revised", {}),
        ("vgg16", "fast", {"learning_rate": 0.03, "batch_size": 128}),
        ("airbench94", "paper", {}),
        (
            "airbench94-slim",
            "fast",
            {
                "batch_size": 256,
                "learning_rate": 1.0,
                "momentum": 0.85,
                "l2": 3.3e-4,
                "label_smoothing": 0.2,
                "batchnorm_momentum": 0.6,
            },
        ),
    ],
)
def test_networks_change_named_recipes(model, recipe, changes):
    assert RECIPES[recipe].for_model(model) == RECIPES[recipe].with_changes(**changes)
    own = RECIPES[recipe].with_changes(momentum=0.8)
    assert own.for_model(model) == own


def test_few_images_get_small_batches_with_the_networks_rate():
    recipe = RECIPES["fast"].for_model("vgg16").for_images(20, "vgg16")
    assert (recipe.batch_size, recipe.learning_rate) == (16, pytest.approx(0.03 * 0.125**0.5))


@pytest.mark.parametrize(("images", "batch"), [(20, 16), (100, 16), (500, 62), (4_000, 500)])
def test_halves_of_a_batch_have_at_least_16_images(images, batch):
    assert RECIPES["fast"].for_model("airbench94").for_images(images, "airbench94").batch_size == batch


def test_a_new_length_in_epochs_replaces_one_in_steps():
    assert RECIPES["paper"].with_changes(epochs=3).steps is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"epochs": 0}, "epochs"),
        ({"l2": -1.0}, "l2"),
        ({"rotation": 181.0}, "rotation"),
        ({"lr_boundaries": (5, 3)}, "lr_boundaries"),
        ({"crop_padding": 4}, "crop_padding"),
        ({"warmup_learning_rate": 0.02}, "warmup_steps"),
        ({"momentum": 0.0}, "nesterov"),
        ({"jitter": 1.1}, "jitter"),
        ({"mixup": -0.1}, "mixup"),
        ({"cutmix": 1.5}, "cutmix"),
        ({"ema": 1.0, "precise_batchnorm": 64}, "ema"),
        ({"ema": 0.9}, "`precise_batchnorm` 1024"),
        ({"muon": 1e38}, r"`muon` must be at most 3.4e\+38 times the `learning_rate`. Give .*: `muon` 1e\+38, `learn"),
        ({"muon": 0.1, "learning_rate": 1e-45}, "`muon` 0.1, `learning_rate` 1e-45"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(change, named):
    with pytest.raises(InvalidValueError, match=named):
        RECIPES["documented"].with_changes(**change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "JSON object"),
        ('{"name": "x", "epochs": 1, "speed": 2}', "has no field speed"),
        ('{"epochs": 1}', "needs the field name"),
        ('{"name": "x", "epochs": "1"}', "epochs must be a whole number or null"),
        ('{"name": "x", "epochs": true}', "epochs must be a whole number or null"),
    ],
)
def test_invalid_recipe_files_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InvalidValueError, match=message):
        read_recipe(tmp_path / "r.json")


def test_a_runs_configuration_is_a_recipe_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"recipe": RECIPES["revised"].to_dict(), "seed": 3}))
    assert read_recipe(tmp_path / "config.json") == RECIPES["revised"]


@pytest.mark.parametrize(
    ("images", "batch", "rate"),
    [(50_000, 256, 0.4), (1_793, 256, 0.4), (1_792, 128, 0.2828), (120, 16, 0.1), (20, 16, 0.1)],
)
def test_few_images_get_small_batches_with_fast(images, batch, rate):
    """Eight steps an epoch or more; the rate goes by the square root: 0.4 for 256, 0.1 for 16."""
    recipe = RECIPES["fast"].for_images(images)
    assert (recipe.batch_size, recipe.learning_rate) == (batch, pytest.approx(rate, rel=1e-3))
    chosen = RECIPES["fast"].with_changes(batch_size=200)
    assert chosen.for_images(images) == chosen
    assert RECIPES["paper"].for_images(images) == RECIPES["paper"]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (RECIPES["fast"], ""),
        (RECIPES["fast"].with_changes(steps=5, nesterov=False), "steps 5, no nesterov"),
        (RECIPES["fast"].with_changes(resolutions=((24, 0.6), (28, 0.2))), "resolutions 24:0.6,28:0.2"),
        (RECIPES["fast"].with_changes(resolutions=()), "no resolutions"),
        (Recipe(name="mine", epochs=3, nesterov=True), "epochs 3, nesterov"),
    ],
)
def test_changes_are_written_as_on_the_command_line(recipe, text):
    assert recipe.changes() == text
