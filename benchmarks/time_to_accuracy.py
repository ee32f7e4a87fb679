"""Minutes to 80, 86, 88, 90 and 91 % test accuracy: airbench94 and ResNet-20 of cifarnet, and PyTorch's airbench94.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/time_to_accuracy.py --data cifar10 --budgets 10m 20m --torch-python .torch/bin/python
    python benchmarks/time_to_accuracy.py --data cifar10 --epochs 8 16 --paper-epochs 90

Trains --models with the recipe ``fast`` for each of --budgets and --epochs. With --torch-python,
``pytorch_airbench.py`` trains its network for as long, in the precision that cifarnet chooses here. --paper-epochs
trains ResNet-<depth> with He et al.'s recipe for so many of its 164 epochs.

What is timed: the time of a mark is that from the start of the process to the end of the first epoch whose test has
that accuracy, and counts the import of the framework, reading the images, initial weights, timed steps before a budget,
compilation, training, moments of batch normalization, and saving. It does not count the interpreter (less than 0.3 s),
the tests, with the compilation of the network that they use, and decoding the images: run ``cifarnet data --data ...``
before, which keeps them in the cache. cifarnet tests after every epoch with --epochs, and five times with --budgets;
PyTorch after every epoch. The test images are those of --data, each is seen once, and they choose nothing. In the part
of a run that has small images, test images are as small. A budget is the time of cifarnet's process with its tests, and
of PyTorch's without them.

A cell is the median over the seeds with its range, or how many of them had that accuracy. Run it on an idle machine.
Programs take turns, because the speed of a machine drifts. Finished runs in --output are not repeated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import harness

from cifarnet.cli.options import seconds as seconds_of
from cifarnet.recipes import RECIPES

STEPS_PER_EPOCH = 391  # 50,000 images in batches of 128
MARKS = (0.80, 0.86, 0.88, 0.90, 0.91)


def main() -> None:
    """Train every network for every length and seed, and print the table."""
    parser = harness.parser(__doc__, "data", "depth", "seeds")
    parser.add_argument("--models", nargs="*", default=["airbench94", "resnet20"], help="(default: %(default)s)")
    parser.add_argument("--budgets", nargs="*", default=[], help="as cifarnet train --budget takes them")
    parser.add_argument("--epochs", type=int, nargs="*", default=[])
    parser.add_argument("--paper-epochs", type=float)
    parser.add_argument("--torch-python", metavar="FILE", help="a Python that has PyTorch; by default no comparison")
    parser.add_argument("--precision", help="float32, bfloat16 or float16 (default: the fastest here)")
    parser.add_argument("--output", type=Path, default=Path("runs/time-to-accuracy"))
    args = parser.parse_args()
    if not (args.budgets or args.epochs or args.paper_epochs):
        parser.error("give --budgets, --epochs or --paper-epochs")
    budgets = {budget: seconds_of(budget, "--budgets") for budget in args.budgets}
    here = harness.measure_one({"task": "execution"})
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(args.seeds):
        for name, length, result in _runs(args, budgets, here, seed):
            found.setdefault((name, length), []).append(result)
    marks = " | ".join(f"to {mark:.0%}, min" for mark in MARKS)
    columns = f"network | length | precision | seeds | {marks} | to the end, min | test accuracy, %"
    rows = [[*key, *_cells(results)] for key, results in found.items()]
    frameworks = {each.get("framework", "torch ") for results in found.values() for each in results}
    torch = max(frameworks).removeprefix("torch ") or None
    facts = f"{harness.machine(torch=torch)}; {here['device']}"
    harness.print_table(f"Time to accuracy on {args.data}", columns, rows, facts)


def _runs(
    args: Any, budgets: dict[str, float], here: dict[str, Any], seed: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the network, the length and the result of each run with a seed."""
    for length, budget in (*budgets.items(), *((f"{epochs}", None) for epochs in args.epochs)):
        plan = {"budget": budget} if budget else {"changes": {"epochs": int(length), "checks": 0}}
        shown = length if budget else f"{length} epochs"
        for model in args.models:
            yield model, shown, _cifarnet(args, args.output / f"{model}-{length}-{seed}", model, seed, **plan)
        if args.torch_python:
            options = ["--budget", budget] if budget else ["--epochs", length]
            file = args.output / f"pytorch-{length}-{seed}.json"
            yield "airbench94, PyTorch", shown, _pytorch(args, here, file, seed, *options)
    if args.paper_epochs:
        # The drops of its learning rate are at fixed steps: a shorter run only ends sooner.
        steps = min(RECIPES["paper"].steps or 0, round(STEPS_PER_EPOCH * args.paper_epochs))
        name, length = f"resnet{args.depth}", f"{args.paper_epochs:g} epochs"
        directory = args.output / f"{name}-paper-{args.paper_epochs:g}-{seed}"
        result = _cifarnet(args, directory, name, seed, recipe="paper", changes={"steps": steps})
        yield f"{name}, He et al. recipe", length, result


def _cifarnet(
    args: Any, directory: Path, model: str, seed: int, *, recipe: str = "fast", **plan: Any
) -> dict[str, Any]:
    shared = {"data": args.data, "precision": args.precision, "seed": seed}
    return harness.trained(directory, model=model, recipe=recipe, **shared, **plan)


def _pytorch(args: Any, here: dict[str, Any], file: Path, seed: int, *length: object) -> dict[str, Any]:
    options = ["--seed", seed, *length, *(["--device", "cuda", "--compile"] if here["kind"] == "gpu" else [])]
    options += ["--bf16"] if (args.precision or here["precision"]) == "bfloat16" else []

    def measured() -> dict[str, Any]:
        from pictures import save_splits

        from cifarnet.data.sources import load_data

        with TemporaryDirectory() as folder:
            images = Path(folder) / "images.npz"
            save_splits(images, load_data(args.data))
            return harness.pytorch(args.torch_python, "pytorch_airbench.py", "--data", images, *options)

    return harness.kept(file, measured)


def _cells(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cells of the runs of one network and length, of which some may be refused for a small budget."""
    done = [each for each in results if "refused" not in each]
    refused = len(results) - len(done)
    seeds = f"{len(done)}, {refused} refused" if refused else f"{len(done)}"
    if not done:
        return ["-", seeds, *["-"] * (len(MARKS) + 2)]
    times = [[harness.reached(each["epochs"], mark) for each in done] for mark in MARKS]
    times.append([each["epochs"][-1][0] for each in done])
    before = [each.get("import_seconds", 0) + each.get("start_seconds", 0) for each in done]
    minutes = [[time and (start + time) / 60 for start, time in zip(before, column, strict=True)] for column in times]
    accuracies = [100 * each["accuracy"] for each in done]
    return [done[0]["precision"], seeds, *map(_median, minutes), _median(accuracies)]


def _median(values: Sequence[float | None]) -> str:
    """Return the median with the range, or how many of ``values`` there are if some are missing."""
    present = [value for value in values if value is not None]
    if not present:
        return "-"
    if len(present) < len(values):
        return f"{len(present)} of {len(values)}"
    median, spread = harness.spread(present, 2)
    return median if len(values) == 1 else f"{median} ({spread})"


if __name__ == "__main__":
    main()
