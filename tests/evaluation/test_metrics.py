import math

import numpy as np
import pytest

from cifarnet.errors import DataError
from cifarnet.evaluation import metrics

LN = math.log


def test_softmax_matches_a_hand_computed_case():
    np.testing.assert_allclose(metrics.softmax(np.array([[0, LN(2), LN(5)]])), [[1 / 8, 2 / 8, 5 / 8]])


def test_softmax_survives_huge_logits():
    np.testing.assert_allclose(metrics.softmax(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32)), [[1, 0], [0, 1]])


def test_the_loss_of_a_hopeless_answer_is_finite():
    assert metrics.cross_entropy(np.array([[1e4, 0.0]], np.float32), np.array([1])) == 1e4


def test_the_loss_is_the_mean_of_the_negative_log_probabilities():
    logits = np.array([[0, LN(3)], [LN(3), 0]])
    assert metrics.cross_entropy(logits, np.array([1, 1])) == pytest.approx(-(LN(3 / 4) + LN(1 / 4)) / 2)


def test_accuracy_counts_the_images_whose_highest_logit_is_right():
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 2.0]])
    assert metrics.accuracy(logits, np.array([0, 0, 1, 0])) == 3 / 4


def test_a_tie_goes_to_the_lower_class():
    logits = np.zeros((2, 3))
    assert metrics.accuracy(logits, np.array([0, 1])) == 0.5
    assert metrics.ranking(logits, 2).tolist() == [[0, 1], [0, 1]]


def test_top_k_counts_a_true_class_of_rank_k_but_not_of_the_next():
    logits = np.array([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]] * 2)
    assert metrics.top_k_accuracy(logits, np.array([4, 5]), 5) == 0.5


def test_top_5_of_fewer_classes_is_always_right():
    assert metrics.top_k_accuracy(np.array([[1.0, 2.0, 3.0]]), np.array([0]), 5) == 1


@pytest.mark.parametrize(
    ("hits", "n", "expected"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_intervals_equal_published_ones(hits, n, expected):
    assert metrics.wilson_interval(hits / n, n) == pytest.approx(expected, abs=5e-5)


def test_wilson_intervals_stay_within_0_and_1():
    # Unclipped, rounding takes some of these out of it.
    intervals = [metrics.wilson_interval(share, n) for share in (0.0, 1.0) for n in range(1, 100)]
    assert all(0 <= lower < upper <= 1 for lower, upper in intervals)


def logits_of(confidences):
    """Two-class logits whose highest probability, for class 0, is each of ``confidences``."""
    return np.array([[LN(p / (1 - p)), 0.0] for p in confidences])


def test_calibration_error_weighs_gap_of_each_bin_by_its_images():
    # Bins of width 1/15: 0.61 and 0.65 share (9/15, 10/15]; 0.91 lies in (13/15, 14/15].
    logits, labels = logits_of([0.61, 0.65, 0.91]), np.array([0, 1, 0])
    expected = 2 / 3 * abs(1 / 2 - 0.63) + 1 / 3 * abs(1 - 0.91)
    assert metrics.expected_calibration_error(logits, labels) == pytest.approx(expected)


def test_gaps_of_different_bins_do_not_cancel():
    logits, labels = logits_of([0.75, 0.95]), np.array([0, 1])
    assert metrics.expected_calibration_error(logits, labels) == pytest.approx((0.25 + 0.95) / 2)


def test_a_confident_and_right_classifier_is_calibrated():
    assert metrics.expected_calibration_error(np.array([[500.0, 0.0]]), np.array([0])) == 0


# Six images, predicted 0 0 1 1 0 1.
LOGITS = np.array([[2, 1, 0], [2, 1, 0], [1, 2, 0], [1, 2, 0], [2, 1, 0], [0, 2, 1]], np.float32)
LABELS = np.array([0, 0, 0, 1, 2, 2], np.int32)
NAMES = ("cat", "dog", "eel")


def test_the_confusion_matrix_has_true_classes_as_rows():
    assert metrics.confusion_matrix(LOGITS, LABELS).tolist() == [[2, 1, 0], [0, 1, 0], [1, 1, 0]]


def test_per_class_scores_match_hand_computed_ones():
    cat, dog, _ = metrics.per_class(metrics.confusion_matrix(LOGITS, LABELS), NAMES)
    assert (cat.name, cat.support) == ("cat", 3)
    assert (cat.precision, cat.recall, cat.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (dog.precision, dog.recall, dog.f1, dog.support) == pytest.approx((1 / 3, 1, 1 / 2, 1))


def test_undefined_scores_are_0():
    never_predicted, absent, neither = metrics.per_class(np.array([[0, 2, 0], [0, 0, 0], [0, 0, 0]]), NAMES)
    assert (never_predicted.precision, never_predicted.recall, never_predicted.f1) == (0, 0, 0)
    assert (absent.precision, absent.recall, absent.f1) == (0, 0, 0)
    assert (neither.precision, neither.recall, neither.f1, neither.support) == (0, 0, 0, 0)


def test_measure_gives_every_score_under_its_json_name():
    scores = metrics.measure(LOGITS, LABELS, NAMES).to_dict()
    log_sum = LN(1 + math.e + math.e**2)
    assert scores.pop("loss") == pytest.approx(log_sum - (2 + 2 + 1 + 2 + 0 + 1) / 6, rel=1e-6)
    assert scores.pop("ece") == pytest.approx(abs(3 / 6 - math.e**2 / math.exp(log_sum)), rel=1e-6)
    assert scores.pop("accuracy_interval") == pytest.approx([0.187616, 0.812384], abs=1e-6)
    assert scores == {
        "accuracy": 0.5,
        "top5_accuracy": 1.0,
        "per_class": [
            {"class": "cat", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3},
            {"class": "dog", "precision": 1 / 3, "recall": 1.0, "f1": 0.5, "support": 1},
            {"class": "eel", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2},
        ],
        "confusion_matrix": [[2, 1, 0], [0, 1, 0], [1, 1, 0]],
        "images": 6,
    }


@pytest.mark.parametrize(
    ("logits", "labels"), [(np.zeros((0, 3)), np.zeros(0, int)), (LOGITS, LABELS[:4]), (LOGITS[:, :2], LABELS)]
)
def test_arrays_that_contradict_each_other_are_refused(logits, labels):
    with pytest.raises(DataError, match=f"Received: {len(labels)} labels"):
        metrics.measure(logits, labels, NAMES)
