"""Build a functional Keras model for inference from Keras's own layers, from uint8 images to logits.

The model can be saved as a ``.keras`` file or exported, and loads without cifarnet.
Importing this module imports Keras and its backend, which takes seconds: import it inside functions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from cifarnet.models.layers import Layer, named_weights
from cifarnet.models.network import LAYOUT
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import Normalization


def serving_model(spec: ModelSpec, tensors: Mapping[str, np.ndarray], normalization: Normalization) -> keras.Model:
    """Return a model from uint8 images (batch, size, size, 3) to float32 logits (batch, classes).

    The names of its layers are their full names with dots for slashes. It lacks the softmax of the documented table.

    Args:
        spec: the network.
        tensors: its weights by full name.
        normalization: preprocessing of the images.
    """
    inputs = keras.Input((spec.image_size, spec.image_size, 3), dtype="uint8", name="images")
    x = layers.Rescaling(*_scale_and_offset(normalization), dtype="float32", name="normalization")(inputs)
    *body, _softmax = describe(spec)
    for layer in body:
        x = _BUILDERS[layer.type](layer, layer.name, x)
    model = keras.Model(inputs, x, name=spec.name)
    model.trainable = False
    for name in named_weights(tuple(body)):
        path, _, weight = name.rpartition("/")
        getattr(model.get_layer(path.replace("/", ".")), weight).assign(tensors[name])
    return model


def _scale_and_offset(normalization: Normalization) -> tuple[Any, Any]:
    """Return the normalization as arguments of Keras's ``Rescaling``: numbers, or nested lists (1, 1, 3)."""
    mean, std = normalization.mean, normalization.std
    if isinstance(mean, tuple) or isinstance(std, tuple):
        # With channels_first in the user's keras.json, Rescaling would take (3,) for the first axis of an image.
        means, stds = np.reshape(mean, (1, 1, -1)), np.reshape(std, (1, 1, -1))
        return (1 / stds).tolist(), (-means / stds).tolist()
    return 1 / std, -mean / std


def _sequential(description: Layer, path: str, x: Any) -> Any:
    for layer in description.layers:
        x = _BUILDERS[layer.type](layer, f"{path}.{layer.name}", x)
    return x


def _residual_unit(description: Layer, path: str, x: Any) -> Any:
    """Apply BN - ReLU - conv - BN - ReLU - conv to ``x``, and add the shortcut (see ``network.ResidualUnit``)."""
    norm_1, conv_1, norm_2, conv_2 = description.layers
    strides, channels = description.config["strides"], description.output_shape[-1]
    activated = layers.ReLU(name=f"{path}.relu_1")(_batch_normalization(norm_1, f"{path}.{norm_1.name}", x))
    shortcut = activated if description.config["shortcut_after_activation"] else x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, strides, data_format=LAYOUT, name=f"{path}.pool")(shortcut)
        shortcut = _pad_channels(shortcut, channels, path)
    x = _conv2d(conv_1, f"{path}.{conv_1.name}", activated)
    x = layers.ReLU(name=f"{path}.relu_2")(_batch_normalization(norm_2, f"{path}.{norm_2.name}", x))
    return layers.Add(name=f"{path}.add")([_conv2d(conv_2, f"{path}.{conv_2.name}", x), shortcut])


def _pad_channels(x: Any, channels: int, path: str) -> Any:
    """Add channels of zeros, half before and half after. Keras has no layer that pads channels, so this pads rows."""
    _, height, width, present = x.shape
    before = (channels - present) // 2
    x = layers.Reshape((height * width, present), name=f"{path}.flat")(x)
    x = layers.Permute((2, 1), name=f"{path}.channels_first")(x)
    x = layers.ZeroPadding1D((before, channels - present - before), data_format=LAYOUT, name=f"{path}.pad")(x)
    x = layers.Permute((2, 1), name=f"{path}.channels_last")(x)
    return layers.Reshape((height, width, channels), name=f"{path}.image")(x)


def _conv2d(description: Layer, path: str, x: Any) -> Any:
    return layers.Conv2D(name=path, data_format=LAYOUT, **description.config)(x)


def _batch_normalization(description: Layer, path: str, x: Any) -> Any:
    return layers.BatchNormalization(name=path, **description.config)(x)


def _global_average_pooling(description: Layer, path: str, x: Any) -> Any:
    return layers.GlobalAveragePooling2D(name=path, data_format=LAYOUT, keepdims=True)(x)


_BUILDERS: dict[str, Callable[[Layer, str, Any], Any]] = {
    "Conv2D": _conv2d,
    "BatchNormalization": _batch_normalization,
    "Dense": lambda description, path, x: layers.Dense(name=path, **description.config)(x),
    "MaxPooling2D": lambda description, path, x: layers.MaxPooling2D(
        name=path, data_format=LAYOUT, **description.config
    )(x),
    "Sequential": _sequential,
    "ConvBNReLU": _sequential,
    "ResidualUnit": _residual_unit,
    "ReLU": lambda description, path, x: layers.ReLU(name=path)(x),
    "GlobalAveragePooling2D": _global_average_pooling,
    "Flatten": lambda description, path, x: layers.Flatten(data_format=LAYOUT, name=path)(x),
    "Dropout": lambda description, path, x: layers.Dropout(name=path, **description.config)(x),
}
