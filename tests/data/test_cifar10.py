import hashlib
import shutil

import pytest

from cifarnet.data import cifar10
from cifarnet.data.download import RemoteFile
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, DownloadError
from tests.support.datasets import assert_same, binary_layout, python_layout, tar_of

KERAS_2 = "cifar-10-batches-py"
KERAS_3 = "cifar-10-batches-py-target/cifar-10-batches-py"


def unreachable(content: bytes = b"") -> RemoteFile:
    return RemoteFile("cifar.tar.gz", "http://127.0.0.1:9/x", len(content), hashlib.sha256(content).hexdigest())


def test_the_official_archive_is_the_published_one():
    archive = cifar10.BINARY_ARCHIVE
    assert archive.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert archive.size == 170_052_171
    assert archive.sha256 == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def test_archive_put_into_cache_by_hand_used_once_checksum_holds(tmp_path, cache):
    made = tar_of(binary_layout(tmp_path / "cifar-10-batches-bin"), tmp_path / "made.tar.gz")
    archive = unreachable(made.read_bytes())
    cache.mkdir()
    (cache / archive.name).write_bytes(made.read_bytes()[:-1] + b"?")
    with pytest.raises(DownloadError, match="could not be downloaded"):
        cifar10.find_or_fetch(archive=archive)
    (cache / archive.name).write_bytes(made.read_bytes())
    assert cifar10.find_or_fetch(archive=archive) == cache / archive.name


@pytest.mark.parametrize("folder", [KERAS_2, KERAS_3])
def test_the_copy_that_keras_has_unpacked_is_used(tmp_path, folder):
    made = python_layout(tmp_path / "keras" / "datasets" / folder)
    assert cifar10.find_or_fetch(archive=unreachable()) == made
    assert len(load_data("cifar10").train) == 20


def test_without_keras_home_copy_is_looked_for_in_home_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cifar10.keras_copy() is None
    made = python_layout(tmp_path / ".keras" / "datasets" / KERAS_3)
    assert cifar10.keras_copy() == made


def test_a_copy_of_keras_that_lacks_a_batch_is_not_used(tmp_path):
    (python_layout(tmp_path / "keras" / "datasets" / KERAS_3) / "data_batch_5").unlink()
    assert cifar10.keras_copy() is None


@pytest.mark.parametrize("name", ["cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive"])
def test_an_archive_of_keras_is_used_only_if_its_checksum_holds(tmp_path, monkeypatch, name):
    path = tmp_path / "keras" / "datasets" / name
    path.parent.mkdir(parents=True)
    tar_of(python_layout(tmp_path / "cifar-10-batches-py"), path)
    assert cifar10.keras_copy() is None
    monkeypatch.setattr(cifar10, "PYTHON_ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert cifar10.keras_copy() == path
    assert len(load_data("cifar10").train) == 20


def test_the_cached_archive_goes_before_the_copy_of_keras(tmp_path, cache):
    python_layout(tmp_path / "keras" / "datasets" / KERAS_3)
    archive = unreachable(b"intact")
    cache.mkdir()
    (cache / archive.name).write_bytes(b"intact")
    assert cifar10.find_or_fetch(archive=archive) == cache / archive.name


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("folder", [KERAS_2, KERAS_3])
@pytest.mark.parametrize("damage", [cut, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_copy_of_keras_that_was_unpacked_in_part_is_not_used(tmp_path, caplog, folder, damage):
    made = python_layout(tmp_path / "keras" / "datasets" / folder)
    damage(made / "test_batch")
    with pytest.raises(DownloadError):
        cifar10.find_or_fetch(archive=unreachable(b"archive"))
    assert f"{made} is not used: test_batch is missing or cut off" in caplog.text


def test_the_archive_stands_in_for_a_copy_of_keras_in_part(tmp_path, monkeypatch):
    datasets = tmp_path / "keras" / "datasets"
    archive = tar_of(python_layout(datasets / KERAS_2), datasets / "cifar-10-batches-py.tar.gz")
    monkeypatch.setattr(cifar10, "PYTHON_ARCHIVE_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    cut(datasets / KERAS_2 / "data_batch_3")
    assert cifar10.keras_copy() == archive


def test_the_folder_of_torchvision_is_a_source(tmp_path):
    root = tmp_path / "data"
    made = python_layout(root / "cifar-10-batches-py")
    wanted = load_data(str(made))
    (root / "MNIST").mkdir()
    assert_same(load_data(str(root)), wanted)
    archive = tar_of(made, root / "cifar-10-python.tar.gz", "cifar-10-batches-py")
    assert_same(load_data(str(root)), wanted)
    cut(made / "data_batch_5")
    assert_same(load_data(str(root)), wanted)
    shutil.rmtree(made)
    assert_same(load_data(str(root)), wanted)
    archive.unlink()
    with pytest.raises(DataError, match="no known layout"):
        load_data(str(root))
