import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import cifarnet
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError, WeightsError
from cifarnet.evaluation import evaluate as evaluation
from cifarnet.evaluation.corruptions import corrupt
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines.onnx import OnnxEngine
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_header, load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.networks import SIZE, save_image_folder, save_tiny_weights
from tests.support.weights import with_random_statistics

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_image_folder(tmp_path_factory.mktemp("images"), {"ant": (2, 3), "bee": (2, 1), "cow": (2, 2)})


@pytest.fixture(scope="module")
def constant_weights(tmp_path_factory):
    """Probabilities 1/8, 5/8 and 2/8, whatever the image."""
    return save_tiny_weights(tmp_path_factory.mktemp("constant") / "w.h5", CLASSES, (0, math.log(5), math.log(2)))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("random") / "w.h5", CLASSES)


def test_weights_are_scored_on_the_test_images(folder, constant_weights):
    scores = evaluate(constant_weights, str(folder)).to_dict()
    assert scores["accuracy"] == pytest.approx(1 / 6)
    assert scores["loss"] == pytest.approx(-(3 * math.log(1 / 8) + math.log(5 / 8) + 2 * math.log(2 / 8)) / 6)
    assert scores["ece"] == pytest.approx(5 / 8 - 1 / 6)
    assert scores["confusion_matrix"] == [[0, 3, 0], [0, 1, 0], [0, 2, 0]]
    assert (scores["images"], scores["weights"], scores["data"]) == (6, str(constant_weights), str(folder))


def test_rejected_test_images_are_counted(folder, random_weights, tmp_path):
    weights = load_weights(random_weights)
    assert "rejected" not in evaluate(random_weights, str(folder)).to_dict()
    images = load_data(str(folder), image_size=SIZE).test.images
    largest = Classifier(weights).logits(images).max(axis=1)
    by_logit = replace(weights, reject_below=float(np.median(largest)))
    known = with_random_statistics(by_logit)
    distances = Classifier(known).averaged_logits(images, tta="flip", distances=True).distances
    by_distance = replace(known, reject_beyond=float(np.sort(distances)[-2]))
    for index, (each, tta, share, score) in enumerate(
        [(by_logit, "none", 3 / 6, "largest logit"), (by_distance, "flip", 1 / 6, "distance")]
    ):
        save_weights(tmp_path / f"{index}.h5", each)
        found = evaluate(tmp_path / f"{index}.h5", str(folder), tta=tta).to_dict()
        assert found["rejected"] == {"share": pytest.approx(share), "score": score}


def test_flip_averages_the_logits_of_image_and_mirror_image(folder, random_weights):
    test = load_data(str(folder), image_size=SIZE).test
    classifier = Classifier(load_weights(random_weights))
    seen, mirrored = (classifier.logits(np.ascontiguousarray(x)) for x in (test.images, test.images[:, :, ::-1]))
    odds = np.exp((seen.astype(float) + mirrored) / 2)
    expected = -np.log(odds[np.arange(len(test)), test.labels] / odds.sum(axis=1)).mean()
    assert evaluate(random_weights, str(folder), tta="flip").metrics.loss == pytest.approx(expected, rel=1e-5)
    assert evaluate(random_weights, str(folder)).metrics.loss != pytest.approx(expected, rel=1e-3)


def test_speed_leaves_compilation_out(folder, constant_weights, monkeypatch):
    """A clock that counts 100 s for the first batch of the network, which compiles it, and 2 s for each later one."""
    seconds = [0.0]
    compute = OnnxEngine.logits

    def logits(self, *args, **kwargs):
        seconds[0] += 100.0 if seconds[0] == 0 else 2.0
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(OnnxEngine, "logits", logits)
    monkeypatch.setattr(evaluation, "perf_counter", lambda: seconds[0])
    assert evaluate(constant_weights, str(folder), engine="onnx").images_per_second == 6 / 2


@pytest.mark.parametrize("classes", [("ant", "bee", "dog"), ("bee", "ant", "cow"), ("ant", "bee")])
def test_other_classes_or_order_are_refused_before_inference(folder, tmp_path, classes):
    weights = save_tiny_weights(tmp_path / "w.h5", classes)
    activities = []
    with pytest.raises(DataError, match=f"weights: {', '.join(classes)}\nThe data: ant, bee, cow") as refused:
        evaluate(weights, str(folder), report=lambda activity, done, total: activities.append(activity))
    assert "Classifying images" not in activities
    assert f"with: cifarnet train --data {folder} --weights {weights} --freeze-base\n" in str(refused.value)


def test_the_advised_training_reads_the_data_in_the_same_way(tmp_path):
    data = save_image_folder(tmp_path / "images", {"ant": (4, 0), "bee": (4, 0), "dog": (4, 0)})
    (data / "train/dog/broken.png").write_bytes(b"no picture")
    weights = save_tiny_weights(tmp_path / "w.h5", CLASSES)
    with pytest.raises(DataError, match="weights: ant, bee, cow") as refused:
        evaluate(weights, str(data), test_split=0.25, skip_broken=True)
    command = f"cifarnet train --data {data} --weights {weights} --freeze-base --test-split 0.25 --skip-broken\n"
    assert f"with: {command}" in str(refused.value)


def test_a_run_is_scored_on_the_images_that_it_held_out_itself(tmp_path, constant_weights):
    data = save_image_folder(tmp_path / "images", {"ant": (4, 0), "bee": (4, 0), "cow": (8, 0)})
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"data": str(data), "test_split": 0.5}))
    (run / "weights.h5").write_bytes(constant_weights.read_bytes())
    scores = evaluate(run).to_dict()
    assert (scores["data"], scores["weights"]) == (str(data), str(run / "weights.h5"))
    assert [row["support"] for row in scores["per_class"]] == [2, 2, 4]
    for same in ({"data": str(data)}, {"test_split": 0.5}, {"data": f"{data}/.", "test_split": 0.5}):
        assert evaluate(run, **same).metrics.images == 8
    for data_again in (None, str(data)):
        with pytest.raises(InvalidValueError, match=r"held 0\.5 of its data out .* Received: 0\.25"):
            evaluate(run, data_again, test_split=0.25)


def test_run_with_unknown_held_out_images_is_not_scored(tmp_path, constant_weights):
    data = save_image_folder(tmp_path / "images", {"ant": (4, 0), "bee": (4, 0), "cow": (8, 0)})
    run = tmp_path / "run"
    run.mkdir()
    sha256 = load_data(str(data), test_split=0.5, image_size=SIZE).sha256()
    (run / "config.json").write_text(json.dumps({"data": str(data), "test_split": 0.5, "data_sha256": sha256}))
    (run / "weights.h5").write_bytes(constant_weights.read_bytes())
    assert evaluate(run).metrics.images == 8
    next((data / "train/cow").iterdir()).unlink()
    with pytest.raises(DataError, match=r"does not hold the images any more that .*run was trained on"):
        evaluate(run)
    assert evaluate(constant_weights, str(data), test_split=0.5).metrics.images == 8  # A file knows of no run.


def test_weights_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no run or weight file"):
        evaluate(tmp_path / "nothing")


@pytest.mark.parametrize(("size", "received"), [(2.5, "2.5"), ("3", '"3"'), (True, "true"), (0, "0")])
def test_impossible_batch_sizes_are_refused_before_data_are_read(constant_weights, size, received):
    message = f"`batch_size` must be a whole number, at least 1. Received: {received}"
    for score in (partial(evaluate, constant_weights), cifarnet.load(constant_weights).evaluate):
        with pytest.raises(InvalidValueError) as refused:
            score("missing", batch_size=size)
        assert str(refused.value) == message


def test_an_unknown_kind_of_test_time_augmentation_is_refused(folder, constant_weights):
    with pytest.raises(InvalidValueError, match="Received: rotate"):
        evaluate(constant_weights, str(folder), tta="rotate")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The images of ``folder``; ant's second test image is its first training image, bee's is a mirrored one."""
    root = save_image_folder(tmp_path_factory.mktemp("copied"), {"ant": (2, 3), "bee": (2, 1), "cow": (2, 2)})
    (root / "test/ant/1.png").write_bytes((root / "train/ant/0.png").read_bytes())
    with Image.open(root / "train/cow/1.png") as picture:
        ImageOps.mirror(picture).save(root / "test/bee/0.png")
    return root


def test_fair_scores_leave_near_duplicates_out(copied, constant_weights):
    found = evaluate(constant_weights, str(copied), fair=True)
    plain = evaluate(constant_weights, str(copied)).to_dict()
    scores = found.to_dict()
    # All images are taken for bees. The only bee and an ant are left out.
    assert (scores["accuracy"], scores["fair_accuracy"], scores["near_duplicates"]) == (1 / 6, 0, 2)
    assert scores["fair_accuracy_interval"] == [0, pytest.approx(0.49, abs=0.01)]
    added = {"fair_accuracy", "fair_accuracy_interval", "near_duplicates"}
    assert scores.keys() - plain.keys() == added
    assert {name: scores[name] for name in plain if name != "images_per_second"} == {
        name: plain[name] for name in plain if name != "images_per_second"
    }


def test_fair_scores_need_an_image_without_duplicate(tmp_path, constant_weights):
    root = save_image_folder(tmp_path, {"ant": (1, 1), "bee": (1, 1), "cow": (1, 1)})
    for name in CLASSES:
        (root / f"test/{name}/0.png").write_bytes((root / f"train/{name}/0.png").read_bytes())
    activities = []
    with pytest.raises(DataError, match=r"Each of 3 test images .* near-duplicate .*leave `fair` out\. Received: "):
        evaluate(constant_weights, str(root), fair=True, report=lambda activity, *_: activities.append(activity))
    assert "Classifying images" not in activities


def test_fair_scores_need_training_images(tmp_path, constant_weights):
    root = save_image_folder(tmp_path, {"ant": (0, 1), "bee": (0, 1), "cow": (0, 1)})
    with pytest.raises(DataError, match=r"has test/ but no train/ beside it"):
        evaluate(constant_weights, str(root), fair=True)


def test_corrupted_images_are_scored_with_fair_scores(copied, random_weights):
    found = evaluate(random_weights, str(copied), fair=True, corrupt=True, engine="onnx", tta="flip")
    data, classifier = load_data(str(copied), image_size=SIZE).test, Classifier(load_weights(random_weights))
    logits = classifier.logits(corrupt(data.images, "contrast", 5), tta="flip")
    errors = found.corruptions.errors
    assert errors["contrast"][4] == (logits.argmax(1) != data.labels).mean()
    assert {len(each) for each in errors.values()} == {5}
    assert found.corruptions.clean_error == pytest.approx(1 - found.metrics.accuracy)
    assert found.to_dict()["corruptions"]["images"] == 6
    assert found.fair.near_duplicates == 2


def test_some_images_are_corrupted_evenly_spaced(folder, random_weights):
    found = evaluate(random_weights, str(folder), corrupt=True, corrupt_images=3)
    test = load_data(str(folder), image_size=SIZE).test
    logits = Classifier(load_weights(random_weights)).logits(test.images[[0, 2, 4]])
    assert found.corruptions.images == 3
    assert found.corruptions.clean_error == pytest.approx((logits.argmax(1) != test.labels[[0, 2, 4]]).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"corrupt": True, "corrupt_images": 7},
            r"`corrupt_images` must be at most 6, the number of test images\. Received: 7",
        ),
        ({"corrupt": True, "corrupt_images": 0}, r"`corrupt_images` must be .*at least 1.* Received: 0"),
        ({"corrupt_images": 2}, r"`corrupt_images` is for corrupted images\. Give `corrupt` too\. Received: 2"),
    ],
)
def test_impossible_numbers_of_corrupted_images_are_refused(folder, constant_weights, options, message):
    with pytest.raises(InvalidValueError, match=message):
        evaluate(constant_weights, str(folder), **options)


@pytest.mark.slow
def test_engines_agree_on_corrupted_images(copied, random_weights):
    onnx, keras = (
        evaluate(random_weights, str(copied), fair=True, corrupt=True, engine=engine) for engine in ("onnx", "keras")
    )
    assert onnx.fair == keras.fair
    assert onnx.corruptions == keras.corruptions


@pytest.mark.slow
def test_resnet20_scores_its_fair_and_corrupted_accuracy_on_the_jpeg_images(jpeg_archive):
    scores = evaluate("resnet20", jpeg_archive, fair=True, corrupt=True, corrupt_images=100).to_dict()
    assert scores["near_duplicates"] == pytest.approx(452, abs=1)
    assert scores["fair_accuracy"] == pytest.approx(0.8963, abs=3e-4)
    assert scores["corruptions"]["mean_error"] == pytest.approx(0.23, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.shipped())
def test_shipped_weights_score_what_they_say_on_the_jpeg_images(name, jpeg_archive):
    scores = evaluate(Path(name), str(jpeg_archive)).to_dict()
    assert scores["images"] == catalog.shipped()[name].test_images
    # Another kind of CPU rounds differently, which may decide the class of an image or two.
    assert scores["accuracy"] == pytest.approx(load_header(catalog.find(Path(name))).accuracy, abs=2e-4)


@pytest.mark.slow
def test_original_weights_score_79_47_percent_on_the_jpeg_images(jpeg_archive):
    weights = jpeg_archive.parents[1] / "legacy" / "cifar10-resnet20.h5"
    if not weights.exists():
        pytest.skip(f"{weights} is missing")
    scores = evaluate(weights, str(jpeg_archive)).to_dict()
    assert (scores["accuracy"], scores["images"]) == (0.7947, 10_000)
