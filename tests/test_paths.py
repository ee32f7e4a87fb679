import pwd
from pathlib import Path

import pytest

from cifarnet import paths
from cifarnet.errors import NoHomeError

VARIABLES = ("CIFARNET_CACHE", "CIFARNET_WEIGHTS", "KERAS_HOME", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_account(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize(
    ("path", "name"),
    [(".", "here"), ("", "here"), ("..", "above"), ("in/..", "here"), ("in/.", "in"), ("a/b.npz", "b.npz"), ("/", "/")],
)
def test_a_folder_is_called_by_its_name_also_from_inside(tmp_path, monkeypatch, path, name):
    (tmp_path / "above/here/in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above/here")
    assert paths.last_name(path) == name


def test_the_folders_are_the_platforms(monkeypatch):
    import platformdirs

    monkeypatch.setenv("HOME", "/home/user")
    assert paths.cache_dir() == platformdirs.user_cache_path("cifarnet", appauthor=False)
    assert paths.weights_dir() == platformdirs.user_data_path("cifarnet", appauthor=False) / "weights"
    assert paths.keras_dir() == Path("/home/user/.keras")


@pytest.mark.usefixtures("no_account")
def test_an_account_without_home_has_no_folders():
    with pytest.raises(NoHomeError, match="Set CIFARNET_CACHE"):
        paths.cache_dir()
    with pytest.raises(NoHomeError, match="Set CIFARNET_WEIGHTS"):
        paths.weights_dir()
    assert paths.keras_dir() is None


@pytest.mark.usefixtures("no_account")
def test_variables_name_folders_without_a_home(monkeypatch):
    monkeypatch.setenv("CIFARNET_CACHE", "/data/cache")
    monkeypatch.setenv("CIFARNET_WEIGHTS", "/data/weights")
    monkeypatch.setenv("KERAS_HOME", "/data/keras")
    assert paths.cache_dir() == Path("/data/cache")
    assert paths.weights_dir() == Path("/data/weights")
    assert paths.keras_dir() == Path("/data/keras")


@pytest.mark.usefixtures("no_account")
def test_the_platforms_variables_name_folders_without_a_home(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/xdg")
    assert paths.cache_dir() == Path("/data/xdg/cifarnet")


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.chdir(tmp_path)
    assert paths.typed(Path("~/images")) == Path("/home/user/images")
    assert paths.typed(Path("~")) == Path("/home/user")


@pytest.mark.parametrize("name", ["~x", "~root", "~"])
def test_a_folder_whose_name_begins_with_a_tilde_is_that_folder(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert paths.typed(Path(name)) == tmp_path / name
    monkeypatch.setenv("CIFARNET_CACHE", name)
    assert paths.cache_dir() == tmp_path / name


def test_the_home_of_nobody_known_is_a_plain_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert paths.typed(Path("~no-such-user/images")) == tmp_path / "~no-such-user" / "images"
