"""Learning from a teacher's answers, against the formulas written out in NumPy and against runs without a teacher."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.backend.devices import Execution
from cifarnet.data.augmentation import CUTOUT_DRAWS, MOVE_DRAWS, shrink
from cifarnet.errors import InterruptedRunError, InvalidValueError, RunError
from cifarnet.events import BudgetPlanned, Planned, StepDone, Warned
from cifarnet.models.initial import initial_weights
from cifarnet.models.network import Network, build_model
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.directory import Run
from cifarnet.runs.request import TrainRequest
from cifarnet.training.distillation import Student
from cifarnet.training.resume import resume
from cifarnet.training.schedule import Plan
from cifarnet.training.setup import prepare
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.training import Recorder, assert_same_result

SPEC = ModelSpec("resnet8")
NORMALIZATION = Normalization(120.0, 64.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
RECIPE = RECIPES["paper"].with_changes(batch_size=6, cutout=8, l2=2e-3)
ROWS = np.array([4, 0, 5, 2], np.int32)
BATCH = {
    "rows": ROWS,
    "draws": np.random.default_rng(1).random((len(ROWS), MOVE_DRAWS + CUTOUT_DRAWS), np.float32),
}
TEACHER = Weights(
    ModelSpec("resnet14"), initial_weights(ModelSpec("resnet14"), 7), CIFAR10_CLASSES, Normalization(100.0, 50.0)
)


def student(recipe=RECIPE, *teachers):
    given = (teachers or (TEACHER,), IMAGES, NORMALIZATION, recipe, Execution("float32", False, 1))
    return Student(build_model(SPEC, seed=1), *given)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(("share", "temperature", "smoothing"), [(0.9, 4.0, 0.0), (0.25, 1.5, 0.2), (1.0, 1.0, 0.0)])
def test_loss_mixes_divergence_and_cross_entropy(share, temperature, smoothing):
    rng = np.random.default_rng(2)
    mine, theirs = rng.normal(0, 3, (2, 5, 10)).astype(np.float32)
    labels = np.array([3, 1, 4, 1, 5], np.int32)
    theirs_warm, mine_warm = log_softmax(theirs / temperature), log_softmax(mine / temperature)
    divergence = (np.exp(theirs_warm) * (theirs_warm - mine_warm)).sum(axis=1).mean()
    logs = log_softmax(mine)
    entropy = -logs[np.arange(5), labels].mean()
    smoothed = (1 - smoothing) * entropy - smoothing * logs.mean()
    kernels = [array for name, array in initial_weights(SPEC, 1).items() if name.endswith("/kernel")]
    penalty = 2e-3 * sum(np.square(kernel).sum() for kernel in kernels)
    recipe = replace(RECIPE, distillation=share, distillation_temperature=temperature, label_smoothing=smoothing)
    made = student(recipe)
    found = float(np.asarray(made.compute_loss(y=labels, y_pred=np.stack([mine, theirs], axis=1))))
    assert found == pytest.approx(share * temperature**2 * divergence + (1 - share) * smoothed + penalty, rel=1e-5)
    assert float(np.asarray(made.cross_entropy.result())) == pytest.approx(entropy, rel=1e-5)


def test_the_accuracy_is_the_students():
    logits = np.zeros((4, 2, 10), np.float32)
    logits[:3, 0, 1] = logits[:, 1, 2] = 1
    made = student()
    assert float(made.compute_metrics(None, np.full(4, 1, np.int32), logits)["accuracy"]) == 0.75


@pytest.fixture
def fed(monkeypatch):
    """What each network is fed, by its name."""
    original, images = Network.logits, {}

    def logits(network, x, training=None):
        images[network.name] = (np.asarray(x), training)
        return original(network, x, training=training)

    monkeypatch.setattr(Network, "logits", logits)
    return images


@pytest.mark.parametrize(("mean", "std"), [(100.0, 50.0), ((90.0, 100.0, 110.0), (40.0, 50.0, 60.0))])
def test_teacher_input_is_renormalized_at_full_size(fed, mean, std):
    made = student(RECIPE, replace(TEACHER, normalization=Normalization(mean, std)))
    made.use_size(16)
    answers = np.asarray(made(BATCH, training=True))
    augmented = np.asarray(made.augmented(BATCH))
    assert (augmented == 0).any()  # cropped beyond the border, or hidden
    np.testing.assert_allclose(fed["resnet8"][0], np.asarray(shrink(augmented, 16)), atol=1e-5)
    wanted = ((augmented * 64 + 120 - mean) / std).astype(np.float32)
    np.testing.assert_allclose(fed["resnet14"][0], wanted, atol=1e-5)
    assert (fed["resnet8"][1], fed["resnet14"][1]) == (True, False)
    alone = build_model(TEACHER.spec, TEACHER.tensors).logits(wanted, training=False)
    np.testing.assert_allclose(answers[:, 1], np.asarray(alone), rtol=1e-4, atol=1e-4)


def test_several_teachers_answer_with_the_geometric_mean_of_their_probabilities():
    spec = ModelSpec("resnet8-v1")
    other = Weights(
        spec, initial_weights(spec, 9), CIFAR10_CLASSES, Normalization((90.0, 100.0, 110.0), (60.0, 50.0, 40.0))
    )
    together, *alone = (
        np.asarray(student(RECIPE, *teachers)(BATCH, training=True))[:, 1]
        for teachers in ((TEACHER, other), (TEACHER,), (other,))
    )
    product = np.prod([np.exp(log_softmax(logits)) for logits in alone], axis=0) ** 0.5
    wanted = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_softmax(together)), wanted, rtol=1e-5)
    assert not np.allclose(together, alone[0], atol=1e-3)


@pytest.mark.slow
def test_a_step_changes_only_the_student():
    made = student()
    made.sgd.follow(Plan(10))
    before = made.network.get_tensors()
    made.fit(BATCH, np.arange(len(ROWS), dtype=np.int32), batch_size=len(ROWS), verbose=0)
    after, teacher = made.network.get_tensors(), made.teachers[0].get_tensors()
    assert not [name for name in before if np.array_equal(before[name], after[name])]
    for name, array in TEACHER.tensors.items():
        np.testing.assert_array_equal(teacher[name], array, err_msg=name)


@pytest.mark.slow
def test_a_student_learns_from_the_teacher_alone():
    recipe = replace(RECIPE, distillation=1.0, crop_padding=0, flip=False, cutout=0, l2=0.0, learning_rate=0.05)
    made = student(recipe)
    made.sgd.follow(Plan(40))

    def apart():
        """How far the student's probabilities are from the teacher's, at most."""
        mine, theirs = np.exp(log_softmax(np.moveaxis(np.asarray(made(BATCH, training=True)), 1, 0)))
        return np.abs(mine - theirs).max()

    begun = apart()
    made.fit(BATCH, np.arange(len(ROWS), dtype=np.int32), batch_size=len(ROWS), epochs=40, verbose=0)
    assert apart() < 0.2 * begun


SHORT = RECIPES["paper"].with_changes(steps=9, batch_size=32, precise_batchnorm=50)
SYNTHETIC = TrainRequest(SHORT, data="synthetic:200", model="tiny2", seed=5)


def stopped_at(step):
    """A recorder of events that stops the run at ``step``."""
    return Recorder(when=lambda event: isinstance(event, StepDone) and event.step == step)


@pytest.fixture(scope="module")
def taught(tiny_family, tmp_path_factory):
    """A run with a teacher, the teacher's run, and the first one's events."""
    there, events = tmp_path_factory.mktemp("taught"), Recorder()
    teacher = train(replace(SYNTHETIC, seed=6), there / "teacher").directory
    config = replace(SYNTHETIC, teacher=str(teacher))
    return train(config, there / "run", report=events), teacher, events


@pytest.mark.slow
def test_a_teacher_is_recorded_and_changes_the_result(taught, tmp_path):
    result, teacher, events = taught
    config = Run(result.directory).config
    assert config.teacher == (str(teacher),)
    assert (config.recipe.distillation, config.recipe.distillation_temperature) == (0.9, 4.0)
    assert config.teacher_sha256 == (load_weights(teacher / files.WEIGHTS).sha256(),)
    assert [event.teachers for event in events.of(Planned)] == [(str(teacher),)]
    assert not [event for event in events.of(Warned) if "made it worse" not in event.message]
    assert train(SYNTHETIC, tmp_path / "alone").weights_sha256 != result.weights_sha256


@pytest.mark.slow
def test_a_stopped_run_with_a_teacher_equals_one_left_alone(taught, tmp_path):
    events = stopped_at(4)
    with pytest.raises(InterruptedRunError):
        train(replace(SYNTHETIC, teacher=str(taught[1])), tmp_path / "run", report=events)
    resume(tmp_path / "run")
    assert_same_result(tmp_path / "run", taught)


@pytest.mark.slow
def test_resume_requires_the_same_teacher(taught, tmp_path):
    teacher = load_weights(taught[1] / files.WEIGHTS)
    save_weights(tmp_path / "teacher.h5", teacher)
    config = replace(SYNTHETIC, teacher=str(tmp_path / "teacher.h5"))
    events = stopped_at(4)
    with pytest.raises(InterruptedRunError):
        train(config, tmp_path / "run", report=events)
    other = {**teacher.tensors, "classifier/bias": teacher.tensors["classifier/bias"] + 1}
    save_weights(tmp_path / "teacher.h5", replace(teacher, tensors=other))
    with pytest.raises(RunError, match=r"teacher\.h5 does not hold the weights that the run in .* learns from"):
        resume(tmp_path / "run")
    (tmp_path / "teacher.h5").unlink()
    with pytest.raises(RunError, match=r"nothing at .*teacher\.h5 any more, .* Give its current path"):
        resume(tmp_path / "run")
    moved = str(taught[1])
    assert resume(tmp_path / "run", teacher=moved).weights_sha256 == taught[0].weights_sha256
    assert Run(tmp_path / "run").config.teacher == (moved,)


@pytest.mark.slow
def test_a_stopped_run_with_two_teachers_equals_one_left_alone(taught, tmp_path):
    """The second teacher has other weights than the first one. Both have moved when the run goes on."""
    known = load_weights(taught[1] / files.WEIGHTS)
    other = {**known.tensors, "classifier/bias": known.tensors["classifier/bias"] + np.arange(len(known.class_names))}
    for name, tensors in (("a", known.tensors), ("b", other)):
        save_weights(tmp_path / f"{name}.h5", replace(known, tensors=tensors))
    request = replace(SYNTHETIC, teacher=[tmp_path / "a.h5", str(tmp_path / "b.h5")])
    whole = train(request, tmp_path / "whole")
    events = stopped_at(4)
    with pytest.raises(InterruptedRunError):
        train(request, tmp_path / "run", report=events)
    moved = [(tmp_path / name).rename(tmp_path / f"moved-{name}") for name in ("a.h5", "b.h5")]
    with pytest.raises(RunError, match=r"nothing at .*b\.h5 any more, .* --resume .*run --teacher PATH"):
        resume(tmp_path / "run", teacher=moved[0])
    with pytest.raises(RunError, match=r"does not hold the weights of a teacher of .*a\.h5, .*b\.h5 \(the SHA-256"):
        resume(tmp_path / "run", teacher=[*moved, taught[0].directory])
    assert resume(tmp_path / "run", teacher=moved[::-1]).weights_sha256 == whole.weights_sha256
    assert Run(tmp_path / "run").config.teacher == tuple(map(str, moved))
    assert whole.weights_sha256 != taught[0].weights_sha256


@pytest.mark.slow
def test_the_same_command_continues_a_run_whose_teacher_was_elsewhere_in_between(taught, tmp_path):
    request = replace(SYNTHETIC, teacher=shutil.copy(taught[1] / files.WEIGHTS, tmp_path / "a.h5"))
    with pytest.raises(InterruptedRunError):
        train(request, tmp_path / "run", report=stopped_at(4))
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    with pytest.raises(InterruptedRunError):
        resume(tmp_path / "run", teacher=tmp_path / "b.h5", report=stopped_at(6))
    (tmp_path / "b.h5").rename(tmp_path / "a.h5")
    assert train(request, tmp_path / "run").weights_sha256 == taught[0].weights_sha256


def test_the_same_teacher_twice_is_refused(tmp_path):
    save_weights(tmp_path / "t.h5", TEACHER)
    with pytest.raises(InvalidValueError, match=r"have the same weights.* Received: .*t\.h5, .*u\.h5"):
        prepare(TrainRequest("fast", teacher=[tmp_path / "t.h5", shutil.copy(tmp_path / "t.h5", tmp_path / "u.h5")]))
    with pytest.raises(InvalidValueError, match=r"Received: resnet20, resnet20"):
        prepare(TrainRequest("fast", teacher=["resnet20"] * 2))


@pytest.mark.slow
def test_a_run_without_a_teacher_gets_none_later(taught, tmp_path):
    events = stopped_at(4)
    with pytest.raises(InterruptedRunError):
        train(SYNTHETIC, tmp_path / "run", report=events)
    with pytest.raises(RunError, match="has no teacher: leave out `teacher`"):
        resume(tmp_path / "run", teacher=str(taught[1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": tuple("abcdefghij")}, "the classes of the data, in the same order: circle, .*h5,"),
        (
            {"spec": replace(TEACHER.spec, image_size=16)},
            "images of 32 pixels, the size that .* `image_size` 16. Received: .* takes 16",
        ),
    ],
)
def test_a_teacher_of_something_else_is_refused(taught, tmp_path, changes, message):
    known = load_weights(taught[1] / files.WEIGHTS)
    tensors = initial_weights(TEACHER.spec, 0)
    save_weights(tmp_path / "other.h5", replace(known, **{"spec": TEACHER.spec, "tensors": tensors, **changes}))
    with pytest.raises(InvalidValueError, match=message):
        train(replace(SYNTHETIC, teacher=str(tmp_path / "other.h5")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_warn_of_a_teacher_trained_on_validation_images(taught, tmp_path):
    events = Recorder()
    train(replace(SYNTHETIC, teacher=str(taught[1]), validation_split=0.2), tmp_path / "run", report=events)
    (warned,) = [event for event in events.of(Warned) if "made it worse" not in event.message]
    assert f"{taught[1]} was trained on images that are validation images now" in warned.message


@pytest.mark.parametrize("changes", [{"distillation": 0.9}, {"distillation_temperature": 4.0}])
def test_how_to_follow_a_teacher_needs_one(changes):
    with pytest.raises(InvalidValueError, match="give `teacher` too"):
        prepare(TrainRequest("fast", changes=changes))


@pytest.mark.parametrize(
    "changes", [{"distillation": 0.0}, {"distillation": 1.1}, {"distillation_temperature": 0.0}, {"distillation": -1.0}]
)
def test_a_share_or_temperature_out_of_range_is_refused(changes):
    with pytest.raises(InvalidValueError, match=r"`distillation\w*` must be above 0"):
        RECIPES["fast"].with_changes(**changes)


def test_a_head_alone_has_no_teacher():
    still = RECIPES["fine-tune"].with_changes(crop_padding=0, flip=False)
    with pytest.raises(InvalidValueError, match="leave out `teacher` or `freeze_base`"):
        prepare(TrainRequest(still, weights="resnet20", teacher="resnet32", freeze_base=True))
    prepare(TrainRequest("fine-tune", weights="resnet20", teacher="resnet32", freeze_base=True))


def test_the_teacher_costs_the_same_at_any_size():
    cost = student().relative_cost
    assert cost(32) == 1
    share = (cost(16) - 0.25) / 0.75  # of the teacher in a step at full size
    assert cost(8) == pytest.approx(share + (1 - share) / 16)
    assert 0.3 < share < 0.5  # a ResNet-14's forward pass beside three of a ResNet-8


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "jit"), [("bfloat16", False), ("float16", False), ("float32", True)])
def test_students_learn_in_every_precision_and_compiled(taught, tmp_path, precision, jit):
    # On a CPU, float16 takes twenty times as long as float32: three steps are enough.
    recipe = SHORT.with_changes(steps=3 if precision == "float16" else 9)
    config = replace(SYNTHETIC, recipe=recipe, teacher=str(taught[1]), precision=precision, jit=jit)
    events = Recorder()
    train(config, tmp_path / "run", report=events)
    losses, wanted = ([event.loss for event in each.of(StepDone)] for each in (events, taught[2]))
    assert losses == pytest.approx(wanted[: len(losses)], rel=0.1)


@pytest.mark.slow
def test_a_budget_with_a_teacher_is_planned_and_kept(taught, tmp_path, clock):
    recipe = RECIPES["fast"].with_changes(batch_size=32, resolutions=((16, 0.5),), precise_batchnorm=32)
    config = replace(SYNTHETIC, recipe=recipe, teacher=str(taught[1]), budget=10.0)
    events = Recorder()
    result = train(config, tmp_path / "run", report=events)
    (planned,) = events.of(BudgetPlanned)
    assert planned.steps > 20
    assert 3 < result.seconds <= 10
