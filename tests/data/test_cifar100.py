import hashlib
import pickle

import numpy as np
import pytest

from cifarnet.data import cifar10, cifar100
from cifarnet.data.download import RemoteFile
from cifarnet.data.official_names import CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
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
    for module in (cifar10, cifar100):
        monkeypatch.setattr(module, "find_or_fetch", lambda mirrors, report: path)


def test_the_archive_is_the_published_one():
    assert (
        RemoteFile(
            "cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        )
        == cifar100.PYTHON_ARCHIVE
    )


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
def test_a_path_is_read_with_fine_labels(tmp_path, write):
    folder = write(tmp_path / "cifar-100")
    for source in (folder, tar_of(folder, tmp_path / "made.tar.gz", folder.name)):
        np.testing.assert_array_equal(load_data(source).train.labels, cifar100_parts()["train"][1])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("cifar100", binary_layout, "must hold CIFAR-100. Received: CIFAR-10$"),
        ("cifar100-coarse", python_layout, "must hold CIFAR-100. Received: CIFAR-10$"),
        ("cifar10", cifar100_binary, "must hold CIFAR-10. Received: CIFAR-100$"),
        ("cifar10", cifar100_python, "must hold CIFAR-10. Received: CIFAR-100$"),
    ],
)
def test_the_other_data_set_is_refused(tmp_path, monkeypatch, name, write, message):
    named(monkeypatch, write(tmp_path))
    with pytest.raises(DataError, match=message):
        load_data(name)


def test_a_folder_with_both_data_sets_is_refused(tmp_path):
    python_layout(tmp_path / "cifar-10-batches-py")
    cifar100_python(tmp_path / "cifar-100-python")
    with pytest.raises(DataError, match=r"holds CIFAR-10 and CIFAR-100. Give .*cifar-10-batches-py or .*cifar-100"):
        load_data(tmp_path)
    mixed = python_layout(cifar100_python(tmp_path / "mixed"))
    with pytest.raises(DataError, match=r"holds CIFAR-10 and CIFAR-100\. Put each into a folder of its own"):
        load_data(mixed)


def test_the_archive_of_keras_is_used_if_its_checksum_holds(tmp_path):
    path = tmp_path / "keras" / "datasets" / "cifar-100-python-target_archive"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"archive")
    assert cifar100.keras_archive() is None
    archive = RemoteFile("x", "http://127.0.0.1:9/x", 7, hashlib.sha256(b"archive").hexdigest())
    assert cifar100.keras_archive(archive) == path


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
