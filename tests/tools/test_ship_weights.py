"""Shipping weights in a checkout of its own: what goes into the package, what is kept, and what a card tells."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cifarnet.evaluation.evaluate import evaluate
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights

CONFIG = TrainRequest(
    RECIPES["fast"].with_changes(steps=3, batch_size=32, resolutions=()),
    data="synthetic:200",
    model="resnet8",
    validation_split=0.2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Finished runs: a ResNet-8; a ResNet-14; a second ResNet-8 from the first's weights, taught by the ResNet-14; a
    third from the second's; and one that held other images out than the first, with whose weights it began.
    """
    there = tmp_path_factory.mktemp("trained")
    first = train(CONFIG, there / "first")
    train(replace(CONFIG, model="resnet14"), there / "resnet14")
    shutil.copy(first.directory / files.WEIGHTS, there / "resnet8-first.h5")
    config = replace(CONFIG, weights=str(there / "resnet8-first.h5"), teacher=str(there / "resnet14"))
    second = train(config, there / "second")
    shutil.copy(second.directory / files.WEIGHTS, there / "resnet8.h5")
    train(replace(CONFIG, weights=str(there / "resnet8.h5")), there / "third")
    train(replace(CONFIG, weights=str(there / "first"), seed=1), there / "other-images")
    return there


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Where ship_weights.py writes instead of this checkout."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    import ship_weights

    monkeypatch.setattr(ship_weights, "ROOT", tmp_path)
    (tmp_path / "cifarnet/weights").mkdir(parents=True)
    (tmp_path / "docs").mkdir()

    def ship(run, *options):
        words = ["ship_weights.py", run, "--data", "synthetic:200", "--test-set", "shapes", *options]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        ship_weights.main()

    return tmp_path, ship


def assert_in_order(text, *parts):
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.slow
def test_a_card_tells_the_whole_training_from_the_first_weights_on(trained, checkout):
    root, ship = checkout
    ship(trained / "first", "--device", "an abacus")
    (root / "benchmarks/runs/resnet8").rename(root / "benchmarks/runs/resnet8-first")
    ship(trained / "resnet14", "--device", "a slide rule")
    ship(trained / "second", "--device", "a loom")
    card = (root / "docs/resnet8.md").read_text()
    told = ("on a loom.", "Its teacher was `resnet14`", "It began with the weights `resnet8-first`", "on an abacus.")
    assert_in_order(card, *told)
    assert str(trained) not in card
    shipped = evaluate(root / "cifarnet/weights/resnet8.h5", "synthetic:200").metrics.accuracy
    assert f"| accuracy | {shipped:.2%} " in card
    index = json.loads((root / "cifarnet/weights/index.json").read_text())
    assert index["resnet8"]["test_set"] == "shapes"
    assert (root / "benchmarks/runs/resnet8/curves.svg").read_text().startswith("<svg")
    kept = Run(root / "benchmarks/runs/resnet8").config
    assert (kept.weights, kept.teacher) == ("resnet8-first", "resnet14")
    assert kept.weights_sha256 == load_weights(trained / "first" / files.WEIGHTS).sha256()
    with pytest.raises(SystemExit, match="give --renamed resnet8=NEW"):
        ship(trained / "third")
    (root / "benchmarks/runs/resnet8").rename(root / "benchmarks/runs/resnet8-second")
    ship(trained / "third", "--device", "a quill", "--renamed", "resnet8=resnet8-second")
    card = (root / "docs/resnet8.md").read_text()
    assert_in_order(card, "on a quill.", "`resnet8-second`", *told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "keep", "told"),
    [
        ("second", {}, "learned from resnet8-first, of which .* keeps no config.json, metrics.json, device.txt"),
        ("third", {"second": "resnet8-second"}, "resnet8-second learned from resnet8-first, of which .* keeps no"),
        ("second", {"resnet14": "resnet8-first"}, "learned from other weights than those of .*resnet8-first"),
        ("other-images", {"first": "first"}, "learned images that .*other-images held out to calibrate on"),
    ],
)
def test_weights_of_unknown_origin_are_not_shipped(trained, checkout, run, keep, told):
    root, ship = checkout
    for name, kept in keep.items():
        shutil.copytree(trained / name, root / "benchmarks/runs" / kept)
        (root / "benchmarks/runs" / kept / "device.txt").write_text("an abacus\n")
    with pytest.raises(SystemExit, match=told):
        ship(trained / run, "--renamed", "resnet8=resnet8-second")
    assert not list((root / "cifarnet/weights").iterdir())
