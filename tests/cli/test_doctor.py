import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.doctor import examine as module
from cifarnet.doctor.processes import ProbeError
from cifarnet.reports.terminal.doctor_tables import print_diagnosis
from tests.support.doctor import answers, device, good_logits, package, replaying, training


def invoke(monkeypatch, given, *arguments):
    monkeypatch.setattr(module, "run_probe", replaying(given))
    monkeypatch.setattr(module, "choose_backend", lambda: "tensorflow")
    return CliRunner().invoke(app, ["doctor", *arguments])


def shown(data, width):
    console = Console(file=io.StringIO(), width=width)
    print_diagnosis(data, console)
    return console.file.getvalue()


def numbers(data):
    """Yield the texts and numbers of a diagnosis that its table shows."""
    yield from (f"{each['name']} {each['version']}" for each in data["packages"] if each["version"])
    for folder in data["folders"]:
        yield folder["path"]
    for variable in data["variables"]:
        yield variable["name"]
    for backend in data["backends"]:
        for each in backend["devices"]:
            yield from (each["name"], each["precision"], each["precision_reason"], each["jit_reason"])
    for finding in data["findings"]:
        yield from (finding["text"], *([finding["command"]] if finding["command"] else []))


def test_the_table_shows_what_json_has(monkeypatch):
    result = invoke(monkeypatch, answers(), "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == int(data["failed"])
    text = " ".join(shown(data, 100).split())
    for fact in numbers(data):
        assert " ".join(fact.split()) in text
    assert "loss 2.30 to 0.00 in 32 steps" in text
    assert (
        "differ from those of the engine onnx on the CPU by 0e+00 of the largest (1e-02 is allowed, because GPU" in text
    )


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_table_fits_its_terminal(width, monkeypatch):
    given = answers(tensorflow=[device("cpu", {"error": "InternalError: " + "long " * 30})])
    given["jax"] = ProbeError("does not answer")
    data = json.loads(invoke(monkeypatch, given, "--json").stdout)
    commands = [finding["command"] for finding in data["findings"] if finding["command"]]
    lines = shown(data, width).splitlines()
    assert max(len(line.rstrip()) for line in lines if line.strip() not in commands) <= min(width, 100)
    assert {line.strip() for line in lines} >= set(commands), "no command is broken into lines"
    assert "…" not in "".join(lines)
    assert "self-test FAILED" in "".join(lines)


def test_failures_decide_the_exit_status(monkeypatch):
    bad = answers(jax=[device("gpu", training(-good_logits()))])
    result = invoke(monkeypatch, bad)
    assert result.exit_code == 1
    assert "not work. A bug report needs: cifarnet doctor --json" in result.stdout
    assert "Testing jax ..." in result.stderr


def test_the_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom cifarnet.cli.main import app\ntry: app(['doctor', '--help'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "keras", "tensorflow", "jax", "onnxruntime", "cifarnet.doctor"} & set(loaded)


@pytest.mark.slow
def test_a_broken_installation_is_a_finding_of_the_command(tmp_path):
    pytest.importorskip("jax")
    path = package(tmp_path, "jax", "raise RuntimeError('jaxlib is too old')")["PYTHONPATH"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, *filter(None, sys.path)])}
    command = [sys.executable, "-m", "cifarnet", "doctor", "--no-test", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    data = json.loads(done.stdout)
    # Keras imports JAX with both backends.
    texts = [finding["text"] for finding in data["findings"] if finding["failure"]]
    assert "The backend jax fails: RuntimeError: jaxlib is too old." in texts
    assert data["engines"][0]["problem"] is None
