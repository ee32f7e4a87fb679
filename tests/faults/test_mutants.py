import pytest

from tests.support.faults.mutants import KINDS, fuzz

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_that_are_mutated_are_good(kind, tmp_path):
    for content in KINDS[kind].good():
        (tmp_path / "good").write_bytes(content)
        KINDS[kind].read(tmp_path / "good")


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind, chunks, tried):
    for count, seed in chunks(300):
        counts = fuzz(kind, count, seed)
        assert counts["read"] + counts["refused"] == count
        assert min(counts["read"], counts["refused"]) > 0
        limits = f"the slowest {counts['slowest']:.1f} s, at most {counts['peak']:,.0f} MB"
        tried(f"a mutated {kind} file", count, f"{counts['read']:,} read, {counts['refused']:,} refused; {limits}")
