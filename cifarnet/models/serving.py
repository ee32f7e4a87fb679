"""Build a functional Keras model for inference from Keras's own layers, from uint8 images to logits.

The model can be saved as a ``.keras`` file or exported, and loads without cifarnet.
Importing this module imports Keras and its backend, which takes seconds: import it inside functions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from cifarnet.models.layers import Layer, named_weights, residual_paths
from cifarnet.models.network import LAYOUT, keras_convolution
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization


def serving_model(
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray],
    normalization: Normalization,
    *,
    temperature: float | None = None,
) -> keras.Model:
    """Return a model from uint8 images (batch, size, size, 3) to float32 logits (batch, classes).

    The names of its layers are their full names with dots for slashes. It lacks the softmax of the documented table.

    Args:
        spec: the network.
        tensors: its weights by full name.
        normalization: preprocessing of the images.
        temperature: if given, the output is ``probabilities`` instead: the softmax of the logits divided by the
            temperature.
    """
    inputs = keras.Input((spec.image_size, spec.image_size, 3), dtype="uint8", name="images")
    x = layers.Rescaling(*_scale_and_offset(normalization), dtype="float32", name="normalization")(inputs)
    *body, _softmax = describe(spec)
    for layer in body:
        x = _BUILDERS[layer.type](layer, layer.name, x)
    if temperature is not None:
        x = layers.Rescaling(1 / temperature, name="calibrated")(x)
        x = layers.Softmax(name="probabilities")(x)
    model = keras.Model(inputs, x, name=spec.name)
    model.trainable = False
    for name in named_weights(tuple(body)):
        path, _, weight = name.rpartition("/")
        getattr(model.get_layer(path.replace("/", ".")), weight).assign(tensors[name])
    return model


def documented_model(
    spec: ModelSpec, tensors: Mapping[str, np.ndarray], normalization: Normalization | None, temperature: float = 1.0
) -> keras.Model:
    """Return a model to probabilities, float32 (batch, classes), whose layers are those of the documented table.

    Stages and units are models within the model, so that layers have the documented names. Its weights can be trained.
    Keras does not save that a single kernel of a layer, such as that of whitening, is not trained.

    Args:
        spec: the network.
        tensors: its weights by full name.
        normalization: preprocessing of uint8 images (batch, size, size, 3). With None the model takes normalized
            images, float32.
        temperature: divisor of the logits.
    """
    inputs = keras.Input(
        (spec.image_size, spec.image_size, 3), dtype="uint8" if normalization else "float32", name="images"
    )
    x = inputs
    if normalization:
        x = layers.Rescaling(*_scale_and_offset(normalization), dtype="float32", name="normalization")(x)
    *body, softmax = describe(spec)
    for layer in body:
        x = _part(layer, x.shape[1:])(x) if layer.layers else _BUILDERS[layer.type](layer, layer.name, x)
    if temperature != 1:
        x = layers.Rescaling(1 / temperature, dtype="float32", name="calibration")(x)
    model = keras.Model(inputs, layers.Activation("softmax", name=softmax.name)(x), name=spec.name)
    for name, described in named_weights(tuple(body)).items():
        *path, weight = name.split("/")
        layer = model
        for part in path:
            layer = layer.get_layer(part)
        variable = getattr(layer, weight)
        variable.assign(tensors[name])
        variable.trainable = described.trainable
    return model


def _part(layer: Layer, shape: tuple[int, ...]) -> keras.Model:
    """Return a stage or a unit as a model of its own, for inputs of ``shape``."""
    inputs = keras.Input(shape)
    if layer.type != "Sequential":
        return keras.Model(inputs, _BUILDERS[layer.type](layer, "", inputs), name=layer.name)
    units: list[keras.Model] = []
    for unit in layer.layers:
        units.append(_part(unit, units[-1].output_shape[1:] if units else shape))
    return keras.Sequential([inputs, *units], name=layer.name)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scale_and_offset(normalization: Normalization) -> tuple[Any, Any]:
    """Return the normalization as arguments of Keras's ``Rescaling``: numbers, or nested lists (1, 1, 3)."""
    mean, std = normalization.mean, normalization.std
    if isinstance(mean, tuple) or isinstance(std, tuple):
        # With channels_first in the user's keras.json, Rescaling would take (3,) for the first axis of an image.
        means, stds = np.reshape(mean, (1, 1, -1)), np.reshape(std, (1, 1, -1))
        return (1 / stds).tolist(), (-means / stds).tolist()
    return 1 / std, -mean / std


def _run(descriptions: Sequence[Layer], path: str, x: Any) -> Any:
    for layer in descriptions:
        x = _BUILDERS[layer.type](layer, _below(path, layer.name), x)
    return x


def _residual_unit(description: Layer, path: str, x: Any) -> Any:
    before, branch, shortcut, after = residual_paths(description)
    x = _run(before, path, x)
    return _run(after, path, layers.Add(name=_below(path, "add"))([_run(branch, path, x), _run(shortcut, path, x)]))


def _zero_channels(description: Layer, path: str, x: Any) -> Any:
    """Add channels of zeros. Keras has no layer that pads channels, so this pads rows."""
    _, height, width, present = x.shape
    padding = (description.config["before"], description.config["after"])
    x = layers.Reshape((height * width, present), name=f"{path}.flat")(x)
    x = layers.Permute((2, 1), name=f"{path}.channels_first")(x)
    x = layers.ZeroPadding1D(padding, data_format=LAYOUT, name=path)(x)
    x = layers.Permute((2, 1), name=f"{path}.channels_last")(x)
    return layers.Reshape(description.output_shape, name=f"{path}.image")(x)


def _conv2d(description: Layer, path: str, x: Any) -> Any:
    config, padding = keras_convolution(description)
    if padding:
        x = layers.ZeroPadding2D(padding, data_format=LAYOUT, name=f"{path}.pad")(x)
    return layers.Conv2D(name=path, data_format=LAYOUT, **config)(x)


def _batch_normalization(description: Layer, path: str, x: Any) -> Any:
    return layers.BatchNormalization(name=path, **description.config)(x)


def _global_max_pooling(description: Layer, path: str, x: Any) -> Any:
    return layers.GlobalMaxPooling2D(name=path, data_format=LAYOUT, keepdims=True)(x)


def _global_average_pooling(description: Layer, path: str, x: Any) -> Any:
    return layers.GlobalAveragePooling2D(name=path, data_format=LAYOUT, keepdims=True)(x)


_BUILDERS: dict[str, Callable[[Layer, str, Any], Any]] = {
    "Conv2D": _conv2d,
    "BatchNormalization": _batch_normalization,
    "Dense": lambda description, path, x: layers.Dense(name=path, **description.config)(x),
    "MaxPooling2D": lambda description, path, x: layers.MaxPooling2D(
        name=path, data_format=LAYOUT, **description.config
    )(x),
    "AveragePooling2D": lambda description, path, x: layers.AveragePooling2D(
        name=path, data_format=LAYOUT, **description.config
    )(x),
    "ZeroChannels": _zero_channels,
    "Sequential": lambda description, path, x: _run(description.layers, path, x),
    "ConvBNReLU": lambda description, path, x: _run(description.layers, path, x),
    "ConvGroup": lambda description, path, x: _run(description.layers, path, x),
    "ResidualUnit": _residual_unit,
    "ReLU": lambda description, path, x: layers.ReLU(name=path)(x),
    "GELU": lambda description, path, x: layers.Activation("gelu", name=path)(x),
    "Rescaling": lambda description, path, x: layers.Rescaling(name=path, **description.config)(x),
    "GlobalAveragePooling2D": _global_average_pooling,
    "GlobalMaxPooling2D": _global_max_pooling,
    "Flatten": lambda description, path, x: layers.Flatten(data_format=LAYOUT, name=path)(x),
    "Dropout": lambda description, path, x: layers.Dropout(name=path, **description.config)(x),
}
