"""Test-time augmentation against a reference that writes every view out."""

import numpy as np
import pytest

import cifarnet
from cifarnet.choices import TTA
from cifarnet.inference.engines import ENGINES
from cifarnet.inference.tta import average_views, least_confident, shift
from cifarnet.installation import is_installed
from tests.support.networks import SIZE, save_tiny_weights

CLASSES = ("ant", "bee", "cow")
PICTURE = np.arange(1, 10).reshape(1, 3, 3, 1)


def random_images(count, size=SIZE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def reference(compute, images, rows):
    """Mean logits with the weights of the paper: six views of the images in ``rows``, two of the others."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    up_left, down_right = padded[:, 2:, 2:], padded[:, :-2, :-2]
    pairs = [compute(view) + compute(view[:, :, ::-1]) for view in (images, up_left, down_right)]
    logits = pairs[0] / 2
    logits[rows] = (pairs[0] / 4 + (pairs[1] + pairs[2]) / 8)[rows]
    return logits


def test_images_are_shifted_with_reflected_edges():
    down_right, up_left = (shift(PICTURE, pixels)[0, :, :, 0].tolist() for pixels in (1, -1))
    assert down_right == [[5, 4, 5], [2, 1, 2], [5, 4, 5]]
    assert up_left == [[5, 6, 5], [8, 9, 8], [5, 6, 5]]
    np.testing.assert_array_equal(shift(PICTURE, 0), PICTURE)


def test_images_with_the_smallest_largest_probability_are_least_confident():
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [0.6, 0.4], [0.5, 0.5], [0.7, 0.3]])
    assert least_confident(probabilities, 1).tolist() == [0]  # The first of equals.
    assert least_confident(probabilities, 3).tolist() == [0, 2, 3]
    assert least_confident(probabilities, 0).tolist() == []


@pytest.mark.parametrize(("count", "quarter"), [(0, 0), (1, 1), (4, 1), (9, 3), (12, 3)])
@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_views_are_averaged_as_in_the_reference(count, quarter, batch_size):
    images = random_images(count)
    weights = np.random.default_rng(1).normal(0, 0.01, (SIZE * SIZE * 3, 3))
    shapes, reported = set(), []

    def compute(views, report=None):
        shapes.add(len(views))
        return np.tanh(views.reshape(-1, SIZE * SIZE * 3) @ weights)

    def average(tta):
        progress = lambda activity, done, total: reported.append((tta, done, total))  # noqa: E731
        options = {"batch_size": batch_size, "classes": 3, "calibrated": lambda x: x / 2}
        return average_views(compute, images, tta, **options, report=progress)

    flipped = reference(compute, images, [])
    odds = np.exp(flipped / 2)
    unsure = np.argsort((odds / odds.sum(axis=1, keepdims=True)).max(axis=1))[:quarter]
    shifts = {"shift": np.arange(count), "shift-unsure": unsure}
    by_tta = {"none": compute(images), "flip": flipped}
    by_tta |= {tta: reference(compute, images, rows) for tta, rows in shifts.items()}
    assert tuple(by_tta) == TTA
    shapes.clear()
    for tta, shifted in (("none", 0), ("flip", 0), ("shift", count), ("shift-unsure", quarter)):
        found = average(tta)
        assert found.shifted_images == shifted
        assert list(found.by_tta) == [name for name in ("none", "flip", tta) if name in by_tta][: len(found.by_tta)]
        for name, logits in found.by_tta.items():
            np.testing.assert_allclose(logits, by_tta[name], rtol=1e-12)
        assert found.logits is found.by_tta[tta]
        assert found.distances is None
    assert shapes <= {count, min(batch_size, count)}  # No other shape, which would be compiled.
    assert [each for each in reported if each[1] == each[2]] == [
        (tta, shifted, shifted) for tta, shifted in (("shift", count), ("shift-unsure", quarter)) if count
    ]


@pytest.mark.parametrize(
    "engine", [name if name == "onnx" else pytest.param(name, marks=pytest.mark.slow) for name in ENGINES]
)
def test_every_engine_averages_the_same_views(tmp_path, engine):
    if not is_installed(ENGINES[engine].requires):
        pytest.skip(f"{engine} is not installed")
    classifier = cifarnet.load(save_tiny_weights(tmp_path / "w.h5", CLASSES), engine=engine)
    images = random_images(10)
    wanted = reference(classifier.logits, images, np.arange(10))
    np.testing.assert_allclose(classifier.logits(images, tta="shift", batch_size=4), wanted, atol=1e-5)
    unsure = classifier.averaged_logits(images, tta="shift-unsure", batch_size=4)
    assert unsure.shifted_images == 3
    assert (unsure.logits != unsure.by_tta["flip"]).any(axis=1).sum() == 3
