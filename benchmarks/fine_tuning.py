"""Accuracy with few images of other classes, from trained weights and from initial ones.

    python benchmarks/fine_tuning.py --textures brick.png grass.png gravel.png --seeds 3

Trains on --per-class images of each class: from nothing with the recipe ``fine-tune`` at a learning rate of 0.1, for
--epochs and for four times as many; from each of --weights; and from each of --weights with a frozen base. Each texture
is a class: training images are squares of its left half, test images are squares of its right half.

    python benchmarks/fine_tuning.py --textures brick.png grass.png gravel.png --image-size 64 --squares 96 128 256

cuts squares of these sides, and trains on them at 64 pixels. ``--way "from resnet20"`` leaves out the other ways.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import harness
from pictures import SIDE, TEXTURE_SIDES, save_splits, textures


def main() -> None:
    """Train each way with each seed and print the table."""
    parser = harness.parser(__doc__, "depth", "textures", "seeds")
    parser.add_argument("--weights", nargs="+", default=["resnet20"])
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=SIDE)
    parser.add_argument("--squares", type=int, nargs="+", default=TEXTURE_SIDES)
    parser.add_argument("--way", help="Train in this way only.")
    args = parser.parse_args()
    if not args.textures:
        parser.error("--textures is missing. Give a picture for each class.")
    splits = textures(args.textures, args.per_class, 4 * args.per_class, args.squares, args.image_size)
    nothing = {"model": f"resnet{args.depth}"}
    ways: dict[str, dict[str, Any]] = {
        "from nothing": {**nothing, "changes": {"learning_rate": 0.1, "epochs": args.epochs}},
        "from nothing, four times as long": {**nothing, "changes": {"learning_rate": 0.1, "epochs": 4 * args.epochs}},
    }
    for name in args.weights:
        ways[f"from {name}"] = {"weights": name, "changes": {"epochs": args.epochs}}
        ways[f"from {name}, frozen base"] = {**ways[f"from {name}"], "freeze_base": True}
    if args.way is not None and args.way not in ways:
        parser.error(f"--way is one of: {'; '.join(ways)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "few.npz"
        save_splits(data, splits)
        shared = {"task": "train", "recipe": "fine-tune", "data": str(data), "image_size": args.image_size}
        for index, (way, settings) in enumerate(ways.items()):
            if args.way not in (None, way):
                continue
            tasks = [{**shared, **settings, "seed": k, "output": f"{folder}/{index}-{k}"} for k in range(args.seeds)]
            runs = list(harness.measure(tasks))
            accuracies = [100 * run["accuracy"] for run in runs]
            seconds = harness.number(statistics.median(run["seconds"] for run in runs), 1)
            each = ", ".join(f"{accuracy:.1f}" for accuracy in accuracies)
            rows.append([way, each, f"{statistics.median(accuracies):.1f}", seconds])
    train, test = splits.train, splits.test
    facts = (
        f"{harness.machine()}; {', '.join(train.class_names)}; {len(train):,} training and {len(test):,} test images"
        f" of {args.image_size} pixels"
    )
    harness.print_table("Few images", "way | test accuracy, % | median | seconds", rows, facts)


if __name__ == "__main__":
    main()
