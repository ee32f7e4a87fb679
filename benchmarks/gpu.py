"""What cifarnet does on a GPU: correctness, speed beside PyTorch and beside the hardware's limits, time to accuracy.

    KERAS_BACKEND=jax python benchmarks/gpu.py --data cifar10-jpeg75.tar.xz --output gpu-runs --json gpu.json

TensorFlow need not be installed. In parts, which --parts chooses among, each in processes of its own:

roofline   floating-point operations a second of a large matrix product in each precision (in float32 as the training
           has it: with TF32 on NVIDIA GPUs), bytes a second of a large copy
epochs     seconds of an epoch of 50,000 images by cifarnet's own loop with recipe ``paper``, after the first, which
           compiles; beside what the arithmetic and the traffic of feature maps would take at the measured limits
peer       the same network in plain PyTorch, compiled, in the same precision (skipped where torch or CUDA is missing)
accuracy   runs of recipe ``fast``, tested after every epoch: when the test accuracy first reached 80, 84, 86, 88 %
logits     whether the GPU's logits are the CPU's, to 1e-4 of the largest, in float32 without TF32; of the network that
           ``accuracy`` trained, where it did

--device cpu with small settings tries the script out without a GPU:

    KERAS_BACKEND=jax python benchmarks/gpu.py --device cpu --data synthetic:200 --depths 8 --steps 4 --epochs 1

Most of its time is compilation. To run it in pieces, run it once for each part, with the same --json and --output.
"""

import json
import os
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness

PARTS = ("roofline", "epochs", "peer", "accuracy", "logits")
PRECISIONS = ("float32", "bfloat16")
TOLERANCE = 1e-4

CPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
# The first is JAX's word for float32 products without TF32, the second that of NVIDIA's libraries.
EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "highest", "NVIDIA_TF32_OVERRIDE": "0"}


def main() -> None:
    """Run the chosen parts, print the tables and write the figures."""
    args = _arguments()
    environment = CPU if args.device == "cpu" else {}
    here = harness.measure_one({"task": "execution"}, environment)
    if here["kind"] != args.device:
        raise SystemExit(f"No GPU: {here['device']}. {here['advice'] or ''} --device cpu tries the script out.")
    report = _Report(f"{harness.machine()}; {here['device']}", args.json)
    report.note("device", here)
    with tempfile.TemporaryDirectory() as temporary:
        output = args.output or Path(temporary)
        if "roofline" in args.parts:
            _roofline(args, report, environment)
        if "epochs" in args.parts:
            _epochs(args, report, environment)
        if "peer" in args.parts:
            _peer(args, report)
        if {"epochs", "peer"} & set(args.parts):
            _print_speed(args, report)
        if "accuracy" in args.parts:
            _accuracy(args, report, environment, output)
        if "logits" in args.parts:
            _logits(args, report, environment, output)
    if "logits" in args.parts and not report.figures["logits"]["agree"]:
        raise SystemExit(f"The logits differ by more than {TOLERANCE:g} of the largest.")


def _arguments() -> Any:
    parser = harness.parser(__doc__, "data", "batch")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 32, 44, 56, 110])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--steps", type=int, help="of an epoch, scaled up to 50,000 images (default: a whole one)")
    parser.add_argument("--timed", type=int, default=3, help="timed epochs, after the one that compiles")
    parser.add_argument(
        "--steps-per-call", type=int, nargs="+", default=[None], help="each of these (default: what cifarnet chooses)"
    )
    parser.add_argument("--torch-python", default=sys.executable, metavar="FILE", help="(default: this Python)")
    parser.add_argument("--peer-depths", type=int, nargs="+", help="(default: --depths)")
    parser.add_argument("--depth", type=int, help="of accuracy and logits (default: the first of --depths)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20], help="lengths of the runs to accuracy")
    parser.add_argument("--weights", type=Path, help="network for logits (default: that of accuracy, or initial ones)")
    parser.add_argument("--images", type=int, default=1000, help="test images for logits")
    parser.add_argument("--size", type=int, help="side of the roofline's matrices (default: 8192, on a CPU 1024)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep the run directories here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, part by part")
    args = parser.parse_args()
    args.depth = args.depth or args.depths[0]
    return args


class _Report:
    """Figures by part, written whenever some come in, so that a run that is cut short leaves what it had.

    What ``file`` holds of the same machine and day stays: the parts may be run one by one.
    """

    def __init__(self, facts: str, file: Path | None):
        self.facts = facts
        self.file = file
        self.figures: dict[str, Any] = {"machine": facts}
        if file and file.is_file():
            known = json.loads(file.read_text())
            if known.get("machine") == facts:
                self.figures = known

    def note(self, part: str, figures: Any) -> None:
        self.figures[part] = figures
        if self.file:
            self.file.write_text(json.dumps(self.figures, indent=2) + "\n")

    def print(self, title: str, columns: str, rows: list[list[Any]]) -> None:
        harness.print_table(title, columns, rows, self.facts)


def _roofline(args: Any, report: _Report, environment: dict[str, str]) -> None:
    on_gpu = args.device == "gpu"
    size = args.size or (8192 if on_gpu else 1024)
    tasks = [{"task": "product", "precision": precision, "size": size} for precision in args.precisions]
    tasks.append({"task": "copy", "size": harness.GIB if on_gpu else 64 * harness.MIB})
    *products, copied = harness.measure(tasks, environment)
    flops = {result["precision"]: result["flops"] for result in products}
    report.note("roofline", {"flops": flops, **copied})
    rows = [[f"matrix product, {size} x {size}, {name}", f"{rate / 1e12:.2f} TFLOP/s"] for name, rate in flops.items()]
    rows.append(["copy", f"{copied['bytes_per_s'] / 1e9:,.0f} GB/s"])
    report.print("Limits of the device, measured", "work | rate", rows)


def _epochs(args: Any, report: _Report, environment: dict[str, str]) -> None:
    settings = {"epochs": 1 + args.timed, "batch_size": args.batch}
    if args.steps:
        settings["images"] = args.steps * args.batch
    cases = [(d, p, n) for d in args.depths for p in args.precisions for n in args.steps_per_call]
    tasks = [{"task": "train", "depth": d, "precision": p, "steps_per_call": n, **settings} for d, p, n in cases]
    figures = []
    for (depth, precision, _), result in zip(cases, harness.measure(tasks, environment), strict=True):
        first, *others = result["epoch_seconds"]
        measured = statistics.median(others)
        figures.append(
            {
                "depth": depth,
                "precision": precision,
                "batch": args.batch,
                "epoch_seconds": measured * harness.EPOCH / result["images"],
                "compile_seconds": first - measured,
                **{key: result[key] for key in ("steps_per_call", "step_seconds", "tensorflow_imported")},
            }
        )
        report.note("epochs", figures)
        harness.note(f"ResNet-{depth}, {precision}: {figures[-1]['epoch_seconds']:.2f} s per epoch")


def _peer(args: Any, report: _Report) -> None:
    figures: dict[str, Any] = {"rates": []}
    report.note("peer", figures)
    if args.torch_python == sys.executable and find_spec("torch") is None:
        figures["skipped"] = "torch is not installed here"
    else:
        on_gpu = ["--device", "cuda", "--compile"] if args.device == "gpu" else ["--device", "cpu"]
        cases = [(d, p) for d in args.peer_depths or args.depths for p in args.precisions]
        for depth, precision in cases:
            options = ["--depth", depth, "--batch", args.batch, "--steps", args.steps or 100, "--train-only", *on_gpu]
            try:
                peer = harness.pytorch(args.torch_python, *options, *(["--bf16"] if precision == "bfloat16" else []))
            except RuntimeError as error:
                figures["skipped"] = f"it failed: {error}"
                break
            figures["framework"] = peer["framework"]
            seconds = harness.EPOCH / peer["train_images_per_s"]
            figures["rates"].append(
                {"depth": depth, "precision": precision, "batch": args.batch, "epoch_seconds": seconds}
            )
            harness.note(f"PyTorch, ResNet-{depth}, {precision}: {seconds:.2f} s per epoch")
            report.note("peer", figures)
    report.note("peer", figures)
    if "skipped" in figures:
        harness.note(f"PyTorch skipped: {figures['skipped']}.")


def _print_speed(args: Any, report: _Report) -> None:
    limits, peer = report.figures.get("roofline"), report.figures.get("peer", {})
    # By batch, too: the parts may have been measured one by one, with other options.
    peers = {(rate["depth"], rate["precision"], rate["batch"]): rate["epoch_seconds"] for rate in peer.get("rates", [])}
    rows = []
    unmeasured = {"epoch_seconds": None, "compile_seconds": None, "steps_per_call": "-"}
    cases = report.figures.get("epochs") or [{**rate, **unmeasured} for rate in peer.get("rates", [])]
    for case in cases:
        depth, precision, batch, seconds = (case[key] for key in ("depth", "precision", "batch", "epoch_seconds"))
        theirs = peers.get((depth, precision, batch))
        rate = limits and limits["flops"].get(precision)
        arithmetic = rate and harness.EPOCH * harness.operations(depth) / rate
        traffic = limits and harness.EPOCH * harness.feature_map_bytes(depth, precision) / limits["bytes_per_s"]
        shares = [(f"{bound / seconds:.1%}" if bound and seconds else "-") for bound in (arithmetic, traffic)]
        cells = [harness.number(case["compile_seconds"], 1), harness.number(seconds, 2), harness.number(theirs, 2)]
        cells += [harness.number(theirs / seconds if theirs and seconds else None, 2)]
        cells += [harness.number(arithmetic, 3), shares[0], harness.number(traffic, 3), shares[1]]
        rows.append([f"ResNet-{depth}", precision, batch, case["steps_per_call"], *cells])
    columns = (
        "network | precision | batch | steps per call | compilation, s | s per epoch | PyTorch, s per epoch"
        " | speed, cifarnet / PyTorch | arithmetic alone, s | of the arithmetic peak | feature maps' traffic alone, s"
        " | of the copy's rate"
    )
    report.print("Training", columns, rows)
    if "framework" in peer:
        print(f"The peer: {peer['framework']}, without augmentation.\n")
    if "skipped" in peer:
        print(f"PyTorch was skipped: {peer['skipped']}.\n")


def _accuracy(args: Any, report: _Report, environment: dict[str, str], output: Path) -> None:
    figures, rows = [], []
    for epochs in args.epochs:
        run = _run_directory(output, args.depth, epochs)
        changes = {"epochs": epochs, "checks": 0}
        settings = {"depth": args.depth, "recipe": "fast", "changes": changes, "data": args.data}
        result = harness.measure_one({"task": "history", "output": str(run), **settings}, environment)
        reached = {mark: harness.reached(result["epochs"], mark) for mark in harness.MARKS}
        figures.append({**result, "run_epochs": epochs, "reached": {f"{m:.0%}": t for m, t in reached.items()}})
        report.note("accuracy", figures)
        times = [result["start_seconds"], *reached.values(), result["epochs"][-1][0]]
        rows.append([epochs, *(harness.number(each, 1) for each in times), f"{result['accuracy']:.2%}"])
    marks = " | ".join(f"to {mark:.0%}, s" for mark in harness.MARKS)
    columns = f"epochs of the run | start, s | {marks} | to the end, s | test accuracy"
    title = f"Time to accuracy, after the start, with compilation and tests: ResNet-{args.depth}, fast, {args.data}"
    report.print(title, columns, rows)


def _run_directory(output: Path, depth: int, epochs: int) -> Path:
    return output / f"resnet{depth}-fast-{epochs}"


def _logits(args: Any, report: _Report, environment: dict[str, str], output: Path) -> None:
    import numpy as np

    trained = _run_directory(output, args.depth, max(args.epochs)) / "weights.h5"
    source = args.weights or (trained if trained.is_file() else None)
    sides = {"CPU": {**CPU, **EXACT}, "device": {**environment, **EXACT}}
    if args.device == "gpu":
        sides["device, default"] = environment
    arrays = {}
    with tempfile.TemporaryDirectory() as directory:
        for side, variables in sides.items():
            file = Path(directory) / "logits.npy"
            settings = {"source": source and str(source), "data": args.data, "images": args.images, "depth": args.depth}
            result = harness.measure_one({"task": "logits", "output": str(file), **settings}, variables)
            arrays[side] = np.load(file)
    largest = float(np.abs(arrays["CPU"]).max())
    differences = {side: float(np.abs(arrays[side] - arrays["CPU"]).max()) / largest for side in list(sides)[1:]}
    agree = differences["device"] <= TOLERANCE
    report.note("logits", {"agree": agree, "differences": differences, "largest": largest, **result})
    verdict = [f"{TOLERANCE:.0e}", "yes" if agree else "NO"]
    rows = [[f"{args.device} in float32, TF32 off", f"{differences['device']:.1e}", *verdict]]
    if "device, default" in differences:
        rows.append(["gpu in float32 as cifarnet runs it", f"{differences['device, default']:.1e}", "-", "-"])
    what = source.parent.name if source else "initial weights"
    report.print(
        f"Largest difference from the CPU's logits, relative to the largest of these, {largest:.1f}:"
        f" ResNet-{result['depth']} ({what}), {result['images']} test images of {args.data}",
        "computed on | difference | tolerance | agree",
        rows,
    )


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main()
