"""python -m tests.faults.reading FILE: reads a weight file within 1 GiB of memory, and tells what came of it."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cifarnet.errors import WeightsError
from cifarnet.models.weights import load_header, load_weights


def main(path: Path) -> None:
    """Print, as JSON, what the header alone and the whole file were refused with (None: read), and the seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    started = time.monotonic()
    told: list[str | None] = []
    for read in (load_header, load_weights):
        try:
            read(path)
            told.append(None)
        except WeightsError as error:
            told.append(str(error))
    print(json.dumps({"told": told, "seconds": time.monotonic() - started}))


def read_apart(path: Path, folder: Path) -> dict[str, Any]:
    """What ``main`` prints in a process that stands in ``folder``, where relative paths in the file lead to.

    Raises:
        CalledProcessError: when it let anything but a ``WeightsError`` through.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.reading", path]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "was run" not in done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
