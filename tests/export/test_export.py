import numpy as np
import pytest

from cifarnet.errors import InvalidValueError, StorageError
from cifarnet.export import FORMATS, export_model
from cifarnet.inference.classifier import Classifier
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.weights.record import Weights

SPEC = ModelSpec("resnet8", 3, 12)
WEIGHTS = Weights(SPEC, initial_weights(SPEC, 1), ("a", "b", "c"), Normalization(120.0, 64.0))


@pytest.mark.slow
def test_a_keras_file_answers_as_the_classifier_does(tmp_path):
    path = export_model(WEIGHTS, tmp_path / "network.keras")
    import keras

    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    logits = keras.saving.load_model(path).predict_on_batch(images)
    np.testing.assert_allclose(logits, Classifier(WEIGHTS).logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_file_that_can_not_be_written_is_an_error_of_storage(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        export_model(WEIGHTS, tmp_path / "file" / "network.keras")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match=r"`format` must be keras\. Did you mean keras\? Received: kears"):
        export_model(WEIGHTS, tmp_path / "x", "kears")
    assert list(FORMATS) == ["keras"]
