"""The benchmarks run and print their rows; how fast anything is, nothing here says."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cifarnet
from cifarnet.data.sources import load_data
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW = ["--batch", "8", "--steps", "2", "--images", "100"]


def run(script: str, *options: object, **variables: str) -> list[list[str]]:
    """The rows of the tables that ``script`` prints, without their heads."""
    paths = [variables.pop("PYTHONPATH", ""), str(Path(cifarnet.__file__).parents[1])]
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, BENCHMARKS / script, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for before, row in zip([None, *rows], rows, strict=False) if before is not None and "---" not in row[0]]


@pytest.fixture
def peer(tmp_path):
    """What answers in the place of a Python that has torch."""
    answer = {"framework": "torch 0.0", "train_images_per_s": 1.0, "infer_images_per_s": 2.0}
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def no_tensorflow(tmp_path):
    """A PYTHONPATH under which TensorFlow can't be imported, in any process that inherits it."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    return str(tmp_path)


@pytest.mark.slow
def test_training_and_inference_are_compared_with_the_peer(peer):
    rows = run("step.py", "--depths", 8, "--precisions", "float32", "--rounds", 1, "--torch-python", peer, *FEW)
    assert [row[:3] for row in rows] == [["ResNet-8", "training", "float32"], ["ResNet-8", "inference", "float32"]]
    for row, theirs in zip(rows, (1, 2), strict=True):
        own, ratio = (float(row[column].replace(",", "")) for column in (3, 5))
        assert ratio == pytest.approx(own / theirs, abs=1)


@pytest.mark.slow
def test_a_step_is_split_into_its_operations_also_with_keras_own_batch_normalization():
    operations = {row[0] for row in run("profile_step.py", "--depth", 8, "--rows", 100, "--keras-batchnorm", *FEW)}
    assert {"all operations", "the step, by the clock"} <= operations
    assert any("Conv2DBackpropFilter" in name for name in operations)
    assert not any("FusedBatchNorm" in name for name in operations)


@pytest.mark.slow
def test_growth_has_a_row_for_each_depth():
    (row,) = run("growth.py", "--depths", 8, "--batches", "--steps", 2, "--images", 100, "--size", 64)
    assert row[:2] == ["ResNet-8", "128"]
    seconds, bound, ratio, peak, above = (float(cell.replace(",", "")) for cell in row[3:])
    assert ratio == pytest.approx(seconds / bound, rel=0.2, abs=0.1)
    assert peak > above > 0


@pytest.mark.slow
def test_memory_has_a_row_for_each_epoch():
    # Epochs of a second or so, for the script to see each of them end.
    rows = run("memory.py", "--data", "synthetic:500", "--depth", 8, "--epochs", 3)
    assert rows[-1][0] == "the end"
    assert [row[0] for row in rows[:2]] == ["epoch 1", "epoch 2"]
    assert float(rows[-1][2].replace(",", "")) > 100


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
def test_the_gpu_benchmark_runs_all_its_parts_without_tensorflow(tmp_path, no_tensorflow):
    options = ["--device", "cpu", "--data", "synthetic:100", "--depths", 8, "--steps", 3, "--batch", 8, "--timed", 1]
    file = tmp_path / "gpu.json"
    more = ["--precisions", "float32", "--epochs", 1, "--size", 64, "--json", file]
    # Nearly all of its time goes into compilation, which each process would do anew, and thoroughly.
    quick = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    rows = run("gpu.py", *options, *more, KERAS_BACKEND="jax", PYTHONPATH=no_tensorflow, **quick)
    assert [row[0] for row in rows if row[0].startswith(("ResNet", "copy", "cpu"))] == [
        "copy",
        "ResNet-8",
        "cpu in float32, TF32 off",
    ]
    figures = json.loads(file.read_text())
    assert figures.keys() == {"machine", "device", "roofline", "epochs", "peer", "accuracy", "logits"}
    assert figures["logits"]["agree"]
    assert not any(part["tensorflow_imported"] for part in figures["epochs"] + figures["accuracy"])


@pytest.fixture
def small_weights(tmp_path):
    """A ResNet-8 for the synthetic classes, with a rejection threshold."""
    spec, names = ModelSpec("resnet8"), load_data("synthetic:50").train.class_names
    weights = Weights(spec, initial_weights(spec, 0), names, Normalization(120.0, 64.0), reject_below=0.0)
    save_weights(tmp_path / "small.h5", weights)
    return tmp_path / "small.h5"


@pytest.mark.slow
def test_pictures_of_no_class_are_counted_and_photos_named(tmp_path, small_weights):
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(picture).save(photos / "snow.png")
    options = ["--weights", small_weights, "--data", "synthetic:50", "--count", 4, "--textures", photos / "snow.png"]
    rows = {row[0]: row[1:] for row in run("unknown.py", *options, "--photos", photos)}
    assert rows["test images"][0] == "10"
    assert {"noise, pixel by pixel", "plain colours", "texture: snow"} < rows.keys()
    assert all(0 <= float(row[1].rstrip("%")) <= 100 for name, row in rows.items() if name not in ("photo", "snow"))
    assert len(rows["snow"]) == 4


def test_textures_are_cut_from_apart_and_are_nowhere_empty(tmp_path):
    picture = np.random.default_rng(0).integers(1, 256, (512, 512, 3), np.uint8)
    picture[:, :256] //= 2  # The left half is the darker one.
    Image.fromarray(picture).save(tmp_path / "snow.png")
    code = (
        "import sys; from pathlib import Path; from pictures import textures\n"
        "splits = textures([Path(sys.argv[1])], 40, 40)\n"
        "print(*(image.mean() for split in (splits.train, splits.test) for image in split.images))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{BENCHMARKS.parent}"}
    command = [sys.executable, "-c", code, tmp_path / "snow.png"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    means = [float(word) for word in told.split()]
    assert all(50 < mean < 80 for mean in means[:40])
    assert all(110 < mean < 145 for mean in means[40:])


@pytest.mark.slow
def test_fine_tuning_is_compared_with_training_from_nothing(tmp_path, small_weights):
    shared = ["--data", "synthetic:100", "--classes", "circle", "square"]
    run("fine_tuning.py", *shared, "--save-others", tmp_path / "others.npz")
    others = load_data(str(tmp_path / "others.npz"))
    assert len(others.train) == 80
    assert not {"circle", "square"} & set(others.train.class_names)
    options = ["--per-class", 4, "--epochs", 1, "--depth", 8, "--seeds", 1, "--weights", small_weights]
    rows = run("fine_tuning.py", *shared, *options)
    assert len(rows) == 4
    assert all(0 <= float(row[2]) <= 100 for row in rows)


@pytest.mark.slow
def test_budgets_and_hes_recipe_are_compared_and_kept(tmp_path):
    options = ["--data", "synthetic:50", "--depth", 8, "--budgets", "15s", "--sources", "cifar10", "--moving"]
    options += ["--paper-epochs", 0.01, "--output", tmp_path / "runs"]
    budget, _, *marks = run("budgets.py", *options)
    assert budget[:3] == ["cifar10", "15s", "0"]
    assert [row[0] for row in marks] == ["80%", "84%", "86%", "88%"]
    kept = json.loads((tmp_path / "runs/cifar10-15s-0.json").read_text())
    if "refused" not in kept:  # As on a machine that is busy.
        assert budget[6:9] == [f"{kept['steps']:,}", f"{100 * kept['accuracy']:.2f}", f"{100 * kept['moving']:.2f}"]
    paper = json.loads((tmp_path / "runs/paper-0.01.json").read_text())
    assert paper["steps"] == 4  # 0.01 of 391
    assert run("budgets.py", *options)[0] == budget


def test_an_interrupted_run_is_not_taken_for_a_time(tmp_path):
    (tmp_path / "synthetic-5s-0").mkdir()
    command = [sys.executable, BENCHMARKS / "budgets.py", "--budgets", "5s", "--sources", "synthetic", "--output"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "synthetic-5s-0 holds a run that was interrupted" in done.stderr


@pytest.mark.slow
def test_predict_measures_folder_cold_start_help_and_report(tmp_path, small_weights):
    rows = run("predict.py", "--weights", small_weights, "--count", 20, "--pairs", 1, "--rounds", 1)
    assert [name for name, *_ in rows] == [
        "the folder, images/s, whole process",
        "the folder, images/s, without start-up",
        "one picture, cold start, s",
        "import tensorflow, s",
        "one picture above import tensorflow, s",
        "cifarnet --help, s",
        "a report, s",
    ]
    one, imported, above = (float(row[1]) for row in rows[2:5])
    assert above == pytest.approx(one - imported, abs=0.011)


def test_a_failing_command_is_printed_without_a_traceback(tmp_path):
    command = [sys.executable, BENCHMARKS / "predict.py", "--weights", tmp_path / "missing.h5", "--count", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing.h5" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_the_peer_prints_its_rate():
    command = [sys.executable, BENCHMARKS / "pytorch_reference.py", "--depth", "8", "--batch", "8", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["trainable_parameters"] == 75_290  # As cifarnet summary --depth 8 counts them.
    assert result["train_images_per_s"] > 1
