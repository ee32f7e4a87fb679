"""Speed of training and inference, next to PyTorch and to the limits of the device; memory of training.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/speed.py --torch-python .torch/bin/python --depths 20 56 --rounds 3
    python benchmarks/speed.py --limits --rounds 1 --depths 20 32 44 56 110
    KERAS_BACKEND=jax python benchmarks/speed.py --limits --epochs 3 --precisions float32 bfloat16

The first table has images per second. Training is that of cifarnet with the recipe ``paper`` and augmentation, which
PyTorch does without. Inference is float32, from uint8 images to logits in the host's memory; PyTorch has normalized
images ready. Each measurement is a process. cifarnet and PyTorch take turns, because the speed of a machine drifts; the
ratio is the median of the rounds' ratios.

The speed of training is the median of --steps. --epochs N times whole epochs after a first one, which compiles: use it
on a GPU.

--limits adds a table with seconds for 50,000 images, next to the time that the arithmetic alone (three times the
multiply-accumulates of a forward pass) takes at the rate of a large matrix product, and the time that the transfer of
the feature maps takes at the rate of a large copy. Memory is the peak of the process (on Linux).
"""

import os
import statistics
from typing import Any

import harness


def main() -> None:
    """Measure in rounds and print the tables."""
    parser = harness.parser(__doc__, "images")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--batches", type=int, nargs="+", default=[128])
    parser.add_argument("--precisions", nargs="+", help="(default: float32 and what cifarnet chooses here)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="timed epochs of a round")
    parser.add_argument("--torch-python", metavar="FILE", help="a Python that has PyTorch; by default no comparison")
    parser.add_argument("--limits", action="store_true", help="measure the limits of the device and print memory")
    parser.add_argument("--size", type=int, help="side of the matrices for --limits (default: 8192; on a CPU 2048)")
    args = parser.parse_args()
    here = harness.measure_one({"task": "execution"})
    precisions = args.precisions or list(dict.fromkeys(["float32", here["precision"]]))
    cases = [(depth, batch, each) for depth in args.depths for batch in args.batches for each in precisions]
    rates: dict[tuple[Any, ...], list[list[float]]] = {}
    trained = {}
    version = None
    for turn in range(args.rounds):
        for case in cases:
            harness.note(f"Round {turn + 1} of {args.rounds}: ResNet-{case[0]}, batch {case[1]}, {case[2]}")
            trained[case], infer = _cifarnet(args, *case)
            pairs = {"training": [trained[case]["images_per_s"]], **({"inference": [infer]} if infer else {})}
            if args.torch_python:
                peer = _pytorch(args, *case, on_gpu=here["kind"] == "gpu")
                version = peer["framework"].removeprefix("torch ")
                for work, pair in pairs.items():
                    pair.append(peer["train_images_per_s" if work == "training" else "infer_images_per_s"])
            for work, pair in pairs.items():
                rates.setdefault((case[0], work, *case[1:]), []).append(pair)
    facts = f"{harness.machine(torch=version)}; {here['device']}"
    rows = [[f"ResNet-{depth}", *case, *_compared(pairs)] for (depth, *case), pairs in rates.items()]
    columns = "network | work | batch | precision | cifarnet | PyTorch | cifarnet / PyTorch | from - to"
    harness.print_table(f"Images per second, {args.rounds} round(s)", columns, rows, facts)
    if args.limits:
        _print_limits(trained, _limits(args, precisions, here["kind"] == "gpu"), facts)


def _cifarnet(args: Any, depth: int, batch: int, precision: str) -> tuple[dict[str, Any], float | None]:
    """Return the training measured in one process, and images per second of inference where it is float32."""
    shared, warmup = {"model": f"resnet{depth}"}, 8
    changes: dict[str, Any] = {"batch_size": batch, "checks": 1, "steps": warmup + args.steps}
    if args.epochs:
        changes |= {"steps": None, "epochs": 1 + args.epochs}
    images = args.images if args.epochs else max(args.images, changes["steps"] * batch)
    tasks = [{"task": "train", **shared, "precision": precision, "images": images, "changes": changes}]
    if precision == "float32":
        tasks.append({"task": "infer", **shared, "batch_size": batch, "steps": args.steps})
    trained, *inferred = harness.measure(tasks)
    if args.epochs:
        trained["images_per_s"] = images / statistics.median(trained["epoch_seconds"][1:])
    return trained, inferred[0]["images_per_s"] if inferred else None


def _pytorch(args: Any, depth: int, batch: int, precision: str, *, on_gpu: bool) -> dict[str, Any]:
    options = ["--depth", depth, "--batch", batch, "--steps", args.steps]
    options += ["--device", "cuda", "--compile"] if on_gpu else ["--device", "cpu"]
    options += ["--bf16"] if precision == "bfloat16" else []
    return harness.pytorch(args.torch_python, "pytorch_reference.py", *options)


def _compared(pairs: list[list[float]]) -> list[str]:
    medians = [harness.number(statistics.median(rates)) for rates in zip(*pairs, strict=True)]
    if len(medians) == 1:
        return [*medians, "-", "-", "-"]
    return [*medians, *harness.spread([own / theirs for own, theirs in pairs], 2)]


def _limits(args: Any, precisions: list[str], on_gpu: bool) -> dict[str, float]:
    """Return operations a second for each precision, and bytes a second of a copy as ``"copy"``."""
    size = args.size or (8192 if on_gpu else 2048)
    tasks = [{"task": "product", "precision": precision, "size": size} for precision in precisions]
    tasks.append({"task": "copy", "size": harness.GIB if on_gpu else 64 * harness.MIB})
    *products, copied = harness.measure(tasks)
    return {**{each["precision"]: each["flops"] for each in products}, "copy": copied["bytes_per_s"]}


def _print_limits(trained: dict[Any, dict[str, Any]], limits: dict[str, float], facts: str) -> None:
    # TensorFlow may be missing where Keras runs on JAX.
    imported = harness.tensorflow_mb() if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow" else None
    rows = []
    for (depth, batch, precision), result in trained.items():
        seconds = harness.EPOCH / result["images_per_s"]
        first, *others = result["epoch_seconds"]
        compilation = first - statistics.median(others) if others else None
        arithmetic = harness.EPOCH * harness.operations(depth) / limits[precision]
        traffic = harness.EPOCH * harness.feature_map_bytes(depth, precision) / limits["copy"]
        cells = [harness.number(each, 2) for each in (seconds, arithmetic, seconds / arithmetic, traffic, compilation)]
        peak = result["peak_mb"]
        above = peak - imported if peak and imported else None
        rows.append([f"ResNet-{depth}", batch, precision, *cells, harness.number(peak), harness.number(above)])
    measured = [f"{rate / 1e12:.2f} TFLOP/s in {name}" for name, rate in limits.items() if name != "copy"]
    measured.append(f"copy {limits['copy'] / 1e9:,.0f} GB/s")
    columns = (
        "network | batch | precision | s per epoch | arithmetic alone, s | ratio | feature maps alone, s"
        " | compilation, s | peak memory, MB | above TensorFlow, MB"
    )
    harness.print_table("Training on 50,000 images", columns, rows, f"{facts}; limits: {', '.join(measured)}")


if __name__ == "__main__":
    main()
