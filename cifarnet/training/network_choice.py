"""Choose the network of a run with a time budget, if the request leaves it open."""

from cifarnet.backend.devices import Device
from cifarnet.models.spec import ModelSpec

BEST = {"cpu": "airbench94-slim"}
"""By kind of device, the network with the highest accuracy in every budget that was measured: 1 to 20 minutes of one
AVX2 core for 50,000 images, and 3 minutes for 2,000 (benchmarks/README.md, section Networks within a budget)."""


def best_network(device: Device, image_size: int) -> str:
    """Return the network to train within a budget on ``device``, on images of ``image_size`` pixels.

    It is the default network on devices that were not measured, and for images that the best one does not take.
    """
    name = BEST.get(device.kind)
    return name if name and ModelSpec(name).family.takes(image_size) else ModelSpec().name
