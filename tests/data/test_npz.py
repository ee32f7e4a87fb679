import os

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.data.making import CLASSES, Attack, random_images


def npz(path, **changes):
    arrays = {
        "x_train": random_images(20),
        "y_train": np.arange(20)[:, None] % 10,
        "x_test": random_images(5, seed=1),
        "y_test": np.arange(5),
    } | changes
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_an_npz_file_is_read(tmp_path):
    splits = load_data(npz(tmp_path / "data.npz"))
    np.testing.assert_array_equal(splits.train.images, random_images(20))
    assert splits.train.labels.tolist() == [*range(10), *range(10)]
    assert splits.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert splits.train.class_names == CLASSES


def test_an_npz_file_may_name_its_classes(tmp_path):
    names = [f"name{label}" for label in range(10)]
    assert load_data(npz(tmp_path / "data.npz", class_names=names)).train.class_names == tuple(names)


def test_labels_that_are_not_cifar10s_are_their_own_names(tmp_path):
    source = npz(tmp_path / "data.npz", y_train=np.arange(20) % 3, y_test=np.zeros(5, int))
    assert load_data(source).train.class_names == ("0", "1", "2")


def test_grey_npz_images_of_another_size_become_32_pixel_colour(tmp_path):
    grey = np.full((20, 28, 28), 9, np.uint8)
    splits = load_data(npz(tmp_path / "mnist.npz", x_train=grey, x_test=grey[:5]))
    assert splits.train.images.shape == (20, 32, 32, 3)
    assert (splits.train.images == 9).all()
    assert splits.train.class_names == tuple("0123456789")


def test_an_npz_file_without_test_images_is_split(tmp_path):
    source = npz(tmp_path / "data.npz", x_test=None, y_test=None)
    assert len(load_data(source, test_split=0.5).test) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": random_images(20) / 255.0}, "x_train .* must be uint8.*Received: float64"),
        (
            {"x_train": random_images(20).transpose(0, 3, 1, 2)},
            r"x_train .* must be .*Received: uint8 \(20, 3, 32, 32\)",
        ),
        ({"y_train": None}, "lacks y_train"),
        ({"y_train": np.arange(19)}, r"y_train .* must be 20 whole numbers. Received: int64 \(19,\)"),
        ({"y_train": np.eye(20)}, "y_train .* must be 20 whole numbers"),
        ({"y_train": np.arange(20) - 1}, "y_train .* number classes from 0.*Received: -1 to 18"),
        ({"y_test": np.array([0, 1, 2, 3, 10])}, "Labels must be 0 to 9.*Received: 0 to 10"),
    ],
)
def test_an_npz_file_of_another_form_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_data(npz(tmp_path / "data.npz", **changes))


def test_pickled_arrays_in_an_npz_file_are_not_loaded(tmp_path):
    attack = np.array([Attack(os.mkdir, str(tmp_path / "ran"))] * 20, object)
    with pytest.raises(DataError, match=r"y_train .*allow_pickle=False"):
        load_data(npz(tmp_path / "data.npz", y_train=attack))
    assert not (tmp_path / "ran").exists()
