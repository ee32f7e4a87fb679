"""Files of every release are read by this one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.inference.classifier import Classifier
from cifarnet.models.spec import ModelSpec
from cifarnet.runs import files
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.resume import resume
from cifarnet.weights.formats import load_weights
from tests.golden.make import CONFIG, IMAGES, STOPPED

RELEASES = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/weights.h5"))


def test_the_first_release_is_among_them():
    assert "0.1.0" in [release.name for release in RELEASES]


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_weights_of_a_release_give_the_same_logits(release):
    weights = load_weights(release / "weights.h5")
    assert weights.spec == ModelSpec("resnet8")
    wanted = np.array(json.loads((release / "logits.json").read_text()))
    found = Classifier(weights).logits(load_data(CONFIG.data).test.images[:IMAGES])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_a_run_of_a_release_is_gone_on_with(release, tmp_path):
    shutil.copytree(release / "run", tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.step == STOPPED
    steps = []
    before = files.read_history(release / "run")
    result = resume(tmp_path / "run", report=lambda event: steps.append(getattr(event, "step", None)))
    assert next(step for step in steps if step is not None) == STOPPED + 1
    assert result.epoch == 2
    after = files.read_history(tmp_path / "run")
    assert len(after) == 2
    for then, now in zip(before, after, strict=False):
        assert {name: now[name] for name in then} == then  # Columns have been added since.
