"""The benchmarks run and print their tables. Nothing here depends on how fast anything is."""

import importlib
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cifarnet.backend.devices import Execution, device
from cifarnet.cli.main import app
from cifarnet.data.sources import load_data
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.models.whitening import whitening_kernel
from cifarnet.preprocessing import Normalization
from cifarnet.weights.catalog import load as load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW = ["--batch", "8", "--steps", "2", "--images", "100"]


@pytest.fixture
def module(monkeypatch):
    """A function that imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def table_rows(printed):
    """The cells of all tables, without their heads."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    heads = [index - 1 for index, row in enumerate(rows) if "---" in row[0]]
    return [row for index, row in enumerate(rows) if index not in heads and index - 1 not in heads]


@pytest.fixture
def run(module, monkeypatch, capsys):
    """A function that runs a script and returns its rows. Tasks are measured in this process, to import Keras once."""
    harness, measure = module("harness"), module("measure")

    def here(tasks, environment=None):
        for task in json.loads(json.dumps(list(tasks))):
            monkeypatch.setattr(measure, "STARTED", time.monotonic())
            yield json.loads(json.dumps(measure.TASKS[task.pop("task")](**task)))

    def run_script(name, *options):
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        module(name).main()
        return table_rows(capsys.readouterr().out)

    monkeypatch.setattr(harness, "measure", here)
    monkeypatch.setattr(harness, "tensorflow_mb", lambda: 100.0)
    return run_script


@pytest.fixture
def peer(tmp_path):
    """A program in place of a Python that has PyTorch."""
    answer = {"framework": "torch 0.0", "train_images_per_s": 1.0, "infer_images_per_s": 2.0}
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    return program


def numbers(cells):
    return [float(cell.replace(",", "")) for cell in cells]


@pytest.mark.slow
def test_speed_is_compared_with_pytorch_and_the_limits(run, peer):
    few = ["--batches", 8, "--steps", 2, "--images", 100, "--precisions", "float32", "--rounds", 1]
    train, infer, limits = run("speed", "--depths", 8, *few, "--torch-python", peer, "--limits", "--size", 64)
    assert [row[:4] for row in (train, infer)] == [
        ["ResNet-8", work, "8", "float32"] for work in ("training", "inference")
    ]
    for row, theirs in ((infer, 2), (train, 1)):
        own, ratio = numbers([row[4], row[6]])
        assert ratio == pytest.approx(own / theirs, abs=1)
    seconds, arithmetic, ratio = numbers(limits[3:6])
    assert seconds == pytest.approx(50_000 / numbers([train[4]])[0], rel=0.05)
    assert ratio == pytest.approx(seconds / arithmetic, rel=0.2, abs=0.01)
    peak, above = numbers(limits[8:])
    assert peak == pytest.approx(above + 100, abs=1)


def test_epochs_are_timed_without_the_check_between_them(module):
    from types import SimpleNamespace

    def step(epoch, batch):
        return SimpleNamespace(epoch=epoch, batch=batch, step=(epoch - 1) * 20 + batch)

    events = module("measure")._Events(lambda event: None)
    events.began, events.images = 0.0, 20 * 8
    first = [(5.0 + 0.1 * batch, step(1, batch)) for batch in range(1, 21)]
    events.steps = [*first, *((10.0 + 0.1 * batch, step(2, batch)) for batch in range(1, 21))]
    assert events.epoch_seconds() == pytest.approx([7.0, 5.0])
    assert events.step_seconds(8) == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
def test_measurements_run_on_jax_without_tensorflow(module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    tasks = [
        {"task": "execution"},
        {
            "task": "train",
            "model": "resnet8",
            "images": 64,
            "changes": {"batch_size": 8, "steps": None, "epochs": 2, "checks": 1},
        },
        {"task": "product", "precision": "float32", "size": 64},
        {"task": "copy", "size": 1000},
    ]
    paths = os.pathsep.join([str(tmp_path), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")])
    # Optimization by XLA would take most of the time.
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": paths, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    here, trained, *limits = module("harness").measure(tasks, environment)
    assert "(jax)" in here["device"]
    assert trained["steps"] == 16
    assert len(trained["epoch_seconds"]) == 2
    assert {key for limit in limits for key in limit} == {"precision", "flops", "bytes_per_s"}


@pytest.mark.slow
def test_logits_of_the_device_are_compared_with_those_of_the_cpu(run, module, small_weights):
    options = ["--data", "synthetic:50", "--weights", small_weights, "--images", 5]
    exact, usual = run("logits", *options)
    assert exact == ["the device, without TF32", "0.0e+00"]
    assert usual == ["the device", "0.0e+00"]


@pytest.mark.slow
def test_differing_logits_are_an_error(run, module, monkeypatch, small_weights):
    measure = module("measure")
    calls = []

    def differing(output, **settings):
        calls.append(output)
        np.save(output, np.float32([[1.0, 2.0 + 0.001 * len(calls)]]))
        return {"title": "ResNet-8", "images": 1}

    monkeypatch.setitem(measure.TASKS, "logits", differing)
    with pytest.raises(SystemExit, match=r"differ by more than 0\.0001"):
        run("logits", "--data", "synthetic:50", "--weights", small_weights)


@pytest.mark.slow
def test_step_is_split_by_operation_with_keras_batchnorm():
    command = [
        sys.executable,
        BENCHMARKS / "profile_step.py",
        "--model",
        "resnet8",
        "--rows",
        "100",
        "--keras-batchnorm",
    ]
    paths = os.pathsep.join([str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([*command, *FEW], capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr
    operations = {row[0] for row in table_rows(done.stdout)}
    assert {"all operations", "the step, by the clock"} <= operations
    assert any("Conv2DBackpropFilter" in name for name in operations)
    assert not any("FusedBatchNorm" in name for name in operations)


@pytest.mark.slow
def test_memory_has_a_row_for_each_epoch(run):
    rows = run("memory", "--data", "synthetic:100", "--depth", 8, "--epochs", 2)
    assert [row[0] for row in (rows[0], rows[-1])] == ["epoch 1", "the end"]
    assert numbers([rows[-1][2]])[0] > 100


@pytest.fixture
def small_weights(tmp_path):
    """A ResNet-8 for the synthetic classes, with a rejection threshold."""
    spec, names = ModelSpec("resnet8"), load_data("synthetic:50").train.class_names
    weights = Weights(spec, initial_weights(spec, 0), names, Normalization(120.0, 64.0), reject_below=0.0)
    save_weights(tmp_path / "small.h5", weights)
    return tmp_path / "small.h5"


@pytest.mark.slow
def test_pictures_of_no_class_are_counted_and_photos_named(run, tmp_path, small_weights):
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(picture).save(photos / "snow.png")
    options = ["--weights", small_weights, "--data", "synthetic:50", "--count", 4, "--textures", photos / "snow.png"]
    rows = {row[0]: row[1:] for row in run("unknown", *options, "--photos", photos)}
    assert rows["test images"][0] == "10"
    assert {"noise, pixel by pixel", "plain colours", "texture: snow"} < rows.keys()
    assert all(0 <= float(row[1].rstrip("%")) <= 100 for name, row in rows.items() if name != "snow")
    assert len(rows["snow"]) == 4
    rows = run("unknown", *options, "--photos", photos, "--compare", tmp_path / "outputs")
    (compared,) = [row[1:] for row in rows if row[0] == "largest logit (Hendrycks 2022)"]
    assert len(compared) == 1 + 5 + 1 + 1
    assert compared[-1] in ("0/1", "1/1")
    assert len(list((tmp_path / "outputs").iterdir())) == 9


def test_rejection_scores_know_far_pictures_from_near_ones(module):
    scores = module("rejection_scores")
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    kernel, bias = rng.normal(size=(40, 3)) / 6, np.zeros(3)

    def outputs(embeddings):
        return scores.Outputs(embeddings @ kernel, embeddings)

    def near(labels):
        return outputs(np.repeat(np.eye(3), 14, axis=1)[labels, :40] * 5 + rng.normal(size=(len(labels), 40)) / 2)

    found = scores.scores(near(labels), labels, kernel, bias, 1.5)
    assert len(found) == 18
    inside, outside = near(labels[:60]), outputs(5 * rng.normal(size=(60, 40)))
    for name, score in found.items():
        assert score(inside).shape == (60,), name
        if "Mahalanobis" in name or "cosine" in name or "residual" in name:
            assert np.median(score(inside)) > np.median(score(outside)), name


def test_near_duplicates_are_counted_and_drawn(run, tmp_path):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    test = np.concatenate([train[:1], rng.integers(0, 256, (3, 32, 32, 3), np.uint8)])
    labels = np.arange(4) % 2
    np.savez(tmp_path / "data.npz", x_train=train, y_train=labels, x_test=test, y_test=labels)
    options = ["--data", tmp_path / "data.npz", "--high", 1.1, "--output", tmp_path / "pairs.png"]
    rows = run("near_duplicates", *options)
    assert [row[1:] for row in rows] == [["1", "25.00%"]] * 15
    pairs = np.asarray(Image.open(tmp_path / "pairs.png"))
    assert (pairs[12:108:3, :96:3] == train[0]).all()
    assert (pairs[12:108, :96] == pairs[12:108, 96:192]).all()


def test_halves_of_a_texture_are_training_and_test_images(module, tmp_path):
    picture = np.random.default_rng(0).integers(1, 256, (512, 512, 3), np.uint8)
    picture[:, :256] //= 2  # The left half is the darker one.
    Image.fromarray(picture).save(tmp_path / "snow.png")
    splits = module("pictures").textures([tmp_path / "snow.png"], 40, 40)
    assert all(50 < image.mean() < 80 for image in splits.train.images)
    assert all(110 < image.mean() < 145 for image in splits.test.images)


@pytest.mark.slow
def test_fine_tuning_is_compared_with_training_from_nothing(run, tmp_path, small_weights):
    rng = np.random.default_rng(0)
    for name in ("brick", "snow"):
        Image.fromarray(rng.integers(0, 256, (512, 512, 3), np.uint8)).save(tmp_path / f"{name}.png")
    options = ["--per-class", 4, "--epochs", 1, "--depth", 8, "--seeds", 1, "--weights", small_weights]
    rows = run("fine_tuning", *options, "--textures", tmp_path / "brick.png", tmp_path / "snow.png")
    assert [row[0] for row in rows] == [
        "from nothing",
        "from nothing, four times as long",
        f"from {small_weights}",
        f"from {small_weights}, frozen base",
    ]
    # There are 16 test images of each class.
    assert all(float(row[2]) in [round(100 * right / 32, 1) for right in range(33)] for row in rows)


@pytest.mark.slow
def test_times_to_accuracy_are_measured_once(run, tmp_path):
    options = ["--data", "synthetic:50", "--models", "resnet8", "--depth", 8, "--seeds", 1, "--budgets", "1s"]
    options += ["--epochs", 1, "--paper-epochs", 0.01, "--output", tmp_path / "runs"]
    rows = run("time_to_accuracy", *options)
    budget, fast, paper = rows
    assert budget == ["resnet8", "1s", "-", "0, 1 refused", *["-"] * 7]  # A second is not enough for a step.
    assert [fast[:4], paper[:3]] == [
        ["resnet8", "1 epochs", Execution.best_on(device()).precision, "1"],
        ["resnet8, He et al. recipe", "0.01 epochs", Execution.best_on(device()).precision],
    ]
    kept = json.loads((tmp_path / "runs/resnet8-paper-0.01-0.json").read_text())
    assert kept["steps"] == 4  # 0.01 of 391
    end = kept["import_seconds"] + kept["start_seconds"] + kept["epochs"][-1][0]
    assert paper[9:] == [f"{end / 60:.2f}", f"{100 * kept['accuracy']:.2f}"]
    assert run("time_to_accuracy", *options) == rows


def test_times_to_accuracy_are_medians_of_seeds(run, module, monkeypatch, tmp_path):
    asked = []

    def train(**settings):
        asked.append(settings)
        seed = settings["seed"]
        epochs = [[54 + 6 * seed, 0.8], [114, 0.85 + 0.02 * seed]]
        times = {"import_seconds": 4, "start_seconds": 2, "epochs": epochs}
        return {**times, "precision": "float32", "accuracy": epochs[-1][1]}

    monkeypatch.setitem(module("measure").TASKS, "train", train)
    monkeypatch.setitem(module("measure").TASKS, "execution", lambda: {"device": "a CPU", "kind": "cpu"})
    (row,) = run("time_to_accuracy", "--models", "resnet8", "--epochs", 2, "--output", tmp_path)
    assert row[:4] == ["resnet8", "2 epochs", "float32", "3"]
    times = ["1.10 (1.00 - 1.20)", "2 of 3", "1 of 3", "-", "-", "2.00 (2.00 - 2.00)"]
    assert row[4:] == [*times, "87.00 (85.00 - 89.00)"]
    assert [(each["changes"], each["seed"]) for each in asked] == [({"epochs": 2, "checks": 0}, k) for k in range(3)]


def test_pytorch_is_timed_on_the_same_images(run, module, monkeypatch, tmp_path):
    answer = {"framework": "torch 0.0", "precision": "bfloat16", "epochs": [[90, 0.9]], "accuracy": 0.9}
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\ncp $3 {tmp_path}\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    here = {"device": "a CPU", "kind": "cpu", "precision": "bfloat16"}
    monkeypatch.setitem(module("measure").TASKS, "execution", lambda: here)
    options = ["--data", "synthetic:50", "--models", "--budgets", "2m", "--seeds", 1, "--torch-python", program]
    for _ in range(2):
        (row,) = run("time_to_accuracy", *options, "--output", tmp_path / "runs")
    assert row == ["airbench94, PyTorch", "2m", "bfloat16", "1", *["1.50"] * 4, "-", "1.50", "90.00"]
    (asked,) = (tmp_path / "asked").read_text().splitlines()  # A finished run is not repeated.
    assert asked.split()[0].endswith("pytorch_airbench.py")
    assert asked.endswith("--seed 0 --budget 120.0 --bf16")
    with np.load(tmp_path / "images.npz") as images:
        np.testing.assert_array_equal(images["x_test"], load_data("synthetic:50").test.images)


def test_failing_pytorch_is_named_with_its_last_line(module, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho Traceback >&2\necho No module named torch >&2\nexit 1\n")
    program.chmod(0o755)
    for python, reason in ((program, "No module named torch"), (tmp_path / "none", "No such file")):
        with pytest.raises(SystemExit, match=f"PyTorch can't be measured: .*{reason}"):
            module("harness").pytorch(str(python), "pytorch_airbench.py")


def test_budget_has_accuracies_and_seconds_over(run, module, monkeypatch, tmp_path):
    asked = []

    def train(**settings):
        asked.append(settings)
        return {"epochs": [[1, 0.5]] * 3, "steps": 1234, "accuracy": 0.75, "moving": 0.5, "below_one_epoch": True}

    monkeypatch.setitem(module("measure").TASKS, "train", train)
    options = ["--data", "synthetic:50", "--budgets", "2m", "--sources", "cifar10", "--moving", "--seeds", 2]
    rows = run("budgets", *options, "--output", tmp_path)
    assert [row[:5] for row in rows] == [["cifar10", "2m", seed, "0.0", "-120.0"] for seed in "01"]
    assert rows[0][5:] == ["3", "1,234", "75.00", "50.00", "below one epoch"]
    assert [(each["budget"], each["seed"], each["moving"]) for each in asked] == [(120, 0, True), (120, 1, True)]


@pytest.mark.slow
def test_moving_averages_are_those_before_the_moments(module, monkeypatch, tmp_path):
    from cifarnet.training.precise_batchnorm import PreciseBatchnorm

    measure, tensors = module("measure"), {}
    accuracy = measure._accuracy
    monkeypatch.setattr(PreciseBatchnorm, "update", PreciseBatchnorm.update)  # Restored after the test.
    monkeypatch.setattr(measure, "_accuracy", lambda run, data, averaged: tensors.update(averaged) or 0.5)
    changes = {"epochs": 1, "resolutions": ()}
    trained = measure.train("resnet8", "fast", "synthetic:50", f"{tmp_path}/run", moving=True, changes=changes)
    final = load_weights(tmp_path / "run").tensors
    differing = {name.rpartition("/")[2] for name in final if not np.array_equal(final[name], tensors[name])}
    assert differing == {"moving_mean", "moving_variance"}
    assert trained["moving"] == 0.5
    assert accuracy(tmp_path / "run", "synthetic:50", final) == trained["accuracy"]


def test_seconds_to_an_accuracy_are_those_of_the_first_epoch(module):
    reached = module("harness").reached
    epochs = [(10.0, None), (20.0, 0.81), (30.0, 0.79), (40.0, 0.85)]
    assert [reached(epochs, mark) for mark in (0.8, 0.84, 0.9)] == [20.0, 40.0, None]


def test_interrupted_run_has_no_time(run, tmp_path):
    (tmp_path / "synthetic-5s-0").mkdir()
    with pytest.raises(SystemExit, match="synthetic-5s-0 holds a run that was interrupted"):
        run("budgets", "--budgets", "5s", "--sources", "synthetic", "--output", tmp_path)


@pytest.mark.slow
def test_predict_subtracts_the_start_from_the_folder(run, module, monkeypatch, small_weights):
    times = {"import tensorflow": 4.0, "--help": 0.25, ".jpg": 5.0, "images": 24.0}
    commands = []

    def seconds(*command):
        commands.append([str(word) for word in command])
        # With Keras, everything takes twice as long.
        factor = 2 if "--engine" in command else 1
        return factor * next(time for end, time in times.items() if str(command[-1]).endswith(end))

    monkeypatch.setattr(module("harness"), "seconds", seconds)
    rows = run("predict", "--weights", small_weights, "--count", 20, "--pairs", 1, "--rounds", 1)
    assert [row[:2] for row in rows[:-1]] == [
        ["the folder, images/s, whole process", "1"],  # 20 / 24
        ["the folder, images/s, without start-up", "1"],  # 19 / (24 - 5)
        ["one picture, cold start, s", "5.00"],
        ["import tensorflow, s", "4.00"],
        ["one picture with --engine keras, s", "10.00"],
        ["one picture, keras / default engine", "2.0"],
        ["the folder, keras / default engine", "2.00"],
        ["cifarnet --help, s", "0.25"],
    ]
    assert rows[-1][0] == "a report, s"
    folder = next(command for command in commands if command[-1].endswith("images"))
    picture = BENCHMARKS.parent / "docs/circle.png"
    predicted = CliRunner().invoke(app, [*folder[3:-1], str(picture)])
    assert predicted.exit_code == 0
    assert "circle.png" in predicted.stdout


def test_failing_command_is_printed_without_a_traceback(tmp_path):
    command = [sys.executable, BENCHMARKS / "predict.py", "--weights", tmp_path / "missing.h5", "--count", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing.h5" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_pytorch_reference_prints_its_rate():
    command = [sys.executable, BENCHMARKS / "pytorch_reference.py", "--depth", "8", "--batch", "8", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["trainable_parameters"] == 75_290  # As cifarnet summary --depth 8 counts them.
    assert result["train_images_per_s"] > 1


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_airbench_of_pytorch_has_cifarnets_network_and_whitening(module):
    peer, images = module("pytorch_airbench"), load_data("synthetic:50").train.images
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    train = peer.Images(images, np.zeros(len(images)), mean, std, "cpu")
    rows = peer.torch.arange(4)
    whitening = peer.whitening_kernel(train.batch(peer.torch.arange(len(images))))
    normalization = Normalization(tuple(map(float, mean)), tuple(map(float, std)))
    wanted = whitening_kernel(images, normalization, 2).transpose(3, 2, 0, 1)
    found = whitening.numpy()[:12]
    # The signs of principal components are arbitrary. The components without variance are too.
    steady = np.abs(wanted[:12]).max((1, 2, 3)) < 5
    signs = np.sign((found * wanted[:12]).sum((1, 2, 3), keepdims=True))
    assert steady.sum() >= 6
    np.testing.assert_allclose((signs * found)[steady], wanted[:12][steady], rtol=0.05, atol=0.05)
    np.testing.assert_array_equal(whitening[12:], -whitening[:12])
    network = peer.Airbench(whitening, 10)
    trained = sum(each.numel() for each in network.parameters() if each.requires_grad)
    assert trained == 1_971_352  # As cifarnet summary --model airbench94 counts them.
    assert network(train.batch(rows)).shape == (4, 10)
    whole = np.pad(images[:4], ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    moved = train.batch(rows, peer.torch.tensor([0, 1, -2, 2]), peer.torch.tensor([0, -1, 2, 0]), rows > 1)
    crops = [whole[0, 2:34, 2:34], whole[1, 3:35, 1:33], whole[2, 0:32, 4:36][:, ::-1], whole[3, 4:36, 2:34][:, ::-1]]
    np.testing.assert_allclose(moved.permute(0, 2, 3, 1), (np.stack(crops) - mean) / std, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_airbench_of_pytorch_trains_within_a_length_or_budget(module, tmp_path):
    module("pictures").save_splits(tmp_path / "images.npz", load_data("synthetic:50"))
    command = [sys.executable, BENCHMARKS / "pytorch_airbench.py", "--data", tmp_path / "images.npz"]
    results = []
    for options in (["--epochs", "1"], ["--budget", "0.01"]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    trained, refused = results
    ((seconds, accuracy),) = trained["epochs"]
    assert seconds > 0
    assert (trained["steps"], trained["accuracy"]) == (1, accuracy)
    assert refused["refused"].endswith("Received: --budget 0.01")


def test_scaling_adds_the_exchange_to_the_steps(run, module):
    scaling = module("scaling")
    link = scaling.Link(bandwidth=1e9, latency=1e-3)
    assert link.all_reduce(1e9, 1) == 0
    assert link.all_reduce(1e9, 4) == pytest.approx(2 * 3 / 4 + 2 * 2 * 1e-3)
    network = scaling.Network.of(20)
    assert (network.parameters, network.batch_norms, network.work) == (269_722, 19, 1)
    # The measured epochs of the docstring.
    assert [network.seconds_per_step(batch) * 50_000 / batch for batch in (128, 512)] == pytest.approx([0.88, 0.49])
    rows = run("scaling", "--gpus", 1, 8, 3, "--batch", 512)
    assert [row[:2] for row in rows[:3]] == [["ResNet-20", "1"], ["ResNet-20", "8"], ["ResNet-32", "1"]]
    assert [row[3] for row in rows[:2]] == ["0%", "56%"]
