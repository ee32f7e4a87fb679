"""Distances of embeddings against references that are written out, on every engine."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from cifarnet.inference.classifier import Classifier
from cifarnet.inference.engines import ENGINES
from cifarnet.inference.engines.onnx import open_session
from cifarnet.installation import is_installed
from cifarnet.models.embeddings import EmbeddingStatistics, fit_statistics
from cifarnet.models.onnx import onnx_model
from cifarnet.models.spec import MODELS, ModelSpec, around_classifier, embedding_size
from tests.support.weights import random_weights, with_random_statistics

SPECS = [
    ModelSpec("resnet8", 3, 12),
    ModelSpec("resnet14-v1", 3, 28),
    ModelSpec("resnet8-v1b", 7, 20),
    ModelSpec("preactresnet18", 3, 16),
    ModelSpec("vgg16", 3, 36),
    ModelSpec("airbench94", 3, 16),
    ModelSpec("airbench94-slim", 10, 32),
]


def pictures(spec, count=5):
    return np.random.default_rng(0).integers(0, 256, (count, spec.image_size, spec.image_size, 3), np.uint8)


def reference(statistics, embeddings):
    """The smallest of sqrt((x - m)' C^-1 (x - m)) over the means m, for each x of length 1."""
    inverse = statistics.whitening.astype(float) @ statistics.whitening.astype(float).T
    found = []
    for embedding in embeddings.astype(float):
        steps = [embedding / np.sqrt((embedding**2).sum()) - mean for mean in statistics.means.astype(float)]
        found.append(min(np.sqrt(step @ inverse @ step) for step in steps))
    return np.array(found)


def test_distances_are_those_computed_by_hand():
    # Unit vectors (0.6, 0.8) and (0, 1); variances 1/4 and 1/16, so that a step is (2 x, 4 y) long.
    statistics = EmbeddingStatistics(np.float32([[1, 0], [0, 1]]), np.float32([[2, 0], [0, 4]]))
    found = statistics.distances(np.float32([[3, 4], [0, 5]]))
    np.testing.assert_allclose(found, [np.hypot(2 * 0.6, 4 * 0.2), 0], atol=1e-6)
    assert found.dtype == np.float32


def test_fitted_means_and_covariance_are_those_computed_by_hand():
    # 10,000 times four vectors of length 1, two of each class, so that next to nothing is shrunk.
    units = np.array([[0.6, 0.8], [0.8, 0.6], [1, 0], [0.8, -0.6]])
    labels = np.array([0, 0, 2, 2])
    lengths = np.random.default_rng(0).uniform(1, 9, (40_000, 1))
    statistics = fit_statistics(np.tile(units, (10_000, 1)) * lengths, np.tile(labels, 10_000), 3)
    np.testing.assert_allclose(statistics.means, [[0.7, 0.7], [0, 0], [0.9, -0.3]], atol=1e-6)
    # Around the means: (-0.1, 0.1) and (0.1, -0.1), (0.1, 0.3) and (-0.1, -0.3).
    covariance = np.array([[0.01, 0.01], [0.01, 0.05]])
    inverse = statistics.whitening.astype(float) @ statistics.whitening.T
    np.testing.assert_allclose(np.linalg.inv(inverse), covariance, atol=2e-5)


def test_fewer_images_than_numbers_still_have_an_inverse():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    embeddings = np.maximum(np.eye(3, 40)[labels] * 9 + rng.normal(size=(12, 40)), 0)
    embeddings[:, 5] = 0  # A number that is the same for all.
    statistics = fit_statistics(embeddings, labels, 3)
    near, far = (statistics.distances(each).mean() for each in (embeddings, np.abs(rng.normal(size=(50, 40)))))
    assert near < far < 1e6


def test_embeddings_that_are_all_equal_have_no_distance():
    statistics = fit_statistics(np.zeros((6, 4)), np.arange(6) % 2, 2)
    np.testing.assert_array_equal(statistics.distances(np.zeros((2, 4))), [0, 0])


def test_huge_numbers_give_no_warning_and_no_small_distance():
    statistics = EmbeddingStatistics(np.full((3, 4), 3e38, np.float32), np.full((4, 4), 3e38, np.float32))
    assert not (statistics.distances(np.ones((2, 4))) <= 1e9).any()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_embedding_is_the_input_of_the_last_layer(spec):
    before, after = around_classifier(spec)
    assert [layer.weights != () for layer in after] == [True] + [False] * (len(after) - 1)
    kernel = after[0].weights[0].shape
    assert kernel[-2:] == (embedding_size(spec), spec.classes)
    assert before[-1].output_shape[-1] == embedding_size(spec)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[5]], ids=lambda spec: spec.name)
def test_the_graph_computes_the_distance_of_its_embedding(spec):
    weights = with_random_statistics(random_weights(spec))
    model = onnx_model(spec, weights.tensors, weights.normalization, statistics=weights.statistics)
    onnx.checker.check_model(model, full_check=True)
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString())
    distances, embeddings = session.run(["distance", "embedding"], {"images": pictures(spec)})
    assert embeddings.shape == (5, embedding_size(spec))
    np.testing.assert_allclose(distances, reference(weights.statistics, embeddings), rtol=1e-4)
    np.testing.assert_allclose(distances, weights.statistics.distances(embeddings), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_the_distances_of_every_family(engine):
    if not is_installed(ENGINES[engine].requires):
        pytest.skip(f"{engine} is not installed")
    assert {spec.family for spec in SPECS} == set(MODELS.values())
    for spec in SPECS:
        weights, images = with_random_statistics(random_weights(spec)), pictures(spec)
        classifier = Classifier(weights, engine=engine)
        found = classifier.averaged_logits(images, tta="none", distances=True, batch_size=2)
        wanted = reference(weights.statistics, classifier.embeddings(images))
        np.testing.assert_allclose(found.distances, wanted, rtol=1e-3, err_msg=spec.name)
        np.testing.assert_allclose(found.logits, classifier.logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_embeddings_are_what_the_classifier_multiplies():
    weights = random_weights(SPECS[0])
    classifier, images = Classifier(weights), pictures(SPECS[0])
    kernel, bias = (weights.tensors[f"conv2d_1/{name}"] for name in ("kernel", "bias"))
    wanted = classifier.embeddings(images) @ kernel[0, 0] + bias
    np.testing.assert_allclose(wanted, classifier.logits(images), rtol=1e-4, atol=1e-5)
    assert classifier.embeddings(images[:0]).shape == (0, 64)


def test_views_average_distances_as_they_average_logits():
    weights = with_random_statistics(random_weights(SPECS[0]))
    classifier, images = Classifier(weights, engine="onnx"), pictures(SPECS[0], 8)

    def alone(views):
        return classifier.averaged_logits(views, tta="none", distances=True).distances

    flipped = (alone(images) + alone(images[:, :, ::-1])) / 2
    found = classifier.averaged_logits(images, tta="flip", distances=True)
    np.testing.assert_allclose(found.distances, flipped, rtol=1e-5)
    unsure = classifier.averaged_logits(images, tta="shift-unsure", distances=True)
    assert np.count_nonzero(~np.isclose(unsure.distances, flipped, rtol=1e-6)) == unsure.shifted_images == 2
    np.testing.assert_allclose(unsure.logits, classifier.logits(images, tta="shift-unsure"), rtol=1e-5)
    assert classifier.averaged_logits(images, tta="flip").distances is None


def test_other_statistics_have_another_graph():
    weights = with_random_statistics(random_weights(SPECS[0]))
    doubled = replace(weights.statistics, whitening=2 * weights.statistics.whitening)
    one, other = (
        Classifier(each, engine="onnx").averaged_logits(pictures(SPECS[0]), tta="none", distances=True).distances
        for each in (weights, replace(weights, statistics=doubled))
    )
    np.testing.assert_allclose(2 * one, other, rtol=1e-4)
