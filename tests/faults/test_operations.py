import errno

import pytest

from tests.support.faults.disk import KILL
from tests.support.faults.operations import ACTIONS, downloads, forget, meet
from tests.support.serving import Server, running

pytestmark = pytest.mark.faults

FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "kill": KILL}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ACTIONS)
def test_a_fault_at_any_operation_leaves_old_or_new(name, fault, tmp_path, tried):
    counts = meet(ACTIONS[name], tmp_path, FAULTS[fault])
    assert counts.total() >= 8
    assert (counts["killed"] == counts.total()) is (fault == "kill")
    tried(f"each file operation of {name}: {fault}", counts.total(), "old or new, and done by the next call")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_operation_of_a_download(fault, tmp_path, tried):
    with running(Server()) as server:
        counts = meet(downloads(server), tmp_path, FAULTS[fault])
    assert counts.total() >= 15
    tried(f"each file operation of a download: {fault}", counts.total(), "old or new, and done by the next call")


@pytest.mark.parametrize("name", ACTIONS)
def test_a_power_cut_at_any_operation_leaves_old_or_new(name, tmp_path, tried):
    states = forget(ACTIONS[name], tmp_path)
    assert states >= 4
    tried(f"a power cut after each file operation of {name}", states, "old or new")
