"""The Python API takes texts, paths and names where the command line does."""

from pathlib import Path

import numpy as np
import pytest

import cifarnet
from cifarnet.data.images import read_image
from cifarnet.errors import InvalidValueError, RunError, WeightsError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.recipe_files import find_recipe
from cifarnet.training.setup import located_inputs
from cifarnet.weights import catalog
from tests.support.datasets import assert_same, image_folder
from tests.support.networks import SIZE, save_image_folder, save_picture, save_tiny_weights

CLASSES = ("ant", "bee")


@pytest.fixture
def weights(tmp_path):
    return save_tiny_weights(tmp_path / "w.h5", CLASSES)


@pytest.fixture
def named(weights):
    catalog.add(weights, "tiny")
    return weights


def test_weights_are_loaded_by_text_path_and_name(named):
    digest = cifarnet.load_weights(named).sha256()
    assert cifarnet.load_weights(str(named)).sha256() == digest
    assert cifarnet.load_weights("tiny").sha256() == digest
    assert cifarnet.load_weights("resnet20").spec.title == "ResNet-20"


def test_a_run_directory_stands_for_its_weights(weights, tmp_path):
    (tmp_path / "run").mkdir()
    weights.rename(tmp_path / "run" / files.WEIGHTS)
    assert cifarnet.load_weights(str(tmp_path / "run")).class_names == CLASSES


def test_classifier_takes_weights_and_what_they_are_loaded_from(named):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    given = (cifarnet.load_weights(named), named, str(named), "tiny")
    first, *others = (cifarnet.Classifier(each).logits(images) for each in given)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_weights_are_evaluated_by_text_path_and_name(named, tmp_path):
    data = save_image_folder(tmp_path / "pets", dict.fromkeys(CLASSES, (1, 2)))
    first, *others = (
        cifarnet.evaluate(one, source).metrics
        for one, source in ((named, data), (str(named), str(data)), ("tiny", data))
    )
    assert others == [first, first]


def test_data_are_loaded_by_text_and_path(tmp_path):
    folder = image_folder(tmp_path / "pets")
    assert_same(cifarnet.load_data(folder), cifarnet.load_data(str(folder)))


def test_a_path_is_never_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cifar10", "synthetic"):
        image_folder(tmp_path / name)
        assert cifarnet.load_data(Path(name)).train.class_names == ("cat", "dog")
        data = located_inputs(cifarnet.TrainRequest("fast", Path(name))).data
        assert cifarnet.load_data(data).train.class_names == ("cat", "dog")


def test_a_run_may_be_described_by_paths(tmp_path):
    paths = {"data": tmp_path / "pets", "weights": tmp_path / "w.h5", "teacher": Path("t.h5")}
    request = cifarnet.TrainRequest("fast", **paths)
    texts = cifarnet.TrainRequest("fast", **{name: str(path) for name, path in paths.items()})
    assert located_inputs(request) == located_inputs(texts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, Path])
def test_runs_are_started_and_resumed_by_text_and_path(tmp_path, kind):
    config = cifarnet.TrainRequest(
        RECIPES["fast"].with_changes(steps=1, resolutions=(), batch_size=25), "synthetic:50", "resnet8"
    )
    result = cifarnet.train(config, kind(tmp_path / "run"))
    assert (result.directory, (tmp_path / "run" / files.WEIGHTS).is_file()) == (tmp_path / "run", True)
    with pytest.raises(RunError, match="finished"):
        cifarnet.resume(kind(tmp_path / "run"))


WEIGHTS = "a run, a weight file or a name such as resnet20"


@pytest.mark.parametrize("wrong", [None, 20, b"w.h5", ["w.h5"], ""])
@pytest.mark.parametrize(
    ("function", "taken"),
    [
        (cifarnet.load_weights, WEIGHTS),
        (cifarnet.Classifier, WEIGHTS),
        (cifarnet.evaluate, WEIGHTS),
        (cifarnet.resume, "a path"),
        (lambda wrong: cifarnet.TrainRequest(RECIPES["fast"], weights=0 if wrong is None else wrong), WEIGHTS),
        (lambda wrong: cifarnet.train(cifarnet.TrainRequest(RECIPES["fast"]), 0 if wrong is None else wrong), "a path"),
    ],
    ids=["load_weights", "Classifier", "evaluate", "resume", "weights", "directory"],
)
def test_anything_else_than_a_path_is_refused_with_what_is_taken(function, taken, wrong):
    message = (
        f"must not be empty: give {taken}. Received: ''" if wrong == "" else f"takes {taken}, as str or pathlib.Path."
    )
    with pytest.raises(InvalidValueError, match=message):
        function(wrong)


def test_an_empty_recipe_is_no_folder():
    with pytest.raises(InvalidValueError, match=r"`recipe` must not be empty: give documented, .*Received: ''"):
        find_recipe("")


@pytest.mark.parametrize("wrong", [None, 20, b"pets"])
def test_anything_else_than_source_is_refused_with_what_is_taken(wrong):
    with pytest.raises(InvalidValueError, match="The data source takes a path"):
        cifarnet.load_data(wrong)


def test_a_recipe_is_no_request_for_a_training():
    with pytest.raises(InvalidValueError, match=r"`request` must be a TrainRequest, .*\('fast'\). Received: \"fast\""):
        cifarnet.train("fast", "run")


def test_a_recipe_by_name_is_refused_with_what_to_write():
    with pytest.raises(InvalidValueError, match=r"cifarnet.RECIPES\['fast'\] or 'fast'. Received: 3"):
        cifarnet.TrainRequest(3)


def test_an_unknown_name_is_refused_with_the_known_names():
    for function in (cifarnet.load_weights, cifarnet.evaluate, cifarnet.Classifier):
        with pytest.raises(WeightsError, match="resnet20, resnet32, resnet44"):
            function("resnet21")


def test_a_picture_is_read_by_text_and_path(tmp_path):
    path = save_picture(tmp_path / "a.png", 0)
    wanted = read_image(path.read_bytes(), SIZE)
    for source in (path, str(path)):
        np.testing.assert_array_equal(read_image(source, SIZE), wanted)
    with pytest.raises(InvalidValueError, match="read_image takes a path"):
        read_image(3)
