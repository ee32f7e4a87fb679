import errno

import pytest

from tests.support.faults.disk import KILL
from tests.support.faults.operations import ACTIONS, downloads, forget, meet
from tests.support.serving import Server, running

TRIED = (errno.ENOSPC, KILL)
"""benchmarks/faults.py tries EIO too."""


@pytest.mark.parametrize("fault", TRIED, ids=["ENOSPC", "kill"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_fault_at_any_operation_leaves_old_or_new(name, fault, tmp_path):
    counts = meet(ACTIONS[name], tmp_path, fault)
    assert counts.total() >= 8
    assert (counts["killed"] == counts.total()) is (fault == KILL)


@pytest.mark.parametrize("fault", TRIED, ids=["ENOSPC", "kill"])
def test_a_fault_at_any_operation_of_a_download(fault, tmp_path):
    with running(Server()) as server:
        assert meet(downloads(server), tmp_path, fault).total() >= 15


@pytest.mark.parametrize("name", ACTIONS)
def test_a_power_cut_at_any_operation_leaves_old_or_new(name, tmp_path):
    assert forget(ACTIONS[name], tmp_path) >= 4
