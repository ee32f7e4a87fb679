"""What a time budget gives, whether it is kept, and how much sooner it gives it than He et al.'s recipe.

    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --textures brick.png grass.png gravel.png
    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --sources cifar10 --budgets 10m 20m --seeds 3

trains with each of ``--budgets`` and each seed on each source: ``--data``, the synthetic set, and 40 images of each
texture (100 to test on). Seconds are those of the whole process, with a second or two that the script needs itself. Run
it once before to put the decoded images into the cache, on an idle machine. Finished runs in ``--output`` are not
repeated. --moving adds the test accuracy with moving averages of batch normalization in place of moments from training
images. ``--paper-epochs 90`` trains He et al.'s recipe (164 epochs at full length) on ``--data`` and prints how many
times sooner a budget reaches 80, 84, 86 and 88 %: the seconds of the shortest budget whose median does, against the end
of the epoch in which He's recipe first does.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import harness
from pictures import save_splits, textures

from cifarnet.cli.options import seconds as seconds_of
from cifarnet.recipes import RECIPES

STEPS_PER_EPOCH = 391  # 50,000 images in batches of 128


def run(directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a run: read, or measured in a process of its own and kept beside the run."""
    kept = directory.with_name(f"{directory.name}.json")
    if not kept.exists():
        if directory.exists():
            raise SystemExit(f"{directory} holds a run that was interrupted: its time is lost. Remove it first.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        result = harness.measure_one({"task": "history", "output": str(directory), **settings})
        kept.write_text(json.dumps({**result, "process_seconds": time.monotonic() - began}) + "\n")
    return dict(json.loads(kept.read_text()))


def row(name: str, budget: str, seed: int, found: dict[str, Any]) -> list[str]:
    """Return the table's row of a run."""
    seconds = found["process_seconds"]
    cells = [name, budget, f"{seed}", f"{seconds:.1f}", f"{seconds - seconds_of(budget, '--budgets'):+.1f}"]
    if "refused" in found:
        return [*cells, "-", "-", "refused", "-", ""]
    moving = f"{100 * found['moving']:.2f}" if "moving" in found else "-"
    accuracy, warning = f"{100 * found['accuracy']:.2f}", "below one epoch" if found["below_one_epoch"] else ""
    return [*cells, f"{len(found['epochs'])}", harness.number(found["steps"]), accuracy, moving, warning]


def print_ratios(args: Any, settings: dict[str, Any], reached: list[tuple[float, float]]) -> None:
    """Train He et al.'s recipe and print the times to each accuracy; ``reached`` are (accuracy, seconds) by budget."""
    # Its length and drops are in steps, and stay: the run is only cut short.
    steps = min(RECIPES["paper"].steps or 0, round(STEPS_PER_EPOCH * args.paper_epochs))
    paper = run(
        args.output / f"paper-{args.paper_epochs:g}", {**settings, "recipe": "paper", "changes": {"steps": steps}}
    )
    before = paper["import_seconds"] + paper["start_seconds"]
    rows = []
    for mark in harness.MARKS:
        fast = min((seconds for accuracy, seconds in reached if accuracy >= mark), default=None)
        trained = harness.reached(paper["epochs"], mark)
        slow = None if trained is None else before + trained
        minutes = [harness.number(None if each is None else each / 60, 1) for each in (fast, slow)]
        rows.append([f"{mark:.0%}", *minutes, harness.number(slow / fast if fast and slow else None, 1)])
    harness.print_table("Time to accuracy", "test accuracy | budget, minutes | He et al., minutes | times sooner", rows)


def main() -> None:
    """Run every budget on every source and print the tables."""
    parser = harness.parser(__doc__, "data", "depth", "textures")
    parser.add_argument("--budgets", nargs="*", default=["30s", "60s", "90s", "2m", "5m", "10m", "20m"])
    parser.add_argument("--sources", nargs="*", help="of cifar10 (--data), synthetic, textures (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--moving", action="store_true")
    parser.add_argument("--paper-epochs", type=float, default=0)
    parser.add_argument("--precision", help="float32, bfloat16 or float16 (default: the fastest here)")
    parser.add_argument("--output", type=Path, default=Path("runs/budgets"))
    args = parser.parse_args()
    sources = {"cifar10": args.data, "synthetic": "synthetic"}
    if args.textures:
        args.output.mkdir(parents=True, exist_ok=True)
        sources["textures"] = str(args.output / "textures.npz")
        save_splits(Path(sources["textures"]), textures(args.textures, 40, 100))
    shared = {"depth": args.depth, "precision": args.precision}
    rows, reached = [], []
    for name in sources if args.sources is None else args.sources:
        for budget in args.budgets:
            settings = {"recipe": "fast", "budget": seconds_of(budget, "--budgets"), "moving": args.moving, **shared}
            runs = []
            for seed in range(args.seeds):
                harness.note(f"{name}, {budget}, seed {seed}")
                runs.append(
                    run(args.output / f"{name}-{budget}-{seed}", {**settings, "data": sources[name], "seed": seed})
                )
            rows += [row(name, budget, seed, found) for seed, found in enumerate(runs)]
            done = [found for found in runs if "accuracy" in found]
            if name == "cifar10" and done:
                reached.append(
                    tuple(statistics.median(found[key] for found in done) for key in ("accuracy", "seconds"))
                )
    columns = "data | budget | seed | seconds | over | epochs | steps | test accuracy, % | moving averages, % | warning"
    harness.print_table(f"ResNet-{args.depth} within a budget", columns, rows)
    if args.paper_epochs:
        print_ratios(args, {**shared, "data": args.data}, reached)


if __name__ == "__main__":
    main()
