import re

import numpy as np
import pytest

from cifarnet.backend.gpus import GpuFacts
from cifarnet.errors import BackendError, InvalidValueError
from cifarnet.inference import engines
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import ENGINES, EngineRow, choose_engine, start_engine
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

    def __init__(self, weights, *, precision):
        self.weights = weights

    def logits(self, images, *, batch_size, compiled=True, report=None):
        return images.mean(axis=(1, 2)).astype(np.float32)


def test_an_engine_is_a_row_of_the_table(monkeypatch):
    monkeypatch.setattr(engines, "Counting", Counting, raising=False)
    monkeypatch.setitem(ENGINES, "counting", EngineRow("cifarnet.inference.engines", "Counting", "numpy"))
    started = []
    classifier = Classifier(WEIGHTS, engine="counting", on_start=started.append)
    assert started == []
    np.testing.assert_allclose(classifier.logits(IMAGES), IMAGES.mean(axis=(1, 2)), rtol=1e-6)
    assert started == ["counting"]


@pytest.mark.slow
def test_features_of_zero_images_have_the_shape_of_features():
    engine = start_engine("keras", WEIGHTS)
    features = engine.features(IMAGES, batch_size=7)
    assert engine.features(IMAGES[:0], batch_size=7).shape == (0, *features.shape[1:])


@pytest.mark.parametrize("name", ["keros", None, ["keras"]])
@pytest.mark.parametrize("start", [lambda name: start_engine(name, WEIGHTS), lambda name: Classifier("x", engine=name)])
def test_an_unknown_engine_is_refused(start, name):
    with pytest.raises(InvalidValueError, match=f"`engine` must be .*keras.* Received: {re.escape(str(name))}"):
        start(name)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "7"])
def test_invalid_batch_sizes_are_refused(size):
    with pytest.raises(InvalidValueError, match=r"`batch_size` must be a whole number, at least 1. Received: "):
        Classifier(WEIGHTS).logits(IMAGES, batch_size=size)


@pytest.mark.parametrize(
    ("driver", "cuda", "visible", "backend", "installed", "wanted"),
    [
        (False, False, None, None, True, "onnx"),
        (True, True, None, None, True, "keras"),
        (True, True, "-1", None, True, "onnx"),
        (True, False, None, None, True, "onnx"),
        (False, False, None, "jax", True, "keras"),
        (False, False, None, None, False, "keras"),
    ],
)
def test_auto_is_keras_on_gpus_and_onnx_elsewhere(monkeypatch, driver, cuda, visible, backend, installed, wanted):
    facts = GpuFacts("linux", driver, driver, visible, cuda)
    monkeypatch.setattr(GpuFacts, "collect", lambda: facts)
    monkeypatch.setattr(engines, "is_installed", lambda package: installed or package != "onnxruntime")
    assert choose_engine(backend=backend) == wanted


def test_a_missing_package_is_named_with_its_installation(monkeypatch):
    monkeypatch.setattr("cifarnet.installation.is_installed", lambda package: False)
    with pytest.raises(BackendError, match=r"engine openvino needs openvino, .* Install it with: .*install openvino"):
        Classifier(WEIGHTS, engine="openvino")


@pytest.mark.parametrize("name", ["onnx", "keras"])
def test_engines_refuse_precisions_that_they_lack(name):
    with pytest.raises(InvalidValueError, match=r"must be float32 for the engine .* openvino computes in bfloat16"):
        Classifier(WEIGHTS, engine=name, precision="bfloat16")


def test_bfloat16_needs_a_cpu_that_multiplies_it(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr("cifarnet.inference.engines.openvino.cpu_multiplies_bfloat16", lambda: False)
    with pytest.raises(BackendError, match="does not multiply bfloat16"):
        Classifier(WEIGHTS, engine="openvino", precision="bfloat16").logits(IMAGES)
