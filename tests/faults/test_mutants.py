import pytest

from tests.support.faults.mutants import KINDS, fuzz


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_that_are_mutated_are_good(kind, tmp_path):
    for content in KINDS[kind].good():
        (tmp_path / "good").write_bytes(content)
        KINDS[kind].read(tmp_path / "good")


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind):
    counts = fuzz(kind, 300)
    assert counts["read"] + counts["refused"] == 300
    assert min(counts["read"], counts["refused"]) > 0
