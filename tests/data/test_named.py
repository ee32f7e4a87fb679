import sys
from types import ModuleType

import numpy as np
import pytest

from cifarnet import places
from cifarnet.data import named
from cifarnet.data.dataset import Dataset, Parts
from cifarnet.data.named import NAMED, NamedSource, find_named
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError


@pytest.mark.parametrize(
    ("source", "name", "argument"),
    [
        ("cifar10", "cifar10", ""),
        ("cifar100-coarse:a:b", "cifar100-coarse", "a:b"),
        ("synthetic", "synthetic", ""),
        ("synthetic:50", "synthetic", "50"),
    ],
)
def test_a_name_is_found_with_its_argument(source, name, argument):
    assert find_named(source) == (NAMED[name], argument)


@pytest.mark.parametrize("source", ["./cifar10", "./cifar10:5", "cifar11:5", "images", "CIFAR10", ""])
def test_other_texts_are_paths(source):
    assert find_named(source) is None
    assert not places.is_name(source)


def test_a_named_source_is_a_module_and_a_row(monkeypatch):
    module = ModuleType("grey")
    images = np.full((3, 32, 32, 3), 128, np.uint8)

    def open_source(argument, image_size, seed, mirrors, report):
        count = int(argument)
        part = Dataset(images[:count, :image_size, :image_size], np.arange(count, dtype=np.int32) % 2, ("a", "b"))
        return Parts(part, part)

    module.open_source = open_source
    monkeypatch.setitem(sys.modules, "grey", module)
    monkeypatch.setitem(named.NAMED, "grey", NamedSource("grey:N", "grey"))
    splits = load_data("grey:2")
    assert (len(splits.train), splits.test.class_names) == (2, ("a", "b"))
    assert places.of_data("grey:2") is None


def test_an_unknown_path_names_the_sources(tmp_path):
    with pytest.raises(
        DataError, match=r"cifar10, cifar100, cifar100-coarse, synthetic, synthetic:N \(N training images\) or the path"
    ):
        load_data(tmp_path / "nowhere")


def test_a_path_after_a_name_is_recorded_and_found(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    recorded = places.of_data("cifar100-coarse:files")
    assert recorded == f"cifar100-coarse:{tmp_path.resolve() / 'files'}"
    assert places.find("cifar100-coarse:files", recorded) == recorded
    assert places.of_data("cifar100-coarse") is None
    moved = recorded.replace("/files", "/moved/files")
    assert not places.is_there(moved)
    assert places.find("cifar100-coarse:files", moved) == recorded
    assert places.find("cifar100-coarse:other", moved) is None
