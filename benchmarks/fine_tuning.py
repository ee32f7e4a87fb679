"""What trained weights are worth for few images of other classes, beside training from nothing.

    python benchmarks/fine_tuning.py --textures brick.png grass.png gravel.png --seeds 3

takes the first ``--per-class`` training images of each class (50 for training, and all test images) and trains four
ways: from nothing, with the recipe ``fine-tune`` at a learning rate of 0.1, for as many epochs and for four times as
many; from ``--weights``, whole and with the base fixed, as ``cifarnet train --weights`` does by itself. Each texture is
a class: squares cut at random from its left half to train on, from its right half to test on. Instead of textures,
``--data SOURCE --classes cat horse ship`` takes the classes of a data set; the weights should not know them:
``--save-others FILE`` writes its other classes, to train such weights on.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np

from cifarnet.data.dataset import Dataset, Splits
from cifarnet.data.images import read_image
from cifarnet.data.sources import load_data

NOTHING = {"learning_rate": 0.1}
"""What training from nothing takes in place of the recipe's 0.01."""


def textures(paths: Sequence[Path], train: int, test: int) -> Splits:
    """A class for each texture: ``train`` squares of its left half and ``test`` of its right half."""
    from unknown import squares

    rng = np.random.default_rng(0)
    pictures = [read_image(path, 512) for path in paths]
    names = tuple(path.stem for path in paths)

    def split(half: int, count: int) -> Dataset:
        images = [squares(rng, picture[:, half * 256 : (half + 1) * 256], count) for picture in pictures]
        return Dataset(np.concatenate(images), np.arange(len(paths), dtype=np.int32).repeat(count), names)

    return Splits(split(0, train), split(1, test))


def chosen(data: Dataset, names: Sequence[str], per_class: int | None = None) -> Dataset:
    """The first ``per_class`` images, or all, of each of the classes ``names``."""
    labels = [data.class_names.index(name) for name in names]
    rows = np.concatenate([np.flatnonzero(data.labels == label)[:per_class] for label in labels])
    renumbered = np.array([labels.index(label) for label in data.labels[rows]], np.int32)
    return Dataset(data.images[rows], renumbered, tuple(names))


def save(path: Path, splits: Splits) -> None:
    """Write ``splits`` as an .npz file that ``--data`` takes."""
    np.savez(
        path,
        x_train=splits.train.images,
        y_train=splits.train.labels,
        x_test=splits.test.images,
        y_test=splits.test.labels,
        class_names=np.array(splits.train.class_names),
    )


def main() -> None:
    """Train each way with each seed and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--weights", default="resnet20")
    parser.add_argument("--textures", type=Path, nargs="*", default=[])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--classes", nargs="*", default=["cat", "horse", "ship"])
    parser.add_argument("--save-others", type=Path)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if args.textures:
        splits = textures(args.textures, args.per_class, 4 * args.per_class)
    else:
        whole = load_data(args.data)
        splits = Splits(chosen(whole.train, args.classes, args.per_class), chosen(whole.test, args.classes))
        if args.save_others:
            others = [name for name in whole.train.class_names if name not in args.classes]
            save(args.save_others, Splits(chosen(whole.train, others), chosen(whole.test, others)))
            return
    ways: dict[str, dict[str, Any]] = {
        "from nothing": {"changes": {**NOTHING, "epochs": args.epochs}},
        "from nothing, four times as long": {"changes": {**NOTHING, "epochs": 4 * args.epochs}},
        "from the weights": {"changes": {"epochs": args.epochs}, "weights": args.weights},
        "from the weights, base fixed": {
            "changes": {"epochs": args.epochs},
            "weights": args.weights,
            "freeze_base": True,
        },
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "few.npz"
        save(data, splits)
        for index, (way, settings) in enumerate(ways.items()):
            task = {"task": "history", "depth": args.depth, "recipe": "fine-tune", "data": str(data), **settings}
            runs = [
                common.measure_one({**task, "seed": seed, "output": f"{folder}/{index}-{seed}"})
                for seed in range(args.seeds)
            ]
            accuracies = [run["accuracy"] for run in runs]
            rows.append(
                [
                    way,
                    ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies),
                    f"{100 * statistics.median(accuracies):.1f}",
                    common.number(statistics.median(run["seconds"] for run in runs), 1),
                ]
            )
    train, test = splits.train, splits.test
    facts = f"{common.machine()}; {', '.join(train.class_names)}; {len(train):,} training and {len(test):,} test images"
    columns = ["way", "test accuracy, %", "median", "seconds"]
    print(common.table(f"Few images, with and without {args.weights}", columns, rows, facts))


if __name__ == "__main__":
    main()
