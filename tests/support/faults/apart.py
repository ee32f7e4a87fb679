"""Fuzzing in a process of its own, so that a crash or a hang is seen and counted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def fuzz_apart(module: str, arguments: tuple[object, ...], limit: float, slowest: float) -> dict[str, Any]:
    """Return what ``python -m tests.support.faults.MODULE ARGUMENTS`` prints as JSON within ``limit`` seconds.

    Raises:
        AssertionError: when it crashed or let an error through, or a file took ``slowest`` seconds or more.
    """
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.faults.{module}", *words],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, f"{module} {' '.join(words)}: status {done.returncode}\n{done.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["slowest"] < slowest, f"{module} {' '.join(words)}: {answer}"
    return answer
