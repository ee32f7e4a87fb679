"""The cards of the shipped weights and their page tell what the files hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.hdf5 import read_hdf5
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_header, load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import make_entry
from tests.support.runs import run_config
from tests.support.weights import random_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model_card(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import model_card

    return model_card


@pytest.mark.parametrize("name", catalog.shipped())
def test_card_tells_what_its_file_holds(model_card, name):
    entry = catalog.shipped()[name]
    facts = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").partition("\n## ")[0]
    accuracy = load_header(entry.path).accuracy
    assert f"| accuracy | {accuracy:.2%} " in facts
    size = entry.verify().stat().st_size / 1e6
    assert f"| file | {name}.h5, {size:.2f} MB, SHA-256 `{entry.sha256}` |" in facts
    record = json.loads((ROOT / "benchmarks/runs" / name / "rounding.json").read_text(encoding="utf-8"))
    rounding = model_card.Rounding(**record)
    assert f"| stored as | {rounding} |" in facts
    stored = {array.dtype for path, array in read_hdf5(entry.path).datasets.items() if path.startswith("weights/")}
    assert (np.dtype("float16") in stored) == rounding.half
    right = rounding.float16_right if rounding.half else rounding.float32_right
    # Another kind of CPU rounds differently, which may decide the class of an image or two.
    assert accuracy == pytest.approx(right / rounding.images, abs=2e-4)


def test_page_of_weights_lists_what_ships(model_card):
    """To mend it: python tools/ship_weights.py NAME, for any of the names."""
    assert (ROOT / "docs/weights.md").read_text(encoding="utf-8") == model_card.weights_page(catalog.shipped())


def test_readme_tells_the_accuracy_of_the_default_weights():
    accuracy = load_header(catalog.shipped()["resnet20"].path).accuracy
    assert f"{100 * accuracy:.2f} % ([ResNet-20](docs/resnet20.md))" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("right", "half", "text"),
    [
        (8999, True, "float16; the likeliest class of 5 of 10,000 test images changed, float32 scored 89.97%"),
        (8995, True, "float16; "),
        (8994, False, "float32; float16 would score 89.94%, and change the likeliest class of 5 of 10,000 test images"),
        (9000, False, "float32; "),
    ],
)
def test_float16_is_used_up_to_two_hundredths_of_a_point(model_card, right, half, text):
    rounding = model_card.Rounding(10_000, 8997, right, 5)
    assert rounding.half == half
    assert str(rounding).startswith(text)


def test_cards_say_what_the_threshold_comes_from(model_card):
    known = load_weights(ROOT / "cifarnet" / "weights" / "resnet20.h5")
    text = " ".join(model_card.calibration_text(known, 49_000).split())
    assert "Both numbers come from the 1,000 training images that were held out: the second keeps 95 % of them." in text
    assert "those of the 49,000 images that the network was trained on" in text
    plain = model_card.calibration_text(replace(known, statistics=None, reject_beyond=None), 50_000, from_twin=True)
    assert f"whose largest logit is below {known.reject_below:.2f}." in " ".join(plain.split())
    assert "that another run of the same recipe held out" in " ".join(plain.split())
    assert "distance" not in plain
    seen = model_card.calibration_text(known, 49_000, seen_by=["airbench94", "vgg16"])
    assert "Teachers that were trained on some of these images: `airbench94`, `vgg16`." in " ".join(seen.split())
    assert "`--reject` is refused" in model_card.calibration_text(
        replace(known, statistics=None, reject_beyond=None, reject_below=None), 50_000
    )


@pytest.mark.parametrize(
    ("change", "learned"),
    [({}, False), ({"seed": 1}, True), ({"validation_split": 0.03}, True), ({"data_sha256": "cd"}, True)],
)
def test_other_held_out_images_were_learned(model_card, change, learned):
    config = run_config(RECIPES["fast"], model="resnet8", validation_split=0.02)
    assert model_card.learned_held_out(replace(config, **change), config) == learned
    nothing_held_out = replace(config, validation_split=None)
    assert not model_card.learned_held_out(replace(config, **change), nothing_held_out)


@pytest.mark.parametrize(
    ("accuracies", "line"),
    [
        ({"resnet8": 0.8, "resnet14": 0.7}, "- It costs more than `resnet8` (80.00%), and scores less.\n"),
        ({"resnet8": 0.7, "resnet14": 0.7}, ""),
        ({"resnet14": 0.7, "resnet20": 0.8}, ""),
    ],
)
def test_a_card_says_that_a_cheaper_network_is_better(tmp_path, model_card, accuracies, line):
    index = {}
    for name, accuracy in accuracies.items():
        save_weights(tmp_path / f"{name}.h5", replace(random_weights(ModelSpec(name)), accuracy=accuracy))
        index[name] = make_entry(name, tmp_path / f"{name}.h5", None, None, shipped=True)
    assert model_card.cheaper_and_better(index["resnet14"], index) == line


def test_the_cards_of_shipped_weights_name_cheaper_and_better_ones(model_card):
    index = catalog.shipped()
    for name, entry in index.items():
        card = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert model_card.cheaper_and_better(entry, index) in card
