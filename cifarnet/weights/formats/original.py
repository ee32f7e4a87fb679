"""Weight files of the original project: the HDF5 layout of Keras 2.2.4-tf, without a header.

The depth is found from the layers in the file. Class names and normalization are those that the project used.
"""

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.hdf5 import Hdf5File
from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec, Normalization, model_name
from cifarnet.weights.record import LARGEST, Weights, too_large

VERSION = "original"
"""``Weights.version`` of these files."""

NORMALIZATION = Normalization(120.70756512369792, 64.1500758911213)
"""What the original project's preprocessing used: the statistics of CIFAR-10's training images."""


def header_in(file: Hdf5File) -> Weights:
    """Return what the layers of a parsed file tell about its network, without tensors.

    Raises:
        WeightsError: when the file does not have these layers, or names a network that is too large.
    """
    path = file.path
    if not {"conv2d", "sequential", "conv2d_1"} <= set(file.names):
        raise WeightsError(
            f"{path} is an HDF5 file, but not a weight file: it has neither cifarnet's header nor the layers of the"
            f" original project's files (conv2d, sequential, ...). It has: {listed(file.names, 8) or 'nothing'}"
        )
    stage, bias = "sequential/sequential/", file.datasets.get("conv2d_1/conv2d_1/bias:0")
    units = len({address.split("/")[2] for address in file.datasets if address.startswith(stage)})
    if bias is None or len(bias.shape) != 1:
        raise WeightsError(f"{path} is not a complete weight file of the original project: it has no classes.")
    depth, classes = 6 * units + 2, bias.shape[0]
    if name := too_large({"depth": depth, "classes": classes}):
        raise WeightsError(f"{path} names a network that is too large. The largest {name} is {LARGEST[name]:,}.")
    try:
        spec = ModelSpec(model_name(depth), classes)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a complete weight file of the original project: {error}") from error
    names = CIFAR10_CLASSES if classes == len(CIFAR10_CLASSES) else tuple(f"class {k}" for k in range(classes))
    return Weights(spec, {}, names, NORMALIZATION, version=VERSION)


def address(name: str) -> str:
    """Return where the tensor of the full ``name`` lies: the top layer's name is doubled, and ``:0`` ends it."""
    return f"{name.partition('/')[0]}/{name}:0"
