"""Accuracy within a time budget, whether the budget is kept, and the time to an accuracy.

    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --textures brick.png grass.png gravel.png
    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --sources cifar10 --budgets 10m 20m --seeds 3
    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --budgets --epochs 10 20 --paper-epochs 90

Trains ``fast`` with each of --budgets and each seed on --data, on the synthetic set, and on 40 images of each texture
(with 100 to test on). Seconds are those of the whole process. Run it on an idle machine, with the decoded images in the
cache. Finished runs in --output are not repeated. --moving adds the test accuracy with moving averages of batch
normalization instead of moments from training images.

--epochs trains ``fast`` for so many epochs on --data, --paper-epochs He et al.'s recipe (164 epochs at full length).
Both are tested after every epoch, for the seconds to 80, 84, 86 and 88 %, with start and compilation.
"""

import json
import time
from pathlib import Path
from typing import Any

import harness
from pictures import save_splits, textures

from cifarnet.cli.options import seconds as seconds_of
from cifarnet.recipes import RECIPES

STEPS_PER_EPOCH = 391  # 50,000 images in batches of 128
MARKS = (0.80, 0.84, 0.86, 0.88)


def run(directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a run, measured in a new process or read from the file next to the run."""
    kept = directory.with_name(f"{directory.name}.json")
    if not kept.exists():
        if directory.exists():
            raise SystemExit(f"{directory} holds a run that was interrupted: its time is lost. Remove it first.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        harness.note(directory.name)
        began = time.monotonic()
        result = harness.measure_one({"task": "train", "output": str(directory), **settings})
        kept.write_text(json.dumps({**result, "process_seconds": time.monotonic() - began}) + "\n")
    return dict(json.loads(kept.read_text()))


def row(name: str, budget: str, seed: int, found: dict[str, Any]) -> list[str]:
    """Return the row of a run with a budget."""
    seconds = found["process_seconds"]
    cells = [name, budget, f"{seed}", f"{seconds:.1f}", f"{seconds - seconds_of(budget, '--budgets'):+.1f}"]
    if "refused" in found:
        return [*cells, "-", "-", "refused", "-", ""]
    accuracies = [harness.number(found[key] and 100 * found[key], 2) for key in ("accuracy", "moving")]
    warning = "below one epoch" if found["below_one_epoch"] else ""
    return [*cells, f"{len(found['epochs'])}", harness.number(found["steps"]), *accuracies, warning]


def print_times(args: Any, shared: dict[str, Any]) -> None:
    """Train without a budget and print the seconds to each of ``MARKS``."""
    lengths = {f"fast-{epochs}": ("fast", {"epochs": epochs, "checks": 0}) for epochs in args.epochs}
    if args.paper_epochs:
        # The drops of its learning rate are at fixed steps: a shorter run only ends sooner.
        steps = min(RECIPES["paper"].steps or 0, round(STEPS_PER_EPOCH * args.paper_epochs))
        lengths[f"paper-{args.paper_epochs:g}"] = ("paper", {"steps": steps})
    rows = []
    for name, (recipe, changes) in lengths.items():
        found = run(args.output / name, {**shared, "recipe": recipe, "changes": changes, "data": args.data})
        before = found["import_seconds"] + found["start_seconds"]
        times = [harness.reached(found["epochs"], mark) for mark in MARKS]
        cells = [harness.number(each and before + each, 1) for each in (*times, found["epochs"][-1][0])]
        rows.append([name, *cells, f"{100 * found['accuracy']:.2f}"])
    marks = " | ".join(f"to {mark:.0%}, s" for mark in MARKS)
    columns = f"recipe and epochs | {marks} | to the end, s | test accuracy, %"
    harness.print_table(f"ResNet-{args.depth}, time to accuracy", columns, rows)


def main() -> None:
    """Run every budget on every source and print the tables."""
    parser = harness.parser(__doc__, "data", "depth", "textures")
    parser.add_argument("--budgets", nargs="*", default=["30s", "60s", "90s", "2m", "5m", "10m", "20m"])
    parser.add_argument("--sources", nargs="*", help="of cifar10 (--data), synthetic, textures (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--moving", action="store_true")
    parser.add_argument("--epochs", type=int, nargs="*", default=[])
    parser.add_argument("--paper-epochs", type=float, default=0)
    parser.add_argument("--precision", help="float32, bfloat16 or float16 (default: the fastest here)")
    parser.add_argument("--output", type=Path, default=Path("runs/budgets"))
    args = parser.parse_args()
    sources = {"cifar10": args.data, "synthetic": "synthetic"}
    if args.textures:
        args.output.mkdir(parents=True, exist_ok=True)
        sources["textures"] = str(args.output / "textures.npz")
        save_splits(Path(sources["textures"]), textures(args.textures, 40, 100))
    shared = {"model": f"resnet{args.depth}", "precision": args.precision}
    rows = []
    for name in sources if args.sources is None else args.sources:
        for budget in args.budgets:
            settings = {**shared, "recipe": "fast", "data": sources[name], "moving": args.moving}
            settings["budget"] = seconds_of(budget, "--budgets")
            for seed in range(args.seeds):
                found = run(args.output / f"{name}-{budget}-{seed}", {**settings, "seed": seed})
                rows.append(row(name, budget, seed, found))
    if rows:
        columns = "data | budget | seed | seconds | over | epochs | steps | test accuracy, %"
        title = f"ResNet-{args.depth} within a budget"
        harness.print_table(title, f"{columns} | moving averages, % | warning", rows)
    if args.epochs or args.paper_epochs:
        print_times(args, shared)


if __name__ == "__main__":
    main()
