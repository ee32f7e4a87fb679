import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cifarnet.data.copies import find_or_fetch, keras_copy
from cifarnet.data.download import RemoteFile
from cifarnet.data.official_names import CIFAR10, CIFAR100, OfficialSet
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, DownloadError
from tests.support.datasets import assert_same, binary_layout, cifar100_python, image_folder, python_layout, tar_of


@dataclass(frozen=True)
class Case:
    """An official data set: its name, a function that writes it with few images, and the name of a batch."""

    official: OfficialSet
    name: str
    write: Callable[[Path], Path]
    batch: str
    images: int


CASES = [
    pytest.param(Case(CIFAR10, "cifar10", python_layout, "test_batch", 20), id="cifar10"),
    pytest.param(Case(CIFAR100, "cifar100", cifar100_python, "train", 4), id="cifar100"),
]
every_set = pytest.mark.parametrize("case", CASES)
keras_2_and_3 = pytest.mark.parametrize("version", [3, 2])


def keras_folder(root: Path, official: OfficialSet, version: int = 3) -> Path:
    return root / "keras" / "datasets" / official.python.keras_folders[3 - version]


def with_archive(official: OfficialSet, content: bytes = b"") -> OfficialSet:
    """The data set with an archive of this content that can't be downloaded."""
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(official, archive=RemoteFile("cifar.tar.gz", "http://127.0.0.1:9/x", len(content), sha256))


def with_python_archive(official: OfficialSet, archive: Path) -> OfficialSet:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return replace(official, python=replace(official.python, sha256=sha256))


def test_archives_are_the_published_ones():
    assert CIFAR10.archive == RemoteFile(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )
    assert CIFAR100.archive == RemoteFile(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        169_001_437,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    )


def test_keras_names_its_copies_so():
    assert CIFAR10.python.keras_folders[0] == "cifar-10-batches-py-target/cifar-10-batches-py"
    assert CIFAR100.python.keras_folders == ("cifar-100-python-target/cifar-100-python", "cifar-100-python")
    assert CIFAR100.python.keras_archives == ("cifar-100-python-target_archive", "cifar-100-python.tar.gz")


def test_archive_put_into_cache_by_hand_used_once_checksum_holds(tmp_path, cache):
    made = tar_of(binary_layout(tmp_path / "cifar-10-batches-bin"), tmp_path / "made.tar.gz")
    official = with_archive(CIFAR10, made.read_bytes())
    cached = cache / official.archive.name
    cache.mkdir()
    cached.write_bytes(made.read_bytes()[:-1] + b"?")
    with pytest.raises(DownloadError, match="could not be downloaded"):
        find_or_fetch(official)
    cached.write_bytes(made.read_bytes())
    assert find_or_fetch(official) == cached


@every_set
@keras_2_and_3
def test_the_copy_that_keras_has_unpacked_is_used(tmp_path, case, version):
    made = case.write(keras_folder(tmp_path, case.official, version))
    assert find_or_fetch(with_archive(case.official)) == made
    assert len(load_data(case.name).train) == case.images


def test_without_keras_home_copy_is_looked_for_in_home_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_copy(CIFAR10) is None
    made = python_layout(tmp_path / ".keras" / "datasets" / CIFAR10.python.keras_folders[0])
    assert keras_copy(CIFAR10) == made


@every_set
@keras_2_and_3
def test_an_archive_of_keras_is_used_only_if_its_checksum_holds(tmp_path, case, version):
    path = tmp_path / "keras" / "datasets" / case.official.python.keras_archives[3 - version]
    path.parent.mkdir(parents=True)
    tar_of(case.write(tmp_path / case.official.python.folder), path)
    assert keras_copy(case.official) is None
    assert keras_copy(with_python_archive(case.official, path)) == path


def test_the_cached_archive_goes_before_the_copy_of_keras(tmp_path, cache):
    python_layout(keras_folder(tmp_path, CIFAR10))
    official = with_archive(CIFAR10, b"intact")
    cache.mkdir()
    (cache / official.archive.name).write_bytes(b"intact")
    assert find_or_fetch(official) == cache / official.archive.name


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@every_set
@keras_2_and_3
@pytest.mark.parametrize("damage", [cut, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_copy_of_keras_that_was_unpacked_in_part_is_not_used(tmp_path, caplog, case, version, damage):
    made = case.write(keras_folder(tmp_path, case.official, version))
    damage(made / case.batch)
    with pytest.raises(DownloadError):
        find_or_fetch(with_archive(case.official, b"archive"))
    assert f"{made} is not used: {case.batch} is missing or cut off" in caplog.text


@every_set
def test_the_archive_stands_in_for_a_copy_of_keras_in_part(tmp_path, case):
    folder = case.write(keras_folder(tmp_path, case.official, version=2))
    archive = tar_of(folder, folder.with_name(case.official.python.keras_archives[1]))
    cut(folder / case.batch)
    assert keras_copy(with_python_archive(case.official, archive)) == archive


@every_set
def test_the_folder_of_torchvision_is_a_source(tmp_path, case):
    root, names = tmp_path / "data", case.official.python
    made = case.write(root / names.folder)
    wanted = load_data(made)
    (root / "MNIST").mkdir()
    for source in (root, f"{case.name}:{root}"):
        assert_same(load_data(source), wanted)
    archive = tar_of(made, root / names.archive, names.folder)
    assert_same(load_data(root), wanted)
    cut(made / case.batch)
    for source in (root, f"{case.name}:{root}"):
        assert_same(load_data(source), wanted)
    shutil.rmtree(made)
    assert_same(load_data(root), wanted)
    archive.unlink()
    with pytest.raises(DataError, match="no known layout"):
        load_data(root)


@every_set
@pytest.mark.parametrize("packed", [False, True])
def test_pictures_beside_a_folder_of_torchvision_are_not_passed_over(tmp_path, case, packed):
    root, names = image_folder(tmp_path / "pets"), case.official.python
    made = case.write(root / names.folder)
    wanted = load_data(made)
    if packed:
        tar_of(made, root / names.archive, names.folder)
        shutil.rmtree(made)
    found = names.archive if packed else names.folder
    with pytest.raises(
        DataError, match=rf"pets holds .*{found}, and pictures in folders, such as .*/cat/.*Give the path"
    ):
        load_data(root)
    assert_same(load_data(f"{case.name}:{root}"), wanted)


@pytest.mark.parametrize("write", [binary_layout, python_layout])
def test_pictures_beside_official_files_are_not_passed_over(tmp_path, write):
    root = image_folder(tmp_path / "pets")
    write(root)
    with pytest.raises(DataError, match=r"pets holds data in the official .* layout .*, and pictures in folders"):
        load_data(root)
    # A picture that belongs to no class is no second data set.
    alone = write(tmp_path / "alone")
    shutil.copy(next(root.rglob("*.png")), alone / "preview.png")
    assert len(load_data(alone).test)
