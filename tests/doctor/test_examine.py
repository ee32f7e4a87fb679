import shutil
import sys
from collections import namedtuple

import numpy as np
import pytest

from cifarnet.backend.select import choose_backend
from cifarnet.doctor import examine as module
from cifarnet.doctor.diagnosis import Machine, Package
from cifarnet.doctor.examine import TOLERANCES, examine
from cifarnet.doctor.processes import ProbeError, run_probe
from tests.support.doctor import LARGEST, answers, device, good_logits, replaying, training

needs_all = pytest.mark.usefixtures("all_installed")


@pytest.fixture
def all_installed(monkeypatch):
    """As where every package is installed."""
    found = [
        Package(each.name, each.version or each.least, each.least, each.purpose) for each in module.machine.packages()
    ]
    monkeypatch.setattr(module.machine, "packages", lambda: tuple(found))
    monkeypatch.setattr(module, "choose_backend", lambda: "tensorflow")


def failures(given, **options):
    return [finding for finding in examine(probe=replaying(given), **options).findings if finding.failure]


def shifted(share):
    """Logits that differ in one place by this share of the largest."""
    logits = good_logits()
    logits[3, 4] += share * LARGEST
    return logits


@needs_all
def test_a_working_installation_has_no_failures():
    diagnosis = examine(probe=replaying(answers()))
    assert not diagnosis.failed
    assert [device.kind for device in diagnosis.backends[1].devices] == ["gpu", "cpu"]
    tests = [device.test for backend in diagnosis.backends for device in backend.devices]
    assert all(test.passed and test.difference == 0 and test.loss_after < test.loss_before for test in tests)
    assert [engine.name for engine in diagnosis.engines if engine.chosen] == ["onnx"]


@needs_all
@pytest.mark.parametrize(
    ("kind", "share", "fails"), [("cpu", 5e-5, 0), ("cpu", 1e-3, 1), ("gpu", 1e-3, 0), ("gpu", 0.1, 1)]
)
def test_logits_are_those_of_the_cpu_within_a_tolerance(kind, share, fails):
    found = failures(answers(jax=[device(kind, training(shifted(share)))]))
    assert len(found) == fails
    for finding in found:
        assert "computes other logits than the engine onnx on the CPU" in finding.text
        assert f"{share:.1e} of the largest logit, and {TOLERANCES[kind][0]:.0e} is allowed" in finding.text
        assert "jax" in finding.command


@needs_all
@pytest.mark.parametrize(
    ("test", "message"),
    [
        (training(good_logits(), before=good_logits()), "does not learn: the loss was 0.0"),
        (training(np.full((128, 10), np.nan, np.float32)), "gives a loss that is NaN or infinite"),
        ({"error": "InternalError: no kernel image is available"}, "fails: InternalError: no kernel image"),
    ],
)
def test_a_training_that_goes_wrong_is_a_failure(test, message):
    (finding,) = failures(answers(tensorflow=[device("cpu", test)]))
    assert finding.text.startswith(f"The backend tensorflow on CPU, 2 cores {message}")


@needs_all
def test_each_training_is_compared_with_its_own_logits():
    trained = training(2 * good_logits())
    given = answers(tensorflow=[device("cpu", {"error": "x"})], jax=[device("cpu", trained)])
    given["onnx"] = given["openvino"] = {"logits": [trained["logits"]]}
    assert [finding.text for finding in failures(given)] == ["The backend tensorflow on CPU, 2 cores fails: x."]


@needs_all
def test_an_engine_with_other_logits_is_a_failure():
    given = answers()
    given["openvino"] = {"logits": [training(shifted(1e-3))["logits"]]}
    (finding,) = failures(given)
    assert finding.text.startswith("The engine openvino computes other logits than the engine onnx")


@needs_all
def test_a_broken_part_does_not_end_the_examination():
    given = answers()
    given["jax"] = ProbeError("fails: ImportError: no jaxlib", culprit="jax")
    given["onnx"] = ProbeError("ends the process with SIGSEGV")
    diagnosis = examine(probe=replaying(given))
    texts = [finding.text for finding in diagnosis.findings if finding.failure]
    assert texts == ["The backend jax fails: ImportError: no jaxlib.", "The engine onnx ends the process with SIGSEGV."]
    assert diagnosis.backends[1].problem == "fails: ImportError: no jaxlib"
    test = diagnosis.backends[0].devices[0].test
    assert test.passed
    assert test.difference is None


@needs_all
def test_the_package_that_breaks_another_is_installed_again():
    given = answers()
    given["tensorflow"] = ProbeError("fails: RuntimeError: too old", culprit="jax")
    (finding,) = failures(given)
    assert finding.text == "The backend tensorflow, in the package jax, fails: RuntimeError: too old."
    assert finding.command.endswith("--force-reinstall jax")


@needs_all
def test_advice_on_a_gpu_is_a_note():
    diagnosis = examine(probe=replaying(answers(tensorflow=[device("cpu", None, advice="Install CUDA.")])), test=False)
    assert not diagnosis.failed
    assert "Install CUDA." in [finding.text for finding in diagnosis.findings]


@needs_all
def test_an_unknown_backend_in_the_environment_is_a_failure(monkeypatch):
    monkeypatch.setattr(module, "choose_backend", choose_backend)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    (finding,) = failures(answers())
    assert "KERAS_BACKEND must be tensorflow or jax" in finding.text


@pytest.mark.parametrize(
    ("version", "purpose", "failure", "text"),
    [
        (None, "pictures", False, "thing is not installed. It is for pictures."),
        (None, None, True, "thing is missing, which cifarnet needs."),
        ("1.9", None, True, "thing 1.9 is older than cifarnet needs, which is 1.10."),
        ("1.9rc1", "pictures", False, "thing 1.9rc1 is older than cifarnet needs, which is 1.10."),
    ],
)
def test_missing_and_old_packages_get_a_command(version, purpose, failure, text):
    (finding,) = module._package_findings([Package("thing", version, "1.10", purpose)])
    assert (finding.text, finding.failure) == (text, failure)
    assert "'thing>=1.10'" in finding.command


@pytest.mark.parametrize("version", ["1.10", "1.10.0.dev1", "2", "of unknown version"])
def test_packages_that_are_new_enough_are_no_findings(version):
    assert not list(module._package_findings([Package("thing", version, "1.10", None)]))


def test_folders_that_are_full_or_not_writable_are_notes(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "file" / "cache"))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(5_000_000))
    texts = [finding.text for finding in module._folder_findings(module.machine.folders())]
    assert f"The folder for the cache, {tmp_path}/file/cache, can't be written to. Set CIFARNET_CACHE to" in texts[1]
    assert "has only 5 MB of free space" in texts[0]


def test_little_memory_is_a_note():
    found = Machine("1", "3", "Linux", "CPU", 1, (), False, 1_500_000_000, None)
    assert [finding.text[:6] for finding in module._memory_findings(found)] == ["1.5 GB"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_real_self_test_passes_and_notices_corrupt_logits(backend):
    """The other backend is left out. A defect is added to what the real probes answer."""
    pytest.importorskip(backend)
    damage = []

    def probe(request, report):
        if request["name"] not in (backend, "onnx"):
            raise ProbeError("is left out")
        if request["name"] not in kept:
            kept[request["name"]] = run_probe(request, report)
        answer = kept[request["name"]]
        if damage and request["name"] == backend:
            logits = module.unpacked(answer["devices"][0]["test"]["logits"])["logits"]
            logits[0, 0] += 3e-4 * np.abs(logits).max()
            answer["devices"][0]["test"]["logits"] = module.packed({"logits": logits})
        return answer

    kept = {}
    state = next(each for each in examine(probe=probe).backends if each.name == backend)
    test = state.devices[0].test
    assert (test.passed, test.problem) == (True, None)
    assert test.difference <= 1e-5
    assert test.loss_after < 0.8 * test.loss_before
    damage.append(True)
    state = next(each for each in examine(probe=probe).backends if each.name == backend)
    assert "they differ by 3.0e-04 of the largest logit" in state.devices[0].test.problem
