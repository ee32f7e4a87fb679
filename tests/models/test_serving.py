import subprocess
import sys

import numpy as np
import pytest

from cifarnet.inference.classifier import Classifier
from cifarnet.models.initial import initial_weights
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization
from cifarnet.weights.record import Weights

LOAD = """
import sys
sys.modules["cifarnet"] = None
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict_on_batch(np.load(sys.argv[2])))
"""


GREY, COLOURS = Normalization(110.0, 60.0), Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))


def random_weights(spec, normalization=GREY):
    """Weights with moving averages and offsets that matter."""
    rng = np.random.default_rng(3)
    tensors = initial_weights(spec, 1)
    for name in named_weights(describe(spec)):
        kind = name.rpartition("/")[2]
        if kind != "kernel":
            low = 0.5 if kind in ("gamma", "moving_variance") else -0.5
            tensors[name] = rng.uniform(low, low + 1, tensors[name].shape).astype(np.float32)
    return Weights(spec, tensors, tuple(f"c{k}" for k in range(spec.classes)), normalization)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "normalization"),
    [
        (ModelSpec("resnet8", 3, 12), GREY),
        (ModelSpec("resnet14", 10, 32), COLOURS),
    ],
)
def test_a_serving_model_loads_without_cifarnet(tmp_path, spec, normalization):
    from cifarnet.models.serving import serving_model

    weights = random_weights(spec, normalization)
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
