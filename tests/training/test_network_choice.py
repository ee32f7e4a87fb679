"""The network that a time budget chooses."""

from dataclasses import replace

import pytest

from cifarnet.backend.devices import Device
from cifarnet.models.spec import PRESETS
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.network_choice import BEST, best_network
from cifarnet.training.setup import prepare, with_best_network

CPU, GPU = Device("tensorflow", "cpu", "CPU, 2 cores", cores=2), Device("jax", "gpu", "GPU H100")
SLIM = "airbench94-slim"
OPEN = TrainRequest(data="synthetic:50", budget=600.0)


def test_the_best_networks_are_documented():
    assert set(BEST.values()) <= set(PRESETS)


@pytest.mark.parametrize(("device", "size", "name"), [(CPU, 32, SLIM), (GPU, 32, "resnet20"), (CPU, 8, "resnet20")])
def test_devices_and_images_that_were_not_measured_get_the_default(device, size, name):
    assert best_network(device, size) == name


def test_a_budget_chooses_the_network_with_its_recipe():
    prepared, notes = with_best_network(prepare(OPEN), CPU)
    assert prepared.model == SLIM
    assert prepared.recipe == RECIPES["fast"].for_model(SLIM)
    assert len(notes) == 1
    assert notes[0].startswith("CNN airbench94-slim is the best network")


def test_changes_of_the_recipe_stay():
    prepared, _ = with_best_network(prepare(replace(OPEN, changes={"learning_rate": 0.3, "resolutions": ()})), CPU)
    assert (prepared.recipe.learning_rate, prepared.recipe.resolutions) == (0.3, ())
    assert prepared.recipe.momentum == RECIPES["fast"].for_model(SLIM).momentum


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "resnet32"},
        {"model": "resnet20"},
        {"budget": None},
        {"budget": None, "recipe": "fast"},
        {"recipe": "fine-tune"},
        {"recipe": RECIPES["fast"]},
        {"teacher": "resnet20"},
        {"weights": "resnet20"},
    ],
)
def test_a_request_that_decides_keeps_its_network(changes):
    prepared = prepare(replace(OPEN, **changes))
    assert with_best_network(prepared, CPU) == (prepared, ())


def test_a_gpu_keeps_the_default():
    prepared = prepare(OPEN)
    assert with_best_network(prepared, GPU) == (prepared, ())
