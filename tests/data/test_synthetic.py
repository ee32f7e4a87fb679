import hashlib

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.data.synthetic import SYNTHETIC_CLASSES, synthetic
from cifarnet.errors import InvalidValueError


def test_default_is_5000_and_1000_images_of_ten_classes():
    splits = load_data("synthetic")
    assert splits.train.images.shape == (5000, 32, 32, 3)
    assert splits.train.counts().tolist() == [500] * 10
    assert splits.test.counts().tolist() == [100] * 10
    assert splits.train.class_names == SYNTHETIC_CLASSES


def test_number_sets_training_images_and_fifth_of_it_test_images():
    splits = load_data("synthetic:333")
    assert (len(splits.train), len(splits.test)) == (333, 66)


def test_the_same_size_and_seed_give_the_same_bytes_everywhere():
    splits = synthetic(100, seed=1)
    digest = hashlib.sha256(splits.train.images.tobytes() + splits.test.labels.tobytes()).hexdigest()
    assert digest == "4bc06989ba53bfe62814e3bde098c2fb90227f83a90dac677078029ab38926e1"


def test_other_seed_gives_other_images_and_splits_are_disjoint():
    one, other = synthetic(100, seed=1), synthetic(100, seed=2)
    assert (one.train.images != other.train.images).any()
    trained = {image.tobytes() for image in one.train.images}
    assert not trained & {image.tobytes() for image in one.test.images}


def test_the_classes_are_learnable_but_not_by_their_mean_image():
    splits = synthetic()
    train, test = (part.images.reshape(len(part), -1).astype(np.float32) for part in (splits.train, splits.test))
    means = np.stack([train[splits.train.labels == label].mean(0) for label in range(10)])
    distances = (means**2).sum(1) - 2 * test @ means.T
    assert 0.15 < (distances.argmin(1) == splits.test.labels).mean() < 0.5


def test_images_are_brought_to_the_size_asked_for():
    assert load_data("synthetic:50", image_size=48).train.images.shape == (50, 48, 48, 3)


@pytest.mark.parametrize("source", ["synthetic:many", "synthetic:-5", "synthetic:5.5"])
def test_a_number_that_is_none_is_refused(source):
    with pytest.raises(InvalidValueError, match=f"number of training images, 50 to 100,000. Received: {source}"):
        load_data(source)


def test_too_few_images_are_refused():
    with pytest.raises(InvalidValueError, match=r"has 50 to 100,000 training images\. Received: 49"):
        load_data("synthetic:49")


@pytest.mark.parametrize("number", ["100001", "400000", "9" * 19])
def test_too_many_images_are_refused(number):
    with pytest.raises(InvalidValueError, match=rf"has 50 to 100,000 training images\. Received: {number}"):
        load_data(f"synthetic:{number}")


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(InvalidValueError, match=r"50 to 100,000\. Received: synthetic:9") as caught:
        load_data(f"synthetic:{'9' * 5000}")
    assert len(str(caught.value)) < 200


def test_a_test_split_is_refused():
    with pytest.raises(InvalidValueError, match=r"has test images\. `test_split`"):
        load_data("synthetic:50", test_split=0.1)
