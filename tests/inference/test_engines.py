import re

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.inference import engines
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import ENGINES, start_engine
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.weights.record import Weights

SPEC = ModelSpec("resnet8", classes=3, image_size=12)
WEIGHTS = Weights(SPEC, initial_weights(SPEC, 1), ("a", "b", "c"), Normalization(120.0, 64.0))
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 12, 12, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_engines_answer_images_of_any_number_in_batches(name):
    engine = start_engine(name, WEIGHTS)
    whole = engine.logits(IMAGES, batch_size=7)
    assert (whole.shape, whole.dtype) == ((7, 3), np.float32)
    counts = []
    parts = engine.logits(IMAGES, batch_size=3, report=lambda _, done, of: counts.append((done, of)))
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    assert counts == [(3, 7), (6, 7), (7, 7)]
    np.testing.assert_allclose(engine.logits(IMAGES, batch_size=7, compiled=False), whole, rtol=1e-4, atol=1e-5)
    assert engine.logits(IMAGES[:0], batch_size=7).shape == (0, 3)


class Counting:
    """An engine that answers the mean of each channel."""

    def __init__(self, weights, start_backend):
        self.weights = weights

    def logits(self, images, *, batch_size, compiled=True, report=None):
        return images.mean(axis=(1, 2)).astype(np.float32)


def test_an_engine_is_a_row_of_the_table(monkeypatch):
    monkeypatch.setattr(engines, "Counting", Counting, raising=False)
    monkeypatch.setitem(ENGINES, "counting", ("cifarnet.inference.engines", "Counting"))

    def refuse():
        raise AssertionError("the backend was started")

    classifier = Classifier(WEIGHTS, refuse, engine="counting")
    np.testing.assert_allclose(classifier.logits(IMAGES), IMAGES.mean(axis=(1, 2)), rtol=1e-6)


@pytest.mark.slow
def test_features_of_zero_images_have_the_shape_of_features():
    engine = start_engine("keras", WEIGHTS)
    features = engine.features(IMAGES, batch_size=7)
    assert engine.features(IMAGES[:0], batch_size=7).shape == (0, *features.shape[1:])


@pytest.mark.parametrize("name", ["keros", None, ["keras"]])
@pytest.mark.parametrize("start", [lambda name: start_engine(name, WEIGHTS), lambda name: Classifier("x", engine=name)])
def test_an_unknown_engine_is_refused(start, name):
    with pytest.raises(InvalidValueError, match=f"`engine` must be keras.* Received: {re.escape(str(name))}"):
        start(name)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "7"])
def test_invalid_batch_sizes_are_refused(size):
    with pytest.raises(InvalidValueError, match=r"`batch_size` must be a whole number, at least 1. Received: "):
        Classifier(WEIGHTS).logits(IMAGES, batch_size=size)
