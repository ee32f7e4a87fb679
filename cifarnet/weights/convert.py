"""Convert weight files of the original project and of PyTorch to cifarnet's format."""

from collections.abc import Sequence

from cifarnet.errors import InvalidValueError, invalid
from cifarnet.fields import Range
from cifarnet.files import StrPath, as_path
from cifarnet.preprocessing import Normalization, PerChannel, names_fault
from cifarnet.weights.formats import load_described
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.formats.layouts import PIXEL_RANGE, normalization_of
from cifarnet.weights.record import Weights

UNIT_RANGE = Range(0, 1)
"""The range of a mean and of a standard deviation of pixels from 0 to 1."""


def convert_weights(
    old: StrPath,
    new: StrPath,
    *,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    class_names: Sequence[str] | None = None,
    replace: bool = False,
) -> Weights:
    """Write the weights of the file ``old`` to the file ``new`` in cifarnet's format, and return them.

    Files of PyTorch record neither their normalization nor their classes; see ``cifarnet.weights.formats.layouts.load``
    for what is assumed where they are not given.

    Args:
        old: a weight file of the original project, a checkpoint of PyTorch, or a safetensors file.
        new: the file to write.
        mean: the mean of each channel for pixels from 0 to 1, as ``torchvision.transforms.Normalize`` takes it.
        std: the standard deviation of each channel for pixels from 0 to 1.
        class_names: the name of each class, in the order of the logits.
        replace: whether an existing file ``new`` is replaced.

    Raises:
        InvalidValueError: for a value out of range, for one of ``mean`` and ``std`` without the other, when ``old``
            records these facts itself, and when ``new`` exists.
        WeightsError: when ``old`` can't be read.
        StorageError: when ``new`` can't be written.
    """
    old, new = as_path(old, "old"), as_path(new, "new")
    normalization = _normalization(mean, std)
    names = None if class_names is None else _names(class_names)
    if new.exists() and not replace:
        raise InvalidValueError(f"{new} exists. Choose another file, or give `replace`. Received: {new}")
    weights = load_described(old, normalization, names)
    save_weights(new, weights)
    return weights


def _names(class_names: Sequence[str]) -> tuple[str, ...]:
    if fault := names_fault(class_names):
        raise InvalidValueError(f"`class_names` {fault}", field="class_names", value=class_names)
    return tuple(class_names)


def _normalization(mean: PerChannel | None, std: PerChannel | None) -> Normalization | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        missing, given = ("mean", "std") if mean is None else ("std", "mean")
        raise InvalidValueError(
            f"`mean` and `std` belong together: give `{missing}` too. Received: `{given}` alone", field=missing
        )
    for name, values in (("mean", mean), ("std", std)):
        _require_unit_range(name, values)
    return normalization_of(mean, std)


def _require_unit_range(name: str, values: PerChannel) -> None:
    """Check the values of a mean or standard deviation.

    Raises:
        InvalidValueError: when one is out of range. The message has the value for pixels from 0 to 1 if it seems to be
            one for pixels from 0 to 255.
    """
    if all(value in UNIT_RANGE for value in values):
        return
    remedy = ""
    if all(0 <= value <= PIXEL_RANGE for value in values):
        divided = ",".join(f"{value / PIXEL_RANGE:.4g}" for value in values)
        remedy = f"If they are for pixels from 0 to 255, divide them by 255: {divided}."
    received = ",".join(f"{value:g}" for value in values)
    problem = "takes three numbers from 0 to 1, for pixels from 0 to 1"
    raise invalid(name, problem, values, valid=UNIT_RANGE, remedy=remedy, received=received)
