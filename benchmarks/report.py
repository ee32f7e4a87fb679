"""How long a report takes beyond inference, and how much it weighs.

    python benchmarks/report.py --images 10000

makes the page of an evaluation of random pictures, as ``cifarnet evaluate --report`` does, in a process of its own that
has imported neither matplotlib nor Pillow before, ``--rounds`` times.
"""

import json
import statistics
import subprocess
import sys

import common

ONE = """
import json, sys, time
from pathlib import Path
import numpy as np

from cifarnet.cli.reporting import evaluation_html
from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.metrics import measure
from cifarnet.evaluation.scored import Scored
from cifarnet.models.spec import CIFAR10_CLASSES

count = int(sys.argv[1])
rng = np.random.default_rng(0)
labels = rng.integers(0, 10, count).astype(np.int32)
# Nine in ten are right, as a trained network's are.
logits = rng.normal(size=(count, 10)) + 3.2 * np.eye(10)[labels]
# Smooth pictures: random pixels would make a JPEG ten times as large as photographs do.
coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
scored = Scored(Dataset(coarse.repeat(8, axis=1).repeat(8, axis=2), labels, CIFAR10_CLASSES), logits)
scores = measure(logits, labels, CIFAR10_CLASSES).to_dict()
started = time.perf_counter()
html = evaluation_html(scores, scored, "A network", [], [["cifarnet", "evaluate"]])
Path(sys.argv[2]).write_text(html, encoding="utf-8")
print(json.dumps({"seconds": time.perf_counter() - started, "megabytes": len(html) / 1e6}))
"""


def main() -> None:
    """Measure and print."""
    import tempfile

    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            command = [sys.executable, "-c", ONE, str(args.images), f"{folder}/report.html"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            told.append(json.loads(done.stdout))
    seconds = [each["seconds"] for each in told]
    row = [
        f"{args.images:,}",
        common.number(statistics.median(seconds), 2),
        f"{min(seconds):.2f} - {max(seconds):.2f}",
        common.number(told[0]["megabytes"], 1),
    ]
    columns = ("images", "seconds, median", "from - to", "page, MB")
    print(common.table("A report, beyond inference", columns, [row], common.machine()))


if __name__ == "__main__":
    main()
