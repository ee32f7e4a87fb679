from collections import Counter

import numpy as np
import pytest

from cifarnet.data.progress import silent
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.runs.config import RunInputs
from cifarnet.training.run_data import RunData
from tests.support.datasets import fill


def load(data="synthetic:200", **options):
    return RunData.load(RunInputs(data=str(data), **options), (), silent)


def pairs(dataset):
    """How often each image comes with each label."""
    return Counter((image.tobytes(), label) for image, label in zip(dataset.images, dataset.labels, strict=True))


def pixels(dataset):
    return {image.tobytes() for image in dataset.images}


@pytest.mark.parametrize(("fraction", "of_each_class"), [(0.2, 4), (0.05, 1)])
def test_validation_images_are_held_out_of_training_images(fraction, of_each_class):
    source, data = load_data("synthetic:200"), load(validation_split=fraction)
    assert data.held_name == "validation"
    assert pairs(data.train) + pairs(data.held_out) == pairs(source.train)
    assert pixels(data.train).isdisjoint(pixels(data.held_out))
    assert data.held_out.counts().tolist() == [of_each_class] * 10
    assert data.sha256 == source.sha256()


def test_no_test_image_is_trained_on_or_selects():
    source, data = load_data("synthetic:200"), load(validation_split=0.2)
    assert pairs(data.test) == pairs(source.test)
    assert pixels(data.test).isdisjoint(pixels(data.held_out) | pixels(data.train))


def test_the_seed_decides_which_images_are_held_out():
    one, again, other = (load(validation_split=0.2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.held_out.images, again.held_out.images)
    assert pixels(one.held_out) != pixels(other.held_out)


def test_test_images_are_held_out_without_a_split():
    source, data = load_data("synthetic:200"), load()
    assert data.held_name == "test"
    assert pairs(data.train) == pairs(source.train)
    assert pairs(data.held_out) == pairs(data.test) == pairs(source.test)


@pytest.fixture
def pets(tmp_path):
    folders = [f"{split}/{name}" for split in ("train", "test", "val") for name in ("cat", "dog")]
    return fill(tmp_path / "pets", *folders, count=4)


def test_a_validation_folder_holds_the_validation_images(pets):
    source, data = load_data(str(pets)), load(pets)
    assert data.held_name == "validation"
    assert pairs(data.held_out) == pairs(source.validation)
    assert pairs(data.train) == pairs(source.train)
    assert pairs(data.test) == pairs(source.test)
    assert data.sha256 == source.sha256()


def test_refuse_a_split_with_a_validation_folder(pets):
    with pytest.raises(InvalidValueError, match=r"8 validation images: leave out `validation_split`, .* Received: 0.2"):
        load(pets, validation_split=0.2)


def test_broken_pictures_are_skipped_where_the_run_says_so(pets):
    (pets / "train/cat/0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 24 pictures can't be read"):
        load(pets)
    data = load(pets, skip_broken=True)
    assert data.train.counts().tolist() == [3, 4]
    assert [files.examples for files in data.left_out] == [("train/cat/0.png",)]
