"""VGG-16: its documented table, and its L2 penalty."""

from dataclasses import replace

import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.models.layers import leaves, named_weights, total_params
from cifarnet.models.spec import ModelSpec, base_and_head, describe

CONVOLUTIONS = [2_048, 37_184, 74_368, 148_096, 296_192, 591_104, 591_104, 1_182_208] + 5 * [2_361_856]
POOLED_AFTER = {1, 3, 6, 9, 12}
DROPPED = {0: 0.3, 2: 0.4, 4: 0.4, 5: 0.4, 7: 0.4, 8: 0.4, 10: 0.4, 11: 0.4}


def documented_rows():
    """The rows of the table as (type, output shape, parameters)."""
    side, rows = 32, []
    for index, params in enumerate(CONVOLUTIONS):
        channels = (64, 64, 128, 128, 256, 256, 256)[index] if index < 7 else 512
        rows.append(("ConvBNReLU", (side, side, channels), params))
        if index in POOLED_AFTER:
            side //= 2
            rows.append(("MaxPooling2D", (side, side, channels), 0))
    return [
        *rows,
        ("Dropout", (1, 1, 512), 0),
        ("Dense", (512,), 262_656),
        ("BatchNormalization", (512,), 2_048),
        ("Dropout", (512,), 0),
        ("Dense", (10,), 5_130),
        ("Activation", (10,), 0),
    ]


def test_the_table_has_the_documented_rows():
    layers = describe(ModelSpec("vgg16"))
    assert [(x.type, x.output_shape, x.params) for x in layers if x.in_table] == documented_rows()


def test_the_network_has_the_documented_number_of_parameters():
    layers = describe(ModelSpec("vgg16"))
    assert total_params(layers) == 15_001_418
    assert total_params(layers) - sum(layer.trainable_params for layer in layers) == 9_472


def test_dropout_follows_all_but_the_last_convolution_of_a_group():
    rows = [layer for layer in describe(ModelSpec("vgg16")) if layer.type == "ConvBNReLU"]
    rates = {i: x.config["rate"] for i, row in enumerate(rows) for x in row.layers if x.type == "Dropout"}
    assert rates == DROPPED
    for row in rows:
        assert [layer.type for layer in row.layers][:3] == ["Conv2D", "ReLU", "BatchNormalization"]


def test_the_penalty_applies_to_all_kernels_but_the_last():
    weights = named_weights(describe(ModelSpec("vgg16")))
    kernels = [name for name in weights if name.endswith("/kernel")]
    assert [name for name, weight in weights.items() if weight.regularized] == kernels[:-1]
    assert kernels[-1] == "dense_1/kernel"


def test_the_base_ends_with_the_last_convolution():
    base, head = base_and_head(ModelSpec("vgg16"))
    assert base[-1].output_shape == (2, 2, 512)
    assert head[0].type == "MaxPooling2D"


@pytest.mark.parametrize("size", [8, 16, 20, 28])
def test_images_of_up_to_32_pixels_share_weights(size):
    spec = ModelSpec("vgg16")
    assert spec.shares_weights_with(replace(spec, image_size=size))
    assert not spec.shares_weights_with(replace(spec, image_size=64))


def test_there_is_one_vgg():
    with pytest.raises(InvalidValueError, match="vgg16"):
        ModelSpec("vgg19")


@pytest.mark.slow
def test_the_keras_model_takes_smaller_images():
    import numpy as np

    from cifarnet.models.network import build_model

    model = build_model(ModelSpec("vgg16"))
    names = [path for path, layer in leaves(model.description) if layer.type == "Dropout"]
    assert len(model.rng_states) == len(names) == 10
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    assert model.logits(images).shape == (2, 10)
