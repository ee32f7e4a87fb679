"""Named weights that are replaced while they are read, by processes that are killed."""

import os
import signal
import time

import numpy as np
import pytest

from cifarnet.weights import catalog
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import INDEX
from tests.support.faults.saves import checkpoint

pytestmark = pytest.mark.faults


def forked(work):
    """Do ``work`` again and again in a forked process; return its number."""
    child = os.fork()
    if not child:
        try:
            while True:
                work()
        finally:
            os._exit(1)
    return child


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.fixture
def replace(tmp_path):
    """A function that gives the name "mine" to other weights, and back, and the SHA-256 of both."""
    sources = [tmp_path / f"{step}.h5" for step in (1, 2)]
    for step, source in enumerate(sources, start=1):
        save_weights(source, checkpoint(step).weights)
    catalog.add(sources[0], "mine")

    def replace():
        for source in (sources[1], sources[0]):
            catalog.add(source, "mine", replace=True)

    return replace, {checkpoint(step).weights.sha256() for step in (1, 2)}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_killed_replacement_leaves_old_or_new(replace, scaled, tried):
    again, known = replace
    rng = np.random.default_rng(0)
    began = time.monotonic()
    again()
    whole = time.monotonic() - began
    for _ in range(scaled(5)):
        child = forked(again)
        time.sleep(float(rng.uniform(0, 2 * whole)))
        kill(child)
        assert catalog.load("mine").sha256() in known
    again()
    entry = catalog.entries()["mine"]
    left = {path.name for path in entry.path.parent.iterdir()}
    assert left - {".lock"} == {INDEX, entry.path.name}
    tried("weights add --replace killed at a random moment", scaled(5), "old or new; nothing left over")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_weights_are_read_while_they_are_replaced(replace, scaled, tried):
    again, known = replace
    child = forked(again)
    try:
        for number in range(scaled(150)):
            assert catalog.find("mine").name.startswith("mine.")
            assert number % 50 or catalog.load("mine").sha256() in known
    finally:
        kill(child)
    tried("reading named weights while they are replaced", scaled(150), "all read")
