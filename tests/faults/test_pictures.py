import pytest

from cifarnet.data.images import read_image
from tests.support.faults.pictures import fuzz, seeds

pytestmark = pytest.mark.faults


def test_the_pictures_that_are_mutated_are_good():
    assert len(seeds()) > 20
    for content in seeds():
        assert read_image(content).shape == (32, 32, 3)


@pytest.mark.slow
def test_ten_thousand_mutated_pictures_are_read_or_refused(chunks, tried):
    for count, seed in chunks(10_000, most=100_000):
        counts = fuzz(count, seed)
        assert counts["read"] + counts["refused"] == count
        assert min(counts["read"], counts["refused"]) > count / 10
        result = f"{counts['read']:,} read, {counts['refused']:,} refused; the slowest {counts['slowest']:.1f} s"
        tried("a mutated picture", count, result)
