"""Simulate training on 1, 8 and 64 GPUs: time, cost, and where more devices stop helping.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --gpus 1 2 4 8 --batch 2048

A simulation, not a measurement: no machine with several GPUs was at hand. Its assumptions:

- The time of a step of one GPU is a constant plus a part for each image. For ResNet-20 in bfloat16 both follow from two
  measured epochs on an H100, 0.88 s with batches of 128 and 0.49 s with batches of 512 (README.md, section GPU). Other
  networks take longer in proportion to their multiplications, since their layers have the same shapes.
- Each step adds the gradients of all devices, 4 bytes for a parameter, in a ring: 2 (N - 1) / N times their size at the
  --bandwidth of the slowest link, and 2 log2(N) times its --latency, as NCCL's trees take. They begin when the gradient
  is complete, so nothing overlaps.
- Batch normalization over all devices exchanges two vectors of each of its layers in the forward and in the backward
  pass. Only the latency counts.
- GPUs of one machine (8) are connected by NVLink, those of several by a network.
- The batch is that of the whole run, whatever the number of GPUs, so accuracy does not depend on it.
- Starting and compiling take the same time everywhere and are left out. Input costs nothing: images are on the GPUs.
"""

import math
from dataclasses import dataclass

import harness

DEPTHS = (20, 32, 44, 56, 110)
# Seconds of an epoch of 50,000 images, by batch size: ResNet-20 in bfloat16 on an H100.
EPOCHS = {128: 0.88, 512: 0.49}
GPUS_OF_A_MACHINE = 8


@dataclass(frozen=True)
class Link:
    """A connection between devices: bytes per second, and seconds of one message."""

    bandwidth: float
    latency: float

    def all_reduce(self, size: float, devices: int) -> float:
        """Return the seconds in which ``devices`` add ``size`` bytes, so that each has the sum."""
        if devices == 1:
            return 0.0
        return 2 * (devices - 1) / devices * size / self.bandwidth + 2 * math.log2(devices) * self.latency


@dataclass(frozen=True)
class Network:
    """What the simulation knows of a network.

    Attributes:
        parameters: number of trainable parameters.
        batch_norms: number of layers of batch normalization.
        work: multiplications, relative to ResNet-20.
    """

    parameters: int
    batch_norms: int
    work: float

    @classmethod
    def of(cls, depth: int) -> "Network":
        """Return the facts of ResNet-``depth``."""
        from cifarnet.models.layers import leaves, named_weights, total_macs
        from cifarnet.models.spec import ModelSpec, describe

        description, basis = describe(ModelSpec(f"resnet{depth}")), describe(ModelSpec("resnet20"))
        return cls(
            sum(math.prod(weight.shape) for weight in named_weights(description).values() if weight.trainable),
            sum(layer.type == "BatchNormalization" for _, layer in leaves(description)),
            total_macs(description) / total_macs(basis),
        )

    def seconds_per_step(self, images: float) -> float:
        """Return the seconds of a step of one GPU on ``images``."""
        (few, some), (many, more) = ((batch, seconds * batch / harness.EPOCH) for batch, seconds in EPOCHS.items())
        per_image = (more - some) / (many - few)
        return self.work * (some - few * per_image + images * per_image)

    def step(self, batch: int, gpus: int, near: Link, far: Link) -> float:
        """Return the seconds of a step of ``gpus`` on a ``batch`` of the whole run."""
        link = near if gpus <= GPUS_OF_A_MACHINE else far
        moments = 4 * self.batch_norms * link.all_reduce(0, gpus)
        return self.seconds_per_step(batch / gpus) + link.all_reduce(4 * self.parameters, gpus) + moments


def main() -> None:
    """Print the tables."""
    parser = harness.parser(__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64], help="(default: 1 8 64)")
    parser.add_argument("--batch", type=int, nargs="+", default=[512, 4096], help="of the run (default: 512 4096)")
    parser.add_argument("--epochs", type=int, default=120, help="(default: %(default)s)")
    parser.add_argument("--price", type=float, default=3.0, help="dollars for a GPU for an hour (default: %(default)s)")
    parser.add_argument("--bandwidth", type=float, nargs=2, default=[300, 25], help="GB/s, near and far (300 25)")
    parser.add_argument("--latency", type=float, nargs=2, default=[5, 15], help="microseconds, near and far (5 15)")
    args = parser.parse_args()
    near, far = (Link(b * 1e9, s * 1e-6) for b, s in zip(args.bandwidth, args.latency, strict=True))
    facts = f"A simulation: {args.epochs} epochs, {args.price:g} dollars for an hour of a GPU"
    for batch in args.batch:
        rows = []
        for depth in DEPTHS:
            network = Network.of(depth)
            for gpus in (count for count in args.gpus if batch % count == 0):
                step = network.step(batch, gpus, near, far)
                hours = args.epochs * harness.EPOCH / batch * step / 3600
                speedup = network.step(batch, 1, near, far) / step
                exchange = 1 - network.seconds_per_step(batch / gpus) / step
                rows.append(
                    [
                        f"ResNet-{depth}",
                        gpus,
                        harness.number(step * 1000, 2),
                        f"{exchange:.0%}",
                        harness.number(hours * 60, 1),
                        harness.number(speedup, 1),
                        harness.number(hours * gpus * args.price, 2),
                        harness.number(gpus / speedup, 1),
                    ]
                )
        columns = (
            "network | GPUs | ms per step | of it exchange | minutes | times as fast | dollars"
            " | times as dear, as many seeds on as many GPUs instead"
        )
        harness.print_table(f"Batches of {batch:,}", columns, rows, facts)


if __name__ == "__main__":
    main()
