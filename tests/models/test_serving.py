import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.inference.classifier import Classifier
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from tests.support.weights import random_weights

LOAD = """
import sys
sys.modules["cifarnet"] = None
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict_on_batch(np.load(sys.argv[2])))
"""


GREY, COLOURS = Normalization(110.0, 60.0), Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "normalization"),
    [
        (ModelSpec("resnet8", 3, 12), GREY),
        (ModelSpec("resnet14", 10, 32), COLOURS),
        (ModelSpec("resnet8-v1", 3, 12), COLOURS),
        (ModelSpec("resnet8-v1b", 3, 12), GREY),
        (ModelSpec("preactresnet18", 3, 16), GREY),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_serving_model_loads_without_cifarnet(tmp_path, spec, normalization):
    from cifarnet.models.serving import serving_model

    weights = replace(random_weights(spec), normalization=normalization)
    images = np.random.default_rng(0).integers(0, 256, (5, spec.image_size, spec.image_size, 3), np.uint8)
    expected = Classifier(weights).logits(images)
    model = serving_model(spec, weights.tensors, weights.normalization)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-4, atol=1e-5)
    assert model.input.dtype == "uint8"
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / name) for name in ("model.keras", "images.npy", "logits.npy")]
    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(paths[-1]), expected, rtol=1e-4, atol=1e-5)
