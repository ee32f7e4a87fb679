"""ship_weights.py in an empty checkout: the files of the package, the records of runs, and the model card."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.data.dataset import hold_out
from cifarnet.data.sources import load_data
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.inference.classifier import Classifier
from cifarnet.models.embeddings import fit_statistics
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
    """Finished runs: ``first``, ``resnet14``, ``second`` (from ``first``, with ``resnet14`` as its teacher), ``third``
    (from ``second``), ``other-images`` (from ``first``, with other images held out) and ``all-images`` (as ``first``,
    with no image held out).
    """
    there = tmp_path_factory.mktemp("trained")
    first = train(CONFIG, there / "first")
    train(replace(CONFIG, model="resnet14"), there / "resnet14")
    train(replace(CONFIG, validation_split=None), there / "all-images")
    first_weights = there / "resnet8-first.h5"
    shutil.copy(first.directory / files.WEIGHTS, first_weights)
    config = replace(CONFIG, weights=str(first_weights), teacher=str(there / "resnet14"))
    second = train(config, there / "second")
    shutil.copy(second.directory / files.WEIGHTS, there / "resnet8.h5")
    train(replace(CONFIG, weights=str(there / "resnet8.h5")), there / "third")
    shutil.copytree(there / "third", there / "other-images")
    config = Run(there / "third").config
    other = replace(config, weights=str(there / "first"), weights_sha256=load_weights(first_weights).sha256(), seed=1)
    Run(there / "other-images").write_config(other)
    return there


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout, and a function that ships a run into it."""
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


@pytest.mark.slow
def test_statistics_are_those_of_the_images_of_the_run(trained, checkout):
    root, ship = checkout
    ship(trained / "first")
    shipped = load_weights(root / "cifarnet/weights/resnet8.h5")
    images, held_out = hold_out(load_data("synthetic:200").train, 0.2, seed=0)
    network = Classifier(shipped)
    wanted = fit_statistics(network.embeddings(images.images), images.labels, 10)
    np.testing.assert_allclose(shipped.statistics.means, wanted.means, rtol=1e-3, atol=1e-5)  # In float16.
    distances = network.averaged_logits(held_out.images, tta="none", distances=True).distances
    assert shipped.reject_beyond == pytest.approx(np.quantile(distances, 0.95), rel=1e-3)
    with pytest.raises(SystemExit, match="synthetic:300 has other images than those of the run"):
        ship("resnet8", "--data", "synthetic:300")


def assert_in_order(text, *parts):
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.slow
def test_card_describes_every_training_since_the_first_weights(trained, checkout):
    root, ship = checkout
    ship(trained / "first", "--device", "an abacus")
    (root / "benchmarks/runs/resnet8").rename(root / "benchmarks/runs/resnet8-first")
    ship(trained / "resnet14", "--device", "a slide rule")
    ship(trained / "second", "--device", "a loom")
    card = (root / "docs/resnet8.md").read_text()
    parts = ("on a loom.", "Its teacher was `resnet14`", "It began with the weights `resnet8-first`", "on an abacus.")
    assert_in_order(card, *parts)
    assert str(trained) not in card
    shipped = evaluate(root / "cifarnet/weights/resnet8.h5", "synthetic:200").metrics.accuracy
    assert f"| accuracy | {shipped:.2%} " in card
    assert "cifarnet evaluate resnet8 --data synthetic:200 --fair --corrupt --corrupt-images 40\n" in card
    fair = evaluate(root / "cifarnet/weights/resnet8.h5", "synthetic:200", fair=True).fair
    assert f"| without {fair.near_duplicates} near-duplicates of training images | {fair.accuracy:.2%} " in card
    assert_in_order(card, "| Corruption | Severity 1 | ", "| Gaussian noise | ", "| JPEG compression | ")
    index = json.loads((root / "cifarnet/weights/index.json").read_text())
    assert index["resnet8"]["test_set"] == "shapes"
    assert (root / "benchmarks/runs/resnet8/curves.svg").read_text().startswith("<svg")
    kept = Run(root / "benchmarks/runs/resnet8").config
    assert (kept.weights, kept.teacher) == ("resnet8-first", ("resnet14",))
    assert kept.weights_sha256 == load_weights(trained / "first" / files.WEIGHTS).sha256()
    with pytest.raises(SystemExit, match="give --renamed resnet8=NEW"):
        ship(trained / "third")
    (root / "benchmarks/runs/resnet8").rename(root / "benchmarks/runs/resnet8-second")
    ship(trained / "third", "--device", "a quill", "--renamed", "resnet8=resnet8-second")
    card = (root / "docs/resnet8.md").read_text()
    assert_in_order(card, "on a quill.", "`resnet8-second`", *parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "keep", "message"),
    [
        ("second", {}, "learned from resnet8-first, of which .* keeps no config.json, metrics.json, device.txt"),
        ("third", {"second": "resnet8-second"}, "resnet8-second learned from resnet8-first, of which .* keeps no"),
        ("second", {"resnet14": "resnet8-first"}, "learned from other weights than those of .*resnet8-first"),
        ("other-images", {"first": "first"}, "learned images that .*other-images held out to calibrate on"),
    ],
)
def test_weights_of_unknown_origin_are_not_shipped(trained, checkout, run, keep, message):
    root, ship = checkout
    for name, kept in keep.items():
        shutil.copytree(trained / name, root / "benchmarks/runs" / kept)
        (root / "benchmarks/runs" / kept / "device.txt").write_text("an abacus\n")
    with pytest.raises(SystemExit, match=message):
        ship(trained / run, "--renamed", "resnet8=resnet8-second")
    assert not list((root / "cifarnet/weights").iterdir())


@pytest.mark.slow
def test_weights_that_ship_can_be_written_again(trained, checkout):
    root, ship = checkout
    ship(trained / "first")
    paths = [path for path in root.rglob("*") if path.is_file()]
    names = {str(path.relative_to(root)) for path in paths}
    assert {"docs/resnet8.md", "docs/weights.md", "benchmarks/runs/resnet8/rounding.json"} < names
    before = [path.read_bytes() for path in paths]
    ship("resnet8")
    assert [path.read_bytes() for path in paths] == before
    tensors = load_weights(root / "cifarnet/weights/resnet8.h5").tensors
    for name, tensor in load_weights(trained / "first" / files.WEIGHTS).tensors.items():
        np.testing.assert_array_equal(tensors[name], tensor.astype(np.float16))


@pytest.mark.slow
def test_weights_that_float16_changes_much_stay_float32(trained, checkout, monkeypatch):
    root, ship = checkout
    import model_card

    monkeypatch.setattr(model_card, "TOLERANCE", -1)
    for run in (trained / "first", "resnet8"):
        ship(run)
        shipped = load_weights(root / "cifarnet/weights/resnet8.h5")
        assert shipped.sha256() == load_weights(trained / "first" / files.WEIGHTS).sha256()
        assert "| stored as | float32; float16 would score " in (root / "docs/resnet8.md").read_text()
        assert "| float32 |" in (root / "docs/weights.md").read_text()


@pytest.mark.slow
def test_calibration_comes_from_a_run_that_held_images_out(trained, checkout):
    root, ship = checkout
    ship(trained / "all-images")
    assert "`--reject` is refused" in (root / "docs/resnet8.md").read_text()
    ship(trained / "all-images", "--calibration", trained / "first")
    twin, shipped = load_weights(trained / "first" / files.WEIGHTS), load_weights(root / "cifarnet/weights/resnet8.h5")
    assert twin.reject_below is not None
    assert (shipped.temperature, shipped.reject_below) == (twin.temperature, twin.reject_below)
    assert shipped.reject_beyond == twin.reject_beyond
    assert shipped.statistics is not None
    text = (root / "docs/resnet8.md").read_text()
    assert "that another run of the same recipe held out" in " ".join(text.split())
    card = (root / "docs/resnet8.md").read_bytes()
    ship("resnet8")
    assert (root / "docs/resnet8.md").read_bytes() == card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "twin", "message"),
    [
        ("first", "all-images", "first held images out, and is calibrated itself: leave out --calibration"),
        ("all-images", "resnet14", "resnet14 differs from .*all-images in its network, recipe, first weights"),
    ],
)
def test_calibration_by_another_kind_of_run_is_refused(trained, checkout, run, twin, message):
    root, ship = checkout
    with pytest.raises(SystemExit, match=message):
        ship(trained / run, "--calibration", trained / twin)
    assert not list((root / "cifarnet/weights").iterdir())
