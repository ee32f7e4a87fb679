"""Networks by name, and what it takes to add a family of them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.models import spec as specs
from cifarnet.models.initial import adopted_weights, initial_weights
from cifarnet.models.layers import classifier_name, named_weights
from cifarnet.models.spec import ModelSpec, base_and_head, describe, model_name
from tests.support.families import TINY


@pytest.fixture
def tiny(monkeypatch):
    """A family of networks that is not cifarnet's, with dropout."""
    monkeypatch.setitem(specs.MODELS, "tiny", TINY)
    return ModelSpec("tiny2", classes=3, image_size=9)


def test_a_network_is_found_by_name():
    spec = ModelSpec("resnet56")
    assert (spec.title, spec.depth, spec.family) == ("ResNet-56", 56, specs.RESNET)
    assert model_name(110) == "resnet110"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-20", "Did you mean resnet20?"),
        ("resnet21", "nearest: 20 and 26"),
        ("resnet20x", "Did you mean resnet20?"),
        ("resnet020", "Did you mean resnet20?"),
        ("resnet２０", "There is no such network."),
        ("resnet20v1", "Did you mean resnet20-v1?"),
        ("resnet20-v2", "Did you mean resnet20-v1?"),
        ("resnet21-v1", "nearest: 20 and 26"),
        ("preactresnet19", "depth of 18 or 34. Received: 19"),
        ("vgg", "Networks are resnet<6n+2>, resnet<6n+2>-v1"),
        ("", "Networks are resnet<6n+2>"),
        (20, "Did you mean resnet20? Received: 20"),
        (None, "Received: None"),
        (True, "such as resnet20. Received: True"),
        ("resnet" + "9" * 400, "Networks are resnet<6n+2>, "),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        ModelSpec(name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": "10"}, '`classes` must be a whole number. Received: "10"'),
        ({"classes": 2.5}, "`classes` must be a whole number. Received: 2.5"),
        ({"classes": True}, "`classes` must be a whole number. Received: true"),
        ({"image_size": "32"}, '`image_size` must be a whole number. Received: "32"'),
    ],
)
def test_numbers_of_a_network_are_whole(fields, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        ModelSpec("resnet20", **fields)


@pytest.mark.parametrize("depth", [20.0, True, "20", None])
def test_a_depth_is_a_whole_number(depth):
    with pytest.raises(InvalidValueError, match=r"`depth` must be a whole number. Received: "):
        model_name(depth)


def test_a_deeper_network_grows_from_a_shallower_one():
    small, large = ModelSpec("resnet8"), ModelSpec("resnet14", classes=3)
    assert large.grows_from(small)
    assert not small.grows_from(large)
    assert not small.grows_from(small)


def test_added_units_begin_with_a_zero_convolution():
    small, large = ModelSpec("resnet8"), ModelSpec("resnet14")
    trained = initial_weights(small, 1)
    grown = adopted_weights(large, 2, trained, keep_head=True)
    fresh = initial_weights(large, 2)
    added = grown.keys() - trained.keys()
    assert len(added) == 3 * 10
    for name, array in grown.items():
        if name in trained:
            np.testing.assert_array_equal(array, trained[name])
        elif name.endswith("conv2/kernel"):
            assert not array.any()
        else:
            np.testing.assert_array_equal(array, fresh[name])


def test_only_the_classifier_is_new_for_other_classes():
    trained = initial_weights(ModelSpec("resnet8"), 1)
    spec = ModelSpec("resnet8", classes=3)
    adopted = adopted_weights(spec, 2, trained, keep_head=False)
    new = [name for name, array in adopted.items() if array is not trained[name]]
    assert new == ["conv2d_1/kernel", "conv2d_1/bias"]
    assert classifier_name(describe(spec)) == "conv2d_1"


def test_the_penalty_applies_to_convolution_kernels():
    weights = named_weights(describe(ModelSpec("resnet8")))
    assert {name.rpartition("/")[2] for name, weight in weights.items() if weight.regularized} == {"kernel"}
    assert sum(weight.regularized for weight in weights.values()) == 8


def test_base_and_head_are_split_at_the_head(tiny):
    base, head = base_and_head(tiny)
    assert [layer.name for layer in base] == ["stem", "drop"]
    assert [layer.name for layer in head if layer.in_table] == ["norm", "classifier", "softmax"]


@pytest.mark.parametrize("size", [3, 0, -9])
def test_image_sizes_are_those_of_the_family(tiny, size):
    with pytest.raises(InvalidValueError, match="at least 4 pixels"):
        replace(tiny, image_size=size)


@pytest.mark.parametrize(
    ("size", "nearest"), [(33, "32 and 36"), (66, "64 and 68"), (6, "8"), (0, "8"), (-5, "8"), (9, "8 and 12")]
)
def test_refused_image_sizes_name_the_nearest(size, nearest):
    for name in ("resnet20", "vgg16"):
        with pytest.raises(InvalidValueError, match=rf"multiple of 4 for a \S+; nearest: {nearest}\. Received: {size}"):
            ModelSpec(name, image_size=size)


def test_pooled_networks_share_weights_at_all_sizes():
    assert ModelSpec("resnet20", 3, 96).shares_weights_with(ModelSpec("resnet20", 10, 32))
    assert not ModelSpec("resnet20").shares_weights_with(ModelSpec("resnet32"))


def test_a_dense_layer_fits_some_image_sizes():
    assert ModelSpec("vgg16").fitting_sizes(64) == tuple(range(8, 33, 4))
    assert ModelSpec("vgg16", image_size=64).fitting_sizes(128) == tuple(range(36, 65, 4))
    assert ModelSpec("vgg16").at_size(64) is None


@pytest.mark.slow
def test_a_new_family_is_built_from_its_description(tiny):
    from cifarnet.models.network import build_model

    network = build_model(tiny)
    images = np.random.default_rng(0).standard_normal((5, 9, 9, 3)).astype(np.float32)
    assert network(images).shape == (5, 3)
    assert network.features(images).shape == (5, 9, 9, 4)
    assert [layer.name for layer in network.layers] == ["stem", "drop", "norm", "classifier", "softmax"]
    assert [variable.path.split("/")[-2] for variable in network.regularized] == ["stem", "classifier"]
    assert len(network.batch_norms) == 1
    network.freeze_base()
    assert [variable.path.split("/")[-2] for variable in network.regularized] == ["classifier"]


@pytest.mark.slow
def test_dropout_is_a_function_of_seed_epoch_and_step(tiny):
    from cifarnet.models.network import build_model

    images = np.ones((2, 9, 9, 3), np.float32)

    def drawn(*steps):
        network = build_model(tiny)
        found = []
        for seed, epoch, step in steps:
            network.seed_draws(seed, epoch, step)
            found.append(np.asarray(network.features(images, training=True)))
        return found

    first, second = drawn((1, 0, 0), (1, 0, 1))
    again, other_epoch, other_seed = drawn((1, 0, 1), (1, 1, 1), (2, 0, 1))
    np.testing.assert_array_equal(second, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(again, other_epoch)
    assert not np.array_equal(again, other_seed)
    assert len(build_model(tiny).rng_states) == 1
