"""Choose the network of a run with a time budget, if the request leaves it open."""

from cifarnet.backend.devices import Device, cpu_multiplies_bfloat16
from cifarnet.models.spec import ModelSpec

# Two processes with a core each train 1.2 times as much as one with two cores.
_CORES_EXPONENT = 0.74
# bfloat16 trains 1.5 to 2 times as fast on CPUs that multiply it (benchmarks/README.md, section Speed).
_BFLOAT16 = 1.7

BEST = (("resnet20", 0.0), ("airbench94-slim", 0.0), ("airbench94", 1e9))
"""Networks, each with the least work for which it is the best: seconds of one AVX2 core for 50,000 images of 32 pixels
(benchmarks/README.md, section Short budgets)."""


def best_network(budget: float, device: Device, images: int, image_size: int) -> str:
    """Return the network that reaches the highest accuracy within a budget, among those that take the images.

    It is the default network on GPUs, where the others were not measured.

    Args:
        budget: seconds.
        device: the device that trains.
        images: the number of training images.
        image_size: their side in pixels.
    """
    if device.kind != "cpu":
        return ModelSpec().name
    speed = device.cores**_CORES_EXPONENT
    if device.backend == "tensorflow" and cpu_multiplies_bfloat16():
        speed *= _BFLOAT16
    work = budget * speed * (50_000 / images) * (32 / image_size) ** 2
    fitting = [name for name, least in BEST if work >= least and ModelSpec(name).family.takes(image_size)]
    return fitting[-1] if fitting else ModelSpec().name
