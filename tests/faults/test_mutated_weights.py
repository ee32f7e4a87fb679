import pytest

from tests.support.faults.mutated import COUNTS, fuzz


@pytest.mark.parametrize("kind", COUNTS)
def test_mutated_files_are_read_or_refused_soon(kind):
    counts = fuzz(kind, COUNTS[kind])
    assert counts["refused"] > COUNTS[kind] / 10
    assert counts["read"] > 0
