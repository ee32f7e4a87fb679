"""The record of an examination, as plain data."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from cifarnet.doctor.privacy import without_private_names


@dataclass(frozen=True)
class Machine:
    """The program, the system and the hardware.

    Attributes:
        cifarnet: its version.
        python: the version of Python, and the kind of its environment.
        system: the operating system.
        processor: its name.
        cores: the processor cores that the process may use.
        instructions: the instruction sets of the processor that decide the speed; empty where unknown.
        bfloat16: whether the processor multiplies bfloat16.
        memory: the bytes of memory that the process may use; None where unknown.
        available: the bytes of it that are free; None where unknown.
    """

    cifarnet: str
    python: str
    system: str
    processor: str
    cores: int
    instructions: tuple[str, ...]
    bfloat16: bool
    memory: int | None
    available: int | None


@dataclass(frozen=True)
class Folder:
    """A folder that cifarnet writes to.

    Attributes:
        purpose: what for.
        path: its path; None for an account without a home folder.
        free: the free bytes of its disk; None where unknown.
        writable: whether the process can write there.
    """

    purpose: str
    path: str | None
    free: int | None
    writable: bool


@dataclass(frozen=True)
class Package:
    """A package that cifarnet uses.

    Attributes:
        name: its name in package indexes.
        version: the installed version; None where it is missing.
        least: the lowest version that cifarnet works with.
        purpose: what it is for; None for one that cifarnet always needs.
    """

    name: str
    version: str | None
    least: str
    purpose: str | None

    @property
    def is_old(self) -> bool:
        """Whether the installed version is lower than cifarnet needs."""
        found = _numbers(self.version or "")
        return bool(found) and found < _numbers(self.least)


@dataclass(frozen=True)
class Nvidia:
    """What is known about NVIDIA's hardware and software without loading its driver.

    Attributes:
        hardware: whether there is a GPU.
        driver: the version of the driver; None where it is not loaded.
        packages: the versions of the installed CUDA packages, by name.
        visible_devices: the variable CUDA_VISIBLE_DEVICES, or None.
    """

    hardware: bool
    driver: str | None
    packages: dict[str, str]
    visible_devices: str | None


@dataclass(frozen=True)
class Variable:
    """A variable of the environment that changes what is chosen or computed.

    Attributes:
        name: its name.
        value: its value; None where it may be secret.
        ignored: whether the command line ignores it, because it would change numbers.
    """

    name: str
    value: str | None
    ignored: bool


@dataclass(frozen=True)
class SelfTest:
    """The outcome of a self-test.

    Attributes:
        passed: whether nothing was wrong.
        seconds: the time that it took; None when it failed.
        steps: the training steps.
        loss_before: the cross-entropy of the initial weights; None where it is not finite.
        loss_after: that of the trained weights.
        difference: the largest difference from the reference's logits, relative to their largest; None when they were
            not compared.
        tolerance: the largest difference that passes.
        reference: what the logits were compared with.
        why: the reason for the tolerance.
        problem: what is wrong.
    """

    passed: bool
    seconds: float | None
    steps: int
    loss_before: float | None
    loss_after: float | None
    difference: float | None
    tolerance: float
    reference: str
    why: str
    problem: str | None = None


@dataclass(frozen=True)
class DeviceState:
    """A device that a backend sees, and how cifarnet would train on it.

    Attributes:
        name: its name.
        kind: "cpu" or "gpu".
        chosen: whether the backend computes on it, rather than on another one.
        precision: the data type of feature maps.
        precision_reason: why.
        jit: whether XLA compiles the training step.
        jit_reason: why.
        test: the self-test; None where it was left out.
    """

    name: str
    kind: str
    chosen: bool
    precision: str
    precision_reason: str
    jit: bool
    jit_reason: str
    test: SelfTest | None


@dataclass(frozen=True)
class BackendState:
    """A Keras backend.

    Attributes:
        name: its name.
        version: the installed version; None where it is not installed.
        chosen: whether commands use it when no other is given.
        seconds: the time that its start took; None when it did not start.
        devices: the devices that it sees.
        problem: why it can't be used.
    """

    name: str
    version: str | None
    chosen: bool
    seconds: float | None = None
    devices: tuple[DeviceState, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class EngineState:
    """An engine, which computes logits for ``predict`` and ``evaluate``.

    Attributes:
        name: its name.
        package: the package that it runs on.
        version: the installed version; None where it is not installed.
        chosen: whether commands use it when no other is given.
        reason: why it is chosen; None for the others.
        difference: the largest difference from the reference's logits, relative to their largest; None when they were
            not compared.
        tolerance: the largest difference that passes.
        reference: what the logits were compared with; None when they were not compared.
        problem: why it can't be used.
    """

    name: str
    package: str
    version: str | None
    chosen: bool
    reason: str | None
    difference: float | None = None
    tolerance: float | None = None
    reference: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or missing.

    Attributes:
        text: what, in sentences.
        command: the shell command that mends it, or None.
        failure: whether something that is installed does not work. Otherwise it is a note.
    """

    text: str
    command: str | None = None
    failure: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Everything that ``cifarnet doctor`` shows.

    Attributes:
        machine: the program, the system and the hardware.
        folders: where cifarnet writes to.
        packages: the packages that it needs or can use.
        nvidia: NVIDIA's hardware and software.
        variables: variables of the environment.
        backends: the Keras backends.
        engines: the engines.
        findings: what is wrong or missing.
        tested: whether the self-tests ran.
    """

    machine: Machine
    folders: tuple[Folder, ...]
    packages: tuple[Package, ...]
    nvidia: Nvidia
    variables: tuple[Variable, ...]
    backends: tuple[BackendState, ...]
    engines: tuple[EngineState, ...]
    findings: tuple[Finding, ...] = ()
    tested: bool = True

    @property
    def failed(self) -> bool:
        """Whether something that is installed does not work."""
        return any(finding.failure for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data, without the user's home folder and name."""
        return without_private_names({**asdict(self), "failed": self.failed})


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: (3, 15, 1) for ``3.15.1rc1``."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
