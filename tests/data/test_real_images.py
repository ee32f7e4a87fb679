"""CIFAR-10 (JPEG-75), where CIFARNET_TEST_DATA names the folder that holds cifar10-jpeg75.tar.xz."""

import pytest

from cifarnet.data.sources import load_data
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization


@pytest.mark.slow
def test_the_jpeg_archive_gives_cifar10s_images_and_statistics(jpeg_archive):
    splits = load_data(str(jpeg_archive))
    assert splits.train.counts().tolist() == [5000] * 10
    assert splits.test.counts().tolist() == [1000] * 10
    assert splits.train.class_names == CIFAR10_CLASSES
    normalization = Normalization.of(splits.train.images)
    assert normalization.mean == pytest.approx(120.69, abs=0.01)
    # The lossless images have 64.15: JPEG takes away some of the finest detail.
    assert normalization.std == pytest.approx(63.86, abs=0.01)
