"""Resident memory of ``cifarnet train``, above that of a process that has only imported TensorFlow.

    python benchmarks/memory.py --data cifar10 --depth 20 --epochs 3

Samples the process twenty times a second. The goal is less than 1,200 MB on all of CIFAR-10, however many epochs.
Linux only. Takes a minute an epoch on two cores.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

GOAL_MB = 1200
# Augmentation is off, because the features are computed once.
FROZEN = ["--freeze-base", "--no-flip", "--crop-padding", "0", "--rotation", "0", "--shift", "0"]


def main() -> None:
    """Train, sample and print the table."""
    parser = harness.parser(__doc__, "data", "depth")
    parser.add_argument("--recipe", default="documented")
    parser.add_argument(
        "--freeze-base", metavar="WEIGHTS", help="train only the head, on the features of these weights"
    )
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    if not harness.status():
        raise SystemExit("This measurement reads /proc, which only Linux has.")
    imported = harness.tensorflow_mb()
    options = ["--data", args.data, "--depth", args.depth, "--recipe", args.recipe, "--epochs", args.epochs]
    if args.freeze_base:
        options += ["--weights", args.freeze_base, *FROZEN]
    with tempfile.TemporaryDirectory() as directory:
        samples = _samples(Path(directory) / "run", ["--backend", "tensorflow", "--quiet", *map(str, options)])
    rows = [
        [after, *map(harness.number, (now["VmRSS"], now["VmHWM"], now["VmHWM"] - imported))]
        for after, now in samples.items()
    ]
    what = f"ResNet-{args.depth}{', the head alone,' if args.freeze_base else ''} on {args.data}, recipe {args.recipe}"
    columns = "after | resident, MB | peak so far, MB | peak above TensorFlow, MB"
    facts = f"{harness.machine()}; TensorFlow alone {imported:,.0f} MB"
    harness.print_table(f"Memory of training {what} (goal: {GOAL_MB:,} MB above)", columns, rows, facts)


def _samples(run: Path, options: list[str]) -> dict[str, dict[str, float]]:
    """Return the memory of ``cifarnet train`` at the end of each epoch, and at the end of the process."""
    samples, last = {}, {"VmRSS": 0.0, "VmHWM": 0.0}
    command = [sys.executable, "-m", "cifarnet", "train", *options, "--output", str(run)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            # The status of a process that has just ended has no memory.
            last = harness.status(process.pid) or last
            history = run / "history.csv"
            epochs = len(history.read_text().splitlines()) - 1 if history.exists() else 0
            if epochs > 0:
                samples.setdefault(f"epoch {epochs}", last)
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"cifarnet train ended with status {process.returncode}.")
    return {**samples, "the end": last}


if __name__ == "__main__":
    main()
