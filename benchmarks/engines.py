"""Speed of the engines on images in memory, next to PyTorch.

    pip install 'cifarnet[openvino]' torch==2.13.0
    python benchmarks/engines.py --weights resnet20

Images per second from uint8 images to logits, on all cores that the process may use. The engines and PyTorch take turns
in one process, because the speed of a machine drifts; a ratio is the median of the ratios of the rounds. PyTorch
computes the same network in float32, without gradients and from normalized images, eagerly and compiled
(``torch.compile``), with the channels last. bfloat16 is measured on CPUs that multiply it. What is not installed is
left out.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import numpy as np

from cifarnet.backend.devices import cpu_multiplies_bfloat16, usable_cores
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import ENGINES
from cifarnet.installation import is_installed
from cifarnet.weights.catalog import load
from cifarnet.weights.record import Weights

BATCH = 250


def main() -> None:
    """Measure and print the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--weights", default="resnet20", metavar="RUN|FILE|NAME")
    parser.add_argument("--count", type=int, default=2_000, help="images of a turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    weights = load(args.weights)
    size = weights.spec.image_size
    images = np.random.default_rng(0).integers(0, 256, (args.count, size, size, 3), np.uint8)
    runs = {**_engines(weights, images), **_pytorch(weights, images)}
    for run in runs.values():
        run()  # Compiles.
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            rates[name].append(args.count / (time.perf_counter() - start))
    columns = ["what", "images/s", "from - to", "times keras"]
    keras = rates["keras, float32"]
    peers = [name for name in rates if name.startswith("PyTorch")]
    rows = []
    for name, values in rates.items():
        row = [name, *harness.spread(values, 0), _ratio(values, keras)]
        rows.append([*row, *(_ratio(values, rates[peer]) for peer in peers)])
    columns += [f"times {peer}" for peer in peers]
    harness.print_table(f"{weights.spec.title}, batches of {BATCH}", " | ".join(columns), rows)


def _ratio(values: list[float], others: list[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(values, others, strict=True)):.2f}"


def _engines(weights: Weights, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    runs: dict[str, Callable[[], Any]] = {}
    for engine, row in ENGINES.items():
        for precision in row.precisions:
            if is_installed(row.requires) and (precision == "float32" or cpu_multiplies_bfloat16()):
                classifier = Classifier(weights, engine=engine, precision=precision)
                runs[f"{engine}, {precision}"] = partial(classifier.logits, images, batch_size=BATCH)
    return runs


def _pytorch(weights: Weights, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return PyTorch's runs for the pre-activation ResNets, which ``pytorch_reference`` has."""
    if not is_installed("torch") or weights.spec.name != f"resnet{weights.spec.depth}":
        return {}
    import torch
    from pytorch_reference import ResNet

    torch.set_num_threads(usable_cores())
    network = ResNet(weights.spec.depth).eval().to(memory_format=torch.channels_last)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).to(memory_format=torch.channels_last)

    def run(model: Any, kind: Any) -> None:
        with torch.inference_mode(), torch.autocast("cpu", kind, enabled=kind != torch.float32):
            for start in range(0, len(inputs), BATCH):
                model(inputs[start : start + BATCH])

    kinds = [torch.float32, *([torch.bfloat16] if cpu_multiplies_bfloat16() else [])]
    models = {"eager": network, "compiled": torch.compile(network)}
    return {
        f"PyTorch {name}, {str(kind).removeprefix('torch.')}": partial(run, model, kind)
        for kind in kinds
        for name, model in models.items()
    }


if __name__ == "__main__":
    main()
