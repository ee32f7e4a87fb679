"""CIFAR-10 (JPEG-75), where CIFARNET_TEST_DATA names the folder that holds cifar10-jpeg75.tar.xz."""

import os
from pathlib import Path

import pytest

from cifarnet.data.sources import load_data
from cifarnet.models.spec import CIFAR10_CLASSES, Normalization

ARCHIVE = Path(os.environ.get("CIFARNET_TEST_DATA", "")) / "cifar10-jpeg75.tar.xz"


@pytest.mark.slow
@pytest.mark.skipif("CIFARNET_TEST_DATA" not in os.environ, reason="needs CIFARNET_TEST_DATA")
def test_the_jpeg_archive_gives_cifar10s_images_and_statistics():
    splits = load_data(str(ARCHIVE))
    assert splits.train.counts().tolist() == [5000] * 10
    assert splits.test.counts().tolist() == [1000] * 10
    assert splits.train.class_names == CIFAR10_CLASSES
    normalization = Normalization.of(splits.train.images)
    assert normalization.mean == pytest.approx(120.69, abs=0.01)
    # The lossless images have 64.15: JPEG takes away some of the finest detail.
    assert normalization.std == pytest.approx(63.86, abs=0.01)
