import pytest

from tests.support.faults.archives import CRAFTED, try_crafted

pytestmark = pytest.mark.faults


@pytest.mark.slow
@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_archive_writes_nothing_reads_nothing_outside(name, tmp_path):
    assert try_crafted(name, tmp_path) < 16 << 20


def test_more_than_twelve_are_tried():
    assert len(CRAFTED) >= 12
