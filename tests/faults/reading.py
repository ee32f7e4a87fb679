"""python -m tests.faults.reading FILE: reads a weight file within 1 GiB of memory, and tells what came of it."""

import json
import resource
import sys
import time
from pathlib import Path

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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
