import numpy as np
import pytest
from PIL import Image

from cifarnet.data.dataset import Dataset
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from tests.support.datasets import assert_same, image_folder, random_images, zip_of


def test_an_image_folder_is_read_with_classes_by_name(tmp_path):
    splits = load_data(str(image_folder(tmp_path / "pets")))
    assert splits.train.class_names == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(splits.train.images[3:], random_images(3, seed=1))
    np.testing.assert_array_equal(splits.test.images[:2], random_images(2, seed=100))


def test_a_relative_path_and_a_home_path_are_sources(tmp_path, monkeypatch):
    image_folder(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_same(load_data("pets"), load_data("~/pets"))


def test_images_are_brought_to_the_size_asked_for(tmp_path):
    assert load_data(str(image_folder(tmp_path)), image_size=48).train.images.shape == (6, 48, 48, 3)


def test_without_test_images_the_message_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"has no test images.*`test_split`"):
        load_data(str(image_folder(tmp_path, test=0)))


def test_test_images_are_held_out_of_every_class(tmp_path):
    splits = load_data(str(image_folder(tmp_path, train=10, test=0)), test_split=0.2)
    assert splits.train.counts().tolist() == [8, 8]
    assert splits.test.counts().tolist() == [2, 2]


def test_class_folders_alone_are_a_source(tmp_path):
    folder = image_folder(tmp_path, train=10, test=0) / "train"
    folder = folder.rename(tmp_path / "classes")
    assert load_data(str(folder), test_split=0.5).train.class_names == ("cat", "dog")


def test_a_test_split_beside_test_images_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match=r"has test images\. `test_split`"):
        load_data(str(image_folder(tmp_path)), test_split=0.2)


def test_stray_and_hidden_files_are_ignored(tmp_path):
    root = image_folder(tmp_path / "pets")
    clean = load_data(str(root))
    (root / "train" / "cat" / "notes.txt").write_text("meow")
    (root / "train" / "cat" / "._0.png").write_text("resource fork")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "labels.csv").touch()
    assert_same(load_data(str(root)), clean)


def test_images_in_folders_below_a_class_folder_belong_to_it(tmp_path):
    root = image_folder(tmp_path / "pets")
    (root / "train" / "dog" / "more").mkdir()
    (root / "train" / "dog" / "0.png").rename(root / "train" / "dog" / "more" / "0.png")
    assert load_data(str(root)).train.counts().tolist() == [3, 3]


def test_linked_class_folders_are_followed_and_loops_end(tmp_path):
    root = image_folder(tmp_path / "pets")
    (root / "train" / "dog").rename(tmp_path / "elsewhere")
    (root / "train" / "dog").symlink_to(tmp_path / "elsewhere")
    assert load_data(str(root)).train.counts().tolist() == [3, 3]
    (root / "train" / "cat" / "loop").symlink_to(root)
    assert load_data(str(root)).train.class_names == ("cat", "dog")


def test_an_undecodable_image_is_named(tmp_path):
    bad = image_folder(tmp_path) / "train" / "dog" / "1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(DataError, match=r"train.dog.1\.png is a damaged or truncated image"):
        load_data(str(tmp_path))


def test_a_dangling_link_is_named(tmp_path):
    (image_folder(tmp_path) / "train" / "dog" / "9.png").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"9\.png can't be read"):
        load_data(str(tmp_path))


def test_an_empty_class_folder_is_named(tmp_path):
    (image_folder(tmp_path) / "train" / "axolotl").mkdir()
    with pytest.raises(DataError, match=r"train.axolotl holds no pictures"):
        load_data(str(tmp_path))


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"at least 2 classes. Received: cat"):
        load_data(str(image_folder(tmp_path, classes=("cat",))))


def test_a_test_folder_without_training_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="test/ but no train/"):
        load_data(str(image_folder(tmp_path, train=0)))


def test_classes_that_differ_between_train_and_test_are_listed(tmp_path):
    (image_folder(tmp_path) / "test" / "dog").rename(tmp_path / "test" / "wolf")
    with pytest.raises(DataError, match=r"same classes.*cat, dog.*cat, wolf"):
        load_data(str(tmp_path))


CLASSES = ("cat", "dog")
NAMES = tuple(f"train/{name}/{row}.png" for name in ("cat", "dog") for row in range(3))


def test_images_keep_the_names_of_their_files(tmp_path, monkeypatch):
    root = image_folder(tmp_path / "pets")
    for source in (root, zip_of(root, tmp_path / "pets.zip")):
        splits = load_data(str(source))
        assert splits.train.names == NAMES
        assert splits.test.names == tuple(f"test/{name}/{row}.png" for name in ("cat", "dog") for row in range(2))
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    assert load_data(str(root)).train.names == NAMES  # from the cache


def test_held_out_images_keep_their_own_names(tmp_path):
    splits = load_data(str(image_folder(tmp_path / "pets", test=0)), test_split=0.3)
    for part in (splits.train, splits.test):
        assert [CLASSES[label] for label in part.labels] == [name.split("/")[-2] for name in part.names]
        for name, image in zip(part.names, part.images, strict=True):
            np.testing.assert_array_equal(
                image, np.asarray(Image.open(tmp_path / "pets" / "train" / name.removeprefix("train/")))
            )


def test_images_of_arrays_have_no_names_and_wrong_counts_refused():
    assert load_data("synthetic:50").train.names is None
    with pytest.raises(DataError, match="2 images needs a name"):
        Dataset(random_images(2), np.zeros(2, np.int32), ("cat", "dog"), ("a.png",))
