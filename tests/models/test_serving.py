import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.evaluation.metrics import softmax
from cifarnet.inference.classifier import Classifier
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization
from tests.support.weights import random_weights

LOAD = """
import sys
sys.modules["cifarnet"] = None
import keras
import numpy as np
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    np.save(f"{name}-logits.npy", model.predict_on_batch(np.load(f"{name}-images.npy")))
"""

GREY, COLOURS = Normalization(110.0, 60.0), Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))
MODELS = [
    (ModelSpec("resnet8", 3, 12), GREY),
    (ModelSpec("resnet14", 10, 32), COLOURS),
    (ModelSpec("resnet8-v1", 3, 12), COLOURS),
    (ModelSpec("resnet8-v1b", 3, 12), GREY),
    (ModelSpec("preactresnet18", 3, 16), GREY),
    (ModelSpec("vgg16", 3, 20), COLOURS),
    (ModelSpec("airbench94", 3, 20), COLOURS),
]


@pytest.mark.slow
def test_serving_models_load_without_cifarnet(tmp_path):
    from cifarnet.models.serving import serving_model

    expected = {}
    for spec, normalization in MODELS:
        weights = replace(random_weights(spec), normalization=normalization)
        images = np.random.default_rng(0).integers(0, 256, (5, spec.image_size, spec.image_size, 3), np.uint8)
        expected[spec.name] = Classifier(weights).logits(images)
        model = serving_model(spec, weights.tensors, weights.normalization)
        assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
        np.testing.assert_allclose(np.asarray(model(images)), expected[spec.name], rtol=1e-4, atol=1e-5)
        assert model.input.dtype == "uint8"
        model.save(tmp_path / f"{spec.name}.keras")
        np.save(tmp_path / f"{spec.name}-images.npy", images)
    # One process for all, because importing TensorFlow takes most of its time.
    subprocess.run([sys.executable, "-c", LOAD, *expected], check=True, capture_output=True, cwd=tmp_path)
    for name, logits in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}-logits.npy"), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_documented_models_have_the_documented_layers(tmp_path):
    """Saved and loaded without cifarnet, they give calibrated probabilities, and their weights can be trained."""
    expected = {}
    for spec, normalization in MODELS:
        weights = replace(random_weights(spec), normalization=normalization, temperature=1.5)
        images = np.random.default_rng(0).integers(0, 256, (5, spec.image_size, spec.image_size, 3), np.uint8)
        classifier = Classifier(weights)
        expected[spec.name] = softmax(weights.calibrated(classifier.logits(images)))
        model = classifier.keras_model()
        rows = [layer for layer in describe(spec) if layer.in_table]
        built = [layer for layer in model.layers if layer.name in {row.name for row in rows}]
        assert [(layer.name, layer.count_params()) for layer in built] == [(row.name, row.params) for row in rows]
        assert {type(layer).__name__ for layer in built} <= {*(row.type for row in rows), "Functional"}
        assert model.count_params() == sum(row.params for row in rows)
        assert sum(each.shape.num_elements() for each in model.trainable_weights) == sum(
            row.trainable_params for row in rows
        )
        model.save(tmp_path / f"{spec.name}.keras")
        np.save(tmp_path / f"{spec.name}-images.npy", images)
        bare = classifier.keras_model(normalization=False)
        assert bare.input.dtype == "float32"
        np.testing.assert_allclose(
            bare.predict_on_batch(normalization.apply(images.astype(np.float32))),
            expected[spec.name],
            rtol=1e-4,
            atol=1e-5,
        )
    subprocess.run([sys.executable, "-c", LOAD, *expected], check=True, capture_output=True, cwd=tmp_path)
    for name, probabilities in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}-logits.npy"), probabilities, rtol=1e-4, atol=1e-5)
