import json

import numpy as np
import pytest

from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.corruptions import CORRUPTIONS, corrupt
from cifarnet.evaluation.robustness import CorruptionErrors, corruption_errors


def two_levels(count=30, size=16):
    """Dark images of class 0 and bright ones of class 1, in turn."""
    labels = (np.arange(count) % 2).astype(np.int32)
    images = np.where(labels == 1, 150, 90).astype(np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2)
    return Dataset(images.repeat(3, 3), labels, ("dark", "bright"))


def by_level(images):
    """Logits of a classifier that takes images above 120 for bright."""
    bright = images.mean(axis=(1, 2, 3)) - 120
    return np.stack([-bright, bright], 1)


def test_errors_are_counted_for_each_corruption_and_severity():
    data = two_levels()
    found = corruption_errors(by_level, data, clean_error=0.0)
    assert list(found.errors) == list(CORRUPTIONS)
    assert found.errors["contrast"] == (0,) * 5
    # 90 + 0.15 * 255 is above 120, so that all dark images are taken for bright ones from severity 3 on.
    assert found.errors["brightness"] == (0, 0, 0.5, 0.5, 0.5)
    expected = [
        np.mean(by_level(corrupt(data.images, "snow", severity)).argmax(1) != data.labels) for severity in range(1, 6)
    ]
    assert found.errors["snow"] == tuple(expected)
    assert found.images == 30


def test_blocks_of_images_have_other_random_numbers(monkeypatch):
    data, seen = two_levels(count=4), []

    def classify(images):
        seen.append(images)
        return by_level(images)

    monkeypatch.setattr("cifarnet.evaluation.robustness._BLOCK_PIXELS", 2 * 16**2)
    corruption_errors(classify, data, 0.0)
    assert len(seen) == 2 * 75
    assert {len(images) for images in seen} == {2}
    assert (seen[0] != seen[1]).any()
    assert (seen[1] == corrupt(data.images[2:], "gaussian_noise", 1, seed=2)).all()


def test_progress_counts_all_images():
    progress = []
    corruption_errors(by_level, two_levels(count=2), 0.0, lambda *each: progress.append(each))
    assert progress[0] == ("Classifying corrupted images", 2, 150)
    assert progress[-1] == ("Classifying corrupted images", 150, 150)


def test_means_are_plain_and_json_ready():
    found = CorruptionErrors({"snow": (0.1, 0.2, 0.3, 0.4, 0.5), "fog": (0, 0, 0, 0, 0.5)}, clean_error=0.05, images=10)
    assert found.mean_error == pytest.approx(0.2)
    printed = json.loads(json.dumps(found.to_dict()))
    assert printed["per_corruption"][1] == {"corruption": "fog", "mean_error": 0.1, "errors": [0, 0, 0, 0, 0.5]}
    assert (printed["clean_error"], printed["images"]) == (0.05, 10)
