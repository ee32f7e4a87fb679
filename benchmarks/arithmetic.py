"""What accuracy did the trainings in benchmarks/runs reach, and for how much arithmetic?

    python benchmarks/arithmetic.py

Processors differ in speed, and other work had a part of most of them. So the table also has the arithmetic of each
training in PFLOP (10^15 floating-point operations): per image, three products of the network, one product of each
teacher, and two operations in each multiply-accumulate. Images that were shrunk to a part of their side cost the square
of that part. The total includes the trainings of the first weights. That of the teachers is left out.

The accuracy of an unfinished training is that of its last check on the test images.
"""

from pathlib import Path

import harness

from cifarnet.models.layers import total_macs
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.runs import files
from cifarnet.runs.directory import Run

RUNS = harness.HERE / "runs"


def pflop(path: Path) -> float:
    """Return the arithmetic of the training in the run ``path``, in PFLOP."""
    run = Run(path)
    spec = ModelSpec(run.config.model, image_size=run.config.image_size)
    teachers = sum(total_macs(describe(ModelSpec(Run(RUNS / name).config.model))) for name in run.config.teacher)
    total, before = 0.0, 0
    for row in run.history:
        steps, before = row["step"] - before, row["step"]
        share = (row["image_size"] / spec.image_size) ** 2
        total += steps * run.config.recipe.batch_size * (6 * total_macs(describe(spec)) * share + 2 * teachers)
    return total / 1e15


def origins(path: Path) -> list[Path]:
    """Return the run ``path`` and those of its first weights, back to random ones."""
    weights = Run(path).config.weights
    return [path] if weights is None else [path, *origins(RUNS / weights.removesuffix(".h5"))]


def row(path: Path) -> list[str]:
    """Return the row of the run ``path``."""
    run = Run(path)
    config, last = run.config, run.history[-1]
    if run.result is None:
        accuracy, seconds = last["test_accuracy"], None
    else:
        accuracy, seconds = run.result.accuracy, run.result.training_seconds
    learned = [f"from {config.weights.removesuffix('.h5')}"] if config.weights else []
    learned += [f"taught by {', '.join(config.teacher)}"] if config.teacher else []
    place = path / "device.txt"
    return [
        f"`{path.name}`",
        ", ".join([config.recipe.name, *learned]),
        harness.number(last["epoch"]),
        harness.number(seconds and seconds / 3600, 1),
        place.read_text(encoding="utf-8").strip() if place.exists() else "-",
        harness.number(pflop(path), 1),
        harness.number(sum(map(pflop, origins(path))), 1),
        harness.number(100 * accuracy, 2),
    ]


def main() -> None:
    """Print the table, by network and accuracy."""
    harness.parser(__doc__).parse_args()
    rows = {path: row(path) for path in RUNS.iterdir() if (path / files.HISTORY).exists()}

    def by_network(path: Path) -> tuple[int, float]:
        spec = ModelSpec(Run(path).config.model)
        return total_macs(describe(spec)), float(rows[path][-1])

    columns = "training | recipe | epochs | hours | machine | PFLOP | with its first weights | test accuracy, %"
    ordered = [rows[path] for path in sorted(rows, key=by_network)]
    harness.print_table("Trainings", columns, ordered, "from benchmarks/runs")


if __name__ == "__main__":
    main()
