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
from cifarnet.models.gelu import Gelu, gelu
from cifarnet.models.initial import initial_weights
from cifarnet.models.layers import Layer, leaves, named_weights, residual_paths
from cifarnet.models.spec import ModelSpec, around_classifier, base_and_head, describe, embedding_size

# Passed to all layers, because the default is in the user's keras.json, which may contain channels_first.
LAYOUT = "channels_last"

KERAS_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras's name of each precision that ``cifarnet.choices.PRECISIONS`` lists."""


class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, and one with symmetric padding, which Keras lacks."""

    def __init__(self, description: Layer, dtype: str):
        config, self._edge = keras_convolution(description)
        super().__init__(name=description.name, data_format=LAYOUT, dtype=dtype, kernel_initializer="zeros", **config)
        self._trains_kernel = description.weights[0].trainable

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables for feature maps of ``input_shape`` (None, height, width, channels)."""
        super().build(input_shape)
        self.kernel.trainable = self._trains_kernel

    def call(self, inputs: Any) -> Any:
        """Convolve feature maps ``inputs``."""
        if self._edge:
            sides = (self._edge, self._edge)
            inputs = ops.pad(inputs, ((0, 0), sides, sides, (0, 0)))
        return super().call(inputs)


class ResidualUnit(keras.layers.Layer):
    """The sum of a branch and a shortcut, with the layers of a description's ``ResidualPaths``.

    The layers with a row in the table of units are attributes under their names.
    """

    def __init__(self, description: Layer, dtype: str):
        super().__init__(name=description.name, dtype=dtype)
        for layer in description.layers:
            if layer.in_table:
                setattr(self, layer.name, _keras_layer(layer, dtype))
        paths = residual_paths(description)
        self._paths = [[_Step(layer, getattr(self, layer.name, None)) for layer in path] for path in paths]
        self._output_image_shape = description.output_shape

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables for feature maps of ``input_shape`` (None, height, width, channels)."""
        before, branch, shortcut, after = self._paths
        shared = _build_steps(before, input_shape)
        _build_steps(after, _build_steps(branch, shared))
        _build_steps(shortcut, shared)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (None, height, width, channels) of the output for that of the input."""
        return (input_shape[0], *self._output_image_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Apply the unit to feature maps ``x``."""
        before, branch, shortcut, after = self._paths
        x = _run(before, x, training)
        return _run(after, _run(branch, x, training) + _run(shortcut, x, training), training)


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
        self._before_classifier = len(around_classifier(spec)[0]) - len(base)
        self._softmax = _Step(last, by_name[last.name])
        self.build((None, spec.image_size, spec.image_size, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables for images of ``input_shape`` (None, size, size, 3)."""
        # Layer by layer, because Keras would run the network to find the shapes: one second, or seven with JAX.
        _build_steps([*self._base, *self._head, self._softmax], input_shape)
        self.built = True

    def features(self, images: Any, training: bool | None = None) -> Any:
        """Return features, the output of the base, (batch, height, width, channels) for normalized images."""
        return _run(self._base, images, training)

    def head_logits(self, features: Any, training: bool | None = None) -> Any:
        """Return logits (batch, classes) for features, the output of the base."""
        return _run(self._head, features, training)

    def logits_and_embeddings(self, images: Any) -> tuple[Any, Any]:
        """Return logits (batch, classes), and embeddings (batch, size), for normalized images, in inference.

        An embedding is the input of the classifier (``cifarnet.models.embeddings``).
        """
        head, start = self._head, self._before_classifier
        x = _run(head[:start], self.features(images, training=False), False)
        return _run(head[start:], x, False), ops.reshape(x, (-1, embedding_size(self.spec)))

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

    def synchronize_batchnorm(self) -> None:
        """Normalize by the moments of a batch on all replicas of TensorFlow's distribution strategy."""
        for layer in self.batch_norms:
            layer.synchronized = True

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
            return _OPERATIONS[self.description.type](x, self.description)
        return self.layer(x, training=training) if self._takes_training else self.layer(x)


def _build_steps(steps: Sequence[_Step], shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Create the variables of ``steps`` for an input of ``shape``, and return the shape of the output."""
    for step in steps:
        if step.layer is not None:
            step.layer.build(shape)
        shape = (shape[0], *step.description.output_shape)
    return shape


def _run(steps: Sequence[_Step], x: Any, training: bool | None) -> Any:
    for step in steps:
        x = step(x, training)
    return x


def _average_pool(x: Any, description: Layer) -> Any:
    config = description.config
    return ops.average_pool(x, config["pool_size"], config["strides"], data_format=LAYOUT)


def _zero_channels(x: Any, description: Layer) -> Any:
    config = description.config
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (config["before"], config["after"])))


_OPERATIONS: dict[str, Callable[[Any, Layer], Any]] = {
    "ReLU": lambda x, _: ops.relu(x),
    "AveragePooling2D": _average_pool,
    "ZeroChannels": _zero_channels,
    "GELU": lambda x, _: gelu(x),
    "GlobalAveragePooling2D": lambda x, _: ops.mean(x, axis=(1, 2), keepdims=True),
    "GlobalMaxPooling2D": lambda x, _: ops.max(x, axis=(1, 2), keepdims=True),
    "Rescaling": lambda x, description: x * description.config["scale"],
    "Flatten": lambda x, description: ops.reshape(x, (-1, *description.output_shape)),
}


def _keras_layer(description: Layer, dtype: str) -> keras.layers.Layer:
    return _BUILDERS[description.type](description, dtype)


def keras_convolution(description: Layer) -> tuple[dict[str, Any], int]:
    """Return the arguments of Keras's ``Conv2D``, and the number of pixels to pad each edge of its input with."""
    config = dict(description.config)
    if config["padding"] != "symmetric":
        return config, 0
    if config["strides"] == 1:
        return {**config, "padding": "same"}, 0
    return {**config, "padding": "valid"}, config["kernel_size"] // 2


def _sequential(description: Layer, dtype: str) -> keras.Sequential:
    return keras.Sequential([_keras_layer(layer, dtype) for layer in description.layers], name=description.name)


_BUILDERS: dict[str, Callable[[Layer, str], keras.layers.Layer]] = {
    "Conv2D": Conv2D,
    "BatchNormalization": lambda d, dtype: BatchNormalization(name=d.name, dtype=dtype, **d.config),
    "Dense": lambda d, dtype: keras.layers.Dense(name=d.name, dtype=dtype, kernel_initializer="zeros", **d.config),
    "MaxPooling2D": lambda d, dtype: keras.layers.MaxPooling2D(
        name=d.name, data_format=LAYOUT, dtype=dtype, **d.config
    ),
    "ReLU": lambda d, dtype: keras.layers.ReLU(name=d.name, dtype=dtype),
    "GELU": lambda d, dtype: Gelu(name=d.name, dtype=dtype),
    "Sequential": _sequential,
    "ConvBNReLU": _sequential,
    "ConvGroup": _sequential,
    "ResidualUnit": ResidualUnit,
    "Dropout": lambda d, dtype: keras.layers.Dropout(name=d.name, dtype=dtype, **d.config),
    "Activation": lambda d, dtype: keras.layers.Activation("softmax", name=d.name, dtype=dtype),
}
