"""The pre-activation CIFAR ResNets, described as data.

Layer names are those of the original project's weight files, so that its weights and ours carry the same names.
Sources: the project's document (tables of layers); He et al. 2016, "Identity Mappings in Deep Residual Networks"
(arXiv:1603.05027) for the order BN - ReLU - convolution; He et al. 2015 (arXiv:1512.03385), section 4.2, for the
stages and shortcuts without parameters.
"""

from cifarnet.models.description import Layer, batch_normalization, conv2d
from cifarnet.models.spec import ModelSpec

STAGE_CHANNELS = (16, 32, 64)


def describe(spec: ModelSpec) -> tuple[Layer, ...]:
    """The top-level layers of ``spec``'s network, in order; the rows of the documented table."""
    shape = (spec.image_size, spec.image_size, 3)
    stem = conv2d("conv2d", shape, STAGE_CHANNELS[0], 3)
    shape = _image_shape(stem)
    stages = []
    for index, channels in enumerate(STAGE_CHANNELS):
        stages.append(_stage(index, shape, channels, spec.units_per_stage))
        shape = _image_shape(stages[-1])
    return (
        stem,
        *stages,
        batch_normalization("batch_normalization", shape),
        conv2d("conv2d_1", (1, 1, shape[-1]), spec.classes, 1, use_bias=True),
        Layer("activation", "Activation", (spec.classes,)),
    )


def _stage(index: int, shape: tuple[int, int, int], channels: int, units: int) -> Layer:
    layers = []
    for unit in range(units):
        strides = 2 if index > 0 and unit == 0 else 1
        layers.append(_residual_unit(unit, shape, channels, strides, shortcut_after_activation=index == unit == 0))
        shape = _image_shape(layers[-1])
    return Layer(f"sequential_{index}" if index else "sequential", "Sequential", shape, layers=tuple(layers))


def _residual_unit(
    index: int, shape: tuple[int, int, int], channels: int, strides: int, shortcut_after_activation: bool
) -> Layer:
    first = conv2d("conv1", shape, channels, 3, strides)
    inner = _image_shape(first)
    return Layer(
        f"res_net_unit_{index + 1}",
        "ResidualUnit",
        inner,
        config={"strides": strides, "shortcut_after_activation": shortcut_after_activation},
        layers=(
            batch_normalization("batchnorm_1", shape),
            first,
            batch_normalization("batchnorm_2", inner),
            conv2d("conv2", inner, channels, 3),
        ),
    )


def _image_shape(layer: Layer) -> tuple[int, int, int]:
    height, width, channels = layer.output_shape
    return height, width, channels
