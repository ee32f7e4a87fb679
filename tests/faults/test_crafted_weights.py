import os

import numpy as np
import pytest

from cifarnet import hdf5
from cifarnet.errors import WeightsError
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.faults.crafted import CRAFTED, MODEL_CONFIG, save_secrets
from tests.support.faults.reading import read_apart

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "w.h5"
    spec = ModelSpec("resnet8")
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(weight.shape).astype(np.float32)
        for name, weight in named_weights(describe(spec)).items()
    }
    save_weights(path, Weights(spec, tensors, CIFAR10_CLASSES, Normalization(120.0, 64.0)))
    return path.read_bytes()


@pytest.fixture(scope="module")
def answers(good, tmp_path_factory):
    """The file of each crafted kind, and what came of reading it."""
    folder, paths = tmp_path_factory.mktemp("crafted"), []
    for index, make in enumerate(CRAFTED.values()):
        paths.append(folder / f"{index}.h5")
        paths[-1].write_bytes(good)
        save_secrets(folder / f"{index}")
        make(paths[-1], folder / f"{index}")
    return dict(zip(CRAFTED, zip(paths, read_apart(paths), strict=True), strict=True))


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_weight_file_is_refused_soon_in_little_memory(name, answers):
    path, answer = answers[name]
    _, whole = answer["errors"]
    assert whole is not None, "taken for a weight file"
    assert str(path) in whole
    assert len(whole) < 1000
    if "link" in name:
        assert "link to elsewhere" in whole
    assert answer["seconds"] < 5


def test_more_than_ninety_are_tried():
    assert len(CRAFTED) >= 90


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "nothing", "an empty file"])
def test_what_is_no_regular_file_is_refused_unread(kind, tmp_path):
    path = tmp_path / "w.h5"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "an empty file":
        path.touch()
    with pytest.raises(WeightsError, match=r"weight file.*w\.h5|w\.h5.*(weight file|it is empty)"):
        load_weights(path)


def test_what_could_not_be_read_is_not_written(tmp_path):
    """A later library might lay files out in another way."""
    with pytest.raises(WeightsError, match="compressed or filtered"):
        hdf5.write_hdf5(tmp_path / "w.h5", lambda file: file.create_dataset("x", data=np.ones(9), compression="gzip"))
    assert not list(tmp_path.iterdir())


def test_a_model_config_beside_good_weights_is_not_even_read(good, tmp_path, capfd):
    from tests.support.tampering import edit

    (tmp_path / "w.h5").write_bytes(good)
    edit(tmp_path / "w.h5", lambda file: file.attrs.__setitem__("model_config", MODEL_CONFIG))
    assert load_weights(tmp_path / "w.h5").spec == ModelSpec("resnet8")
    assert "was run" not in capfd.readouterr().out
