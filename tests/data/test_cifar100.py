import pickle

import numpy as np
import pytest

from cifarnet.data import copies
from cifarnet.data.official_names import CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from tests.support.datasets import (
    binary_layout,
    cifar100_binary,
    cifar100_parts,
    cifar100_python,
    python_layout,
    tar_of,
)


def named(monkeypatch, path):
    """Let the names of CIFAR-10 and CIFAR-100 mean the files at ``path``."""
    monkeypatch.setattr(copies, "find_or_fetch", lambda official, mirrors, report: path)


@pytest.mark.parametrize("write", [cifar100_binary, cifar100_python])
@pytest.mark.parametrize(("name", "column", "classes"), [("cifar100", 1, 100), ("cifar100-coarse", 2, 20)])
def test_names_choose_the_labels(tmp_path, monkeypatch, write, name, column, classes):
    folder = write(tmp_path / "cifar-100")
    named(monkeypatch, tar_of(folder, tmp_path / "made.tar.gz", folder.name))
    splits = load_data(name)
    for part, split in (("train", splits.train), ("test", splits.test)):
        np.testing.assert_array_equal(split.images, cifar100_parts()[part][0])
        np.testing.assert_array_equal(split.labels, cifar100_parts()[part][column])
        assert len(split.class_names) == classes


def test_class_names_are_known_without_a_file_of_names(tmp_path, monkeypatch):
    named(monkeypatch, cifar100_binary(tmp_path))
    assert load_data("cifar100").train.class_names == CIFAR100_CLASSES
    assert load_data("cifar100-coarse").train.class_names == CIFAR100_COARSE_CLASSES
    assert (CIFAR100_CLASSES[18], CIFAR100_CLASSES[58], len(CIFAR100_CLASSES)) == ("caterpillar", "pickup_truck", 100)


@pytest.mark.parametrize("write", [cifar100_binary, cifar100_python])
def test_a_path_is_read_with_fine_labels_and_a_note(tmp_path, write):
    folder = write(tmp_path / "cifar-100")
    for source in (folder, tar_of(folder, tmp_path / "made.tar.gz", folder.name)):
        splits = load_data(source)
        np.testing.assert_array_equal(splits.train.labels, cifar100_parts()["train"][1])
        assert splits.note == f"read as CIFAR-100 with 100 classes; cifar100-coarse:{source} has 20"


@pytest.mark.parametrize("write", [cifar100_binary, cifar100_python])
@pytest.mark.parametrize(("name", "column"), [("cifar100", 1), ("cifar100-coarse", 2)])
def test_a_path_after_a_name_is_read_with_its_labels(tmp_path, monkeypatch, write, name, column):
    folder = write(tmp_path / "a: b")
    monkeypatch.chdir(tmp_path)
    for source in (folder, "a: b", tar_of(folder, tmp_path / "made.tar.gz", "cifar-100")):
        splits = load_data(f"{name}:{source}")
        np.testing.assert_array_equal(splits.train.labels, cifar100_parts()["train"][column])
        assert splits.note == ""


@pytest.mark.parametrize("write", [binary_layout, python_layout])
def test_other_paths_have_no_note(tmp_path, write):
    assert load_data(write(tmp_path)).note == ""


OTHER_SETS = [
    ("cifar100", binary_layout, "must hold CIFAR-100", "CIFAR-10"),
    ("cifar100-coarse", python_layout, "must hold CIFAR-100", "CIFAR-10"),
    ("cifar10", cifar100_binary, "must hold CIFAR-10", "CIFAR-100"),
    ("cifar10", cifar100_python, "must hold CIFAR-10", "CIFAR-100"),
]


@pytest.mark.parametrize(("name", "write", "message", "received"), OTHER_SETS)
def test_another_data_set_is_refused(tmp_path, monkeypatch, name, write, message, received):
    named(monkeypatch, write(tmp_path))
    with pytest.raises(
        DataError, match=rf"{message}\. Delete it to download the data set again\. Received: {received}$"
    ):
        load_data(name)
    with pytest.raises(DataError, match=rf"{message}\. Give the path alone\. Received: {received}$"):
        load_data(f"{name}:{tmp_path}")


def test_other_files_and_no_files_after_a_name_are_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"must hold CIFAR-100\. Give the path alone\. Received: other files$"):
        load_data(f"cifar100:{tmp_path}")
    with pytest.raises(DataError, match="There is no file or folder"):
        load_data(f"cifar100-coarse:{tmp_path / 'nowhere'}")
    with pytest.raises(InvalidValueError, match="After the colon, the path of the files of CIFAR-100 is needed"):
        load_data("cifar100-coarse:")


def test_a_folder_with_both_data_sets_is_refused(tmp_path):
    python_layout(tmp_path / "cifar-10-batches-py")
    cifar100_python(tmp_path / "cifar-100-python")
    with pytest.raises(DataError, match=r"holds CIFAR-10 and CIFAR-100. Give .*cifar-10-batches-py or .*cifar-100"):
        load_data(tmp_path)
    assert len(load_data(f"cifar100-coarse:{tmp_path}").train.class_names) == 20
    mixed = python_layout(cifar100_python(tmp_path / "mixed"))
    with pytest.raises(DataError, match=r"holds CIFAR-10 and CIFAR-100\. Put each into a folder of its own"):
        load_data(mixed)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train", {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 100]}, "Labels must be 0 to 99"),
        ("train", {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]}, "'fine_labels' of"),
        ("test", {"data": np.zeros((2, 3072), np.uint8), "coarse_labels": [0, 0]}, "'fine_labels' of"),
        ("test", {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 0]}, "test is CIFAR-10, not CIFAR-100"),
        ("meta", {"label_names": ["a"]}, "meta must hold a list 'fine_label_names'"),
    ],
)
def test_damaged_files_are_refused(tmp_path, file, content, message):
    (cifar100_python(tmp_path) / file).write_bytes(pickle.dumps(content, 2))
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_a_cut_binary_file_is_refused(tmp_path):
    path = cifar100_binary(tmp_path) / "train.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"records of 3,074 bytes. Received: 12,295 bytes"):
        load_data(tmp_path)


@pytest.mark.parametrize("write", [cifar100_binary, cifar100_python])
def test_a_coarse_label_out_of_range_is_refused(tmp_path, write):
    path = write(tmp_path) / ("train.bin" if write is cifar100_binary else "train")
    if write is cifar100_binary:
        path.write_bytes(b"\x14" + path.read_bytes()[1:])
    else:
        content = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 0], "coarse_labels": [20, 0]}
        path.write_bytes(pickle.dumps(content, 2))
    assert len(load_data(tmp_path).train.class_names) == 100
    with pytest.raises(DataError, match=r"train.* is damaged.*Labels must be 0 to 19.*Received: 20 in record 0"):
        load_data(f"cifar100-coarse:{tmp_path}")
