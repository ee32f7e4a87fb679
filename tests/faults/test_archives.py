import resource

import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.data.making import assert_same
from tests.faults.archives import CRAFTED, INNOCENT, ONE_MORE, picture


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_archive_writes_nothing_and_reads_nothing_outside(name, tmp_path):
    make, suffix, outcome = CRAFTED[name]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(picture())
    archive = tmp_path / f"crafted.{suffix}"
    make(archive, outside)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if outcome == INNOCENT:
        assert_same(load_data(str(archive)), load_data(str(outside / "innocent")))
    elif outcome == ONE_MORE:
        assert len(load_data(str(archive)).train) == len(load_data(str(outside / "innocent")).train) + 1
    else:
        with pytest.raises(DataError, match=archive.name):
            load_data(str(archive))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 150 * 1024  # KiB
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_more_than_twelve_are_tried():
    assert len(CRAFTED) >= 12
