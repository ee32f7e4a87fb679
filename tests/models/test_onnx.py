from dataclasses import replace

import numpy as np
import onnx
import pytest

from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines.onnx import open_session
from cifarnet.models.onnx import onnx_model
from cifarnet.models.spec import MODELS, ModelSpec, describe
from cifarnet.preprocessing import Normalization
from tests.support.weights import random_weights

GREY, COLOURS = Normalization(110.0, 60.0), Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))
# Odd sides, strides on even and odd sides, feature maps of more than one position before a dense layer.
NETWORKS = [
    (ModelSpec("resnet8", 3, 12), GREY),
    (ModelSpec("resnet20", 10, 32), COLOURS),
    (ModelSpec("resnet14-v1", 3, 28), COLOURS),
    (ModelSpec("resnet8-v1b", 7, 20), GREY),
    (ModelSpec("preactresnet18", 3, 16), GREY),
    (ModelSpec("vgg16", 3, 12), COLOURS),
    (ModelSpec("vgg16", 3, 36), GREY),
    (ModelSpec("airbench94", 3, 16), COLOURS),
    (ModelSpec("airbench94-slim", 10, 32), GREY),
]


def network(spec, normalization):
    return replace(random_weights(spec), normalization=normalization)


def pictures(spec, count=5):
    return np.random.default_rng(0).integers(0, 256, (count, spec.image_size, spec.image_size, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_engines_agree_with_keras_for_every_family(engine):
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    assert {spec.family for spec, _ in NETWORKS} == set(MODELS.values())
    for spec, normalization in NETWORKS:
        weights, images = network(spec, normalization), pictures(spec)
        wanted = Classifier(weights, engine="keras").logits(images)
        found = Classifier(weights, engine=engine).logits(images)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max(), spec


@pytest.mark.parametrize(("spec", "normalization"), NETWORKS[:4])
def test_graphs_are_valid_and_name_their_weights(spec, normalization):
    weights = network(spec, normalization)
    graph = onnx_model(spec, weights.tensors, normalization)
    onnx.checker.check_model(graph, full_check=True)
    constants = {each.name for each in graph.graph.initializer}
    assert constants - {"mean", "std"} >= set(weights.tensors)
    assert [each.name for each in graph.graph.input] == ["images"]
    assert [each.name for each in graph.graph.output] == ["logits"]


def test_probabilities_are_those_of_the_calibrated_logits():
    spec = ModelSpec("resnet8", 3, 12)
    weights, images = network(spec, GREY), pictures(spec)
    session = open_session(onnx_model(spec, weights.tensors, GREY, temperature=2.5).SerializeToString())
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
    powers = np.exp(logits / 2.5)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
    assert len(describe(spec)) > 3
