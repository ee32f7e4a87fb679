"""The Keras model, built from the description; written with ``keras.ops`` so that every backend runs it.

Importing this module imports Keras and its backend (seconds): import it inside functions.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.errors import WeightsError
from cifarnet.models.batchnorm import BatchNormalization
from cifarnet.models.description import Layer, named_weights
from cifarnet.models.resnet import describe
from cifarnet.models.spec import ModelSpec

# Said wherever Keras would ask the user's keras.json, which may say channels_first.
LAYOUT = "channels_last"

KERAS_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras's name of each precision that ``cifarnet.choices.PRECISIONS`` lists."""


class ResidualUnit(keras.layers.Layer):
    """BN - ReLU - conv 3x3 - BN - ReLU - conv 3x3, plus a shortcut without parameters.

    (batch, height, width, in) -> (batch, height / strides, width / strides, out). Where the shape changes, the
    shortcut is 2x2 average pooling and zero channels, half before and half after ("option A" of He et al. 2015).
    """

    def __init__(self, description: Layer, dtype: str):
        super().__init__(name=description.name, dtype=dtype)
        self.batchnorm_1, self.conv1, self.batchnorm_2, self.conv2 = (
            _keras_layer(x, dtype) for x in description.layers
        )
        self.strides = description.config["strides"]
        self.output_image_shape = description.output_shape
        self.shortcut_after_activation = description.config["shortcut_after_activation"]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables, for feature maps of ``input_shape`` (None, height, width, in)."""
        inner = self.compute_output_shape(input_shape)
        for layer, shape in (
            (self.batchnorm_1, input_shape),
            (self.conv1, input_shape),
            (self.batchnorm_2, inner),
            (self.conv2, inner),
        ):
            layer.build(shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(None, height, width, in) -> (None, height / strides, width / strides, out)."""
        return (input_shape[0], *self.output_image_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Apply the unit to feature maps ``x``."""
        activated = ops.relu(self.batchnorm_1(x, training=training))
        shortcut = activated if self.shortcut_after_activation else x
        if self.strides > 1:
            shortcut = ops.average_pool(shortcut, self.strides, self.strides, data_format=LAYOUT)
            missing = (self.conv1.filters - shortcut.shape[-1]) // 2
            shortcut = ops.pad(shortcut, ((0, 0), (0, 0), (0, 0), (missing, missing)))
        x = self.conv1(activated)
        x = self.conv2(ops.relu(self.batchnorm_2(x, training=training)))
        return x + shortcut


class ResNet(keras.Model):
    """A network whose own top level is the documented table: ``model.layers`` are its rows.

    Calling it on normalized images (batch, size, size, 3), float32, gives class probabilities (batch, classes);
    ``logits`` stops before the softmax. ReLU, pooling and flattening have no row in the table, so they are plain
    operations between the layers.

    ``precision`` is that of the feature maps. Weights, batch moments, head and logits are float32 in any case (mixed
    precision, Micikevicius et al. 2018, arXiv:1710.03740).
    """

    def __init__(self, spec: ModelSpec, precision: str = "float32"):
        super().__init__(name=spec.name, dtype="float32")
        self.spec = spec
        self.description = describe(spec)
        dtype = KERAS_POLICIES[precision]
        *base, head, softmax = self.description
        rows = [_keras_layer(x, dtype) for x in base] + [_keras_layer(x, "float32") for x in (head, softmax)]
        self.stem, *self.stages, self.batchnorm, self.head, self.softmax = rows
        self.build((None, spec.image_size, spec.image_size, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables, for images of ``input_shape`` (None, size, size, 3)."""
        # Row by row: Keras would find the shapes by running the network, which takes a second (JAX: seven).
        shape = input_shape
        for row, description in zip((self.stem, *self.stages, self.batchnorm), self.description[:-2], strict=True):
            row.build(shape)
            shape = (input_shape[0], *description.output_shape)
        self.head.build((input_shape[0], 1, 1, shape[-1]))
        self.softmax.build((input_shape[0], self.spec.classes))
        self.built = True

    def features(self, images: Any, training: bool | None = None) -> Any:
        """What the base (stem and stages) makes of normalized images: (batch, size / 4, size / 4, 64)."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x, training=training)
        return x

    def head_logits(self, features: Any, training: bool | None = None) -> Any:
        """Logits (batch, classes) from the base's features."""
        x = ops.cast(ops.relu(self.batchnorm(features, training=training)), "float32")
        x = self.head(ops.mean(x, axis=(1, 2), keepdims=True))  # (batch, 1, 1, classes)
        return ops.reshape(x, (-1, self.spec.classes))

    def logits(self, images: Any, training: bool | None = None) -> Any:
        """Logits (batch, classes) of normalized images (batch, size, size, 3)."""
        return self.head_logits(self.features(images, training=training), training=training)

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Class probabilities (batch, classes) of normalized images."""
        return self.softmax(self.logits(images, training=training))

    def freeze_base(self) -> None:
        """Fix stem and stages: no gradient, and their batch normalization in inference mode."""
        for layer in (self.stem, *self.stages):
            layer.trainable = False

    @property
    def batch_norms(self) -> list[BatchNormalization]:
        """The batch normalization layers, in the order of the forward pass."""
        units = [unit for stage in self.stages for unit in stage.layers]
        return [*(layer for unit in units for layer in (unit.batchnorm_1, unit.batchnorm_2)), self.batchnorm]

    def set_batchnorm_momentum(self, momentum: float) -> None:
        """Set the share of the moving mean and variance that each training step keeps (Keras: 0.99)."""
        for layer in self.batch_norms:
            layer.momentum = momentum

    def kernels(self) -> list[Any]:
        """The trainable convolution kernels, which L2 regularization applies to."""
        return [variable for variable in self.trainable_variables if variable.name == "kernel"]

    def tensors(self) -> dict[str, Any]:
        """Every Keras variable by the description's full name, in the description's order."""
        found: dict[str, Any] = {}
        for name in named_weights(self.description):
            row, *inner, weight = name.split("/")
            layer = self.get_layer(row)
            for part in inner:
                layer = layer.get_layer(part) if isinstance(layer, keras.Sequential) else getattr(layer, part)
            found[name] = getattr(layer, weight)
        return found

    def get_tensors(self) -> dict[str, np.ndarray]:
        """Copies of all weights as float32 arrays by full name."""
        return {name: np.array(ops.convert_to_numpy(v)) for name, v in self.tensors().items()}

    def set_tensors(self, arrays: dict[str, np.ndarray]) -> None:
        """Assign weights by full name.

        Raises:
            WeightsError: when a tensor is missing, unknown or of another shape; nothing is assigned then.
        """
        variables = self.tensors()
        if arrays.keys() != variables.keys():
            missing = sorted(variables.keys() - arrays.keys())
            unknown = sorted(arrays.keys() - variables.keys())
            raise WeightsError(f"These weights don't fit {self.spec.title}: missing {missing}, unknown {unknown}.")
        for name, array in arrays.items():
            if tuple(variables[name].shape) != array.shape:
                raise WeightsError(
                    f"These weights don't fit {self.spec.title}: {name} should have shape"
                    f" {tuple(variables[name].shape)}. Received: {array.shape}"
                )
        for name, array in arrays.items():
            variables[name].assign(array)


def build_model(
    spec: ModelSpec, weights: dict[str, np.ndarray] | None = None, seed: int = 0, precision: str = "float32"
) -> ResNet:
    """The network of ``spec`` with ``weights`` (by full name), or with initial weights drawn from ``seed``.

    Raises:
        WeightsError: when ``weights`` don't fit the network.
    """
    model = ResNet(spec, precision)
    model.set_tensors(initial_weights(spec, seed) if weights is None else weights)
    return model


def initial_weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Fresh weights by full name: He normal kernels (arXiv:1502.01852), everything else at its neutral value.

    Drawn with NumPy, so that one seed means the same network on every backend.
    """
    rng = np.random.default_rng([seed, _INIT_STREAM])
    arrays = {}
    for name, weight in named_weights(describe(spec)).items():
        kind = name.rpartition("/")[2]
        if kind == "kernel":
            fan_in = int(np.prod(weight.shape[:-1]))
            array = rng.standard_normal(weight.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        else:
            array = np.full(weight.shape, kind in ("gamma", "moving_variance"), np.float32)
        arrays[name] = array
    return arrays


def adopted_weights(
    spec: ModelSpec, seed: int, base: dict[str, np.ndarray], *, keep_head: bool
) -> dict[str, np.ndarray]:
    """Weights by full name to begin with, taken over from ``base``, those of a network of ``spec``'s depth or less.

    Residual units that ``base`` lacks follow its own in each stage. Their second convolution is zero, so that each
    passes on what it is given and a deeper network computes exactly what ``base`` does until it is trained: "Net2Net",
    Chen et al. 2016 (arXiv:1511.05641); a zero last convolution as in "Fixup", Zhang et al. 2019 (arXiv:1901.09321).
    Without ``keep_head`` the head begins anew, for ``spec``'s classes.
    """
    arrays = initial_weights(spec, seed)
    for name, array in arrays.items():
        if name in base and (keep_head or not name.startswith("conv2d_1/")):
            arrays[name] = base[name]
        elif name.endswith("/conv2/kernel"):
            arrays[name] = np.zeros_like(array)
    return arrays


# Keeps the draws of the initial weights apart from those of the epochs, whose streams are (seed, epoch).
_INIT_STREAM = 2**32 - 1


def _keras_layer(description: Layer, dtype: str) -> keras.layers.Layer:
    return _BUILDERS[description.type](description, dtype)


_BUILDERS: dict[str, Callable[[Layer, str], keras.layers.Layer]] = {
    "Conv2D": lambda d, dtype: keras.layers.Conv2D(
        name=d.name, padding="same", data_format=LAYOUT, dtype=dtype, kernel_initializer="zeros", **d.config
    ),
    "BatchNormalization": lambda d, dtype: BatchNormalization(name=d.name, dtype=dtype, **d.config),
    "Sequential": lambda d, dtype: keras.Sequential([ResidualUnit(unit, dtype) for unit in d.layers], name=d.name),
    "Activation": lambda d, dtype: keras.layers.Activation("softmax", name=d.name, dtype=dtype),
}
