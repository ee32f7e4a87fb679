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


@pytest.fixture
def no_backend(monkeypatch):
    """Fail when an export starts the backend."""
    monkeypatch.setattr("cifarnet.export.keras.use_backend", lambda: pytest.fail("the backend was started"))


@pytest.mark.slow
def test_a_keras_file_answers_as_the_classifier_does(tmp_path):
    path = export_model(WEIGHTS, tmp_path / "network.keras")
    import keras

    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    logits = keras.saving.load_model(path).predict_on_batch(images)
    np.testing.assert_allclose(logits, Classifier(WEIGHTS).logits(images), rtol=1e-4, atol=1e-5)


def test_a_file_that_can_not_be_written_is_an_error_of_storage(no_backend, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        export_model(WEIGHTS, tmp_path / "file" / "network.keras")


@pytest.mark.parametrize(("format", "hint"), [("kears", r" Did you mean keras\?"), (None, ""), (["keras"], ".*")])
def test_an_unknown_format_is_refused(tmp_path, format, hint):
    with pytest.raises(InvalidValueError, match=rf"`format` must be keras\.{hint} Received: "):
        export_model(WEIGHTS, tmp_path / "x.keras", format)
    assert list(FORMATS) == ["keras"]


@pytest.mark.parametrize("name", [".", "/", "network", "network.h5", ".keras"])
def test_the_file_name_must_have_the_suffix_of_the_format(no_backend, name):
    with pytest.raises(InvalidValueError, match=r"`path` must be a file whose name ends with \.keras\. Received: "):
        export_model(WEIGHTS, name)


def test_paths_that_can_not_be_files_are_refused(no_backend, tmp_path):
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(InvalidValueError, match="must be a file, not a folder"):
        export_model(WEIGHTS, tmp_path / "folder.keras")
    with pytest.raises(InvalidValueError, match="takes a path without a NUL character"):
        export_model(WEIGHTS, tmp_path / "a\0.keras")
