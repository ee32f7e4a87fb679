import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.networks import save_tiny_weights

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "predict.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
def test_the_script_measures_the_folder_the_cold_start_and_the_help(tmp_path):
    weights = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"))
    done = run("--weights", weights, "--count", 20, "--pairs", 1, "--rounds", 1)
    assert done.returncode == 0, done.stderr
    assert "20 pictures" in done.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    assert [name for name, *_ in rows[2:]] == [
        "the folder, images/s, whole process",
        "the folder, images/s, without start-up",
        "one picture, cold start, s",
        "import tensorflow, s",
        "one picture above import tensorflow, s",
        "cifarnet --help, s",
    ]
    assert float(rows[4][1]) > 0


def test_a_failing_command_is_told_without_a_traceback(tmp_path):
    done = run("--weights", tmp_path / "missing.h5", "--count", 1, "--pairs", 1)
    assert done.returncode == 1
    assert "missing.h5" in done.stderr
    assert "Traceback" not in done.stderr
