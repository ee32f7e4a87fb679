import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cifarnet
from tests.support.networks import save_image_folder, save_tiny_weights

PACKAGE = Path(cifarnet.__file__).parent
# The floors of the package: a module imports from its own floor and those below it.
GROUND, CORE, SERVICES, REPORTS, API, CLI = range(6)
FLOORS = {
    "api": API,
    "cli": CLI,
    "__main__": CLI,
    "reports": REPORTS,
    "training": SERVICES,
    "doctor": SERVICES,
    "evaluation": SERVICES,
    "export": SERVICES,
    "inference": SERVICES,
    "backend": CORE,
    "data": CORE,
    "events": CORE,
    "models": CORE,
    "places": CORE,
    "recipes": CORE,
    "runs": CORE,
    "weights": CORE,
}
# Reports show plain data and events.
ABOVE_REPORTS = (
    "typer",
    "cifarnet.cli",
    "cifarnet.training",
    "cifarnet.doctor",
    "cifarnet.evaluation",
    "cifarnet.inference",
)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "enabled"), [(None, "True"), ("0", "False")])
def test_tensorflow_runs_with_onednn_unless_user_says_no(chosen, enabled):
    code = (
        "from cifarnet.models.network import build_model\n"
        "from tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if chosen is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = chosen
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == enabled


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules that code imports at run time, in functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported(child)


def is_above(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in ABOVE_REPORTS)


def floor(module: str) -> int:
    """Return the floor of a module of cifarnet; the package itself is on the ground."""
    parts = module.split(".")
    return FLOORS.get(parts[1], GROUND) if len(parts) > 1 else GROUND


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    names = [name for name in imported(ast.parse(path.read_text("utf-8"))) if name.startswith("cifarnet.")]
    assert [name for name in names if floor(name) > floor(own)] == []


@pytest.mark.parametrize(
    "folder", ["backend", "data", "doctor", "evaluation", "inference", "models", "runs", "training", "weights"]
)
def test_services_print_and_draw_nothing(folder):
    heavy = ("typer", "rich", "matplotlib")
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        found = [name for name in imported(ast.parse(path.read_text("utf-8"))) if name.split(".")[0] in heavy]
        assert found == [], path


@pytest.mark.parametrize("path", sorted((PACKAGE / "reports").rglob("*.py")), ids=lambda path: path.stem)
def test_reports_import_neither_services_nor_the_cli(path):
    assert [name for name in imported(ast.parse(path.read_text("utf-8"))) if is_above(name)] == []


def test_reports_load_neither_services_nor_the_cli():
    files = (PACKAGE / "reports").rglob("*.py")
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cifarnet.reports.html.evaluation_page" in loaded
    assert [name for name in loaded if is_above(name)] == []
    assert not {"keras", "tensorflow", "jax"} & set(loaded)


def test_type_checkers_see_the_whole_api():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    aliases = [(node.module, alias) for node in imports for alias in node.names if alias.asname]
    seen = {alias.asname.lstrip("_"): (module, alias.name) for module, alias in aliases}
    assert seen == cifarnet._API
    assert (PACKAGE / "py.typed").is_file()


def test_importing_cifarnet_is_fast_and_imports_nothing_heavy():
    """Processor time, the best of three, because the machine may have other work."""
    code = (
        "import sys, time\nstart = time.process_time()\nimport cifarnet\nprint(time.process_time() - start)\n"
        "print(*sys.modules)"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, *_ in outputs) < 0.05
    heavy = {"numpy", "h5py", "onnx", "onnxruntime", "PIL", "rich", "typer", "keras", "tensorflow", "matplotlib"}
    assert not heavy & set(outputs[0][1].split())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_a_script_gets_no_notices_on_stderr(tmp_path, engine):
    data = save_image_folder(tmp_path / "pets", {"ant": (1, 2), "bee": (1, 2)})
    weights = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"))
    code = (
        "import sys, cifarnet\nweights, engine, data = sys.argv[1:]\n"
        "classifier = cifarnet.load(weights, engine=engine)\nclassifier.predict(data)\nclassifier.evaluate(data)\n"
        "print('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(weights), engine, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{engine == 'keras'}\n", "")
