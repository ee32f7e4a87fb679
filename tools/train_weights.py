"""Train the networks that come with cifarnet, several at a time on one GPU.

    KERAS_BACKEND=jax python tools/train_weights.py --data cifar10-jpeg75.tar.xz --output runs --deadline 9m

trains ResNet-20, 44, 56 and 110, each in a run directory below --output. When --deadline has passed, every training
saves and stops; the same command resumes those that are not finished. The first training runs one epoch alone, because
the choice of kernels by trial takes longer when several processes try at once; the choice is cached for the others.
NVIDIA's MPS runs the kernels of several processes at the same time: start it with ``nvidia-cuda-mps-control -d``.

ship_weights.py adds a finished run to the weights of the package. A run on all training images leaves none for its
calibration: "calibration" is ResNet-20 trained without 2 % of the images, for ship_weights.py --calibration.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cifarnet.cli.options import seconds
from cifarnet.runs import files

COMMON = ["--recipe", "fast", "--crop-padding", "4", "--checks", "6", "--on-nan", "restore"]
HELD_OUT = ["--validation-split", "0.02"]
# ResNet-20 came from 89.2 to 90.0 % with it (benchmarks/README.md, section Recipe). It holds the same images out.
WITH_TEACHER = ["--teacher", "resnet44"]
# ResNet-56 came to 91.0 % so in 28 epochs (docs/resnet56.md).
GROWN = ["--weights", "resnet44", "--teacher", "resnet44", "--teacher", "resnet32", "--teacher", "airbench94"]
# Deeper networks overfit sooner, so larger squares are hidden from them.
TRAININGS = {
    "resnet20": ["--depth", "20", "--epochs", "180", "--cutout", "8", *WITH_TEACHER],
    "calibration": ["--depth", "20", "--epochs", "180", "--cutout", "8", *WITH_TEACHER, *HELD_OUT],
    "resnet32": ["--depth", "32", "--epochs", "120", "--cutout", "12", *WITH_TEACHER, *HELD_OUT],
    "resnet44": ["--depth", "44", "--epochs", "120", "--cutout", "12", *HELD_OUT],
    "resnet56": ["--depth", "56", "--epochs", "120", "--cutout", "16", *GROWN, *HELD_OUT],
    "resnet110": ["--depth", "110", "--epochs", "90", "--cutout", "16", *GROWN, *HELD_OUT],
}


def main() -> None:
    """Start the trainings, wait for them or for the deadline, and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["resnet20", "calibration", "resnet44", "resnet56", "resnet110"])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--deadline", metavar="TIME", help="save and stop after this long: 9m, 90s (default: never)")
    parser.add_argument("--epochs", type=int, help="epochs of each training, to try the script out")
    parser.add_argument("--alone", type=float, default=60, help="most seconds that the first training runs alone")
    args = parser.parse_args()
    if unknown := set(args.names) - TRAININGS.keys():
        raise SystemExit(f"Trainings are {', '.join(TRAININGS)}. Received: {', '.join(sorted(unknown))}")
    ends = time.monotonic() + (seconds(args.deadline, "--deadline") if args.deadline else float("inf"))
    args.output.mkdir(parents=True, exist_ok=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    for name in args.names:
        if not (args.output / name / files.METRICS).exists():
            started[name] = _start(name, args)
            if len(started) == 1:
                _wait_for_first_epoch(args.output / name, started[name], min(ends, time.monotonic() + args.alone))
    while any(process.poll() is None for process in started.values()) and time.monotonic() < ends:
        time.sleep(0.5)
    for process in started.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for name, process in started.items():
        status, log = process.wait(), (args.output / f"{name}.log").read_text().splitlines()
        results = [line for line in log if "accuracy" in line] or log or ["No output."]
        print(f"{name}: status {status}. {results[-1]}")


def _start(name: str, args: Any) -> "subprocess.Popen[bytes]":
    run = args.output / name
    if (run / files.CONFIG).exists():
        options = ["--resume", str(run), "--data", args.data]
    else:
        options = [*TRAININGS[name], *COMMON, "--data", args.data, "--output", str(run)]
        if args.epochs:
            options[options.index("--epochs") + 1] = str(args.epochs)
    with (args.output / f"{name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "cifarnet", "train", *options], stdout=log, stderr=log)


def _wait_for_first_epoch(run: Path, process: "subprocess.Popen[bytes]", until: float) -> None:
    while process.poll() is None and time.monotonic() < until and not (run / files.HISTORY).exists():
        time.sleep(0.2)


if __name__ == "__main__":
    main()
