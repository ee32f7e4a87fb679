import pytest

from tests.support.faults.mutated import COUNTS, fuzz

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kind", COUNTS)
def test_mutated_files_are_read_or_refused_soon(kind, chunks, tried):
    for count, seed in chunks(COUNTS[kind]):
        counts = fuzz(kind, count, seed)
        assert counts["refused"] > count / 10
        assert counts["read"] + counts["refused"] == count
        assert counts["read"] > count / 100
        limits = f"the slowest {counts['slowest']:.1f} s, at most {counts['peak'] / 1e6:,.0f} MB"
        result = f"{counts['read']:,} read, {counts['refused']:,} refused; {limits}"
        tried(f"a mutated file of weights ({kind}), sealed again", count, result)
