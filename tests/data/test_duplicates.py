import io
import logging

import numpy as np
import pytest
from PIL import Image

from cifarnet.data import cache, duplicates
from cifarnet.data.duplicates import THRESHOLD, nearest_training_images
from cifarnet.data.sources import load_data
from cifarnet.paths import duplicates_dir


def clouds(count, seed, size=40):
    """Noise whose amplitude falls as 1 / frequency, as that of natural pictures does; uint8 (count, size, size, 3)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((count, 3, size, size))) / frequency
    waves = np.fft.irfft2(spectrum, (size, size)).transpose(0, 2, 3, 1)
    return np.clip(128 + 56 * waves / waves.std(axis=(1, 2, 3), keepdims=True), 0, 255).astype(np.uint8)


def compressed(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def photos():
    return clouds(700, seed=0)


@pytest.fixture(scope="module")
def train(photos):
    return np.ascontiguousarray(photos[:, 4:36, 4:36])


@pytest.mark.parametrize(
    ("name", "change", "mirrored"),
    [
        ("same", lambda photo: photo[4:36, 4:36], False),
        ("mirrored", lambda photo: photo[4:36, 35:3:-1], True),
        ("shifted", lambda photo: photo[2:34, 5:37], False),
        ("darker", lambda photo: photo[4:36, 4:36] // 2, False),
        ("compressed", lambda photo: compressed(photo[4:36, 4:36]), False),
        ("framed", lambda photo: np.pad(photo[5:35, 5:35], ((1, 1), (1, 1), (0, 0))), False),
    ],
)
def test_a_changed_copy_is_found(photos, train, name, change, mirrored):
    rows = [3, 499, 500, 699]
    test = np.stack([change(photos[row]) for row in rows])
    nearest = nearest_training_images(test, train)
    assert nearest.near_duplicates.all()
    assert nearest.rows.tolist() == rows
    assert nearest.mirrored.tolist() == [mirrored] * 4


def test_the_similarity_of_equal_images_is_1(train):
    nearest = nearest_training_images(train[:5], train)
    assert nearest.similarity == pytest.approx(np.ones(5), abs=1e-3)


def test_other_images_have_no_near_duplicates(train):
    nearest = nearest_training_images(clouds(600, seed=1, size=32), train)
    assert not nearest.near_duplicates.any()


def test_same_colours_with_other_details_are_no_duplicate(train):
    shades = train[:20].reshape(20, 8, 4, 8, 4, 3).mean((2, 4)).repeat(4, axis=1).repeat(4, axis=2)
    noise = np.random.default_rng(0).normal(0, 20, shades.shape)
    test = np.clip(shades + noise - noise.reshape(20, 8, 4, 8, 4, 3).mean((2, 4)).repeat(4, 1).repeat(4, 2), 0, 255)
    nearest = nearest_training_images(test.astype(np.uint8), train)
    assert nearest.similarity.max() < THRESHOLD


def test_images_of_one_colour_are_similar_to_nothing():
    test, train = np.full((2, 32, 32, 3), 200, np.uint8), np.full((3, 32, 32, 3), 90, np.uint8)
    assert nearest_training_images(test, train).similarity.tolist() == [0, 0]


@pytest.mark.parametrize("size", [8, 48, 64])
def test_images_of_any_size_are_compared(size):
    train = clouds(30, seed=2, size=size)
    nearest = nearest_training_images(train[[7, 2], :, ::-1], train)
    assert nearest.rows.tolist() == [7, 2]
    assert nearest.near_duplicates.all()
    assert not nearest_training_images(clouds(30, seed=3, size=size), train).near_duplicates.any()


def test_a_result_is_found_in_the_cache(train, monkeypatch):
    first = nearest_training_images(train[:3], train)
    monkeypatch.setattr(duplicates, "_search", None)
    again = nearest_training_images(train[:3], train)
    for name in ("similarity", "rows", "mirrored"):
        assert (getattr(first, name) == getattr(again, name)).all()
    cache.clear()
    assert not duplicates_dir().exists()


def test_other_images_are_not_found_in_the_cache(train):
    assert nearest_training_images(train[:3], train).near_duplicates.all()
    assert not nearest_training_images(train[:3], train[3:]).near_duplicates.any()
    assert nearest_training_images(train[3:6], train[3:]).near_duplicates.all()
    assert len(list(duplicates_dir().iterdir())) == 3


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:300] + b"x" * 40 + data[340:]])
def test_a_damaged_result_is_computed_again(train, damage, caplog):
    first = nearest_training_images(train[:3], train)
    (entry,) = duplicates_dir().iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    with caplog.at_level(logging.WARNING):
        again = nearest_training_images(train[:3], train)
    assert "is damaged" in caplog.text
    assert (again.rows == first.rows).all()


def test_an_unwritable_cache_is_no_error(train, cache, caplog):
    cache.write_text("a file in the way")
    assert nearest_training_images(train[:3], train).near_duplicates.all()
    assert "The near-duplicates are not cached" in caplog.text


def test_progress_is_reported(train):
    seen = []
    nearest_training_images(train[:600], train, lambda *progress: seen.append(progress))
    assert seen[0] == ("Comparing with the training images", 0, 600)
    assert seen[-1] == ("Comparing with the training images", 600, 600)


@pytest.mark.slow
def test_cifar10_has_as_many_near_duplicates_as_documented(jpeg_archive):
    splits = load_data(str(jpeg_archive))
    nearest = nearest_training_images(splits.test.images, splits.train.images)
    # Sums of other processors differ in the last digits, which may decide a pair at the threshold.
    assert nearest.near_duplicates.sum() == pytest.approx(452, abs=1)
    assert (splits.test.labels == splits.train.labels[nearest.rows])[nearest.near_duplicates].mean() > 0.95
