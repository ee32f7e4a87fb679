"""Accuracy within a time budget, and whether the budget is kept. ``time_to_accuracy.py`` has the time to an accuracy.

    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --textures brick.png grass.png gravel.png
    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --sources cifar10 --budgets 10m 20m --seeds 3

Trains ``fast`` with each of --budgets and each seed on --data, on the synthetic set, and on 40 images of each texture
(with 100 to test on). Seconds are those of the whole process. Run it on an idle machine, with the decoded images in the
cache. Finished runs in --output are not repeated. --moving adds the test accuracy with moving averages of batch
normalization instead of moments from training images.
"""

from pathlib import Path
from typing import Any

import harness
from pictures import save_splits, textures

from cifarnet.cli.options import seconds as seconds_of


def row(name: str, budget: str, seed: int, found: dict[str, Any]) -> list[str]:
    """Return the row of a run with a budget."""
    seconds = found["process_seconds"]
    cells = [name, budget, f"{seed}", f"{seconds:.1f}", f"{seconds - seconds_of(budget, '--budgets'):+.1f}"]
    if "refused" in found:
        return [*cells, "-", "-", "refused", "-", ""]
    accuracies = [harness.number(found[key] and 100 * found[key], 2) for key in ("accuracy", "moving")]
    warning = "below one epoch" if found["below_one_epoch"] else ""
    return [*cells, f"{len(found['epochs'])}", harness.number(found["steps"]), *accuracies, warning]


def main() -> None:
    """Run every budget on every source and print the tables."""
    parser = harness.parser(__doc__, "data", "depth", "textures")
    parser.add_argument("--budgets", nargs="+", default=["30s", "60s", "90s", "2m", "5m", "10m", "20m"])
    parser.add_argument("--sources", nargs="*", help="of cifar10 (--data), synthetic, textures (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--moving", action="store_true")
    parser.add_argument("--precision", help="float32, bfloat16 or float16 (default: the fastest here)")
    parser.add_argument("--output", type=Path, default=Path("runs/budgets"))
    args = parser.parse_args()
    sources = {"cifar10": args.data, "synthetic": "synthetic"}
    if args.textures:
        args.output.mkdir(parents=True, exist_ok=True)
        sources["textures"] = str(args.output / "textures.npz")
        save_splits(Path(sources["textures"]), textures(args.textures, 40, 100))
    rows = []
    for name in sources if args.sources is None else args.sources:
        for budget in args.budgets:
            settings = {"model": f"resnet{args.depth}", "recipe": "fast", "precision": args.precision}
            settings |= {"data": sources[name], "moving": args.moving, "budget": seconds_of(budget, "--budgets")}
            for seed in range(args.seeds):
                found = harness.trained(args.output / f"{name}-{budget}-{seed}", seed=seed, **settings)
                rows.append(row(name, budget, seed, found))
    columns = "data | budget | seed | seconds | over | epochs | steps | test accuracy, %"
    title = f"ResNet-{args.depth} within a budget"
    harness.print_table(title, f"{columns} | moving averages, % | warning", rows)


if __name__ == "__main__":
    main()
