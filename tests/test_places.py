import os
from pathlib import Path

import pytest

from cifarnet import places


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with a folder of images, where the test stands."""
    (tmp_path / "project/images").mkdir(parents=True)
    (tmp_path / "project/runs/a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return Path(os.path.realpath(tmp_path / "project"))


@pytest.mark.parametrize("source", ["cifar10", "synthetic", "synthetic:200"])
def test_built_in_data_have_no_path(home, source):
    (home / source).mkdir()
    assert places.of_data(source) is None


@pytest.mark.parametrize("text", ["images", "./images", "images/", "../project/images", "link"])
def test_a_path_is_absolute_and_without_links(home, text):
    (home / "link").symlink_to("images")
    assert places.of_data(text) == str(home / "images")


def test_a_folder_called_as_a_home_is_a_folder(home):
    (home / "~nobody-here").mkdir()
    assert places.of_data("~nobody-here") == str(home / "~nobody-here")
    assert places.of_data("~no-such-user/images") == str(home / "~no-such-user/images")


def test_weights_that_are_nowhere_are_a_name(home):
    assert places.of_weights("resnet20") is None
    assert places.of_weights("runs/a") == str(home / "runs/a")


@pytest.mark.parametrize("run", ["runs/a", None])
def test_what_is_still_there_is_found_there(home, monkeypatch, tmp_path, run):
    (tmp_path / "elsewhere/images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert places.find("images", str(home / "images"), run and home / run) == str(home / "images")


def test_a_moved_project_is_found_by_its_run(home, monkeypatch, tmp_path):
    home.rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    found = places.find("images", str(home / "images"), tmp_path / "moved/runs/a")
    assert found == os.path.realpath(tmp_path / "moved/images")


def test_what_was_typed_as_absolute_path_looked_for_nowhere_else(home):
    assert places.find(str(home / "gone"), str(home / "gone"), home / "runs/a") is None


def test_neither_a_pipe_nor_a_device_is_data(home):
    os.mkfifo(home / "pipe")
    assert places.find("pipe", str(home / "pipe")) is None
    assert places.find("/dev/zero", "/dev/zero") is None


def test_a_name_longer_than_any_file_has_no_place():
    assert places.of_weights("x" * 300) is None
    assert places.find("x" * 300, f"/{'y' * 300}") is None
