"""Build the Keras model of a network from its description, for every backend of Keras.

Importing this module imports Keras and its backend, which takes seconds: import it inside functions.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cifarnet.choices import PRECISIONS
from cifarnet.errors import WeightsError, invalid, listed, unknown_value
from cifarnet.json_files import shown
from cifarnet.models.batchnorm import BatchNormalization
from cifarnet.models.initial import initial_weights
from cifarnet.models.layers import Layer, leaves, named_weights
from cifarnet.models.spec import ModelSpec, base_and_head, describe

# Passed to all layers, because the default is in the user's keras.json, which may contain channels_first.
LAYOUT = "channels_last"

KERAS_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras's name of each precision that ``cifarnet.choices.PRECISIONS`` lists."""


class ResidualUnit(keras.layers.Layer):
    """BN - ReLU - conv 3x3 - BN - ReLU - conv 3x3, plus a shortcut without parameters.

    The shape changes from (batch, height, width, in) to (batch, height / strides, width / strides, out). If it differs,
    the shortcut applies 2x2 average pooling and adds channels of zeros, half before and half after ("option A" of He et
    al. 2015, arXiv:1512.03385).
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
        """Create the variables for feature maps of ``input_shape`` (None, height, width, in)."""
        inner = self.compute_output_shape(input_shape)
        for layer, shape in (
            (self.batchnorm_1, input_shape),
            (self.conv1, input_shape),
            (self.batchnorm_2, inner),
            (self.conv2, inner),
        ):
            layer.build(shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, height / strides, width / strides, out) for ``input_shape`` (None, height, width, in)."""
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


class Network(keras.Model):
    """The Keras model of a network. Its ``layers`` are the rows of the documented table.

    It maps normalized images, float32 (batch, size, size, 3), to class probabilities (batch, classes). ``logits`` omits
    the softmax. ReLU, pooling and flattening are operations between the layers, since they have no row in the table.

    Args:
        spec: the network.
        precision: precision of the feature maps, one of ``KERAS_POLICIES``. Weights, batch moments, classifier and
            logits are always float32 (mixed precision, Micikevicius et al. 2018, arXiv:1710.03740).
    """

    def __init__(self, spec: ModelSpec, precision: str = "float32"):
        super().__init__(name=spec.name, dtype="float32")
        self.spec = spec
        self.description = describe(spec)
        dtype = KERAS_POLICIES[precision]
        base, head = base_and_head(spec)
        self.rows = [
            _keras_layer(layer, "float32" if layer.full_precision else dtype)
            for layer in self.description
            if layer.in_table
        ]
        by_name = {row.name: row for row in self.rows}
        self._base = [_Step(layer, by_name.get(layer.name)) for layer in base]
        *head_layers, last = head
        self._head = [_Step(layer, by_name.get(layer.name)) for layer in head_layers]
        self._softmax = _Step(last, by_name[last.name])
        self.build((None, spec.image_size, spec.image_size, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables for images of ``input_shape`` (None, size, size, 3)."""
        # Layer by layer, because Keras would run the network to find the shapes: one second, or seven with JAX.
        shape = input_shape
        for step in (*self._base, *self._head, self._softmax):
            if step.layer is not None:
                step.layer.build(shape)
            shape = (input_shape[0], *step.description.output_shape)
        self.built = True

    def features(self, images: Any, training: bool | None = None) -> Any:
        """Return features, the output of the base, (batch, height, width, channels) for normalized images."""
        return _run(self._base, images, training)

    def head_logits(self, features: Any, training: bool | None = None) -> Any:
        """Return logits (batch, classes) for features, the output of the base."""
        return _run(self._head, features, training)

    def logits(self, images: Any, training: bool | None = None) -> Any:
        """Return logits (batch, classes) for normalized images (batch, size, size, 3)."""
        return self.head_logits(self.features(images, training=training), training=training)

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Return class probabilities (batch, classes) for normalized images (batch, size, size, 3)."""
        return self._softmax(self.logits(images, training=training), training)

    @property
    def base(self) -> list[keras.layers.Layer]:
        """The layers of the base, in the order of the forward pass."""
        return [step.layer for step in self._base if step.layer is not None]

    @property
    def head(self) -> list[keras.layers.Layer]:
        """The layers of the head without the softmax, in the order of the forward pass."""
        return [step.layer for step in self._head if step.layer is not None]

    @property
    def features_shape(self) -> tuple[int, ...]:
        """Shape of the features of one image, (height, width, channels)."""
        return self._base[-1].description.output_shape

    def freeze_base(self) -> None:
        """Freeze the base: it gets no gradients, and its batch normalization is in inference mode."""
        for layer in self.base:
            layer.trainable = False

    @property
    def trains_base(self) -> bool:
        """Whether training changes the base."""
        return any(layer.trainable for layer in self.base)

    @property
    def batch_norms(self) -> list[BatchNormalization]:
        """The batch normalization layers, in the order of the forward pass."""
        return [layer for layer in self._leaves().values() if isinstance(layer, BatchNormalization)]

    def set_batchnorm_momentum(self, momentum: float) -> None:
        """Set the momentum of the moving mean and variance in all batch normalization layers (Keras: 0.99)."""
        for layer in self.batch_norms:
            layer.momentum = momentum

    @property
    def regularized(self) -> list[Any]:
        """The trainable variables that the L2 penalty applies to."""
        variables = self.tensors()
        weights = named_weights(self.description)
        return [variables[name] for name, weight in weights.items() if weight.regularized and variables[name].trainable]

    @property
    def rng_states(self) -> list[keras.Variable]:
        """The random states of layers such as dropout, uint32 (2,): a seed, and the number of draws."""
        generators = [getattr(layer, "seed_generator", None) for layer in self._leaves().values()]
        return [generator.state for generator in generators if generator is not None]

    def seed_draws(self, seed: int, epoch: int, step: int) -> None:
        """Set the random states for batch ``step`` of ``epoch`` in a run with ``seed``.

        Each layer draws once in a step, so that a resumed run draws the same numbers as an uninterrupted one.
        """
        for index, state in enumerate(self.rng_states):
            stream = np.random.SeedSequence([seed, epoch, index, _DROPOUT_STREAM]).generate_state(1)[0]
            state.assign(np.array([stream, step], np.uint32))

    def tensors(self) -> dict[str, Any]:
        """Return every Keras variable by the full name in the description, in the description's order."""
        layers, found = self._leaves(), {}
        for name in named_weights(self.description):
            path, _, weight = name.rpartition("/")
            found[name] = getattr(layers[path], weight)
        return found

    def get_tensors(self) -> dict[str, np.ndarray]:
        """Return copies of all weights as float32 arrays by full name."""
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
            raise WeightsError(
                f"These weights don't fit {self.spec.title}. Received: unknown tensors: {listed(unknown) or 'none'};"
                f" missing tensors: {listed(missing) or 'none'}"
            )
        for name, array in arrays.items():
            if tuple(variables[name].shape) != array.shape:
                raise WeightsError(
                    f"These weights don't fit {self.spec.title}: {name} should have shape"
                    f" {tuple(variables[name].shape)}. Received: {array.shape}"
                )
        for name, array in arrays.items():
            variables[name].assign(array)

    def _leaves(self) -> dict[str, keras.layers.Layer]:
        # Not stored in an attribute, because Keras would add its layers to the rows of the table.
        return {path: self._find(path) for path, layer in leaves(self.description) if layer.in_table}

    def _find(self, path: str) -> keras.layers.Layer:
        row, *inner = path.split("/")
        layer = self.get_layer(row)
        for part in inner:
            layer = layer.get_layer(part) if isinstance(layer, keras.Sequential) else getattr(layer, part)
        return layer


def build_model(
    spec: ModelSpec, weights: dict[str, np.ndarray] | None = None, seed: int = 0, precision: str = "float32"
) -> Network:
    """Return the Keras model of ``spec`` with ``weights`` (by full name), or with initial weights drawn from ``seed``.

    Raises:
        InvalidValueError: when ``spec`` is not a ``ModelSpec``, and for an unknown ``precision``.
        WeightsError: when ``weights`` don't fit the network.
    """
    if not isinstance(spec, ModelSpec):
        valid = "must be a ModelSpec, such as ModelSpec('resnet20')"
        raise invalid("spec", valid, spec, received=shown(spec))
    if precision not in PRECISIONS:
        raise unknown_value("precision", precision, PRECISIONS)
    model = Network(spec, precision)
    model.set_tensors(initial_weights(spec, seed) if weights is None else weights)
    return model


# Distinguishes the random stream of dropout from those of epochs, flips, precise moments and initial weights.
_DROPOUT_STREAM = 2**32 - 4


class _Step:
    """One step of the forward pass: a Keras layer, or an operation without a row in the table."""

    def __init__(self, description: Layer, layer: keras.layers.Layer | None):
        self.description = description
        self.layer = layer
        self._takes_training = layer is not None and "training" in inspect.signature(layer.call).parameters

    def __call__(self, x: Any, training: bool | None) -> Any:
        if self.description.full_precision:
            x = ops.cast(x, "float32")
        if self.layer is None:
            return _OPERATIONS[self.description.type](x)
        return self.layer(x, training=training) if self._takes_training else self.layer(x)


def _run(steps: Sequence[_Step], x: Any, training: bool | None) -> Any:
    for step in steps:
        x = step(x, training)
    return x


_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "ReLU": ops.relu,
    "GlobalAveragePooling2D": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
    "Flatten": lambda x: ops.reshape(x, (-1, int(np.prod(x.shape[1:])))),
}


def _keras_layer(description: Layer, dtype: str) -> keras.layers.Layer:
    return _BUILDERS[description.type](description, dtype)


def _sequential(description: Layer, dtype: str) -> keras.Sequential:
    return keras.Sequential([_keras_layer(layer, dtype) for layer in description.layers], name=description.name)


_BUILDERS: dict[str, Callable[[Layer, str], keras.layers.Layer]] = {
    "Conv2D": lambda d, dtype: keras.layers.Conv2D(
        name=d.name, data_format=LAYOUT, dtype=dtype, kernel_initializer="zeros", **d.config
    ),
    "BatchNormalization": lambda d, dtype: BatchNormalization(name=d.name, dtype=dtype, **d.config),
    "Dense": lambda d, dtype: keras.layers.Dense(name=d.name, dtype=dtype, kernel_initializer="zeros", **d.config),
    "MaxPooling2D": lambda d, dtype: keras.layers.MaxPooling2D(
        name=d.name, data_format=LAYOUT, dtype=dtype, **d.config
    ),
    "ReLU": lambda d, dtype: keras.layers.ReLU(name=d.name, dtype=dtype),
    "Sequential": _sequential,
    "ConvBNReLU": _sequential,
    "ResidualUnit": ResidualUnit,
    "Dropout": lambda d, dtype: keras.layers.Dropout(name=d.name, dtype=dtype, **d.config),
    "Activation": lambda d, dtype: keras.layers.Activation("softmax", name=d.name, dtype=dtype),
}
