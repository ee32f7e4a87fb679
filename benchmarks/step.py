"""Images per second of training and inference, in turn with the same network in plain PyTorch.

    python3 -m venv .torch && .torch/bin/pip install torch==2.13.0 numpy
    python benchmarks/step.py --torch-python .torch/bin/python --depths 20 56 --rounds 3

Training is cifarnet's own loop with the recipe ``paper``, augmentation included, which the peer does not do; inference
goes from uint8 images in the host's memory to logits there, where the peer has normalized images ready. float32, and
the precision that cifarnet chooses on the device where that is another; cifarnet infers in float32 alone, so the other
precision's row for inference shows what it would give.

Each side runs in a process of its own, in turn, because both want all cores, and because a machine's speed drifts: the
ratio is the median of the rounds' ratios. Without --torch-python it measures cifarnet alone. Takes a minute a row.
"""

import statistics
from typing import Any

import common

PEER_OPTIONS = {"float32": [], "bfloat16": ["--bf16"]}


def main() -> None:
    """Measure in rounds and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--torch-python", metavar="FILE", help="a Python that has torch; without it no peer")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--precisions", nargs="+", help="(default: float32 and what cifarnet chooses here)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round")
    parser.add_argument("--images", type=int, default=common.EPOCH, help="training images held in memory")
    parser.add_argument("--backend", choices=["tensorflow", "jax"])
    args = parser.parse_args()
    environment = {"KERAS_BACKEND": args.backend} if args.backend else {}
    precisions = args.precisions or _precisions(environment)
    rates: dict[tuple[int, str, str, str], list[float]] = {}
    peer = device = None
    for turn in range(args.rounds):
        for depth in args.depths:
            for precision in precisions:
                common.tell(f"Round {turn + 1} of {args.rounds}: ResNet-{depth}, {precision}")
                trained, inferred = common.measure(_tasks(args, depth, precision), environment)
                device = trained["device"]
                measured = {"cifarnet": (trained["images_per_s"], inferred["images_per_s"])}
                if args.torch_python and precision in PEER_OPTIONS:
                    place = "cuda" if trained["kind"] == "gpu" else "cpu"
                    options = ["--depth", depth, "--batch", args.batch, "--steps", args.steps, "--device", place]
                    told = common.pytorch(args.torch_python, *options, *PEER_OPTIONS[precision])
                    peer = told["framework"].removeprefix("torch ")
                    measured["PyTorch"] = (told["train_images_per_s"], told["infer_images_per_s"])
                for side, pair in measured.items():
                    for work, rate in zip(("training", "inference"), pair, strict=True):
                        rates.setdefault((depth, work, precision, side), []).append(rate)
    rows = [
        [f"ResNet-{depth}", work, precision, *_compared(rates, depth, work, precision)]
        for depth in args.depths
        for work in ("training", "inference")
        for precision in precisions
    ]
    print(
        common.table(
            f"Images per second, batches of {args.batch}, {args.rounds} round(s)",
            ("network", "work", "precision", "cifarnet", "PyTorch", "cifarnet / PyTorch", "rounds from - to"),
            rows,
            f"{common.machine(torch=peer)}; {device}",
        )
    )


def _precisions(environment: dict[str, str]) -> list[str]:
    chosen = common.measure_one({"task": "execution"}, environment)["precision"]
    return ["float32", chosen] if chosen != "float32" else ["float32"]


def _tasks(args: Any, depth: int, precision: str) -> list[dict[str, Any]]:
    settings = {"depth": depth, "precision": precision, "batch_size": args.batch}
    return [
        {"task": "train", **settings, "images": args.images, "warm_steps": args.steps},
        {"task": "infer", **settings, "steps": args.steps},
    ]


def _compared(rates: dict[Any, list[float]], depth: int, work: str, precision: str) -> list[str]:
    own, peers = (rates.get((depth, work, precision, side), []) for side in ("cifarnet", "PyTorch"))
    if not peers:
        return [common.number(statistics.median(own)), "-", "-", "-"]
    ratios = [a / b for a, b in zip(own, peers, strict=True)]
    return [
        common.number(statistics.median(own)),
        common.number(statistics.median(peers)),
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} - {max(ratios):.2f}",
    ]


if __name__ == "__main__":
    main()
