"""The network that a time budget chooses, and the weights that few images choose."""

from dataclasses import replace
from itertools import pairwise

import pytest

from cifarnet.backend import devices
from cifarnet.backend.devices import Device
from cifarnet.choices import DEFAULT_WEIGHTS
from cifarnet.data.progress import silent
from cifarnet.errors import InvalidValueError
from cifarnet.models.spec import PRESETS
from cifarnet.recipes import RECIPES
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training import network_choice
from cifarnet.training.network_choice import BEST, best_network, with_best_network, with_default_weights
from cifarnet.training.run_data import RunData
from cifarnet.training.session import Session
from cifarnet.training.setup import prepare, read_images
from cifarnet.training.start import train
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from tests.support.datasets import image_folder

CPU, GPU = Device("tensorflow", "cpu", "CPU, 2 cores", cores=2), Device("jax", "gpu", "GPU H100")
SLIM = "airbench94-slim"
OPEN = TrainRequest(data="synthetic:50", budget=600.0, precision="float32")
IMAGES = network_choice.MEASURED_IMAGES


def test_the_best_networks_are_documented():
    assert {name for rows in BEST.values() for _, name in rows} <= set(PRESETS)


@pytest.mark.parametrize(("device", "size"), [(GPU, 32), (CPU, 8)])
def test_devices_and_images_that_were_not_measured_get_the_default(device, size):
    assert best_network(device, "float32", size, 600.0, IMAGES) == "resnet20"


@pytest.fixture
def multiplies_bfloat16(monkeypatch):
    monkeypatch.setattr(network_choice, "cpu_multiplies_bfloat16", lambda: True)


@pytest.mark.usefixtures("multiplies_bfloat16")
@pytest.mark.parametrize("kind", BEST)
def test_the_network_follows_the_time_for_an_image(kind):
    backend, precision = ("jax", "float32") if kind == "jax" else ("tensorflow", kind)
    rows = BEST[kind]
    for least, name in rows:
        for cores, images, size in ((1, IMAGES, 32), (2, IMAGES, 32), (4, 10 * IMAGES, 32), (1, IMAGES, 64)):
            budget = 60 * least * (2 / cores) ** 0.737 * images / IMAGES * (size / 32) ** 2
            device = Device(backend, "cpu", "CPU", cores=cores)
            assert best_network(device, precision, size, budget * 1.01, images) == name
    for (_, before), (least, _) in pairwise(rows):
        one_core = Device(backend, "cpu", "CPU", cores=1)
        for images in (10, IMAGES):
            assert best_network(one_core, precision, 32, 59 * least * 2**0.737, images) == before


@pytest.mark.parametrize(("quota", "name"), [("max 100000", "airbench94"), ("100000 100000", SLIM)])
@pytest.mark.usefixtures("multiplies_bfloat16")
def test_the_quota_of_a_container_counts(monkeypatch, tmp_path, quota, name):
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    many = Device("tensorflow", "cpu", "CPU", cores=64)
    assert best_network(many, "bfloat16", 32, 60.0, IMAGES) == name


def test_what_the_chosen_network_refuses_is_said_with_its_name():
    request = replace(OPEN, changes={"resolutions": ((8, 0.5),)})
    with pytest.raises(InvalidValueError, match=r"^CNN airbench94-slim is the network of this budget; `model` chooses"):
        with_best_network(prepare(request), CPU, IMAGES)


@pytest.mark.parametrize(("multiplies", "name"), [(True, "airbench94"), (False, SLIM)])
def test_bfloat16_counts_where_the_processor_multiplies_it(monkeypatch, multiplies, name):
    monkeypatch.setattr(network_choice, "cpu_multiplies_bfloat16", lambda: multiplies)
    prepared, notes = with_best_network(prepare(replace(OPEN, precision="bfloat16")), CPU, IMAGES)
    assert prepared.model == name
    assert "on a CPU in bfloat16" in notes[0]
    assert with_best_network(prepare(replace(OPEN, precision="float16")), CPU, IMAGES)[0].model == SLIM


def test_a_budget_chooses_the_network_with_its_recipe():
    prepared, notes = with_best_network(prepare(OPEN), CPU, IMAGES)
    assert prepared.model == SLIM
    assert prepared.recipe == RECIPES["fast"].for_model(SLIM)
    assert len(notes) == 1
    assert notes[0].startswith("CNN airbench94-slim is the best network")


def test_changes_of_the_recipe_stay():
    prepared, _ = with_best_network(
        prepare(replace(OPEN, changes={"learning_rate": 0.3, "resolutions": ()})), CPU, IMAGES
    )
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
    assert with_best_network(prepared, CPU, IMAGES) == (prepared, ())


def test_a_gpu_keeps_the_default():
    prepared = prepare(OPEN)
    assert with_best_network(prepared, GPU, IMAGES) == (prepared, ())


def few_images(folder, classes=("oak", "elm"), **request):
    """Return a prepared request for a folder of images of ``classes``, and the images."""
    prepared = prepare(TrainRequest(data=str(image_folder(folder, classes=classes)), **request))
    return prepared, RunData.load(prepared.inputs, (), silent)


def test_few_images_of_other_classes_start_from_weights(tmp_path):
    prepared, data = few_images(tmp_path, changes={"epochs": 3})
    chosen, notes = with_default_weights(prepared, data)
    assert chosen.origins.base is not None
    assert (chosen.inputs.weights, chosen.model) == (DEFAULT_WEIGHTS, chosen.origins.base.spec.name)
    assert (chosen.recipe.name, chosen.recipe.epochs) == ("fine-tune", 3)
    assert notes == (
        f"starts from the weights {DEFAULT_WEIGHTS}, because the images are few; `model` {DEFAULT_WEIGHTS} `recipe`"
        " fast starts from random weights",
    )


def test_default_weights_take_larger_images(tmp_path):
    prepared, data = few_images(tmp_path, image_size=64)
    chosen, _ = with_default_weights(prepared, data)
    assert (chosen.inputs.weights, chosen.inputs.image_size) == (DEFAULT_WEIGHTS, 64)


def test_default_weights_come_before_the_network_of_a_budget(tmp_path):
    prepared, data = few_images(tmp_path, budget=60.0)
    chosen, _ = with_default_weights(prepared, data)
    assert with_best_network(chosen, CPU, IMAGES) == (chosen, ())
    assert chosen.request.budget == 60


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "resnet20"},
        {"recipe": "fast"},
        {"recipe": "documented"},
        {"weights": "resnet32"},
        {"teacher": "resnet20"},
    ],
)
def test_a_request_that_decides_keeps_its_start(tmp_path, request_):
    prepared, data = few_images(tmp_path, **request_)
    assert with_default_weights(prepared, data) == (prepared, ())


@pytest.mark.parametrize(
    ("classes", "what"),
    [(("dog", "cat"), "those of CIFAR-10"), (("Dog", "CAT"), "those of CIFAR-10"), (("3", "5"), "numbers")],
)
def test_images_of_known_classes_start_from_nothing(tmp_path, classes, what):
    prepared, data = few_images(tmp_path, classes=classes)
    note = (
        f"random weights: the classes are {what}, so the images may be those that {DEFAULT_WEIGHTS} was trained on;"
        f" `weights` {DEFAULT_WEIGHTS} if they are your own"
    )
    assert with_default_weights(prepared, data) == (prepared, (note,))


@pytest.mark.parametrize(
    ("changes", "unfit"),
    [
        ({"steps": 3, "lr_drop": 2}, "`lr_drop` does"),
        ({"rotation": 10, "flip": False, "lr_decay": 0.1}, "`rotation` and `lr_decay` do"),
    ],
)
def test_changes_that_do_not_fit_fine_tuning_keep_their_recipe(tmp_path, changes, unfit):
    prepared, data = few_images(tmp_path, changes=changes)
    note = f"random weights: {unfit} not go with the recipe fine-tune for ResNet-20"
    assert with_default_weights(prepared, data) == (prepared, (note,))


def test_changes_that_fit_fine_tuning_change_it(tmp_path):
    prepared, data = few_images(tmp_path, changes={"learning_rate": 0.02})
    assert with_default_weights(prepared, data)[0].recipe.learning_rate == 0.02
    prepared, data = few_images(tmp_path / "more", changes={"lr_drop": 10, "cycle_peak": 0})
    assert with_default_weights(prepared, data)[0].recipe.lr_drop == 10


def test_a_folder_called_like_the_default_weights_is_not_read(tmp_path, monkeypatch):
    (tmp_path / DEFAULT_WEIGHTS).mkdir()
    monkeypatch.chdir(tmp_path)
    chosen, _ = with_default_weights(*few_images(tmp_path / "mine"))
    assert (chosen.inputs.weights, chosen.inputs.weights_path) == (DEFAULT_WEIGHTS, None)
    assert chosen.origins.base.sha256() == catalog.read_named(DEFAULT_WEIGHTS, load_weights)[1].sha256()


@pytest.mark.parametrize("given", ["weights", "teacher"])
def test_weights_of_unknown_images_may_have_learned_the_validation_images(tmp_path, given):
    names = catalog.read_named("resnet20", load_weights)[1].class_names
    folder, events = image_folder(tmp_path / "mine", classes=names), []
    request = TrainRequest("fine-tune", data=str(folder), validation_split=0.4, **{given: "resnet20"})
    read_images(prepare(request), Session(report=events.append))
    assert [event.message for event in events] == [
        "resnet20 may have been trained on images that are validation images now: its training images are not recorded,"
        " and the classes of the data are those of resnet20. The validation accuracy, and the temperature and rejection"
        " threshold fitted on them, may be too good."
    ]
    events.clear()
    read_images(prepare(replace(request, validation_split=None)), Session(report=events.append))
    assert not events


@pytest.mark.parametrize(
    ("classes", "familiar"),
    [(("oak", "elm"), False), (("cat", "oak"), False), (("Dog", "cat"), True), (("3", "5"), True)],
)
def test_images_of_other_classes_were_not_learned(tmp_path, classes, familiar):
    prepared, _ = few_images(tmp_path, classes=classes, weights="resnet20", validation_split=0.4)
    events = []
    read_images(prepared, Session(report=events.append))
    assert any("may have been trained on" in event.message for event in events) == familiar


def test_named_data_start_from_nothing():
    prepared = prepare(TrainRequest(data="synthetic:50"))
    assert with_default_weights(prepared, RunData.load(prepared.inputs, (), silent)) == (prepared, ())


def test_many_images_start_from_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(network_choice, "FEW_IMAGES", 5)
    prepared, data = few_images(tmp_path)
    assert with_default_weights(prepared, data) == (prepared, ())


def test_a_run_records_its_default_weights(tmp_path):
    folder = image_folder(tmp_path / "mine", classes=("oak", "elm"))
    train(TrainRequest(data=str(folder), changes={"epochs": 1}), tmp_path / "run")
    config = Run.open(tmp_path / "run").config
    assert (config.weights, config.weights_path) == (DEFAULT_WEIGHTS, None)
    assert config.weights_sha256 == catalog.read_named(DEFAULT_WEIGHTS, load_weights)[1].sha256()


def test_a_budget_chooses_a_network_for_muon(tmp_path):
    prepared = prepare(TrainRequest(data="synthetic:50", budget=60.0, precision="float32", changes={"muon": 0.1}))
    chosen, _ = with_best_network(prepared, CPU, IMAGES)
    assert (chosen.model, chosen.recipe.muon) == ("airbench94-slim", 0.1)
    with pytest.raises(InvalidValueError, match=r"`muon` needs .* Received: `muon` 0.1, ResNet-20"):
        with_best_network(prepared, GPU, IMAGES)
    few = few_images(tmp_path, budget=60.0, changes={"muon": 0.1})
    assert with_default_weights(*few) == (
        few[0],
        ("random weights: `muon` does not go with the recipe fine-tune for ResNet-20",),
    )
