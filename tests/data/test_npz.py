import os

import numpy as np
import pytest

from cifarnet.data.npz import default_names, read_npz
from cifarnet.data.progress import silent
from cifarnet.data.sources import load_data
from cifarnet.data.tree import read_tree
from cifarnet.errors import DataError
from tests.support.datasets import CLASSES, Attack, random_images

LABELS = np.arange(20) % 3
TEST_LABELS = np.arange(5) % 3


def npz(path, **changes):
    """An .npz file of 20 training and 5 test images of three classes, but for ``changes``; None leaves an array out."""
    arrays = {
        "x_train": random_images(20),
        "y_train": LABELS,
        "x_test": random_images(5, seed=1),
        "y_test": TEST_LABELS,
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def load(tmp_path, **changes):
    return load_data(npz(tmp_path / "data.npz", **changes))


def assert_labels(splits, names):
    """The labels of ``npz`` under these names."""
    assert splits.train.class_names == names
    assert splits.train.labels.tolist() == LABELS.tolist()
    assert splits.test.labels.tolist() == TEST_LABELS.tolist()


def test_an_npz_file_is_read(tmp_path):
    splits = load(tmp_path)
    np.testing.assert_array_equal(splits.train.images, random_images(20))
    np.testing.assert_array_equal(splits.test.images, random_images(5, seed=1))
    assert_labels(splits, ("0", "1", "2"))


def one_hot(labels, dtype):
    return np.eye(3)[labels].astype(dtype)


@pytest.mark.parametrize(
    "stored",
    [
        lambda y: y.astype(np.uint8),
        lambda y: y.astype(np.uint64),
        lambda y: y.astype(">i4"),
        lambda y: y[:, None],
        lambda y: y.astype(np.float32),
        lambda y: y.astype(np.float64)[:, None],
        lambda y: one_hot(y, np.uint8),
        lambda y: one_hot(y, bool),
        lambda y: one_hot(y, np.float32),
    ],
)
def test_numbers_are_read_in_every_form(tmp_path, stored):
    assert_labels(load(tmp_path, y_train=stored(LABELS), y_test=stored(TEST_LABELS)), ("0", "1", "2"))


# In the order of the alphabet.
NAMES = np.array(["cat", "dog", "été"])


@pytest.mark.parametrize(
    "stored",
    [
        lambda y: NAMES[y],
        lambda y: np.char.encode(NAMES, "utf-8")[y],
        lambda y: NAMES[y][:, None],
        lambda y: np.array(["cat  ", "dog  ", "e\u0301te\u0301"])[y],  # Padded; decomposed, as macOS writes it.
    ],
)
def test_names_as_labels_are_the_classes(tmp_path, stored):
    assert_labels(load(tmp_path, y_train=stored(LABELS), y_test=stored(TEST_LABELS)), ("cat", "dog", "été"))


def test_class_names_give_names_their_order(tmp_path):
    splits = load(
        tmp_path, y_train=NAMES[LABELS], y_test=NAMES[TEST_LABELS], class_names=np.array(["été", "cat", "dog"])
    )
    assert splits.train.class_names == ("été", "cat", "dog")
    assert splits.train.labels[:3].tolist() == [1, 2, 0]


def test_true_and_false_are_two_classes(tmp_path):
    splits = load(tmp_path, y_train=LABELS > 0, y_test=TEST_LABELS > 0)
    assert splits.train.class_names == ("0", "1")
    assert splits.train.labels[:3].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "names",
    [
        np.array(["cat", "dog", "owl"]),
        np.array([b"cat", b"dog", b"owl"]),
        np.array(["cat", "dog", "owl"])[:, None],
        np.array([["cat", "dog", "owl"]]),
    ],
)
def test_class_names_are_read_in_every_form(tmp_path, names):
    assert_labels(load(tmp_path, class_names=names), ("cat", "dog", "owl"))


def test_a_class_may_lack_test_images(tmp_path):
    assert load(tmp_path, y_test=np.zeros(5, int)).test.counts().tolist() == [5, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Numbers.
        (
            {"y_train": LABELS + 1, "y_test": TEST_LABELS + 1},
            "none of class 0. Do the labels begin at 1.*: labels 1, 2, 3",
        ),
        ({"y_train": LABELS + 1}, "none of class 0. Do the labels begin at 1"),
        ({"y_train": LABELS + 5, "y_test": None, "x_test": None}, "Do the labels begin at 5. Subtract 5"),
        ({"y_train": LABELS * LABELS + LABELS}, "none of class 1, 3, 4, 5. Renumber.*Received: labels 0, 2, 6"),
        ({"y_train": LABELS * 2}, "none of class 1, 3. Renumber.*Received: labels 0, 2, 4"),
        ({"y_test": np.array([0, 1, 2, 3, 7])}, "y_test .* has the labels 3, 7, which y_train lacks"),
        ({"y_train": LABELS - 1}, "y_train .* number classes from 0.*Received: -1 to 1"),
        ({"y_train": np.where(LABELS == 2, 2**62, LABELS)}, "number classes from 0.*to 4611686018427387904"),
        ({"y_train": np.where(LABELS == 2, 1e300, LABELS)}, "number classes from 0.*to 1e.300"),
        ({"y_train": np.where(LABELS == 2, np.inf, LABELS)}, "number classes from 0.*to inf"),
        ({"y_train": np.where(LABELS == 2, np.nan, LABELS)}, "a missing label is NaN"),
        ({"y_train": LABELS / 2}, "must be whole numbers.*such as 0.5"),
        ({"y_train": np.zeros(20, int), "y_test": np.zeros(5, int)}, "only one class.*Received: labels 0"),
        ({"y_train": np.arange(19)}, r"y_train .* must be 20 whole numbers. Received: int64 \(19,\)"),
        ({"y_train": LABELS.reshape(1, 20)}, r"must be 20 whole numbers. Received: int64 \(1, 20\)"),
        ({"y_train": LABELS * 1j}, "must be 20 whole numbers. Received: complex128"),
        # One-hot.
        ({"y_train": one_hot(LABELS, float) * 0.9 + 0.1 / 3}, r"Probabilities are not labels: use y\.argmax"),
        ({"y_train": one_hot(LABELS, int) | np.array([0, 0, 1])}, "An image has one class only.*2 classes in row 0"),
        ({"y_train": one_hot(LABELS, int) * 2}, r"one-hot: a single 1 in every row. Received: int64 \(20, 3\)"),
        ({"y_train": one_hot(LABELS, int)[:, :2]}, "0 classes in row 2"),
        (
            {"y_train": np.insert(one_hot(LABELS, int), 1, 0, 1), "y_test": one_hot(TEST_LABELS + 0, int)},
            "in the same form",
        ),
        (
            {"y_train": np.insert(one_hot(LABELS, int), 1, 0, 1), "y_test": np.eye(4, dtype=int)[[0] * 5]},
            "none of class 1. Renumber",
        ),
        ({"y_train": one_hot(LABELS, int)}, "in the same form. Received: one-hot labels of 3 classes and numbers"),
        # Names.
        ({"y_train": NAMES[LABELS]}, "in the same form. Received: names and numbers"),
        ({"y_train": NAMES[LABELS], "y_test": np.array(["cat"] * 4 + ["owl"])}, "y_test .*owl"),
        ({"y_train": np.where(LABELS == 1, "", "a"), "y_test": np.array(["a"] * 5)}, "must not be empty"),
        ({"y_train": np.array([b"\xff", b"a"])[LABELS % 2], "y_test": np.array([b"a"] * 5)}, "must be text in UTF-8"),
        ({"y_train": NAMES[LABELS], "y_test": NAMES[TEST_LABELS], "class_names": ["cat", "dog"]}, "y_train .*été"),
        (
            {"y_train": NAMES[LABELS], "y_test": NAMES[TEST_LABELS], "class_names": [*NAMES, "owl"]},
            "none of class owl. Received",
        ),
        # Names of classes.
        ({"class_names": ["cat", "dog", "cat"]}, "name every class once. Received twice: cat"),
        ({"class_names": ["cat", "dog", "cat "]}, "name every class once. Received twice: cat"),
        ({"class_names": ["\u00e9", "e\u0301", "cat"]}, "Received twice: \u00e9"),
        ({"class_names": ["cat", "", "owl"]}, "must not be empty"),
        ({"class_names": ["cat", "dog"]}, "must name every class.*labels up to 2, and there are 2 names"),
        ({"class_names": ["cat", "dog", "owl", "fox"]}, "none of class fox"),
        (
            {"class_names": ["cat", "dog", "owl"], "y_train": LABELS + 1, "y_test": TEST_LABELS + 1},
            "must name every class.*Do the labels begin at 1",
        ),
        ({"class_names": ["cat", "dog", "owl"], "y_train": LABELS // 2 * 2}, "none of class dog"),
        ({"class_names": np.array("cat,dog,owl")}, "must be a list of texts"),
        ({"class_names": np.array([["a", "b"], ["c", "d"]])}, "must be a list of texts"),
        ({"class_names": np.array([0.5, 1, 2])}, "must be a list of texts"),
    ],
)
def test_labels_of_another_kind_are_refused_with_their_cause(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **changes)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1), (1, 32, 32)])
def test_ten_digits_are_called_0_to_9(tmp_path, shape):
    # As SVHN and MNIST, which have ten classes as well.
    images = np.arange(20, dtype=np.uint8).reshape(20, *[1] * len(shape)) * np.ones((1, *shape), np.uint8)
    splits = load(tmp_path, x_train=images, y_train=np.arange(20) % 10, x_test=images, y_test=np.arange(20) % 10)
    assert splits.train.class_names == tuple("0123456789")
    assert splits.train.images.shape == (20, 32, 32, 3)
    assert (splits.train.images == np.arange(20)[:, None, None, None]).all()


def test_ten_classes_in_colour_are_not_taken_for_cifar10(tmp_path):
    splits = load(tmp_path, y_train=np.arange(20)[:, None] % 10)
    assert splits.train.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("low", "per_class", "names"),
    [
        (57, (5000,) * 10, CLASSES),  # Half of the levels 57 and half 185: mean 121, standard deviation 64.
        (40, (5000,) * 10, tuple("0123456789")),
        (57, (5001, 4999, *(5000,) * 8), tuple("0123456789")),
    ],
)
def test_cifar10_is_known_by_its_counts_and_statistics(low, per_class, names):
    image = np.full((32, 32, 3), low, np.uint8)
    image[:16] += 128
    images = np.broadcast_to(image, (50_000, 32, 32, 3))
    assert default_names(images, np.repeat(np.arange(10), per_class)) == names


COLOUR = random_images(20)


@pytest.mark.parametrize(
    "stored",
    [
        COLOUR,
        COLOUR.transpose(0, 3, 1, 2),
        COLOUR.astype(np.int64),
        COLOUR.astype(np.float32),
        COLOUR.transpose(0, 3, 1, 2).astype(np.float64),
    ],
)
def test_images_are_read_in_every_unambiguous_form(tmp_path, stored):
    np.testing.assert_array_equal(load(tmp_path, x_train=stored).train.images, COLOUR)


@pytest.mark.parametrize("shape", [(20, 28, 28), (20, 28, 28, 1), (20, 1, 28, 28)])
def test_grey_npz_images_of_another_size_become_32_pixel_colour(tmp_path, shape):
    images = load(tmp_path, x_train=np.full(shape, 9, np.uint8)).train.images
    assert images.shape == (20, 32, 32, 3)
    assert (images == 9).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (COLOUR / 255.0, r".*\(x \* 255\)\.round\(\).*Received: float64 \(20, 32, 32, 3\)"),
        (COLOUR / 127.5 - 1, r"Levels of -1 to 1.*\(x \+ 1\) \* 127\.5"),
        (COLOUR - 120.0, "must not be normalized"),
        (COLOUR + 0.5, "must not be normalized"),
        (COLOUR * 0.5, "Fractions must be rounded"),
        (np.where(COLOUR > 9, COLOUR, np.nan), "not finite"),
        ((COLOUR > 99).astype(np.float32), "Levels of 0 to 1"),
        ((COLOUR > 99).astype(int), "Levels of 0 to 1"),
        (COLOUR > 99, r"Black and white must be 0 and 255: x\.astype\('uint8'\) \* 255"),
        ((COLOUR > 99).astype(np.uint8), r"Black and white must be 0 and 255: x \* 255.*levels 0 to 1"),
        (COLOUR.astype(np.uint16) * 257, r"16 bits must become 8: \(x // 257\)"),
        (COLOUR.astype("S3"), "must hold numbers"),
        (np.zeros((20, 32, 32, 4), np.uint8), r"Four channels.*Received: uint8 \(20, 32, 32, 4\)"),
        (np.zeros((20, 4, 32, 32), np.uint8), "Four channels"),
        (np.zeros((20, 32, 32, 2), np.uint8), "neither 1 nor 3 channels"),
        (np.zeros((20, 3, 3, 3), np.uint8), "first or its last axis"),
        (np.zeros((20, 3, 32, 3), np.uint8), "first or its last axis"),
        (np.zeros((32, 32, 3, 20), np.uint8), r"x\.transpose\(3, 0, 1, 2\)"),
        (np.zeros((20, 3072), np.uint8), "height and width of flat rows of pixels"),
        (np.zeros((20, 1, 32, 32, 3), np.uint8), "3 or 4 axes"),
        (np.zeros((0, 32, 32, 3), np.uint8), "no images"),
    ],
)
def test_images_that_could_be_misread_are_refused(tmp_path, images, message):
    with pytest.raises(DataError, match=rf"x_train in .*data\.npz must be uint8 .*{message}"):
        load(tmp_path, x_train=images)


def test_an_npz_file_without_test_images_is_split(tmp_path):
    source = npz(tmp_path / "data.npz", x_test=None, y_test=None)
    assert len(load_data(source, test_split=0.5).test) == 4 + 4 + 3  # Of 7, 7 and 6 images.


def test_an_npz_file_without_test_images_asks_for_arrays(tmp_path):
    with pytest.raises(DataError, match=r"no test images\. Add x_test and y_test, or .*`test_split` 0\.2"):
        load(tmp_path, x_test=None, y_test=None)


def test_capitals_in_the_names_of_arrays_do_not_matter(tmp_path):
    changes = {"x_train": None, "y_train": None, "X_train": COLOUR, "Y_Train": LABELS}
    assert_labels(load(tmp_path, **changes), ("0", "1", "2"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, r"lacks y_train; an \.npz file holds"),
        ({"y_test": None}, "lacks y_test"),
        ({"x_test": None}, "lacks x_test"),
        ({"x_train": None, "y_train": None}, "lacks x_train"),
        ({"X_train": COLOUR}, "must hold one array x_train. Received: x_train and X_train|X_train and x_train"),
        ({"x_val": COLOUR}, "lacks y_val"),
        ({"x_val": COLOUR, "y_val": LABELS, "x_valid": COLOUR, "y_valid": LABELS}, "one set of validation images"),
        ({"x_train": None, "x_trian": COLOUR}, "lacks x_train.*Is x_trian meant"),
    ],
)
def test_an_array_that_is_missing_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **changes)


@pytest.mark.parametrize("names", [("images", "labels"), ("train_images", "train_labels"), ("arr_0", "arr_1")])
def test_arrays_of_other_names_are_refused_with_a_remedy(tmp_path, names):
    np.savez(tmp_path / "data.npz", **dict(zip(names, (COLOUR, LABELS), strict=True)))
    with pytest.raises(DataError, match=rf"lacks x_train; .* not {names[0]}, {names[1]}\..*np\.savez\(path, x_train="):
        load_data(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("end", ["val", "valid", "validation"])
def test_validation_images_are_read(tmp_path, end):
    arrays = {f"x_{end}": random_images(6, seed=2), f"y_{end}": [2, 1, 0, 0, 0, 0], "ids": np.arange(20)}
    parts = read_npz(read_tree(tmp_path.joinpath(npz(tmp_path / "data.npz", **arrays))), 32, silent)
    assert parts.validation is not None
    np.testing.assert_array_equal(parts.validation.images, random_images(6, seed=2))
    assert parts.validation.labels.tolist() == [2, 1, 0, 0, 0, 0]
    assert [left.line for left in parts.left_out] == ["Left out: 1 array with other names (ids)"]


def test_a_class_of_validation_images_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"y_val .* has the labels 3, which y_train lacks"):
        load(tmp_path, x_val=random_images(2), y_val=[0, 3])


def test_pickled_arrays_in_an_npz_file_are_not_loaded(tmp_path):
    attack = np.array([Attack(os.mkdir, str(tmp_path / "ran"))] * 20, object)
    with pytest.raises(DataError, match=r"y_train .*allow_pickle=False.*y\.astype\(str\)"):
        load(tmp_path, y_train=attack)
    assert not (tmp_path / "ran").exists()


def test_pixels_that_read_as_digits_are_no_number_of_a_tar(tmp_path):
    images = np.full((4, 32, 32, 3), ord("0"), np.uint8)
    labels = np.array([0, 1, 0, 1])
    np.savez(tmp_path / "grey.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    np.testing.assert_array_equal(load_data(str(tmp_path / "grey.npz")).train.images, images)
