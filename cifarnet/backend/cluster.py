"""The processes of a run on several machines, as the environment describes them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cifarnet.errors import BackendError
from cifarnet.json_files import shown

ADDRESSES, COUNT, INDEX = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
"""Keras's variables: the addresses of the processes, of which that of process 0 is used, their number, and the number
of this process from 0."""

# Those of a job step of SLURM (srun).
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
_DIGITS = 6
_JOB_DIGITS = 10
_ADDRESS = re.compile(r"(?P<host>[^\s:,]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
# SLURM gives no port. All processes must choose the same one, and different jobs on a machine different ones.
_FIRST_PORT, _PORTS = 61440, 4096


@dataclass(frozen=True)
class Cluster:
    """The processes of one training run.

    Attributes:
        address: host and port of process 0, which coordinates the others.
        processes: the number of processes.
        index: the number of this process, from 0.
    """

    address: str
    processes: int
    index: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self | None:
        """Return the cluster that Keras's or SLURM's variables describe; None for a process on its own.

        Raises:
            BackendError: when a variable is missing or invalid.
        """
        found = os.environ if environment is None else environment
        if any(name in found for name in (ADDRESSES, COUNT, INDEX)):
            if missing := [name for name in (ADDRESSES, COUNT, INDEX) if not found.get(name, "").strip()]:
                raise BackendError(
                    "A run on several processes needs three variables: the address of process 0"
                    f" ({ADDRESSES}=10.0.0.1:1234), the number of processes ({COUNT}=2) and the number of this process"
                    f" ({INDEX}=0). Missing: {', '.join(missing)}"
                )
            address = found[ADDRESSES].split(",")[0].strip()
            count, index = _whole(found, COUNT), _whole(found, INDEX)
            names = COUNT, INDEX
        elif all(name in found for name in _SLURM) and _whole(found, _SLURM[2]) > 1:
            port = _FIRST_PORT + _whole(found, _SLURM[0], _JOB_DIGITS) % _PORTS
            address = f"{_first_host(found[_SLURM[1]])}:{port}"
            count, index = _whole(found, _SLURM[2]), _whole(found, _SLURM[3])
            names = _SLURM[2], _SLURM[3]
        else:
            return None
        match = _ADDRESS.fullmatch(address)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise BackendError(f"{ADDRESSES} must be HOST:PORT, such as 10.0.0.1:1234. Received: {shown(address)}")
        if not 0 <= index < count:
            raise BackendError(
                f"{names[1]} must be 0 to {max(0, count - 1)}, below {names[0]}={count}. Received: {index}"
            )
        return cls(address, count, index) if count > 1 else None

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the run directory."""
        return self.index == 0

    def __str__(self) -> str:
        return f"process {self.index} of {self.processes} (process 0 is at {self.address})"


def _whole(found: Mapping[str, str], name: str, digits: int = _DIGITS) -> int:
    if not re.fullmatch(f"[0-9]{{1,{digits}}}", found[name].strip()):
        raise BackendError(f"The variable {name} must be a whole number. Received: {shown(found[name])}")
    return int(found[name])


def _first_host(nodes: str) -> str:
    """Return the first host of SLURM's list: ``gpu[003-005,9],other`` gives ``gpu003``."""
    match = re.match(r"(?P<name>[^\[,]+)(?:\[(?P<number>[0-9]+)[^\]]*\](?P<rest>[^,]*))?", nodes)
    if match is None:
        raise BackendError(f"The variable {_SLURM[1]} must be a list of hosts. Received: {shown(nodes)}")
    return match["name"] + (match["number"] or "") + (match["rest"] or "")
