"""Images and features that are too large for memory and the device give the same results from disk."""

import zipfile

import numpy as np
import pytest

from cifarnet.backend import memory
from cifarnet.data import arrays, cache
from cifarnet.data.dataset import hold_out
from cifarnet.data.sources import load_data
from cifarnet.errors import StorageError
from cifarnet.events import Planned, StepDone
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.model import HostArray
from cifarnet.training.resume import resume
from cifarnet.training.start import train
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.datasets import assert_same, image_folder
from tests.support.training import Recorder, assert_same_result

pytestmark = pytest.mark.usefixtures("tiny_family")

RECIPE = RECIPES["fast"].with_changes(
    epochs=2, batch_size=8, learning_rate=0.05, resolutions=((16, 0.3),), precise_batchnorm=16, cutout=4, mixup=0.5
)
FROZEN = RECIPES["fine-tune"].with_changes(epochs=2, batch_size=8, flip=False, crop_padding=0, precise_batchnorm=16)


@pytest.fixture
def pets(tmp_path):
    return image_folder(tmp_path / "pets", train=18, test=4)


@pytest.fixture
def small_memory(monkeypatch):
    """Returns a function after which arrays of more than 2,000 bytes are on disk."""
    return lambda: monkeypatch.setattr(memory, "array_limit", lambda: 2000)


def test_the_limit_is_a_quarter_of_the_memory_or_4_gib(monkeypatch):
    assert 0 < memory.array_limit() <= 4 << 30
    for known, limit in ((None, 4 << 30), (64 << 30, 4 << 30), (4 << 30, 1 << 30)):
        monkeypatch.setattr(memory, "memory", lambda known=known: known)
        assert memory.array_limit() == limit


def test_host_arrays_return_rows_in_their_order():
    array = np.arange(60, dtype=np.uint8).reshape(20, 3)
    rows = np.array([7, 0, 19, 7, 3], np.int32)
    np.testing.assert_array_equal(HostArray(array).take(rows), array[rows])


def test_large_images_are_mapped_from_the_cache(pets, small_memory):
    expected = load_data(pets, image_size=16)
    cache.clear()
    small_memory()
    for _ in range(2):  # Decoded, then from the cache.
        found = load_data(pets, image_size=16)
        assert isinstance(found.train.images, np.memmap)
        assert_same(found, expected)
        assert found.sha256() == expected.sha256()
    assert len(list(cache.decoded_dir().iterdir())) == 1
    for part, wanted in zip(hold_out(found.train, 0.5, 1), hold_out(expected.train, 0.5, 1), strict=True):
        assert isinstance(part.images, np.memmap)
        np.testing.assert_array_equal(part.images, wanted.images)


def test_a_damaged_large_entry_is_decoded_again(pets, small_memory, caplog):
    small_memory()
    expected = load_data(pets).sha256()
    (path,) = cache.decoded_sets()
    with zipfile.ZipFile(path) as stored:
        start = stored.getinfo("train_images.npy").header_offset
    content = bytearray(path.read_bytes())
    content[start + 5000] ^= 255
    path.write_bytes(content)
    assert load_data(pets).sha256() == expected
    assert "is damaged" in caplog.text


def test_a_full_disk_is_an_error_with_advice(small_memory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays, "_allocate", full)
    small_memory()
    with pytest.raises(StorageError, match=r"No space left.*give a smaller `image_size`"):
        arrays.empty((100, 16, 16, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": RECIPE, "model": "tiny2"},
        {"recipe": RECIPE, "model": "tiny2", "validation_split": 0.2},
        {"recipe": FROZEN, "weights": "WEIGHTS", "freeze_base": True},
        {"recipe": RECIPE, "model": "tiny2", "image_size": 40, "teacher": "TEACHER"},
    ],
    ids=["images", "validation", "features", "teacher"],
)
def test_runs_from_disk_equal_runs_in_memory(tmp_path, pets, small_memory, changes):
    if "weights" in changes:
        spec = ModelSpec("tiny2")
        weights = Weights(spec, initial_weights(spec, 1), CIFAR10_CLASSES, Normalization(120.0, 64.0))
        save_weights(tmp_path / "w.h5", weights)
        changes = {**changes, "weights": str(tmp_path / "w.h5")}
    if "teacher" in changes:
        train(TrainRequest(RECIPE, data=pets, model="tiny2", image_size=40), tmp_path / "teacher")
        changes = {**changes, "teacher": str(tmp_path / "teacher")}
    asked = TrainRequest(data=pets, seed=3, **changes)
    result = train(asked, tmp_path / "memory")
    small_memory()
    events = Recorder()
    train(asked, tmp_path / "disk", report=events)
    assert "stay on disk" in events.of(Planned)[0].notes[-1]
    assert_same_result(tmp_path / "disk", (result, events))
    with pytest.raises(Exception, match="everything is saved"):
        train(asked, tmp_path / "stopped", report=Recorder(lambda event: isinstance(event, StepDone)))
    resume(tmp_path / "stopped")
    assert_same_result(tmp_path / "stopped", (result, events))
