"""What a classifier offers beside predictions: scores, explanations and exports."""

from pathlib import Path

import numpy as np
import pytest

import cifarnet
from cifarnet.errors import DataError, InvalidValueError, WeightsError
from tests.support.networks import SIZE, save_image_folder, save_picture, save_tiny_weights

CLASSES = ("ant", "bee")


@pytest.fixture
def weights(tmp_path):
    return save_tiny_weights(tmp_path / "w.h5", CLASSES)


@pytest.fixture
def pets(tmp_path):
    return save_image_folder(tmp_path / "pets", dict.fromkeys(CLASSES, (1, 2)))


def test_a_classifier_is_loaded_by_name_by_path_and_from_memory(weights):
    assert cifarnet.load().weights.spec.name == "resnet20"
    assert cifarnet.load("resnet32").place == Path("resnet32")
    assert cifarnet.load(str(weights)).class_names == CLASSES
    assert cifarnet.load(cifarnet.load_weights(weights)).place is None
    assert cifarnet.load(weights, engine="keras").engine_name == "keras"
    with pytest.raises(InvalidValueError, match=r"`engine` must be .* Did you mean onnx\?"):
        cifarnet.load(weights, engine="onx")
    with pytest.raises(InvalidValueError, match="`precision` must be float32 for the engine onnx"):
        cifarnet.load(weights, engine="onnx", precision="bfloat16")
    with pytest.raises(WeightsError, match="no weights of that name"):
        cifarnet.load("resnet21")


def test_scores_are_those_of_evaluate(weights, pets):
    wanted = cifarnet.evaluate(weights, pets).metrics
    for given in (weights, str(weights), cifarnet.load_weights(weights)):
        assert cifarnet.load(given).evaluate(pets).metrics == wanted
    flipped = cifarnet.load(weights).evaluate(str(pets), tta="flip")
    assert flipped.metrics.loss == cifarnet.evaluate(weights, pets, tta="flip").metrics.loss


def test_scores_of_weights_in_memory_need_data_with_their_classes(weights, pets):
    classifier = cifarnet.load(cifarnet.load_weights(weights))
    with pytest.raises(InvalidValueError, match="resnet8 does not record which images"):
        classifier.evaluate()
    # No command can name these weights.
    with pytest.raises(DataError, match=r"(?s)same classes.*trained for with `data`\n") as refused:
        classifier.evaluate("cifar10")
    assert "--weights" not in str(refused.value)
    for wrong in ({"tta": "views"}, {"batch_size": 0}):
        with pytest.raises(InvalidValueError, match=f"`{next(iter(wrong))}`"):
            classifier.evaluate(pets, **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_explanations_work_with_every_engine(weights, tmp_path, engine):
    classifier = cifarnet.load(weights, engine=engine)
    picture = save_picture(tmp_path / "a.png", 0)
    found = classifier.explain(picture)
    assert found.prediction == classifier.predict(picture)
    assert found.heat.shape == found.picture.shape[:2]
    assert found.view.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(classifier.explain(found.view).view, found.view)


def test_an_explanation_is_of_one_picture_that_can_be_read(weights, tmp_path):
    classifier = cifarnet.load(weights)
    with pytest.raises(InvalidValueError, match=r"`picture` must be one picture. Received: many"):
        classifier.explain(["a.png", "b.png"])
    with pytest.raises(DataError, match=r"a.png is not a file"):
        classifier.explain(tmp_path / "a.png")


def test_an_export_is_that_of_the_function(weights, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("cifarnet.export.export_model", lambda *given, **named: calls.append((given, named)))
    classifier = cifarnet.load(weights)
    classifier.export(tmp_path / "x.keras")
    assert calls == [
        (
            (classifier.weights, tmp_path / "x.keras", None),
            {"int8": False, "data": None, "test_split": None, "replace": False},
        )
    ]


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28, 3), np.uint8), np.zeros((2, 32, 32, 3)), [[1]]])
def test_embeddings_refuse_other_images(images):
    with pytest.raises(DataError, match=r"takes uint8 images of shape \(n, 32, 32, 3\)\. Received: "):
        cifarnet.Classifier("resnet20").embeddings(images)
