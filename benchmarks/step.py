"""Images per second of training and inference, in turn with the same network in plain PyTorch.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/step.py --torch-python .torch/bin/python --depths 20 56 --rounds 3

Training is cifarnet's own loop with the recipe ``paper``, with augmentation, which the peer does not do; inference goes
from uint8 images in the host's memory to logits there, where the peer has normalized images ready. float32, and the
precision that cifarnet chooses on the device where that is another; cifarnet infers in float32 alone.

Each side runs in a process of its own, in turn, because both want all cores and a machine's speed drifts: the ratio is
the median of the rounds' ratios. Without --torch-python it measures cifarnet alone. Takes a minute a row.
"""

import statistics
from typing import Any

import harness

PEER_OPTIONS = {"float32": [], "bfloat16": ["--bf16"]}


def main() -> None:
    """Measure in rounds and print the table."""
    parser = harness.parser(__doc__, "batch", "images")
    parser.add_argument("--torch-python", metavar="FILE", help="a Python that has torch; without it no peer")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--precisions", nargs="+", help="(default: float32 and what cifarnet chooses here)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round")
    parser.add_argument("--backend", choices=["tensorflow", "jax"])
    args = parser.parse_args()
    environment = {"KERAS_BACKEND": args.backend} if args.backend else {}
    precisions = args.precisions
    if not precisions:
        best = harness.measure_one({"task": "execution"}, environment)["precision"]
        precisions = list(dict.fromkeys(["float32", best]))
    cases = [(depth, precision) for depth in args.depths for precision in precisions]
    rates: dict[tuple[int, str, str], list[list[float]]] = {}
    for turn in range(args.rounds):
        for depth, precision in cases:
            harness.note(f"Round {turn + 1} of {args.rounds}: ResNet-{depth}, {precision}")
            measured, facts = _round(args, depth, precision, environment)
            for work, pair in measured.items():
                rates.setdefault((depth, work, precision), []).append(pair)
    rows = [
        [f"ResNet-{depth}", work, precision, *_compared(rates[depth, work, precision])]
        for depth in args.depths
        for work in ("training", "inference")
        for precision in precisions
    ]
    columns = "network | work | precision | cifarnet | PyTorch | cifarnet / PyTorch | rounds from - to"
    title = f"Images per second, batches of {args.batch}, {args.rounds} round(s)"
    harness.print_table(title, columns, rows, facts)


def _round(args: Any, depth: int, precision: str, environment: dict[str, str]) -> tuple[dict[str, list[float]], str]:
    """Return [own rate, the peer's rate] of training and inference (without a peer, one rate), and the machine."""
    settings = {"depth": depth, "precision": precision, "batch_size": args.batch}
    tasks = [
        {"task": "train", **settings, "images": args.images, "warm_steps": args.steps},
        {"task": "infer", **settings, "steps": args.steps},
    ]
    trained, inferred = harness.measure(tasks, environment)
    measured = {"training": [trained["images_per_s"]], "inference": [inferred["images_per_s"]]}
    version = None
    if args.torch_python and precision in PEER_OPTIONS:
        place = "cuda" if trained["kind"] == "gpu" else "cpu"
        options = ["--depth", depth, "--batch", args.batch, "--steps", args.steps, "--device", place]
        peer = harness.pytorch(args.torch_python, *options, *PEER_OPTIONS[precision])
        version = peer["framework"].removeprefix("torch ")
        measured["training"].append(peer["train_images_per_s"])
        measured["inference"].append(peer["infer_images_per_s"])
    return measured, f"{harness.machine(torch=version)}; {trained['device']}"


def _compared(pairs: list[list[float]]) -> list[str]:
    medians = [harness.number(statistics.median(rates)) for rates in zip(*pairs, strict=True)]
    if len(medians) == 1:
        return [*medians, "-", "-", "-"]
    return [*medians, *harness.spread([own / theirs for own, theirs in pairs], 2)]


if __name__ == "__main__":
    main()
