"""Find the network of tensors that another program named, and arrange them as cifarnet does.

PyTorch stores the kernels of convolutions as (out, in, height, width) and those of dense layers as (out, in), and calls
moving averages of batch normalization ``running_mean`` and ``running_var``. A new layout is one row of ``LAYOUTS``.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from cifarnet.errors import InvalidValueError, WeightsError, listed
from cifarnet.models.layers import Weight, leaves, named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.plurals import counted
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization, PerChannel
from cifarnet.shell import command_line
from cifarnet.weights.formats.tensors import Tensor, finite_values
from cifarnet.weights.record import LARGEST, MEANINGS, Weights, too_large

_LOGGER = logging.getLogger(__name__)

PIXEL_RANGE = 255.0
"""PyTorch's programs divide pixels by this before they normalize them (``torchvision.transforms.ToTensor``)."""

VERSION = "pytorch"
"""``Weights.version`` of weights from these files."""

# torch.nn.DataParallel and torch.compile add these to all names.
_PREFIXES = ("module.", "_orig_mod.")
_IGNORED = ".num_batches_tracked"
_BLOCK = re.compile(r"layer\d+\.\d+\.conv1\.weight")
_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""PyTorch's names of a layer's tensors."""


# The full name of a layer in a residual unit. The first stage has no number.
_UNIT = re.compile(r"sequential(?:_(?P<stage>\d+))?/res_net_unit_(?P<unit>\d+)/(?P<layer>\w+)")


@dataclass(frozen=True)
class Layout:
    """How a program names the tensors of a family of networks.

    Attributes:
        origin: the GitHub repository that has the program.
        network: the form of the networks' names, from their depth.
        modules: the program's modules for the layers outside of residual units, by name, the classifier last.
        unit_modules: those for the layers in residual units.
        normalization: how the program normalizes the images of CIFAR-10.
        documented: the depth of one of the networks.
    """

    origin: str
    network: str
    modules: Mapping[str, str]
    unit_modules: Mapping[str, str]
    normalization: Normalization
    documented: int

    @property
    def classifier(self) -> str:
        """The program's module for the last layer."""
        return list(self.modules.values())[-1]

    def names(self, spec: ModelSpec) -> dict[str, str]:
        """Return the program's names of the tensors of ``spec``, by their full names."""
        found = {}
        for path, layer in leaves(describe(spec)):
            if layer.weights:
                module = self._module(path)
                found.update({f"{path}/{weight.name}": f"{module}.{_PARTS[weight.name]}" for weight in layer.weights})
        return found

    def _module(self, path: str) -> str:
        if place := _UNIT.fullmatch(path):
            stage, unit = int(place["stage"] or 0) + 1, int(place["unit"]) - 1
            return f"layer{stage}.{unit}.{self.unit_modules[place['layer']]}"
        return self.modules[path]

    def example(self) -> dict[str, str]:
        """Return the names of the tensors of a documented network."""
        return self.names(ModelSpec(self.network.format(self.documented)))


def normalization_of(mean: PerChannel, std: PerChannel) -> Normalization:
    """Return the normalization by a mean and a standard deviation of pixels from 0 to 1, as PyTorch's programs do it.

    Raises:
        InvalidValueError: when a value is not possible.
    """
    return Normalization(_of_pixels(mean), _of_pixels(std))


def _of_pixels(values: PerChannel) -> PerChannel:
    red, green, blue = (value * PIXEL_RANGE for value in values)
    return red, green, blue


_IMAGENET = normalization_of((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR10 = normalization_of((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

_UNIT_MODULES = {"conv1": "conv1", "batchnorm_1": "bn1", "conv2": "conv2", "batchnorm_2": "bn2"}

LAYOUTS = (
    Layout(
        "akamaster/pytorch_resnet_cifar10",
        "resnet{}-v1",
        {"conv2d": "conv1", "batch_normalization": "bn1", "dense": "linear"},
        _UNIT_MODULES,
        _IMAGENET,
        20,
    ),
    Layout(
        "chenyaofo/pytorch-cifar-models",
        "resnet{}-v1b",
        {"conv2d": "conv1", "batch_normalization": "bn1", "dense": "fc"},
        {**_UNIT_MODULES, "shortcut_conv": "downsample.0", "shortcut_batchnorm": "downsample.1"},
        _CIFAR10,
        20,
    ),
    Layout(
        "kuangliu/pytorch-cifar",
        "preactresnet{}",
        {"conv2d": "conv1", "dense": "linear"},
        {**_UNIT_MODULES, "shortcut_conv": "shortcut.0"},
        _CIFAR10,
        18,
    ),
)
"""The known layouts.

The networks are in ``resnet.py`` of the first two repositories and in ``models/preact_resnet.py`` of the third. The
normalizations are in ``trainer.py``, ``logs/cifar10/resnet20/default.log`` and ``main.py``.
"""


def load(
    tensors: Mapping[str, Tensor],
    path: Path,
    normalization: Normalization | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Weights:
    """Return the weights that ``tensors`` of the file ``path`` hold in one of the ``LAYOUTS``.

    Such a file records neither its normalization nor its classes. For networks with ten classes, those of the layout's
    program and of CIFAR-10 are assumed where they are not given. Other networks need a normalization, and their classes
    are numbered. A warning is logged that says what is assumed.

    Args:
        tensors: the tensors by the program's names.
        path: the file, for messages.
        normalization: preprocessing of the images; None to assume it.
        class_names: the name of each class; None to assume them.

    Raises:
        WeightsError: when the tensors have another layout or non-finite values, or a normalization is needed.
        InvalidValueError: when ``class_names`` are not as many as the classes.
    """
    plain = _without_prefix(tensors)
    weights, names = _header(plain, path, normalization, class_names)
    return replace(weights, tensors={full: _values(plain[name], name, path) for full, name in names.items()})


def load_header(tensors: Mapping[str, Tensor], path: Path) -> Weights:
    """Return what ``load`` returns, without the tensors, whose values are not read."""
    return _header(_without_prefix(tensors), path, None, None)[0]


def _conversion(path: Path) -> str:
    """Return the command that converts the file ``path``, with placeholders for what it does not record."""
    options = ("--mean", "R,G,B", "--std", "R,G,B", "--classes-file", "FILE")
    return command_line("weights", "convert", path, f"{path.stem}.h5", *options)


def _header(
    tensors: Mapping[str, Tensor],
    path: Path,
    normalization: Normalization | None,
    class_names: tuple[str, ...] | None,
) -> tuple[Weights, dict[str, str]]:
    """Return the weights without tensors, and the program's name of every tensor."""
    layout, spec = _matching(tensors, path)
    names = layout.names(spec)
    _require_tensors(f"a {spec.title} of {layout.origin}", names, named_weights(describe(spec)), tensors, path)
    if class_names is not None and len(class_names) != spec.classes:
        raise InvalidValueError(
            f"`class_names` must name each of the {spec.classes} classes of {path}. Received: {len(class_names)} names",
            field="class_names",
            value=class_names,
        )
    is_cifar10 = spec.classes == len(CIFAR10_CLASSES)
    if normalization is None and not is_cifar10:
        raise WeightsError(
            f"{path} is a {spec.title} with {counted(spec.classes, 'class')}, and does not record how its images were"
            " normalized. Convert it with the mean and the standard deviation of its training, and the names of its"
            f" classes: {_conversion(path)} Received: no normalization"
        )
    assumed = []
    if normalization is None:
        normalization = layout.normalization
        assumed.append(f"the normalization of {layout.origin} ({_in_words(normalization)})")
    if class_names is None:
        class_names = CIFAR10_CLASSES if is_cifar10 else tuple(f"class {k}" for k in range(spec.classes))
        usual = "the classes of CIFAR-10 in their usual order"
        assumed.append(usual if is_cifar10 else f"the names {class_names[0]} to {class_names[-1]}")
    if assumed:
        _note_once(
            f"{path} records neither its normalization nor its classes. Assumed: {', and '.join(assumed)}. If it was"
            f" trained with others, convert it: {_conversion(path)}"
        )
    return Weights(spec, {}, class_names, normalization, version=VERSION), names


@lru_cache(maxsize=32)
def _note_once(message: str) -> None:
    # One command reads the header and then the tensors of the same file.
    _LOGGER.warning(message)


def _in_words(normalization: Normalization) -> str:
    """Return a normalization as the options ``--mean`` and ``--std`` take it."""
    return ", ".join(
        f"{name} {','.join(f'{each / PIXEL_RANGE:.4g}' for each in value)}"
        for name, value in normalization.to_dict().items()
        if isinstance(value, list)
    )


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors`` without the counters of batches, and without the prefixes that all names have."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(_IGNORED)}
    for prefix in _PREFIXES * 2:  # In either order.
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _matching(tensors: Mapping[str, Tensor], path: Path) -> tuple[Layout, ModelSpec]:
    """Return the layout whose names are most like those of ``tensors``, and the network.

    Raises:
        WeightsError: when there is none, or the network is too large.
    """
    candidates = [(layout, spec) for layout in LAYOUTS if (spec := _spec(layout, tensors, path))]
    if not candidates:
        known = "; ".join(f"{layout.origin}: {listed(layout.example().values(), 3)}" for layout in LAYOUTS)
        raise WeightsError(
            f"{path} has the tensors of no network that cifarnet knows from PyTorch. Expected are those of {known}."
            f" Received: {_listed(tensors) or 'none'}"
        )

    def likeness(candidate: tuple[Layout, ModelSpec]) -> float:
        layout, spec = candidate
        names = set(layout.names(spec).values())
        return len(names & tensors.keys()) / len(names | tensors.keys())

    return max(candidates, key=likeness)


def _spec(layout: Layout, tensors: Mapping[str, Tensor], path: Path) -> ModelSpec | None:
    """Return the network of ``tensors`` in ``layout``, or None if it has no such network."""
    classifier = tensors.get(f"{layout.classifier}.weight")
    if classifier is None or len(classifier.shape) != 2:
        return None
    blocks = sum(1 for name in tensors if _BLOCK.fullmatch(name))
    values = {"depth": 2 * blocks + 2, "classes": classifier.shape[0]}
    if name := too_large(values):
        raise WeightsError(
            f"{path} has a network that is too large. The largest {MEANINGS[name]} is {LARGEST[name]:,}."
            f" Received: {values[name]:,}"
        )
    try:
        return ModelSpec(layout.network.format(values["depth"]), values["classes"])
    except InvalidValueError:
        return None


def _require_tensors(
    what: str, names: Mapping[str, str], expected: Mapping[str, Weight], tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Check that ``tensors`` are those in ``names`` with the shapes of the ``expected`` weights, and no others."""
    missing = [name for name in names.values() if name not in tensors]
    unknown = tensors.keys() - set(names.values())
    if missing or unknown:
        raise WeightsError(
            f"{path} looks like {what}, which has the tensors {listed(names.values(), 4)}."
            f" Missing: {listed(missing, 4) or 'none'}. Received but unknown: {_listed(sorted(unknown)) or 'none'}"
        )
    for full, name in names.items():
        if (found := tensors[name].shape) != (wanted := _stored_shape(expected[full].shape)):
            raise WeightsError(f"{path} looks like {what}, whose {name} has the shape {wanted}. Received: {found}")


def _listed(names: Iterable[str]) -> str:
    return listed([f"{name:.60}" for name in names], 6)


def _stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which PyTorch stores a weight of the ``shape`` of cifarnet."""
    return (*shape[:-3:-1], *shape[:-2])


def _values(tensor: Tensor, name: str, path: Path) -> np.ndarray:
    """Return the values of ``tensor`` in the order of cifarnet's axes; see ``finite_values``."""
    values = finite_values(tensor, name, path)
    return np.ascontiguousarray(values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T)
