import os
import re

import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from tests.support.datasets import assert_same, binary_layout, python_layout


def test_a_missing_path_names_what_a_source_can_be(tmp_path):
    forms = "cifar10, cifar100, cifar100-coarse, synthetic, synthetic:N"
    with pytest.raises(DataError, match=rf"no file or folder .*nowhere.*{forms}"):
        load_data(str(tmp_path / "nowhere"))


def test_an_empty_folder_names_the_known_layouts(tmp_path):
    with pytest.raises(DataError, match=r"no known layout.*binary.*Python.*npz.*image folder"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"some text"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=r"neither a folder nor a tar, zip or .npz file"):
        load_data(str(tmp_path / "file"))


@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_source_is_refused_rather_than_guessed(source):
    with pytest.raises(InvalidValueError, match="source is empty"):
        load_data(source)


@pytest.mark.parametrize("source", ["synthetic", "synthetic:100", "cifar10:some/path", "some/path"])
def test_mirrors_for_data_that_is_not_downloaded_are_refused(source):
    message = r"`mirrors` are addresses to download cifar10, cifar100 or cifar100-coarse from\..*Received: "
    with pytest.raises(InvalidValueError, match=message + re.escape(source)) as refusal:
        load_data(source, mirrors=["https://user:secret@example.org"])
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar.gz", "PETS.TGZ", "digits.npz"])
def test_a_folder_that_holds_an_archive_names_it(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"archive")
    with pytest.raises(DataError, match=rf"no known layout.*give its path: {tmp_path}/data/{name}"):
        load_data(str(tmp_path / "data"))


@pytest.mark.parametrize("layout", [binary_layout, python_layout])
def test_an_official_layout_is_found_below_outer_folders(tmp_path, layout):
    made = layout(tmp_path / "inner" / "data" / "cifar")
    (tmp_path / "inner" / "README").touch()
    assert_same(load_data(str(tmp_path / "inner")), load_data(str(made)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load_data(tmp_path / "pipe")
