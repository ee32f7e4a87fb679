import resource

import pytest

from tests.faults.archives import CRAFTED, check, picture


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
    check(archive, outside, outcome)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 150 * 1024  # KiB
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_more_than_twelve_are_tried():
    assert len(CRAFTED) >= 12
