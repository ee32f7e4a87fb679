"""Read weight files within 1 GiB of memory, and print the outcome of each as JSON: run as a module with FILES."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifarnet.errors import WeightsError
from cifarnet.weights.formats import load_header, load_weights


def main(paths: Sequence[Path]) -> None:
    """Print, as JSON, what header and whole of each file were refused with (None: read), and the seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    answers = []
    for path in paths:
        os.chdir(path.with_suffix(""))
        started = time.monotonic()
        errors: list[str | None] = []
        for read in (load_header, load_weights):
            try:
                read(path)
                errors.append(None)
            except WeightsError as error:
                errors.append(str(error))
        answers.append({"errors": errors, "seconds": time.monotonic() - started})
    print(json.dumps(answers))


def read_apart(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What ``main`` prints in a process of its own.

    For each file it stands in the folder of that name without suffix, where relative paths in the file lead to.

    Raises:
        CalledProcessError: when it let anything but a ``WeightsError`` through.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.faults.reading", *paths]
    limit = 60 + len(paths)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=True)
    # Messages say that nothing in the file was run.
    assert "was run" not in (done.stdout + done.stderr).replace("Nothing in it was run", "")
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
