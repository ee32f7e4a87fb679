import pytest

from cifarnet.data.images import read_image
from tests.support.faults.pictures import fuzz, seeds


def test_the_pictures_that_are_mutated_are_good():
    assert len(seeds()) > 20
    for content in seeds():
        assert read_image(content).shape == (32, 32, 3)


@pytest.mark.slow
def test_ten_thousand_mutated_pictures_are_read_or_refused():
    counts = fuzz(10_000)
    assert counts["read"] + counts["refused"] == 10_000
    assert min(counts["read"], counts["refused"]) > 1000
