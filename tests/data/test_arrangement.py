import unicodedata

import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from tests.support.datasets import fill, left_out


def load(root, **options):
    return load_data(str(root), **options)


def counts(splits):
    """The classes, and the images of each in the training, test and validation split."""
    validation = None if splits.validation is None else splits.validation.counts().tolist()
    return splits.train.class_names, splits.train.counts().tolist(), splits.test.counts().tolist(), validation


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("Training", "test"),
        ("seg_train", "seg_test"),
        ("train", "Test Images"),
        ("trainset", "testset"),
        ("TrainingData", "TestData"),
        ("trainImages1", "testImages1"),
        ("TRAIN_SET", "TEST_SET"),
    ],
)
@pytest.mark.parametrize("outer", ["", "images/", "a/Data/"])
def test_split_folders_are_known_by_their_usual_names(tmp_path, train, test, outer):
    fill(tmp_path, f"{outer}{train}/cat", f"{outer}{train}/dog", count=3)
    fill(tmp_path, f"{outer}{test}/cat", f"{outer}{test}/dog")
    splits = load(tmp_path)
    assert counts(splits) == (("cat", "dog"), [3, 3], [2, 2], None)
    assert splits.left_out == ()


def test_splits_that_were_packed_twice_equal_those_packed_once(tmp_path):
    classes = [f"{split}/{name}" for split in ("seg_train", "seg_test") for name in ("forest", "sea")]
    once = load(fill(tmp_path / "once", *classes))
    root = fill(tmp_path / "twice" / "inner", *classes)
    for split in ("seg_train", "seg_test"):
        (tmp_path / "twice" / split).mkdir()
        (root / split).rename(tmp_path / "twice" / split / split)
    fill(tmp_path / "twice", "seg_pred/seg_pred")
    splits = load(tmp_path / "twice")
    assert counts(splits) == counts(once)
    assert sum(files.count for files in splits.left_out) == 2


def test_a_class_with_folders_in_it_is_no_split(tmp_path):
    fill(tmp_path, "train/cat/siamese", "train/cat/persian", "test/cat/siamese")
    with pytest.raises(DataError, match="only one class"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["val", "Val", "valid", "validation", "dev", "VALIDATION"])
def test_a_validation_folder_is_the_validation_split(tmp_path, name):
    fill(tmp_path, "train/cat", "train/dog", count=3)
    without = load(fill(tmp_path, "test/cat", "test/dog"))
    splits = load(fill(tmp_path, f"{name}/cat", f"{name}/dog", count=1))
    assert counts(splits) == (("cat", "dog"), [3, 3], [2, 2], [1, 1])
    assert splits.sha256() != without.sha256()


def test_validation_without_test_images_names_both_remedies(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", count=4)
    with pytest.raises(DataError, match=r"no test images.*folder test/.*`test_split`"):
        load(tmp_path)
    assert counts(load(tmp_path, test_split=0.25)) == (("cat", "dog"), [3, 3], [1, 1], [4, 4])


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_the_same_split_folders_in_every_class_are_splits(tmp_path, train, test):
    fill(tmp_path, f"cat/{train}", f"dog/{train}", count=3)
    fill(tmp_path, f"cat/{test}", f"dog/{test}", "cat/val", "dog/val")
    assert counts(load(tmp_path)) == (("cat", "dog"), [3, 3], [2, 2], [2, 2])


def test_pictures_beside_the_splits_of_a_class_are_counted(tmp_path):
    fill(tmp_path, "cat/train", "dog/train", "cat/test", "dog/test", "cat/other", "dog", count=1)
    splits = load(tmp_path)
    assert counts(splits)[1:3] == ([1, 1], [1, 1])
    assert left_out(splits) == {"pictures beside the splits of a class": 2}


def test_split_folders_in_some_classes_only_are_refused(tmp_path):
    fill(tmp_path, "cat/train", "cat/test", "dog")
    with pytest.raises(DataError, match=r"splits test/ and train/ in them \(cat/\) and class folders without \(dog/\)"):
        load(tmp_path, test_split=0.5)


def test_a_class_without_test_images_among_its_splits_is_named(tmp_path):
    fill(tmp_path, "cat/train", "cat/test", "dog/train")
    with pytest.raises(DataError, match=r"dog holds no test pictures.*Received: train/"):
        load(tmp_path)


def test_one_split_folder_in_every_class_is_part_of_the_class(tmp_path):
    fill(tmp_path, "cat/train", "dog/train", count=4)
    assert counts(load(tmp_path, test_split=0.25)) == (("cat", "dog"), [3, 3], [1, 1], None)


@pytest.mark.parametrize(
    "names", [("bus", "car", "train"), ("cat", "dog", "test"), ("Train", "bus"), ("dev", "ops"), ("val", "cat", "dog")]
)
def test_classes_may_be_called_like_a_split(tmp_path, names):
    fill(tmp_path, *names, count=4)
    assert counts(load(tmp_path, test_split=0.25))[:2] == (tuple(sorted(names)), [3] * len(names))


@pytest.mark.parametrize("names", [("train", "test"), ("train", "bus"), ("test", "train", "val")])
def test_a_training_folder_makes_any_names_classes(tmp_path, names):
    fill(tmp_path, *(f"train/{name}" for name in names), *(f"test/{name}" for name in names))
    assert counts(load(tmp_path)) == (tuple(sorted(names)), [2] * len(names), [2] * len(names), None)


def test_a_training_folder_makes_the_outer_folders_classes(tmp_path):
    fill(tmp_path, "train/cat/in", "train/cat/out", "train/dog/in", "train/dog/out", count=2)
    assert counts(load(tmp_path, test_split=0.25))[:3] == (("cat", "dog"), [3, 3], [1, 1])


def test_unlike_folders_in_class_folders_belong_to_the_class(tmp_path):
    fill(tmp_path, "cat/persian", "cat/siamese", "dog/pug", "dog/lab")
    assert counts(load(tmp_path, test_split=0.25))[:3] == (("cat", "dog"), [3, 3], [1, 1])


def test_splits_in_a_folder_called_train_are_splits(tmp_path):
    fill(tmp_path, "train/Train/cat", "train/Train/dog", "train/Test/cat", "train/Test/dog")
    assert counts(load(tmp_path)) == (("cat", "dog"), [2, 2], [2, 2], None)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "test"], "test/ and train/ without class folders in them"),
        (["train"], "train/ without class folders in it"),
        (["train", "test", "cat"], "test/ and train/ without class folders in them"),
        (["train/cat", "train/dog", "test"], "test holds 2 pictures without class folders"),
        (
            ["train/cat", "train/dog", "bus", "car"],
            "folders of pictures beside it: bus/ and car/.*give it as",
        ),
        (["test/cat", "test/dog", "cat", "dog"], "has test/ but no train/ beside it"),
        (["val/cat", "val/dog", "test/cat", "test/dog"], "has test/ and val/ but no train/"),
        (["cat/val", "cat/test", "dog/val", "dog/test"], "test/ and val/ but no train/"),
        (
            ["Train/cat", "Train/dog", "train/cat", "train/dog"],
            "for the training images.*Train/ and train/",
        ),
        (["train/a", "train/b", "val/a", "val/b", "valid/a"], "for the validation images.*val/ and valid/"),
        (["train/a", "train/b", "test/a", "test/b", "Testing/a"], "for the test images.*Testing/ and test/"),
        (["cat/train", "cat/test", "cat/Test", "dog/train", "dog/test"], "test images.*cat/Test/ and cat/test/"),
        (
            ["lernen/cat", "lernen/dog", "prüfen/cat", "prüfen/dog"],
            "same folders, cat/ and dog/.*train/, test/ and val/",
        ),
        (["cat/0", "cat/1", "dog/0", "dog/1"], "same folders, 0/ and 1/.*If the outer folders are the classes"),
        (["train/cat", "test/cat"], "only one class.*Received: cat"),
        (["cat"], "only one class.*Received: cat"),
        (["pets/cat"], "only one class.*Received: cat"),
        (["."], "has no class folders.*2 pictures in one folder"),
        (["train/cat", "train/cat ", "test/cat", "test/cat "], "only in leading or trailing spaces.*'cat' and 'cat '"),
    ],
)
def test_folders_that_can_not_be_meant_are_refused(tmp_path, folders, message):
    fill(tmp_path, *folders)
    for options in ({}, {"test_split": 0.5}):
        with pytest.raises(DataError, match=message):
            load(tmp_path, **options)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (["cat"], "dog has no test images"),
        (["cat", "dog", "owl"], "owl has no training images"),
        (["Cat", "dog"], r"'Cat' and 'cat' differ in capitals or spaces"),
        (["cat ", "dog"], r"'cat ' and 'cat' differ in capitals or spaces"),
        (["bird", "fish"], "cat, dog have no test images; bird, fish have no training images"),
    ],
)
@pytest.mark.parametrize("split", ["test", "val"])
def test_classes_that_one_split_lacks_are_named(tmp_path, split, test, message):
    fill(tmp_path, "train/cat", "train/dog", *(f"{split}/{name}" for name in test))
    with pytest.raises(DataError, match=message.replace("test", "validation") if split == "val" else message):
        load(tmp_path)


@pytest.mark.parametrize("empty", ["train/owl", "test/owl", "val/owl"])
def test_an_empty_class_folder_is_named(tmp_path, empty):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "val/cat", "val/dog")
    (tmp_path / empty).mkdir()
    with pytest.raises(DataError, match=rf"{empty} holds no pictures\. Remove the folder"):
        load(tmp_path)


def test_an_empty_class_folder_beside_others_is_named(tmp_path):
    (fill(tmp_path, "cat") / "dog").mkdir()
    with pytest.raises(DataError, match="dog holds no pictures"):
        load(tmp_path)


@pytest.mark.usefixtures("without_pillow_heif")
def test_a_class_of_unread_pictures_says_what_would_read_them(tmp_path):
    fill(tmp_path, "train/cat", "test/cat")
    for split in ("train", "test"):
        (tmp_path / split / "dog").mkdir()
        (tmp_path / split / "dog/0.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(DataError, match=r"train.dog holds no pictures that are read.*1 \.heic file .*pillow-heif"):
        load(tmp_path)


def test_a_test_split_does_not_mend_a_test_folder(tmp_path):
    fill(tmp_path, "Train/cat", "Train/dog", "Test/cat", "Test/dog")
    with pytest.raises(InvalidValueError, match=r"has test images\. `test_split`"):
        load(tmp_path, test_split=0.2)


def test_accents_of_macos_and_of_others_name_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    fill(tmp_path, f"train/{decomposed}", "train/bar", f"test/{composed}", "test/bar")
    assert counts(load(tmp_path)) == (("bar", composed), [2, 2], [2, 2], None)


def test_two_spellings_of_a_folder_are_merged(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    fill(tmp_path, f"train/{decomposed}", "train/bar", f"test/{composed}", "test/bar")
    fill(tmp_path, f"train/{composed}", suffix="bmp", count=3)
    assert counts(load(tmp_path)) == (("bar", composed), [2, 5], [2, 2], None)
    fill(tmp_path, f"train/{composed}", count=1)
    with pytest.raises(DataError, match=f"holds train/{composed}/0.png twice"):
        load(tmp_path)


def test_a_class_name_in_no_unicode_is_refused(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    (tmp_path / "train/dog").rename(tmp_path / "train" / "\udcc4pfel")
    with pytest.raises(DataError, match=r"not valid UTF-8. Rename it. Received: b'\\xc4pfel'"):
        load(tmp_path)
