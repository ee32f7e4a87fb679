"""What batch normalization's moments are worth that are computed from training images rather than averaged.

    python benchmarks/moments.py --data cifar10-jpeg75.tar.xz --budgets 10m 20m --seeds 3

trains ResNet-20 within each budget and scores each network twice on the test images: with the moving averages of its
last steps, and with moments from training images (``Recipe.precise_batchnorm``), which is the run's result. Training
itself uses neither, so that both scores are of the same weights. Results in ``--output`` are not measured again.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import common

from cifarnet.cli.options import seconds as seconds_of


def scores(task: dict[str, Any]) -> dict[str, float]:
    """Return the test accuracies of one run by moving averages and by moments from training images, and its steps."""
    from dataclasses import replace

    import numpy as np

    from cifarnet.data.sources import load_data
    from cifarnet.inference.classifier import Classifier
    from cifarnet.models.weights import load_weights
    from cifarnet.recipes import RECIPES
    from cifarnet.training.config import RunConfig
    from cifarnet.training.precise_batchnorm import PreciseBatchnorm
    from cifarnet.training.run import train

    averaged: dict[str, Any] = {}
    update = PreciseBatchnorm.update

    def recording(precise: PreciseBatchnorm, trained: Any, *arguments: Any) -> None:
        averaged.update(trained.get_tensors())
        update(precise, trained, *arguments)

    PreciseBatchnorm.update = recording  # type: ignore[method-assign]
    config = RunConfig(RECIPES["fast"], data=task["data"], seed=task["seed"], budget=task["budget"])
    run = Path(task["output"])
    result = train(config, run)
    weights, test = load_weights(run / "weights.h5"), load_data(task["data"]).test
    logits = Classifier(replace(weights, tensors=averaged)).logits(test.images)
    steps = int((run / "history.csv").read_text().splitlines()[-1].split(",")[1])
    moving = float(np.mean(logits.argmax(axis=1) == test.labels))
    return {"moving": moving, "precise": result.metrics.accuracy, "steps": steps}


def main() -> None:
    """Train each budget with each seed and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--budgets", nargs="*", default=["10m", "20m"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/moments"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for budget in args.budgets:
        for seed in range(args.seeds):
            run = args.output / f"{budget}-{seed}"
            kept = run.with_suffix(".json")
            if not kept.exists():
                task = {"data": args.data, "seed": seed, "output": str(run), "budget": seconds_of(budget, "--budgets")}
                found = common.python(Path(__file__), json.dumps(task))
                kept.write_text(json.dumps(found) + "\n")
            found = json.loads(kept.read_text())
            moving, precise = 100 * found["moving"], 100 * found["precise"]
            rows.append([budget, seed, found["steps"], f"{moving:.2f}", f"{precise:.2f}", f"{precise - moving:+.2f}"])
        gains = [float(row[-1]) for row in rows if row[0] == budget]
        common.tell(f"{budget}: median gain {statistics.median(gains):+.2f} points")
    columns = ["budget", "seed", "steps", "moving averages, %", "from training images, %", "gain, points"]
    print(common.table("Moments of batch normalization", columns, rows, common.machine()))


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        print(json.dumps(scores(json.loads(sys.argv[1]))))
    else:
        main()
