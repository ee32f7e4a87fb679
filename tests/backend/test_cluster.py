import pytest

from cifarnet.backend.cluster import Cluster
from cifarnet.errors import BackendError

KERAS = {
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:1234",
    "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    "KERAS_DISTRIBUTION_PROCESS_ID": "1",
}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "gpu[003-005,9],other",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "0",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (KERAS, Cluster("10.0.0.1:1234", 2, 1)),
        ({**KERAS, "KERAS_DISTRIBUTION_NUM_PROCESSES": "1", "KERAS_DISTRIBUTION_PROCESS_ID": "0"}, None),
        (SLURM, Cluster("gpu003:61441", 4, 0)),
        ({**SLURM, "SLURM_JOB_ID": "4294967295"}, Cluster("gpu003:65535", 4, 0)),
        ({**SLURM, "SLURM_STEP_NODELIST": "node7,node9"}, Cluster("node7:61441", 4, 0)),
        ({**SLURM, "SLURM_STEP_NODELIST": "rack[1-2]-a"}, Cluster("rack1-a:61441", 4, 0)),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_JOB_ID": "5", "SLURM_NTASKS": "4"}, None),
        ({**SLURM, **KERAS}, Cluster("10.0.0.1:1234", 2, 1)),
    ],
)
def test_cluster_is_read_from_the_environment(environment, expected):
    assert Cluster.from_environment(environment) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"KERAS_DISTRIBUTION_PROCESS_ID": ""}, "Missing: KERAS_DISTRIBUTION_PROCESS_ID"),
        ({"KERAS_DISTRIBUTION_PROCESS_ID": "2"}, "must be 0 to 1.*Received: 2"),
        ({"KERAS_DISTRIBUTION_PROCESS_ID": "-1"}, "must be a whole number.*-1"),
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "two"}, 'must be a whole number. Received: "two"'),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1"}, "must be HOST:PORT"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:99999"}, "must be HOST:PORT"),
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "0"}, "must be 0 to 0"),
    ],
)
def test_invalid_variables_are_refused(change, message):
    with pytest.raises(BackendError, match=message):
        Cluster.from_environment({**KERAS, **change})


def test_process_0_writes():
    assert [Cluster("a:1", 2, index).is_writer for index in (0, 1)] == [True, False]
