"""The length of the fault tests, and the counts of what they tried.

    python -m pytest -m faults --scale 100 -n 0

tries 100 times as many mutants, kills and damaged files as the ordinary suite, and prints the counts at the end. The
random numbers depend on nothing but the test, so that a failure can be repeated.
"""

import pytest


@pytest.fixture
def scaled(request):
    """Return ``count`` times ``--scale``, at least ``least`` and at most ``most``."""

    def scaled(count, least=1, most=10**9):
        return min(max(round(count * request.config.getoption("scale")), least), most)

    return scaled


@pytest.fixture
def chunks(scaled):
    """Yield (count, seed) pairs whose counts sum to ``count`` times ``--scale``, at most ``most`` in one process."""

    def chunks(count, most=10_000):
        left, seed = scaled(count), 0
        while left > 0:
            yield min(left, most), seed
            left, seed = left - most, seed + 1

    return chunks


@pytest.fixture
def tried(record_property):
    """Record a row of the table of faults: what was tried, how often, and with what result."""

    def tried(fault, count, result):
        record_property("fault", (fault, f"{count:,}", result))

    return tried
