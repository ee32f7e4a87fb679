import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cifarnet.data.dataset import hold_out
from cifarnet.data.sources import load_data
from cifarnet.errors import InterruptedRunError, InvalidValueError, RunError
from cifarnet.evaluation.calibration import fit_temperature, rejection_threshold
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.evaluation.metrics import cross_entropy
from cifarnet.events import Classifying, EpochDone, Estimated, Planned, StepDone, Warned
from cifarnet.inference.classifier import Classifier
from cifarnet.models.embeddings import fit_statistics
from cifarnet.models.initial import adopted_weights, initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.lock import LOCK
from cifarnet.runs.request import TrainRequest
from cifarnet.training.checkpoint import load_checkpoint
from cifarnet.training.checkpoints import CheckpointManager
from cifarnet.training.resume import resume
from cifarnet.training.setup import prepare
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.datasets import fill, image_folder
from tests.support.training import Recorder, assert_same_result

RECIPE = RECIPES["documented"].with_changes(epochs=3, batch_size=32)
CONFIG = TrainRequest(RECIPE, data="synthetic:200", model="resnet8", seed=5)  # 7 steps an epoch, the last of 8 images
LEARNING = RECIPES["paper"].with_changes(crop_padding=0, flip=False, batchnorm_momentum=0.8)  # By heart, in few steps.


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run that was left alone, with its events."""
    events = Recorder()
    directory = tmp_path_factory.mktemp("reference") / "run"
    return train(CONFIG, directory, report=events), events


@pytest.mark.slow
def test_a_run_tells_its_plan_then_its_pace_then_its_epochs(reference):
    _, events = reference
    kinds = [type(event) for event in events]
    assert kinds[0] is Planned
    assert events[0].steps == 21
    assert kinds.count(StepDone) == 21
    assert kinds.count(EpochDone) == 3
    assert kinds.count(Estimated) == 1
    assert kinds.index(Estimated) > kinds.index(StepDone)
    assert [event.step for event in events.of(StepDone)] == list(range(1, 22))


@pytest.mark.slow
def test_the_run_directory_says_everything_about_the_run(reference):
    result, events = reference
    found = {path.name for path in result.directory.iterdir()} - {LOCK}
    assert found == {files.CONFIG, files.HISTORY, files.CHECKPOINT, files.WEIGHTS, files.METRICS}
    assert Run(result.directory).config.recipe == RECIPE
    rows = (result.directory / files.HISTORY).read_text().splitlines()
    assert rows[0] == "epoch,step,image_size,learning_rate,loss,accuracy,test_loss,test_accuracy"
    assert len(rows) == 4
    weights = load_weights(result.directory / files.WEIGHTS)
    assert weights.accuracy == result.metrics.accuracy == events.of(EpochDone)[-1].row.held_accuracy
    assert result.selected_by == "last epoch"


@pytest.mark.slow
def test_the_network_learns_its_images_by_heart(tmp_path):
    recipe = LEARNING.with_changes(epochs=12, batch_size=10, learning_rate=0.02)
    train(TrainRequest(recipe, data="synthetic:50", model="resnet8", seed=5), tmp_path / "run")
    images = load_data("synthetic:50").train
    answers = Classifier(load_weights(tmp_path / "run" / files.WEIGHTS)).logits(images.images).argmax(1)
    # 0.96 here; 0.1 by chance, and where images are trained on with others' labels.
    assert (answers == images.labels).mean() > 0.6


@pytest.mark.slow
def test_two_runs_with_one_seed_are_identical(reference, tmp_path):
    train(CONFIG, tmp_path / "again")
    assert_same_result(tmp_path / "again", reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda e: isinstance(e, StepDone) and e.step == 10, id="inside an epoch"),
        pytest.param(lambda e: isinstance(e, StepDone) and e.step == 14, id="at the last batch of an epoch"),
        pytest.param(lambda e: isinstance(e, Classifying) and e.done, id="while the held-out images are classified"),
        pytest.param(lambda e: isinstance(e, EpochDone) and e.row.epoch == 2, id="at the end of an epoch"),
    ],
)
def test_a_stopped_and_resumed_run_equals_a_whole_one(reference, tmp_path, when):
    with pytest.raises(InterruptedRunError, match="--resume") as stopped:
        train(CONFIG, tmp_path / "run", report=Recorder(when))
    assert stopped.value.exit_code == 143
    assert not (tmp_path / "run" / files.METRICS).exists()
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", reference)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_exits_with_130(tmp_path):
    stop = Recorder(lambda event: isinstance(event, StepDone), signal.SIGINT)
    with pytest.raises(InterruptedRunError) as stopped:
        train(CONFIG, tmp_path / "run", report=stop)
    assert stopped.value.exit_code == 130
    assert load_checkpoint(tmp_path / "run" / files.CHECKPOINT).train_state.step == 1


@pytest.mark.slow
def test_checkpoints_inside_an_epoch_change_nothing(reference, tmp_path, monkeypatch):
    original, batches = CheckpointManager.save, []

    def save(manager, checkpoint):
        batches.append(checkpoint.train_state.batch)
        original(manager, checkpoint)

    monkeypatch.setattr(CheckpointManager, "save", save)
    train(CONFIG, tmp_path / "run", save_interval=0.0)
    assert batches == [0, *[1, 2, 3, 4, 5, 6, 0] * 3]
    assert_same_result(tmp_path / "run", reference)


@pytest.mark.slow
def test_a_killed_and_resumed_run_equals_a_whole_one(reference, tmp_path):
    directory = tmp_path / "run"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE.to_dict()))
    options = f"train --data synthetic:200 --depth 8 --seed 5 --recipe {recipe} --output {directory} --save-interval 0"
    process = subprocess.Popen([sys.executable, "-m", "cifarnet", *options.split(), "-q"])
    deadline = time.monotonic() + 120
    while not (directory / files.HISTORY).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    events = Recorder()
    resume(directory, report=events)
    (planned,) = events.of(Planned)
    assert 7 <= 7 * planned.start_epoch + planned.start_batch < 21
    assert_same_result(directory, reference)


@pytest.mark.slow
def test_a_validation_split_selects_the_best_epoch(tmp_path):
    events = Recorder()
    # With RECIPE the network answers by chance, for which the highest temperature is the best on any images.
    recipe = LEARNING.with_changes(epochs=4, batch_size=16, learning_rate=0.05)
    config = TrainRequest(recipe, data="synthetic:200", model="resnet8", seed=5, validation_split=0.2)
    result = train(config, tmp_path / "run", report=events)
    rows = [event.row for event in events.of(EpochDone)]
    best = max(rows, key=lambda row: row.held_accuracy)
    assert result.epoch == best.epoch
    assert result.selected_by == "best validation accuracy"
    assert (
        (tmp_path / "run" / files.HISTORY).read_text().splitlines()[0].endswith("validation_loss,validation_accuracy")
    )
    best_weights = load_weights(tmp_path / "run" / files.BEST_WEIGHTS)
    assert best_weights.sha256() == result.weights_sha256
    assert events[0].train_images == 160
    test = load_data("synthetic:200").test
    logits = Classifier(best_weights).logits(test.images)
    assert (logits.argmax(1) == test.labels).mean() == pytest.approx(result.metrics.accuracy)
    _, held_out = hold_out(load_data("synthetic:200").train, 0.2, seed=5)
    held_logits = Classifier(best_weights).logits(held_out.images)
    assert (held_logits.argmax(1) == held_out.labels).mean() == pytest.approx(best.held_accuracy)
    final = load_weights(tmp_path / "run" / files.WEIGHTS)
    assert final.temperature == pytest.approx(fit_temperature(held_logits, held_out.labels), rel=1e-5)
    assert final.temperature != pytest.approx(fit_temperature(logits, test.labels), rel=1e-3)
    assert final.reject_below == pytest.approx(rejection_threshold(held_logits), rel=1e-5)
    assert final.reject_below != pytest.approx(rejection_threshold(logits), rel=1e-3)
    classifier, train_images = Classifier(final), hold_out(load_data("synthetic:200").train, 0.2, seed=5)[0]
    statistics = fit_statistics(classifier.embeddings(train_images.images), train_images.labels, 10)
    np.testing.assert_allclose(final.statistics.means, statistics.means, atol=1e-4)
    held = statistics.distances(classifier.embeddings(held_out.images))
    assert final.reject_beyond == pytest.approx(np.quantile(held, 0.95), rel=1e-2)
    assert best_weights.statistics is None
    assert result.metrics.loss == pytest.approx(cross_entropy(logits / final.temperature, test.labels))


@pytest.fixture
def three_classes(tmp_path):
    splits = load_data("synthetic:300")
    keep = {0: 0, 2: 1, 8: 2}
    arrays = {}
    for split in ("train", "test"):
        data = getattr(splits, split)
        rows = np.isin(data.labels, list(keep))
        arrays[f"x_{split}"] = data.images[rows]
        arrays[f"y_{split}"] = np.array([keep[label] for label in data.labels[rows]])
    np.savez(tmp_path / "three.npz", **arrays)
    return str(tmp_path / "three.npz")


@pytest.mark.slow
def test_a_frozen_base_with_validation_images_has_statistics(reference, tmp_path, three_classes):
    weights = str(reference[0].directory)
    request = TrainRequest(RECIPE, data=three_classes, weights=weights, freeze_base=True, validation_split=0.2)
    train(request, tmp_path / "run")
    tuned = load_weights(tmp_path / "run" / files.WEIGHTS)
    held_out = hold_out(load_data(three_classes).train, 0.2, seed=0)[1]
    assert tuned.statistics.means.shape == (3, 64)
    found = Classifier(tuned).averaged_logits(held_out.images, tta="none", distances=True).distances
    assert tuned.reject_beyond == pytest.approx(np.quantile(found, 0.95), rel=1e-3)


@pytest.mark.slow
def test_a_frozen_base_leaves_only_the_head_to_train(reference, tmp_path, three_classes):
    base = load_weights(reference[0].directory / files.WEIGHTS)
    config = TrainRequest(RECIPE, data=three_classes, weights=str(reference[0].directory), freeze_base=True)
    events = Recorder()
    train(config, tmp_path / "run", report=events)
    tuned = load_weights(tmp_path / "run" / files.WEIGHTS)
    assert tuned.spec.classes == 3
    assert tuned.normalization == base.normalization
    assert events[0].new_head
    assert events[0].trainable_params == 128 + 64 * 3 + 3
    changed = {name for name in base.tensors if not np.array_equal(base.tensors[name], tuned.tensors[name])}
    assert changed == {name for name in base.tensors if name.startswith(("batch_normalization/", "conv2d_1/"))}


@pytest.mark.slow
def test_without_freezing_all_weights_are_tuned(reference, tmp_path):
    base = load_weights(reference[0].directory / files.WEIGHTS)
    config = TrainRequest(RECIPE.with_changes(steps=1), data="synthetic:200", weights=str(reference[0].directory))
    train(config, tmp_path / "run")
    tuned = load_weights(tmp_path / "run" / files.WEIGHTS)
    assert not [name for name in base.tensors if np.array_equal(base.tensors[name], tuned.tensors[name])]


@pytest.mark.slow
def test_a_grown_network_starts_as_the_smaller_one(reference, tmp_path):
    base = load_weights(reference[0].directory / files.WEIGHTS)
    spec = replace(base.spec, name="resnet20")
    grown = replace(base, spec=spec, tensors=adopted_weights(spec, 5, base.tensors, keep_head=True))
    images = load_data("synthetic:200").test.images
    assert np.array_equal(Classifier(grown).logits(images), Classifier(base).logits(images))
    config = replace(CONFIG, recipe=RECIPE.with_changes(steps=2), weights=str(reference[0].directory), model="resnet20")
    events = Recorder()
    train(config, tmp_path / "run", report=events)
    assert (events[0].weights, events[0].grown_from, events[0].new_head) == (config.weights, base.spec, False)
    trained = load_weights(tmp_path / "run" / files.WEIGHTS).tensors
    assert not [name for name in grown.tensors if np.array_equal(grown.tensors[name], trained[name])]
    assert Run(tmp_path / "run").config.weights_sha256 == base.sha256()


@pytest.mark.parametrize(
    ("model", "freeze_base", "message"),
    [
        ("resnet8", False, r"is a ResNet-14, whose weights do not fit into a ResNet-8.*Received: `model` resnet8"),
        ("resnet20", True, r"is a ResNet-14\. A ResNet-20 adds units.*Received: `model` resnet20 and `freeze_base`"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, model, freeze_base, message):
    spec = ModelSpec("resnet14")
    weights = Weights(spec, initial_weights(spec, 0), CIFAR10_CLASSES, Normalization(120, 60))
    save_weights(tmp_path / "fourteen.h5", weights)
    config = replace(CONFIG, weights=str(tmp_path / "fourteen.h5"), model=model, freeze_base=freeze_base)
    with pytest.raises(InvalidValueError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_restart_requires_the_same_initial_weights(reference, tmp_path):
    base = load_weights(reference[0].directory / files.WEIGHTS)
    save_weights(tmp_path / "base.h5", base)
    config = replace(CONFIG, recipe=RECIPE.with_changes(steps=2), weights=str(tmp_path / "base.h5"))
    result = train(config, tmp_path / "run")
    for name in (files.METRICS, files.CHECKPOINT):
        (tmp_path / "run" / name).unlink()
    other = {**base.tensors, "conv2d_1/bias": base.tensors["conv2d_1/bias"] + 1}
    save_weights(tmp_path / "base.h5", replace(base, tensors=other))
    with pytest.raises(RunError, match=r"base\.h5 does not hold the weights that the run in .* started from"):
        resume(tmp_path / "run")
    save_weights(tmp_path / "base.h5", base)
    assert resume(tmp_path / "run").weights_sha256 == result.weights_sha256


def test_a_frozen_base_needs_weights():
    with pytest.raises(InvalidValueError, match="give `weights`"):
        prepare(TrainRequest(RECIPE, freeze_base=True))


@pytest.mark.slow
def test_a_finished_run_is_not_resumed(reference):
    with pytest.raises(RunError, match="finished"):
        resume(reference[0].directory)


@pytest.mark.slow
def test_an_existing_run_is_not_overwritten(reference):
    before = (reference[0].directory / files.WEIGHTS).read_bytes()
    with pytest.raises(RunError, match=r"another `directory`: it has a finished run\.$"):
        train(CONFIG, reference[0].directory)
    assert (reference[0].directory / files.WEIGHTS).read_bytes() == before


@pytest.mark.slow
def test_the_same_request_continues_its_interrupted_run(reference, tmp_path):
    with pytest.raises(InterruptedRunError):
        train(CONFIG, tmp_path / "run", report=Recorder(lambda event: isinstance(event, StepDone) and event.step == 3))
    with pytest.raises(RunError, match=r"or continue its run: .*--resume"):
        train(replace(CONFIG, seed=CONFIG.seed + 1), tmp_path / "run")
    events = Recorder()
    result = train(CONFIG, tmp_path / "run", report=events)
    assert events.of(Planned)[0].start_batch == 3
    assert result.weights_sha256 == reference[0].weights_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [(files.CONFIG, r"or continue its run: .*--resume .*photos$"), ("a.png", r"another `directory`\.$")],
)
def test_a_folder_with_files_is_refused_with_a_remedy(tmp_path, name, message):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_text("{}")
    with pytest.raises(RunError, match=message):
        train(CONFIG, tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == [name]


@pytest.mark.slow
def test_a_run_is_not_resumed_on_other_images(tmp_path):
    with pytest.raises(InterruptedRunError):
        train(CONFIG, tmp_path / "run", report=Recorder(lambda event: isinstance(event, StepDone)))
    with pytest.raises(RunError, match="SHA-256"):
        resume(tmp_path / "run", data="synthetic:210")


@pytest.mark.slow
def test_the_new_path_of_moved_images_is_stored(three_classes, tmp_path):
    moved = tmp_path / "moved.npz"
    config = replace(CONFIG, data=three_classes, recipe=RECIPE.with_changes(steps=4))
    with pytest.raises(InterruptedRunError):
        train(config, tmp_path / "run", report=Recorder(lambda event: isinstance(event, StepDone)))
    Path(three_classes).rename(moved)
    result = resume(tmp_path / "run", data=str(moved), on_nan="restore")
    assert evaluate(tmp_path / "run").metrics.accuracy == result.metrics.accuracy
    kept = Run(tmp_path / "run").config
    assert (kept.data, kept.on_nan) == (str(moved), "restore")


@pytest.mark.slow
def test_warn_of_validation_images_in_the_base_training(reference, tmp_path):
    config = replace(
        CONFIG, recipe=RECIPE.with_changes(steps=1, precise_batchnorm=50), weights=str(reference[0].directory)
    )
    events = Recorder()
    train(replace(config, validation_split=0.2), tmp_path / "first", report=events)
    assert ["it held out none" in event.message for event in events.of(Warned)] == [True]
    for seed, warned in ((config.seed, []), (6, [True])):
        events = Recorder()
        again = replace(config, validation_split=0.2, weights=str(tmp_path / "first"), seed=seed)
        train(again, tmp_path / f"again{seed}", report=events)
        output = "`validation_split` 0.2 `seed` 5 holds out the same"
        assert [output in event.message for event in events.of(Warned)] == warned


@pytest.mark.slow
def test_warn_of_test_images_in_the_base_training(tmp_path):
    source = image_folder(tmp_path / "pets", train=10, test=0)
    config = TrainRequest(
        RECIPE.with_changes(steps=1, precise_batchnorm=50), data=str(source), model="resnet8", test_split=0.2
    )
    train(config, tmp_path / "base")
    config = replace(config, weights=str(tmp_path / "base"))
    with pytest.raises(InvalidValueError, match=r"held 0\.2 of its data out"):
        train(replace(config, test_split=0.3), tmp_path / "run")
    next((source / "train/cat").iterdir()).unlink()
    events = Recorder()
    train(replace(config, test_split=None), tmp_path / "run", report=events)
    assert ["has changed since" in event.message for event in events.of(Warned)] == [True]
    assert Run(tmp_path / "run").config.test_split == 0.2


@pytest.mark.slow
def test_the_last_epoch_is_cut_short_where_steps_do_not_fill_it(tmp_path):
    events = Recorder()
    train(
        TrainRequest(RECIPE.with_changes(steps=9), data="synthetic:200", model="resnet8"),
        tmp_path / "run",
        report=events,
    )
    assert [event.row.step for event in events.of(EpochDone)] == [7, 9]


def test_a_network_that_could_not_be_read_again_is_not_trained(tmp_path):
    with pytest.raises(InvalidValueError, match=r"The depth of a network is at most 1,202\. Received: 1,208"):
        train(TrainRequest(RECIPE, data="synthetic:200", model="resnet1208"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_wrong_number_of_classes_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="has 10 classes"):
        train(replace(CONFIG, classes=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_pillow_heif")
def test_a_validation_folder_selects_the_best_epoch(tmp_path):
    pets = fill(tmp_path / "pets", *(f"{split}/{name}" for split in ("train", "test", "val") for name in "ab"), count=8)
    (pets / "train/a/0.HEIC").touch()
    (pets / "train/b/1.png").write_bytes(b"no picture")
    events = Recorder(lambda event: isinstance(event, EpochDone))
    recipe = LEARNING.with_changes(epochs=2, batch_size=5)
    config = TrainRequest(recipe, data=str(pets), model="resnet8", skip_broken=True)
    with pytest.raises(InterruptedRunError):
        train(config, tmp_path / "run", report=events)
    left_out = [
        "Left out: 1 picture that can't be read (train/b/1.png)",
        "Left out: 1 .heic file (train/a/0.HEIC): install pillow-heif to read them",
    ]
    assert [each.message for each in events.of(Warned) if each.message.startswith("Left out")] == left_out
    again = Recorder()
    result = resume(tmp_path / "run", report=again)
    assert [each.message for each in again.of(Warned) if each.message.startswith("Left out")] == left_out
    assert result.selected_by == "best validation accuracy"
    header = (tmp_path / "run" / files.HISTORY).read_text().splitlines()[0]
    assert header.endswith("validation_loss,validation_accuracy")
    best = load_weights(tmp_path / "run" / files.BEST_WEIGHTS)
    validation = load_data(str(pets), skip_broken=True).validation
    logits = Classifier(best).logits(validation.images)
    final = load_weights(tmp_path / "run" / files.WEIGHTS)
    assert final.temperature == pytest.approx(fit_temperature(logits, validation.labels), rel=1e-5)
    assert final.sha256() == best.sha256() == result.weights_sha256
    evaluation = evaluate(tmp_path / "run")
    assert evaluation.metrics.accuracy == result.metrics.accuracy
    assert [files.line for files in evaluation.left_out] == left_out


@pytest.mark.slow
@pytest.mark.parametrize("checks", [0, 25])
def test_an_epoch_of_a_short_run_has_the_time_of_one_check(tmp_path, checks):
    events = Recorder()
    recipe = RECIPES["documented"].with_changes(batch_size=8, steps=12, checks=checks)
    train(TrainRequest(recipe, data="synthetic:2000", model="resnet8"), tmp_path / "run", report=events)
    (estimate,) = events.of(Estimated)
    training, check = 2000 / estimate.images_per_second, 400 / 3 / estimate.images_per_second
    assert estimate.seconds_per_epoch == pytest.approx(training + check, rel=1e-3)
    assert estimate.seconds_left == pytest.approx(check + 2 * 8 / estimate.images_per_second, rel=1e-3)
