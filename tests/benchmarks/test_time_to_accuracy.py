import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmark(*options):
    command = [
        sys.executable,
        ROOT / "benchmarks/time_to_accuracy.py",
        "--depth",
        "8",
        "--data",
        "synthetic:50",
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


@pytest.mark.slow
def test_budgets_and_the_papers_recipe_are_compared_and_not_run_twice(tmp_path):
    options = ["--budgets", "30s", "--seeds", "1", "--paper-epochs", "0.05", "--output", str(tmp_path / "runs")]
    first = benchmark(*options)
    assert first.returncode == 0, first.stderr
    assert "| 30s |" in first.stdout
    assert "| 80% |" in first.stdout
    assert "fast-30s-0: epoch 1/" in first.stderr
    second = benchmark(*options)
    assert second.stdout == first.stdout
    assert "epoch" not in second.stderr


def test_an_interrupted_run_is_not_taken_for_a_time(tmp_path):
    (tmp_path / "fast-5s-0").mkdir()
    result = benchmark("--budgets", "5s", "--seeds", "1", "--output", str(tmp_path))
    assert result.returncode == 1
    assert "interrupted" in result.stderr
