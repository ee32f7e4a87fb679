import numpy as np
import pytest

from cifarnet.models.description import named_weights
from cifarnet.models.resnet import describe
from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec, Normalization
from cifarnet.models.weights import Weights, load_weights, save_weights
from tests.faults.crafted import CRAFTED, MODEL_CONFIG, save_secrets
from tests.faults.reading import read_apart


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "w.h5"
    spec = ModelSpec(8)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(weight.shape).astype(np.float32)
        for name, weight in named_weights(describe(spec)).items()
    }
    save_weights(path, Weights(spec, tensors, CIFAR10_CLASSES, Normalization(120.0, 64.0)))
    return path.read_bytes()


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_weight_file_is_refused_soon_in_little_memory(name, good, tmp_path):
    path, outside = tmp_path / "crafted.h5", tmp_path / "outside"
    path.write_bytes(good)
    save_secrets(outside)
    CRAFTED[name](path, outside)
    answer = read_apart(path, outside)
    _, whole = answer["told"]
    assert whole is not None, "taken for a weight file"
    assert str(path) in whole
    assert len(whole) < 1000
    if "link" in name:
        assert "link to elsewhere" in whole
    assert answer["seconds"] < 5


def test_more_than_thirty_are_tried():
    assert len(CRAFTED) >= 30


def test_a_model_config_beside_good_weights_is_not_even_read(good, tmp_path, capfd):
    from tests.models.tampering import edit

    (tmp_path / "w.h5").write_bytes(good)
    edit(tmp_path / "w.h5", lambda file: file.attrs.__setitem__("model_config", MODEL_CONFIG))
    assert load_weights(tmp_path / "w.h5").spec == ModelSpec(8)
    assert "was run" not in capfd.readouterr().out
