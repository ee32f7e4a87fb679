import errno
import os
import shutil
from pathlib import Path

import pytest

from cifarnet.data.cache import decoded_dir
from cifarnet.data.dataset import LeftOut
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, FileAccessError
from tests.support.datasets import assert_same, fill


@pytest.fixture
def pets(tmp_path):
    return fill(tmp_path / "pets", "train/cat", "train/dog", "test/cat", "test/dog", count=8)


def damage(root, *names):
    for name in names:
        (root / name).write_bytes(b"no picture")


def test_all_broken_pictures_are_named_at_once(pets):
    damage(pets, "train/cat/3.png", "train/dog/0.png", "test/dog/7.png")
    (pets / "train/cat/4.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_data(str(pets))
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 of 32 pictures can't be read:"
    names = ("train/cat/3.png", "train/cat/4.png", "train/dog/0.png", "test/dog/7.png")
    for line, name in zip(lines[1:5], names, strict=True):
        assert line.startswith(str(pets / name))
    assert lines[2].endswith("4.png is empty.")
    assert "`skip_broken`" in lines[5]


def test_of_many_broken_pictures_ten_are_named_and_rest_counted(pets):
    damage(pets, *(f"train/{name}/{row}.png" for name in ("cat", "dog") for row in range(6)))
    with pytest.raises(DataError) as caught:
        load_data(str(pets))
    lines = str(caught.value).splitlines()
    assert lines[0] == "12 of 32 pictures can't be read:"
    assert lines[11] == "... and 2 more."
    assert len(lines) == 13


def test_broken_pictures_are_left_out_where_asked(tmp_path, pets):
    damage(pets, "train/cat/0.png", "train/dog/7.png", "test/cat/3.png")
    splits = load_data(str(pets), skip_broken=True)
    assert splits.left_out == (
        LeftOut("pictures that can't be read", 3, ("train/cat/0.png", "train/dog/7.png", "test/cat/3.png")),
    )
    for name in ("train/cat/0.png", "train/dog/7.png", "test/cat/3.png"):
        (pets / name).unlink()
    assert_same(splits, load_data(str(pets)))


def test_the_cache_hands_skipped_pictures_only_to_those_who_ask(pets, monkeypatch):
    damage(pets, "train/cat/0.png")
    first = load_data(str(pets), skip_broken=True)
    with pytest.raises(DataError, match="1 of 32 pictures"):
        load_data(str(pets))
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    again = load_data(str(pets), skip_broken=True)
    assert_same(again, first)
    assert again.left_out == first.left_out


def test_pictures_that_the_system_can_not_read_now_are_not_left_out(pets, monkeypatch):
    whole, read = load_data(str(pets)), Path.read_bytes
    shutil.rmtree(decoded_dir())

    def failing(path):
        if path.name == "3.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        for skip_broken in (True, False):
            with pytest.raises(FileAccessError, match=r"3\.png can't be read: Input/output error"):
                load_data(str(pets), skip_broken=skip_broken)
    assert_same(load_data(str(pets), skip_broken=True), whole)


def test_pictures_that_memory_does_not_suffice_for_are_not_left_out(pets, monkeypatch):
    def failing(self):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", failing)
        for skip_broken in (True, False):
            with pytest.raises(FileAccessError, match=r"png can't be decoded: this machine has too little free memory"):
                load_data(str(pets), skip_broken=skip_broken)


def test_without_broken_pictures_the_option_changes_nothing(pets, monkeypatch):
    first = load_data(str(pets), skip_broken=True)
    assert first.left_out == ()
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    assert_same(load_data(str(pets)), first)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_loses_all_its_pictures_is_refused(pets, split):
    damage(pets, *(f"{split}/dog/{row}.png" for row in range(8)))
    with pytest.raises(DataError, match=rf"needs a picture.*Received: none of dog among the {split} images"):
        load_data(str(pets), skip_broken=True)
