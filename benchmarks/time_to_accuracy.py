"""How long training takes to reach an accuracy: the recipe ``fast`` within budgets, and He et al.'s recipe.

    python benchmarks/time_to_accuracy.py --data cifar10-jpeg75.tar.xz --budgets 10m 20m --seeds 3 --output runs/tta

trains ResNet-20 with each budget and seed, one after the other, as ``cifarnet train --budget`` does; prints the test
accuracies with their median, the time from start to result, and when 80, 84, 86 and 88 % were first seen. The machine
should be idle. ``--paper-epochs 90`` trains He et al.'s recipe (its full length is 164 epochs) in the same program, and
prints how many times sooner ``fast`` reaches each accuracy: the shortest budget whose median does, against the epoch in
which He's first does. Finished runs in ``--output`` are not repeated, so an interrupted benchmark goes on where it was.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import machine, number, table

from cifarnet.cli.options import seconds as seconds_of

LEVELS = (0.80, 0.84, 0.86, 0.88)
TIMES = "times.json"


def train(directory: Path, options: dict[str, Any]) -> None:
    """Train one run in this process and write what happened when into it."""
    started = time.monotonic()
    from cifarnet.recipes import RECIPES
    from cifarnet.runtime import use_backend
    from cifarnet.training.config import RunConfig
    from cifarnet.training.events import EpochDone
    from cifarnet.training.run import train

    use_backend()
    recipe = RECIPES[options["recipe"]]
    if options["recipe"] == "paper":
        # Its length and drops are in steps, and stay: the run is only cut short.
        recipe = recipe.with_changes(steps=min(recipe.steps or 0, 391 * options["epochs"]))
    config = RunConfig(
        recipe,
        data=options["data"],
        depth=options["depth"],
        seed=options["seed"],
        budget=options["budget"],
        precision=options["precision"],
    )
    seen: list[tuple[float, float]] = []

    def report(event: object) -> None:
        if isinstance(event, EpochDone):
            note = ""
            if event.row.held_accuracy is not None:
                seen.append((time.monotonic() - started, event.row.held_accuracy))
                note = f"  test {event.row.held_accuracy:.2%}"
            told = f"{directory.name}: epoch {event.row.epoch}/{event.epochs} at {time.monotonic() - started:.0f} s"
            print(told + note, file=sys.stderr, flush=True)

    result = train(config, directory, started=started, report=report)
    times = {"seconds": time.monotonic() - started, "accuracy": result.metrics.accuracy, "epochs": result.epoch}
    (directory / TIMES).write_text(json.dumps({**times, "seen": seen}) + "\n")


def run(directory: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The times of a run: read, or measured in a process of its own."""
    if not (directory / TIMES).exists():
        if directory.exists():
            raise SystemExit(f"{directory} holds a run that was interrupted: its time is lost. Remove it first.")
        subprocess.run([sys.executable, __file__, "--one", str(directory), json.dumps(options)], check=True)
    times: dict[str, Any] = json.loads((directory / TIMES).read_text())
    return times


def reached(times: dict[str, Any], level: float) -> float | None:
    """Seconds after which ``level`` was first seen on the test set."""
    return next((seconds for seconds, accuracy in times["seen"] if accuracy >= level), None)


def minutes(seconds: float | None) -> str:
    """Seconds as minutes for a table."""
    return number(None if seconds is None else seconds / 60, 1)


def main() -> None:
    """Train what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--budgets", nargs="*", default=["10m", "20m"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-epochs", type=int, default=0)
    parser.add_argument("--precision", help="float32, bfloat16 or float16; by default the fastest here")
    parser.add_argument("--output", type=Path, default=Path("runs/time-to-accuracy"))
    arguments = parser.parse_args()
    common = {"data": arguments.data, "depth": arguments.depth, "precision": arguments.precision}
    columns = ["budget", "epochs", "test accuracy, %", "median", "minutes taken"]
    rows, sooner = [], []
    for budget in arguments.budgets:
        options = {**common, "recipe": "fast", "budget": seconds_of(budget, "--budgets")}
        runs = [
            run(arguments.output / f"fast-{budget}-{seed}", {**options, "seed": seed})
            for seed in range(arguments.seeds)
        ]
        median = statistics.median(times["accuracy"] for times in runs)
        sooner.append((median, statistics.median(times["seconds"] for times in runs)))
        rows.append(
            [
                budget,
                ", ".join(str(times["epochs"]) for times in runs),
                ", ".join(f"{100 * times['accuracy']:.2f}" for times in runs),
                f"{100 * median:.2f}",
                ", ".join(minutes(times["seconds"]) for times in runs),
            ]
        )
    print(table(f"ResNet-{arguments.depth} within a budget", columns, rows, machine()))
    if arguments.paper_epochs:
        options = {**common, "recipe": "paper", "budget": None, "seed": 0, "epochs": arguments.paper_epochs}
        paper = run(arguments.output / f"paper-{arguments.paper_epochs}", options)
        rows = []
        for level in LEVELS:
            fast = min((seconds for median, seconds in sooner if median >= level), default=None)
            slow = reached(paper, level)
            ratio = f"{slow / fast:.1f}" if fast and slow else "-"
            rows.append([f"{level:.0%}", minutes(fast), minutes(slow), ratio])
        columns = ["test accuracy", "fast, minutes", "He et al., minutes", "times sooner"]
        print(table("Time to accuracy", columns, rows, machine()))


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--one":
        train(Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        main()
