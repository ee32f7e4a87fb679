"""What trained weights are worth for few images of other classes, beside training from nothing.

    python benchmarks/fine_tuning.py --textures brick.png grass.png gravel.png --seeds 3

takes the first ``--per-class`` training images of each class (50 by default, and all test images) and trains four ways:
from nothing, with the recipe ``fine-tune`` at a learning rate of 0.1, for as many epochs and for four times as many;
from ``--weights``, whole and with a frozen base. Each texture is a class: squares cut at random from its left half to
train on, from its right half to test on. Instead of textures, ``--data SOURCE --classes cat horse ship`` takes classes
of a data set. The weights should not know them: ``--save-others FILE`` writes its other classes, to train such weights.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import harness
from pictures import chosen, save_splits, textures

from cifarnet.data.dataset import Splits
from cifarnet.data.sources import load_data


def main() -> None:
    """Train each way with each seed and print the table."""
    parser = harness.parser(__doc__, "data", "depth", "textures", "seeds")
    parser.add_argument("--weights", default="resnet20")
    parser.add_argument("--classes", nargs="*", default=["cat", "horse", "ship"])
    parser.add_argument("--save-others", type=Path)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    if args.textures:
        splits = textures(args.textures, args.per_class, 4 * args.per_class)
    else:
        whole = load_data(args.data)
        splits = Splits(chosen(whole.train, args.classes, args.per_class), chosen(whole.test, args.classes))
        if args.save_others:
            others = [name for name in whole.train.class_names if name not in args.classes]
            save_splits(args.save_others, Splits(chosen(whole.train, others), chosen(whole.test, others)))
            return
    nothing, weights = {"learning_rate": 0.1}, {"changes": {"epochs": args.epochs}, "weights": args.weights}
    ways: dict[str, dict[str, Any]] = {
        "from nothing": {"changes": {**nothing, "epochs": args.epochs}},
        "from nothing, four times as long": {"changes": {**nothing, "epochs": 4 * args.epochs}},
        "from the weights": weights,
        "from the weights, frozen base": {**weights, "freeze_base": True},
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "few.npz"
        save_splits(data, splits)
        shared = {"task": "history", "depth": args.depth, "recipe": "fine-tune", "data": str(data)}
        for index, (way, settings) in enumerate(ways.items()):
            tasks = [{**shared, **settings, "seed": k, "output": f"{folder}/{index}-{k}"} for k in range(args.seeds)]
            runs = list(harness.measure(tasks))
            accuracies = [100 * run["accuracy"] for run in runs]
            seconds = harness.number(statistics.median(run["seconds"] for run in runs), 1)
            each = ", ".join(f"{accuracy:.1f}" for accuracy in accuracies)
            rows.append([way, each, f"{statistics.median(accuracies):.1f}", seconds])
    train, test = splits.train, splits.test
    facts = (
        f"{harness.machine()}; {', '.join(train.class_names)}; {len(train):,} training and {len(test):,} test images"
    )
    title = f"Few images, with and without {args.weights}"
    harness.print_table(title, "way | test accuracy, % | median | seconds", rows, facts)


if __name__ == "__main__":
    main()
