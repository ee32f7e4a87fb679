"""Every family of networks: sizes, the Keras models that are built from its description, and growth."""

import re
from pathlib import Path

import numpy as np
import pytest

from cifarnet.models.initial import adopted_weights
from cifarnet.models.layers import leaves, named_weights, total_macs, total_params
from cifarnet.models.spec import MODELS, PRESETS, ModelSpec, base_and_head, describe
from tests.support.weights import random_weights

FIRST = [family.names[0] for family in MODELS.values()]
# (name, parameters, trainable parameters). For v1: He et al. 2015, table 6, which rounds to 0.27, 0.46, 0.66, 0.85 and
# 1.7 million. For the others: the counts of the PyTorch projects that the modules name.
SIZES = [
    ("resnet20-v1", 271_098, 269_722),
    ("resnet32-v1", 466_426, 464_154),
    ("resnet44-v1", 661_754, 658_586),
    ("resnet56-v1", 857_082, 853_018),
    ("resnet110-v1", 1_736_058, 1_727_962),
    ("resnet20-v1b", 274_042, 272_474),
    ("resnet32-v1b", 469_370, 466_906),
    ("resnet44-v1b", 664_698, 661_338),
    ("resnet56-v1b", 860_026, 855_770),
    ("vgg16", 15_001_418, 14_991_946),
    ("airbench94", 1_973_944, 1_971_352),
    ("airbench94-slim", 532_184, 530_680),
    ("preactresnet18", 11_177_930, 11_171_146),
    ("preactresnet34", 21_293_514, 21_279_306),
]
GROWTH = [("resnet8", "resnet14"), ("resnet8-v1", "resnet14-v1"), ("resnet8-v1b", "resnet14-v1b")]


@pytest.mark.parametrize(("name", "params", "trainable"), SIZES)
def test_networks_have_their_published_sizes(name, params, trainable):
    layers = describe(ModelSpec(name))
    assert total_params(layers) == params
    assert sum(layer.trainable_params for layer in layers) == trainable


@pytest.mark.parametrize("name", PRESETS)
def test_the_head_computes_logits_from_feature_maps(name):
    base, head = base_and_head(ModelSpec(name, classes=7))
    assert len(base[-1].output_shape) == 3
    assert [layer.output_shape for layer in head[-2:]] == [(7,), (7,)]
    assert head[-1].type == "Activation"


@pytest.mark.parametrize("name", PRESETS)
def test_names_of_layers_are_unique(name):
    paths = [path for path, _ in leaves(describe(ModelSpec(name)))]
    assert len(set(paths)) == len(paths)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_the_keras_model_has_the_weights_of_the_description(name):
    from cifarnet.models.network import Network

    network = Network(ModelSpec(name))
    described = named_weights(network.description)
    for path, variable in network.tensors().items():
        assert tuple(variable.shape) == described[path].shape
        assert variable.trainable == described[path].trainable
    assert len(network.tensors()) == len(network.variables) - len(network.rng_states)
    assert [layer.name for layer in network.layers] == [layer.name for layer in network.description if layer.in_table]


@pytest.mark.slow
@pytest.mark.parametrize(("smaller", "larger"), [*GROWTH, ("preactresnet18", "preactresnet34")])
def test_a_grown_network_gives_the_same_logits_at_first(smaller, larger):
    from cifarnet.models.network import build_model

    trained = random_weights(ModelSpec(smaller, image_size=16))
    spec = ModelSpec(larger, image_size=16)
    assert spec.grows_from(trained.spec)
    grown = build_model(spec, adopted_weights(spec, 2, trained.tensors, keep_head=True))
    images = np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(build_model(trained.spec, trained.tensors).logits(images))
    np.testing.assert_allclose(np.asarray(grown.logits(images)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8-v1", "resnet8-v1b"])
def test_a_head_without_batch_normalization_is_linear(name):
    from cifarnet.models.gradients import feature_gradients
    from cifarnet.models.network import build_model

    weights = random_weights(ModelSpec(name, classes=3, image_size=16))
    network = build_model(weights.spec, weights.tensors)
    network.freeze_base()
    assert [variable.path.split("/")[-2] for variable in network.trainable_variables] == ["dense", "dense"]
    features = np.random.default_rng(0).uniform(size=(2, *network.features_shape)).astype(np.float32)
    gradients = np.asarray(feature_gradients(network, features, np.array([0, 2])))
    positions = 4 * 4
    expected = weights.tensors["dense/kernel"][:, [0, 2]].T / positions
    np.testing.assert_allclose(gradients, np.broadcast_to(expected[:, None, None], gradients.shape), rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet14", "resnet14-v1b"])
def test_a_network_does_not_grow_from_another_family(name):
    assert not ModelSpec(name).grows_from(ModelSpec("resnet8-v1"))


def test_the_documentation_has_the_sizes_of_the_networks():
    text = (Path(__file__).parents[2] / "docs/networks.md").read_text()
    rows = re.findall(r"^\| `(.+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    assert len(rows) >= len(SIZES)
    for name, *numbers in rows:
        layers = describe(ModelSpec(name))
        sizes = (total_params(layers), sum(layer.trainable_params for layer in layers), total_macs(layers))
        assert numbers == [f"{size:,}" for size in sizes]
