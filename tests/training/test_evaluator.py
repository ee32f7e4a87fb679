import numpy as np
import pytest

from cifarnet.data.augmentation import shrink
from cifarnet.data.dataset import hold_out
from cifarnet.data.progress import silent
from cifarnet.data.sources import load_data
from cifarnet.errors import WeightsError
from cifarnet.events import EpochDone
from cifarnet.inference.classifier import Classifier
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.evaluator import ImageEvaluator
from cifarnet.training.start import train
from cifarnet.weights.record import Weights

pytestmark = pytest.mark.usefixtures("tiny_family")

SPEC = ModelSpec("resnet8")
NORMALIZATION = Normalization(120.0, 64.0)
TEST = load_data("synthetic:50").test
FAST = RECIPES["fast"].with_changes(batch_size=25, learning_rate=0.05)


@pytest.fixture(scope="module")
def evaluator():
    return ImageEvaluator(SPEC, NORMALIZATION, TEST.images)


def test_at_full_size_the_logits_are_those_that_evaluate_sees(evaluator):
    tensors = initial_weights(SPEC, 1)
    weights = Weights(SPEC, tensors, TEST.class_names, NORMALIZATION)
    wanted = Classifier(weights, engine="keras").logits(TEST.images)
    np.testing.assert_array_equal(evaluator.logits(tensors, 32, silent), wanted)


def test_logits_follow_weights_and_image_size(evaluator):
    tensors = initial_weights(SPEC, 2)
    small = shrink((TEST.images.astype(np.float32) - 120) / 64, 20)
    wanted = np.asarray(build_model(SPEC, tensors).logits(small))
    found = evaluator.logits(tensors, 20, silent)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert not np.allclose(found, evaluator.logits(initial_weights(SPEC, 3), 20, silent))


def test_weights_that_diverged_are_named(evaluator):
    tensors = initial_weights(SPEC, 0)
    tensors["conv2d_1/bias"][0] = np.nan
    with pytest.raises(WeightsError, match="ResNet-8 gives logits that are not finite"):
        evaluator.logits(tensors, 32, silent)


def rows(directory, recipe, **options):
    events = []
    result = train(TrainRequest(recipe, data="synthetic:50", model="tiny2", **options), directory, report=events.append)
    return [event.row for event in events if isinstance(event, EpochDone)], result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checks", "checked"), [(0, [1, 2, 3, 4, 5, 6]), (1, [6]), (2, [3, 6]), (4, [2, 3, 5, 6]), (9, [1, 2, 3, 4, 5, 6])]
)
def test_checks_are_spread_over_the_run(tmp_path, checks, checked):
    found, result = rows(tmp_path / "run", FAST.with_changes(epochs=6, checks=checks, resolutions=()))
    assert [row.epoch for row in found if row.held_accuracy is not None] == checked
    assert result.metrics.accuracy == found[-1].held_accuracy
    lines = (tmp_path / "run/history.csv").read_text().splitlines()[1:]
    assert [line.endswith(",,") for line in lines] == [epoch not in checked for epoch in range(1, 7)]


@pytest.mark.slow
def test_the_best_epoch_is_one_that_was_checked_at_full_size(tmp_path, monkeypatch):
    _, held_out = hold_out(load_data("synthetic:50").train, 0.2, seed=0)
    original = ImageEvaluator.logits

    def all_right_when_small(evaluator, tensors, size, report):
        return np.eye(10)[held_out.labels] if size < 32 else original(evaluator, tensors, size, report)

    monkeypatch.setattr(ImageEvaluator, "logits", all_right_when_small)
    recipe = FAST.with_changes(epochs=4, checks=0, resolutions=((16, 0.5),))
    found, result = rows(tmp_path / "run", recipe, validation_split=0.2)
    assert [row.image_size for row in found] == [16, 16, 32, 32]
    assert [row.held_accuracy == 1 for row in found] == [True, True, False, False]
    assert result.epoch in (3, 4)
    assert result.selected_by == "best validation accuracy"
