import json
import pickle

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError, WeightsError
from cifarnet.preprocessing import CLASS_LIMIT, NAME_LIMIT, Normalization, name_fault, names_fault
from cifarnet.weights.formats import load_header
from cifarnet.weights.formats.hdf5 import HEADER, save_weights
from tests.support.datasets import fill, python_layout
from tests.support.faults.saves import checkpoint
from tests.support.tampering import edit

BAD = {
    "": "must not be empty",
    "a" * (NAME_LIMIT + 1): "must have at most 100 characters. Received: 101 characters, 'aaa",
    "cat\x1b[31m": r"must not have control characters. Received: 'cat\x1b",
    "cat\x9b": "must not have control characters",
    "cat\u2028": "must not have control characters",
    "cat\u202etac": r"must not have control characters. Received: 'cat\u202e",
    "cat\ud800": "must not have control characters",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_of_a_class_has_a_fault(name):
    assert BAD[name] in name_fault(name)
    assert BAD[name] in names_fault(["dog", name])


@pytest.mark.parametrize(
    "name", ["cat", "a" * NAME_LIMIT, "Äpfel", "ねこ", "\u0645\u06cc\u200c\u0634", "\u05d7\u05ea\u05d5\u05dc"]
)
def test_a_good_name_of_a_class_has_none(name):
    assert name_fault(name) is None


def test_names_that_look_alike_are_one():
    assert "once. Received twice: caf\u00e9" in names_fault(["caf\u00e9", "cafe\u0301 ", "dog"])


def test_there_are_five_thousand_classes_at_most():
    names = [str(number) for number in range(CLASS_LIMIT + 1)]
    assert names_fault(names[:-1]) is None
    assert "must name at most 5,000 classes. Received: 5,001 names" in names_fault(names)


def npz(folder, names):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(folder / "a.npz", x_train=images, y_train=labels, class_names=np.array(names))
    return folder / "a.npz"


def npz_labels(folder, names):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array(names * 2)
    np.savez(folder / "a.npz", x_train=images, y_train=labels)
    return folder / "a.npz"


def pickles(folder, names):
    (python_layout(folder) / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 2))
    return folder


def images(folder, names):
    return fill(folder, *names)


@pytest.mark.parametrize("make", [npz, npz_labels, pickles, images])
@pytest.mark.parametrize("name", ["a" * 120, "cat\x1b[31m"])
def test_every_source_refuses_a_bad_name(tmp_path, make, name):
    with pytest.raises(DataError, match=BAD.get(name, "must have at most 100 characters")[:30]):
        load_data(str(make(tmp_path, [name, "dog"])), test_split=0.5 if make is not pickles else None)


@pytest.mark.parametrize("names", [["a" * 3000, "b"], ["cat\x1b", "b"], ["cat", "cat "], "ab", {"a": 1, "b": 2}])
def test_a_weight_file_with_bad_names_is_refused(tmp_path, names):
    path = tmp_path / "w.h5"
    save_weights(path, checkpoint(1).weights)
    weights = load_header(path)
    header = weights.header() | {"class_names": names}
    edit(path, lambda file: file.attrs.__setitem__(HEADER, json.dumps(header)))
    with pytest.raises(WeightsError, match="class_names must"):
        load_header(path)


PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
GREY = Normalization(120.0, 64.0)
COLOURS = Normalization((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))


def test_each_channel_is_normalized_by_its_own_numbers():
    wanted = (PIXELS.astype(np.float64) - COLOURS.mean) / COLOURS.std
    np.testing.assert_allclose(COLOURS.apply(PIXELS), wanted, rtol=1e-5, atol=1e-6)
    assert COLOURS.apply(PIXELS).dtype == np.float32


@pytest.mark.parametrize("normalization", [GREY, COLOURS])
def test_a_normalization_can_be_undone(normalization):
    np.testing.assert_allclose(normalization.invert(normalization.apply(PIXELS)), PIXELS, atol=1e-4)


@pytest.mark.parametrize("mine", [GREY, COLOURS])
@pytest.mark.parametrize("theirs", [GREY, COLOURS, Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))])
def test_images_change_from_one_normalization_to_another(mine, theirs):
    found = mine.change(mine.apply(PIXELS), theirs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.apply(PIXELS), rtol=1e-4, atol=1e-4)


def test_one_mean_for_all_channels_computes_as_before():
    np.testing.assert_array_equal(GREY.apply(PIXELS), (PIXELS - 120.0) / 64.0)
    assert GREY.to_dict() == {"mean": 120.0, "std": 64.0}


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (float("nan"), 1.0),
        (0.0, 0.0),
        (0.0, float("inf")),
        (0.0, (1.0, 1.0, 1.0)),
        ((0.0, 0.0, 0.0), (1.0, -1.0, 1.0)),
    ],
)
def test_an_impossible_normalization_has_an_error(mean, std):
    with pytest.raises(InvalidValueError, match="Normalization needs a finite mean"):
        Normalization(mean, std)


def test_a_normalization_takes_lists_of_three():
    assert Normalization([1, 2, 3], [4, 5, 6]) == Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    with pytest.raises(InvalidValueError, match="`mean` must be a number or a list of 3, each a number"):
        Normalization((1.0, 2.0), (1.0, 2.0))
