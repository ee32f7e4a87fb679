import pytest

from tests.faults.mutants import KINDS, fuzz


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind):
    counts = fuzz(kind, 300)
    assert counts["read"] + counts["refused"] == 300
    assert min(counts["read"], counts["refused"]) > 10
