import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cifarnet.data.download import RemoteFile
from cifarnet.data.inventory import copies, summarize, take_inventory
from cifarnet.data.official_names import CIFAR10
from cifarnet.data.sources import load_data
from tests.support.datasets import image_folder, python_layout

ARCHIVE = RemoteFile("a.tar.gz", "http://example.org/a.tar.gz", 6, hashlib.sha256(b"intact").hexdigest())
SMALL = replace(CIFAR10, archive=ARCHIVE)


def test_an_empty_cache_has_nothing(cache):
    inventory = take_inventory()
    assert inventory.cache == str(cache)
    assert [each.source for each in inventory.datasets] == ["cifar10", "cifar100"]
    for each in inventory.datasets:
        assert Path(each.archive_path).parent == cache
        assert each.checksum_holds is None
        assert (each.archive_bytes, each.partial_bytes) == (0, 0)
        assert each.keras_copy is None
    assert inventory.decoded == ()


def test_the_checksum_of_the_archive_is_reported(cache):
    cache.mkdir()
    (cache / "a.tar.gz").write_bytes(b"intact")
    assert copies("a", SMALL).checksum_holds is True
    (cache / "a.tar.gz").write_bytes(b"intacT")
    assert copies("a", SMALL).checksum_holds is False
    (cache / "a.tar.gz.part").write_bytes(b"int")
    assert copies("a", SMALL).partial_bytes == 3


def test_decoded_sets_and_the_copy_of_keras_are_listed(tmp_path):
    source = image_folder(tmp_path / "pets")
    load_data(str(source))
    keras = python_layout(tmp_path / "keras" / "datasets" / "cifar-10-batches-py")
    inventory = take_inventory()
    (held,) = inventory.decoded
    assert held.source == str(source)
    assert held.bytes > 10 * 3072
    assert inventory.datasets[0].keras_copy == str(keras)
    assert json.loads(json.dumps(inventory.to_dict()))["decoded"][0]["source"] == str(source)


def test_a_damaged_decoded_set_is_listed_as_such(tmp_path, cache):
    load_data(str(image_folder(tmp_path / "pets")))
    next((cache / "decoded").iterdir()).write_bytes(b"")
    assert take_inventory().decoded[0].source == "damaged"


def test_summary_holds_counts_and_statistics_of_training_images(tmp_path):
    splits = load_data(str(image_folder(tmp_path / "pets")))
    summary = summarize("pets", splits)
    assert summary.classes == ("cat", "dog")
    assert (summary.train_counts, summary.test_counts) == ((3, 3), (2, 2))
    assert summary.image_size == 32
    np.testing.assert_allclose([summary.mean, summary.std], [splits.train.images.mean(), splits.train.images.std()])
    assert summary.to_dict()["train_images"] == 6
    assert json.dumps(summary.to_dict())
