"""How long training takes to reach an accuracy: the recipe ``fast`` within budgets, and He et al.'s recipe.

    python benchmarks/time_to_accuracy.py --data cifar10-jpeg75.tar.xz --budgets 10m 20m --seeds 3 --output runs/tta

trains ResNet-20 with each budget and seed, one after the other, as ``cifarnet train --budget`` does, and prints the
test accuracies with their median and the time from start to result. The machine should be idle. ``--paper-epochs 90``
trains He et al.'s recipe (its full length is 164 epochs) in the same program, and prints how many times sooner ``fast``
reaches 80, 84, 86 and 88 %: the whole time of the shortest budget whose median does, against the end of the epoch in
which He's first does. Finished runs in ``--output`` are not repeated, so an interrupted benchmark goes on where it was.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import common

from cifarnet.cli.options import seconds as seconds_of
from cifarnet.recipes import RECIPES

TIMES = "times.json"
STEPS_PER_EPOCH = 391  # 50,000 images in batches of 128


def run(directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The times of a run: read, or measured in a process of its own and written into it."""
    if not (directory / TIMES).exists():
        if directory.exists():
            raise SystemExit(f"{directory} holds a run that was interrupted: its time is lost. Remove it first.")
        told = common.measure_one({"task": "history", "output": str(directory), **settings})
        (directory / TIMES).write_text(json.dumps(told) + "\n")
    times: dict[str, Any] = json.loads((directory / TIMES).read_text())
    return times


def minutes(seconds: float | None) -> str:
    """Seconds as minutes for a table."""
    return common.number(None if seconds is None else seconds / 60, 1)


def main() -> None:
    """Train what is asked for and print the tables."""
    parser = common.parser(__doc__)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--budgets", nargs="*", default=["10m", "20m"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-epochs", type=float, default=0)
    parser.add_argument("--precision", help="float32, bfloat16 or float16; by default the fastest here")
    parser.add_argument("--output", type=Path, default=Path("runs/time-to-accuracy"))
    arguments = parser.parse_args()
    shared = {"data": arguments.data, "depth": arguments.depth, "precision": arguments.precision}
    columns = ["budget", "epochs", "test accuracy, %", "median", "minutes taken"]
    rows, sooner = [], []
    for budget in arguments.budgets:
        options = {**shared, "recipe": "fast", "budget": seconds_of(budget, "--budgets")}
        runs = [
            run(arguments.output / f"fast-{budget}-{seed}", {**options, "seed": seed})
            for seed in range(arguments.seeds)
        ]
        median = statistics.median(times["accuracy"] for times in runs)
        sooner.append((median, statistics.median(times["seconds"] for times in runs)))
        rows.append(
            [
                budget,
                ", ".join(str(len(times["epochs"])) for times in runs),
                ", ".join(f"{100 * times['accuracy']:.2f}" for times in runs),
                f"{100 * median:.2f}",
                ", ".join(minutes(times["seconds"]) for times in runs),
            ]
        )
    print(common.table(f"ResNet-{arguments.depth} within a budget", columns, rows, common.machine()))
    if arguments.paper_epochs:
        # Its length and drops are in steps, and stay: the run is only cut short.
        steps = min(RECIPES["paper"].steps or 0, round(STEPS_PER_EPOCH * arguments.paper_epochs))
        settings = {**shared, "recipe": "paper", "changes": {"steps": steps}}
        paper = run(arguments.output / f"paper-{arguments.paper_epochs:g}", settings)
        before = paper["import_seconds"] + paper["start_seconds"]
        rows = []
        for level in common.MARKS:
            fast = min((seconds for median, seconds in sooner if median >= level), default=None)
            trained = common.reached(paper["epochs"], level)
            slow = None if trained is None else before + trained
            ratio = f"{slow / fast:.1f}" if fast and slow else "-"
            rows.append([f"{level:.0%}", minutes(fast), minutes(slow), ratio])
        columns = ["test accuracy", "fast, minutes", "He et al., minutes", "times sooner"]
        print(common.table("Time to accuracy", columns, rows, common.machine()))


if __name__ == "__main__":
    main()
