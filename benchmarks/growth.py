"""How time and memory of training grow with depth and batch, beside what the arithmetic alone would take.

    python benchmarks/growth.py

The arithmetic is three times the multiply-accumulates of a forward pass (cifarnet summary prints them) at the rate of
the fastest large matrix product of TensorFlow in the same precision. Each row is a training on 50,000 images in a
process of its own: seconds per epoch are from the median of its steps, memory is the peak of the process. Linux only.
Takes ten minutes on two cores.
"""

import harness


def main() -> None:
    """Measure row by row and print the table."""
    parser = harness.parser(__doc__, "images")
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 32, 44, 56, 110], help="at batch 128")
    parser.add_argument("--batches", type=int, nargs="*", default=[32, 256, 512, 1024], help="at depth 20")
    parser.add_argument("--precision", help="(default: what cifarnet chooses here)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a row")
    parser.add_argument("--size", type=int, default=2048, help="side of the matrices that the peak is measured with")
    args = parser.parse_args()
    environment = {"KERAS_BACKEND": "tensorflow"}
    imported = harness.tensorflow_mb()
    rows = []
    peaks: dict[str, float] = {}
    for depth, batch in [(depth, 128) for depth in args.depths] + [(20, batch) for batch in args.batches]:
        harness.note(f"ResNet-{depth}, batch {batch}")
        settings = {"batch_size": batch, "precision": args.precision, "images": args.images, "warm_steps": args.steps}
        result = harness.measure_one({"task": "train", "depth": depth, **settings}, environment)
        precision, memory = result["precision"], result["peak_mb"]
        if precision not in peaks:
            task = {"task": "product", "precision": precision, "size": args.size}
            peaks[precision] = harness.measure_one(task, environment)["flops"]
        seconds = harness.EPOCH / result["images_per_s"]
        bound = harness.EPOCH * harness.operations(depth) / peaks[precision]
        cells = [harness.number(value, 1) for value in (seconds, bound, seconds / bound)]
        cells += [harness.number(value) for value in (memory, memory - imported)]
        rows.append([f"ResNet-{depth}", batch, precision, *cells])
    rates = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {precision}" for precision, peak in peaks.items())
    columns = "network | batch | precision | s per epoch | arithmetic alone, s | ratio | peak memory, MB"
    facts = f"{harness.machine()}; matrix products {rates}; TensorFlow alone {imported:,.0f} MB"
    harness.print_table("Growth with depth and batch", f"{columns} | above TensorFlow, MB", rows, facts)


if __name__ == "__main__":
    main()
