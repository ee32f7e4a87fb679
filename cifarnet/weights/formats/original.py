"""Read weight files of the original project, in the HDF5 layout of Keras 2.2.4-tf.

These files have no header. The layers show the depth and the number of classes; class names and normalization are the
project's.
"""

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.hdf5 import Hdf5File
from cifarnet.models.spec import ModelSpec, model_name
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.weights.record import LARGEST, MEANINGS, Weights, too_large

VERSION = "original"
"""``Weights.version`` of weights from these files."""

NORMALIZATION = Normalization(120.70756512369792, 64.1500758911213)
"""The original project's preprocessing: mean and standard deviation of CIFAR-10's training images."""


def header_in(file: Hdf5File) -> Weights:
    """Return the facts about the network in a parsed file, without tensors.

    Raises:
        WeightsError: when the file lacks the layers of the original project, or its network is too large.
    """
    path = file.path
    if not {"conv2d", "sequential", "conv2d_1"} <= set(file.names):
        raise WeightsError(
            f"{path} is an HDF5 file, but not a weight file: it has neither cifarnet's header nor the layers of the"
            f" original project's files (conv2d, sequential, ...). Received: {listed(file.names, 8) or 'nothing'}"
        )
    stage, bias = "sequential/sequential/", file.datasets.get("conv2d_1/conv2d_1/bias:0")
    units = len({address.split("/")[2] for address in file.datasets if address.startswith(stage)})
    if bias is None or len(bias.shape) != 1:
        raise WeightsError(
            f"{path} is not a complete weight file of the original project: it has no biases of classes. Received: no"
            " conv2d_1/conv2d_1/bias:0"
        )
    depth, classes = 6 * units + 2, bias.shape[0]
    values = {"depth": depth, "classes": classes}
    if name := too_large(values):
        raise WeightsError(
            f"{path} has a network that is too large. The largest {MEANINGS[name]} is {LARGEST[name]:,}."
            f" Received: {values[name]:,}"
        )
    try:
        spec = ModelSpec(model_name(depth), classes)
    except InvalidValueError as error:
        raise WeightsError(f"{path} is not a complete weight file of the original project: {error}") from error
    names = CIFAR10_CLASSES if classes == len(CIFAR10_CLASSES) else tuple(f"class {k}" for k in range(classes))
    return Weights(spec, {}, names, NORMALIZATION, version=VERSION)


def address(name: str) -> str:
    """Return the dataset of the tensor with the full ``name``: the top layer comes twice, and ``:0`` is added."""
    return f"{name.partition('/')[0]}/{name}:0"
