"""Examine the installation: collect facts, run the self-tests, and conclude what is wrong or missing."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from cifarnet.backend.gpus import GpuFacts
from cifarnet.backend.select import choose_backend
from cifarnet.choices import BACKENDS
from cifarnet.data.progress import Progress, silent
from cifarnet.doctor import machine
from cifarnet.doctor.diagnosis import (
    BackendState,
    DeviceState,
    Diagnosis,
    EngineState,
    Finding,
    Folder,
    Machine,
    Package,
    SelfTest,
)
from cifarnet.doctor.machine import CACHE, TEMPORARY, WEIGHTS, distribution_of
from cifarnet.doctor.probe import packed, unpacked
from cifarnet.doctor.processes import PATIENCE, ProbeError, run_probe
from cifarnet.doctor.selftest import IMAGES, RECIPE, sample_images, untrained_weights
from cifarnet.errors import CifarnetError
from cifarnet.evaluation.metrics import cross_entropy
from cifarnet.inference.engines import ENGINES, automatic_engine
from cifarnet.installation import install_command

TOLERANCES = {
    "cpu": (1e-4, "float32 rounds differently in each library"),
    "gpu": (1e-2, "GPUs multiply float32 as TF32, with 10 of its 23 bits"),
}
"""The largest difference of logits that passes, relative to the largest logit, by kind of device, and its reason."""

REFERENCE = "onnx"
"""The engine whose logits others are compared with. It runs on the CPU and shares no code with Keras."""

PROBED = tuple(name for name in ENGINES if name != "keras")
"""The engines that are examined on their own. Keras is examined with its backends."""

# The images of CIFAR-10 take 0.35 GB, packed and decoded.
_LITTLE_SPACE = 1e9
_LITTLE_MEMORY = 2e9

_FOLDER_VARIABLES = {CACHE: "CIFARNET_CACHE", WEIGHTS: "CIFARNET_WEIGHTS", TEMPORARY: "TMPDIR"}

Probe = Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]


def examine(
    *, test: bool = True, report: Progress = silent, patience: float = PATIENCE, probe: Probe | None = None
) -> Diagnosis:
    """Return the state of the installation.

    Args:
        test: whether to train on each device and compare logits, which takes about ten seconds a device.
        report: receives the progress.
        patience: the seconds without a sign of life after which a backend or engine counts as broken.
        probe: examines a backend or an engine, by default in a process of its own.
    """
    packages, folders, facts = machine.packages(), machine.folders(), GpuFacts.collect()
    versions = {package.name: package.version for package in packages}
    chosen, refusal = _chosen_backend()
    findings = [*refusal, *_folder_findings(folders), *_package_findings(packages)]
    installed = [name for name in BACKENDS if versions[name] is not None]
    probes = len(installed) + sum(versions[ENGINES[name].requires] is not None for name in PROBED)
    prober = _Prober(probe or partial(run_probe, patience=patience), report, probes)

    backends = {name: BackendState(name, versions[name], name == chosen) for name in BACKENDS}
    answers: dict[str, dict[str, Any]] = {}
    for name in installed:
        try:
            activity = f"{'Testing' if test else 'Starting'} {name}"
            answers[name] = prober.run({"kind": "backend", "name": name, "test": test}, activity)
        except ProbeError as error:
            backends[name] = replace(backends[name], problem=str(error))
            findings.append(_probe_finding(f"The backend {name}", error, name))

    tensors = [test["tensors"] for answer in answers.values() for test in _tests(answer)]
    engines, logits, broken = _examine_engines(prober, versions, tensors or [packed(untrained_weights().tensors)])
    findings += broken
    references = iter(logits)
    for name, answer in answers.items():
        backends[name] = _with_devices(backends[name], answer, references)
        findings += _device_findings(backends[name], answer)
    found = machine.machine()
    findings += _memory_findings(found)
    return Diagnosis(
        machine=found,
        folders=folders,
        packages=packages,
        nvidia=machine.nvidia(facts),
        variables=machine.variables(),
        backends=tuple(backends.values()),
        engines=tuple(engines),
        findings=tuple(sorted(findings, key=lambda finding: not finding.failure)),
        tested=test,
    )


class _Prober:
    """Runs probes one after the other, and reports how many of the ``total`` are finished."""

    def __init__(self, probe: Probe, report: Progress, total: int):
        self._probe, self._report, self._total = probe, report, total
        self._done = 0

    def run(self, request: dict[str, Any], activity: str) -> dict[str, Any]:
        """Return the result of a probe.

        Raises:
            ProbeError: when there is none.
        """
        done, self._done = self._done, self._done + 1
        self._report(activity, done, self._total)
        return self._probe(request, lambda device: self._report(f"{activity} on {device}", done, self._total))


def _chosen_backend() -> tuple[str | None, list[Finding]]:
    """Return the backend that commands use, or None and the finding that says why there is none."""
    try:
        return choose_backend(), []
    except CifarnetError as error:
        return None, [Finding(str(error), failure=True)]


def _tests(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outcomes of a backend's trainings that gave weights."""
    return [device["test"] for device in answer["devices"] if device["test"] and "tensors" in device["test"]]


def _examine_engines(
    prober: _Prober, versions: dict[str, str | None], tensors: list[str]
) -> tuple[list[EngineState], list[np.ndarray], list[Finding]]:
    """Return the states of the engines, the reference's logits for each of ``tensors``, and what is broken.

    There are no logits when the reference is broken or missing.
    """
    chosen, reason = automatic_engine()
    states, findings, reference = [], [], list[np.ndarray]()
    for name, row in ENGINES.items():
        is_chosen = name == chosen
        state = EngineState(name, row.requires, versions[row.requires], is_chosen, reason if is_chosen else None)
        if name in PROBED and state.version is not None:
            asked = tensors if name == REFERENCE else tensors[:1]
            try:
                answer = prober.run({"kind": "engine", "name": name, "tensors": asked}, f"Testing {name}")
                logits = [unpacked(text)["logits"] for text in answer["logits"]]
                if name == REFERENCE:
                    reference = logits
                elif reference:
                    state = _compared(state, logits[0], reference[0])
                if state.problem:
                    findings.append(_broken(f"The engine {name}", state.problem, row.requires))
            except ProbeError as error:
                state = replace(state, problem=str(error))
                findings.append(_probe_finding(f"The engine {name}", error, row.requires))
        states.append(state)
    return states, reference, findings


def _compared(state: EngineState, logits: np.ndarray, reference: np.ndarray) -> EngineState:
    tolerance, _ = TOLERANCES["cpu"]
    difference = _difference(logits, reference)
    return replace(
        state,
        difference=difference,
        tolerance=tolerance,
        reference=f"the engine {REFERENCE}",
        problem=_differs(difference, tolerance, f"the engine {REFERENCE}"),
    )


def _with_devices(state: BackendState, answer: dict[str, Any], references: Iterator[np.ndarray]) -> BackendState:
    """Return ``state`` with its devices. ``references`` has the reference's logits of each training, in their order."""
    devices = []
    for found in answer["devices"]:
        test = found["test"]
        outcome = None if test is None else _outcome(test, found["kind"], references)
        kept = {name: value for name, value in found.items() if name not in ("advice", "test")}
        devices.append(DeviceState(**kept, test=outcome))
    return replace(state, seconds=answer["seconds"], devices=tuple(devices))


def _outcome(test: dict[str, Any], kind: str, references: Iterator[np.ndarray]) -> SelfTest:
    """Return the outcome of a training: the loss falls, and the logits are those of the reference."""
    tolerance, why = TOLERANCES[kind]
    reference = f"the engine {REFERENCE} on the CPU"
    if "error" in test:
        return SelfTest(False, None, 0, None, None, None, tolerance, reference, why, f"fails: {test['error']}")
    labels = sample_images().labels
    logits = unpacked(test["logits"])["logits"]
    before, after = (_loss(each, labels) for each in (unpacked(test["before"])["before"], logits))
    expected = next(references, None)
    difference = None if expected is None else _difference(logits, expected)
    problem = None
    if before is None or after is None:
        problem = "gives a loss that is NaN or infinite"
    elif after >= before:
        problem = f"does not learn: the loss was {before:.3f} before the training and is {after:.3f} after it"
    elif difference is not None:
        problem = _differs(difference, tolerance, reference)
    steps = RECIPE.total_steps(IMAGES)
    return SelfTest(
        problem is None, test["seconds"], steps, before, after, difference, tolerance, reference, why, problem
    )


def _loss(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the cross-entropy of ``logits``; None when it is not finite."""
    loss = float(cross_entropy(logits, labels)) if np.isfinite(logits).all() else math.nan
    return loss if math.isfinite(loss) else None


def _difference(logits: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the largest difference relative to the reference's largest logit; None when it is not finite."""
    found = float(np.abs(logits - reference).max() / np.abs(reference).max())
    return found if math.isfinite(found) else None


def _differs(difference: float | None, tolerance: float, reference: str) -> str | None:
    """Return the problem of logits that differ too much, or None."""
    if difference is not None and difference <= tolerance:
        return None
    size = "NaN or infinite" if difference is None else f"{difference:.1e} of the largest logit"
    return f"computes other logits than {reference}: they differ by {size}, and {tolerance:.0e} is allowed"


def _probe_finding(what: str, error: ProbeError, package: str) -> Finding:
    """Return the finding that examining ``what``, which runs on ``package``, gave no result."""
    if error.advises:
        return _broken(what, str(error), None)
    culprit = error.culprit or package
    where = "" if culprit == package else f", in the package {culprit},"
    return _broken(f"{what}{where}", str(error), distribution_of(culprit))


def _broken(what: str, problem: str, package: str | None) -> Finding:
    """Return the finding that ``what`` has a ``problem``. Installing ``package`` again may mend it."""
    command = install_command(package, again=True) if package else None
    return Finding(f"{what} {problem.rstrip('.')}.", command, failure=True)


def _device_findings(state: BackendState, answer: dict[str, Any]) -> Iterator[Finding]:
    """Yield the failed self-tests of a backend, and why it does not see a GPU of the machine."""
    for device in state.devices:
        if device.test and device.test.problem:
            yield _broken(f"The backend {state.name} on {device.name}", device.test.problem, state.name)
    if advice := answer["devices"][0]["advice"]:
        yield Finding(advice)


def _memory_findings(found: Machine) -> Iterator[Finding]:
    if found.memory is not None and found.memory < _LITTLE_MEMORY:
        yield Finding(f"{found.memory / 1e9:.1f} GB of memory are little. TensorFlow alone takes up to 2 GB.")


def _package_findings(packages: Sequence[Package]) -> Iterator[Finding]:
    """Yield the packages that are missing or too old."""
    for package in packages:
        command = install_command(f"{package.name}>={package.least}")
        if package.is_old:
            text = f"{package.name} {package.version} is older than cifarnet needs, which is {package.least}."
            yield Finding(text, command, failure=package.purpose is None)
        elif package.version is None and package.purpose is None:
            yield Finding(f"{package.name} is missing, which cifarnet needs.", command, failure=True)
        elif package.version is None:
            yield Finding(f"{package.name} is not installed. It is for {package.purpose}.", command)


def _folder_findings(folders: Sequence[Folder]) -> Iterator[Finding]:
    """Yield the folders that nothing can be written to, and those with little space."""
    for folder in folders:
        what = f"The folder for {folder.purpose}"
        variable = _FOLDER_VARIABLES.get(folder.purpose)
        remedy = f" Set {variable} to another folder." if variable else ""
        if folder.path is None:
            yield Finding(f"{what} does not exist.{remedy}")
        elif not folder.writable:
            yield Finding(f"{what}, {folder.path}, can't be written to.{remedy}")
        elif folder.free is not None and folder.free < _LITTLE_SPACE:
            yield Finding(f"{what}, {folder.path}, has only {folder.free / 1e6:,.0f} MB of free space.{remedy}")
