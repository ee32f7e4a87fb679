"""Resident memory of ``cifarnet train`` on all of CIFAR-10, above what importing TensorFlow takes.

    python benchmarks/memory.py --data cifar10 --depth 20 --epochs 3

Samples the process twenty times a second. The goal is less than 1.2 GB (1,200 MB) however many epochs there are, so the
peak must not rise from one epoch to the next. --steps, less than an epoch's, makes a shorter run. Linux only. Takes a
minute an epoch on two cores.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

GOAL_MB = 1200


def main() -> None:
    """Run, sample and print the table."""
    parser = harness.parser(__doc__, "data", "depth")
    parser.add_argument("--recipe", default="documented")
    parser.add_argument(
        "--freeze-base", metavar="WEIGHTS", help="train the head alone on features of these weights, computed once"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=3)
    length.add_argument("--steps", type=int)
    args = parser.parse_args()
    if not harness.status():
        raise SystemExit("This measurement needs /proc, that is Linux.")
    imported = harness.tensorflow_mb()
    size = ["--steps", args.steps] if args.steps else ["--epochs", args.epochs]
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        options = ["--data", args.data, "--depth", args.depth, "--recipe", args.recipe, *size, "--output", run]
        if args.freeze_base:
            options += ["--weights", args.freeze_base, "--freeze-base", "--no-flip", "--crop-padding", 0]
            options += ["--rotation", 0, "--shift", 0]
        rows = _sampled(run, ["--backend", "tensorflow", "--quiet", *map(str, options)], imported)
    what = f"ResNet-{args.depth}{', the head alone,' if args.freeze_base else ''} on {args.data}, recipe {args.recipe}"
    columns = "after | resident, MB | peak so far, MB | peak above TensorFlow, MB"
    facts = f"{harness.machine()}; TensorFlow alone {imported:,.0f} MB"
    harness.print_table(f"Memory of training {what} (goal: {GOAL_MB:,} MB above)", columns, rows, facts)


def _sampled(run: Path, options: list[str], imported: float) -> list[list[str]]:
    """Return a row at the end of each epoch, and one at the end of the process."""
    rows: list[list[str]] = []

    def row(after: str) -> list[str]:
        resident, peak = last["VmRSS"], last["VmHWM"]
        return [after, *(harness.number(value) for value in (resident, peak, peak - imported))]

    with subprocess.Popen([sys.executable, "-m", "cifarnet", "train", *options], stdout=subprocess.DEVNULL) as process:
        last = {"VmRSS": 0.0, "VmHWM": 0.0}
        while process.poll() is None:
            # The status of a process that has just ended has no memory.
            last = harness.status(process.pid) or last
            if _epochs(run) > len(rows):
                rows.append(row(f"epoch {len(rows) + 1}"))
                harness.note(" ".join(rows[-1]))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"cifarnet train ended with status {process.returncode}.")
    return [*rows, row("the end")]


def _epochs(run: Path) -> int:
    try:
        return len((run / "history.csv").read_text().splitlines()) - 1
    except OSError:
        return 0


if __name__ == "__main__":
    main()
