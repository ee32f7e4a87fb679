"""How time and memory grow with depth and batch, beside what the arithmetic alone would take.

    python benchmarks/growth.py

The arithmetic is three convolutions' worth of multiply-accumulates forward and back (cifarnet summary prints one) at
the rate of the fastest large matrix product that TensorFlow does here in the same precision. Each row is a training of
cifarnet's own loop on 50,000 images in a process of its own; seconds per epoch come from the median of its
steps, memory is the highest resident of the process, also above what importing TensorFlow takes. Linux only. Takes ten
minutes on two cores.
"""

import common


def main() -> None:
    """Measure row by row and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 32, 44, 56, 110], help="at batch 128")
    parser.add_argument("--batches", type=int, nargs="*", default=[32, 256, 512, 1024], help="at depth 20")
    parser.add_argument("--precision", help="(default: what cifarnet chooses here)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a row")
    parser.add_argument("--images", type=int, default=common.EPOCH, help="training images held in memory")
    parser.add_argument("--size", type=int, default=2048, help="side of the matrices that the peak is measured with")
    args = parser.parse_args()
    environment = {"KERAS_BACKEND": "tensorflow"}
    shapes = [(depth, 128) for depth in args.depths] + [(20, batch) for batch in args.batches]
    imported = common.tensorflow_mb()
    rows = []
    peaks: dict[str, float] = {}
    for depth, batch in shapes:
        common.tell(f"ResNet-{depth}, batch {batch}")
        settings = {"batch_size": batch, "precision": args.precision, "images": args.images}
        task = {"task": "train", "depth": depth, "warm_steps": args.steps, **settings}
        result = common.measure_one(task, environment)
        precision = result["precision"]
        if precision not in peaks:
            task = {"task": "product", "precision": precision, "size": args.size}
            peaks[precision] = common.measure_one(task, environment)["flops"]
        seconds = common.EPOCH / result["images_per_s"]
        bound = common.EPOCH * common.operations(depth) / peaks[precision]
        above = result["peak_mb"] - imported
        rows.append(
            [
                f"ResNet-{depth}",
                batch,
                precision,
                common.number(seconds, 1),
                common.number(bound, 1),
                f"{seconds / bound:.1f}",
                common.number(result["peak_mb"]),
                common.number(above),
            ]
        )
    told = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {precision}" for precision, peak in peaks.items())
    print(
        common.table(
            "Growth with depth and batch",
            (
                "network",
                "batch",
                "precision",
                "s per epoch",
                "arithmetic alone, s",
                "ratio",
                "peak memory, MB",
                "above TensorFlow, MB",
            ),
            rows,
            f"{common.machine()}; matrix products {told}; TensorFlow alone {imported:,.0f} MB",
        )
    )


if __name__ == "__main__":
    main()
