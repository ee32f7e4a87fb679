import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError
from cifarnet.evaluation.metrics import wilson_interval
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.reports.terminal.weights_table import render_weights
from cifarnet.weights import catalog
from cifarnet.weights.formats import layouts, load_header, load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights
from tests.support.checkpoints import arrays_of, torch_file
from tests.support.networks import save_image_folder, save_picture, save_tiny_weights
from tests.support.weights import save_original


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_list_has_what_comes_with_cifarnet_and_what_user_added(tmp_path):
    file = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"))
    assert invoke("weights", "add", file, "insects").exit_code == 0
    entries = {entry["name"]: entry for entry in json.loads(invoke("weights", "--json").stdout)}
    assert entries.keys() == {"insects", *catalog.shipped()}
    low, high = entries["resnet20"]["accuracy_interval"]
    assert low < entries["resnet20"]["accuracy"] < high
    shown = invoke("weights").stdout
    for entry in entries.values():
        assert entry["name"] in shown


def add_flowers(tmp_path):
    """Add weights with a name, classes, a recipe and a test set as long as they can be."""
    spec = ModelSpec("resnet8", 120)
    classes = tuple(f"flower number {number} of the garden" for number in range(120))
    tensors = {name: np.zeros(weight.shape, np.float32) for name, weight in named_weights(describe(spec)).items()}
    run = tmp_path / "run"
    run.mkdir()
    recipe = {"name": "a-recipe-with-a-long-name"}
    save_weights(run / "weights.h5", Weights(spec, tensors, classes, Normalization(1.0, 2.0), recipe, 0.5))
    (run / "config.json").write_text(json.dumps({"data": "/home/somebody/pictures/flowers-of-the-whole-garden"}))
    (run / "metrics.json").write_text(json.dumps({"images": 123_456}))
    return catalog.add(run, "flowers-of-my-garden-with-a-long-name-in-2024-and-before")


@pytest.mark.parametrize(
    ("origin", "name"), [({"data": ".", "data_path": "/pictures/flowers"}, "flowers"), ({"data": "."}, ".")]
)
def test_the_list_names_the_folder_in_which_a_run_was_started(tmp_path, origin, name):
    run = tmp_path / "run"
    run.mkdir()
    save_tiny_weights(run / "weights.h5", ("ant", "bee"))
    (run / "config.json").write_text(json.dumps(origin))
    (run / "metrics.json").write_text(json.dumps({"images": 40}))
    catalog.add(run, "insects")
    row = next(line for line in invoke("weights").stdout.splitlines() if "insects" in line)
    assert row.rstrip().endswith(f"40 of {name}")


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (160, ["Network", "Classes", "Accuracy", "95 % interval", "Test images"], ["Size"]),
        (100, ["Network", "Classes", "Accuracy", "95 % interval", "Test images"], ["Size"]),
        (80, ["Network", "Classes", "Accuracy", "Test images"], ["95 % interval", "Size"]),
        (60, ["Network", "Classes", "Accuracy"], ["Test images"]),
        (40, ["Accuracy"], ["Network"]),
    ],
)
def test_the_list_leaves_out_columns_that_do_not_fit(tmp_path, width, shown, left_out):
    names = (add_flowers(tmp_path).name, "resnet20")
    facts = [fact for fact in json.loads(invoke("weights", "--json").stdout) if fact["name"] in names]
    console = Console(file=io.StringIO(), width=width)
    console.print(render_weights(facts, width))
    lines = console.file.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= min(width, 100)
    assert all(title in lines[1] for title in ["Name", *shown])
    assert not any(title in lines[1] for title in left_out)
    # A long name goes on in the next lines; nothing of it is cut off.
    text = "".join(line[:25].strip() for line in lines)
    assert all(fact["name"] in text for fact in facts)
    assert "…" not in console.file.getvalue()


def test_the_list_tells_how_good_shipped_weights_are():
    lines = invoke("weights").stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    row = next(line for line in lines if "resnet20" in line)
    accuracy = load_header(catalog.shipped()["resnet20"].path).accuracy
    low, high = wilson_interval(accuracy, 10_000)
    percents = (f"{100 * accuracy:.2f} %", f"{100 * low:.2f} to {100 * high:.2f}")
    for fact in ("ResNet-20", "10", *percents, "10,000 of CIFAR-10"):
        assert fact in row


def test_a_name_is_taken_wherever_weights_are(tmp_path):
    invoke("weights", "add", save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"), (0, 1)), "insects")
    picture = save_picture(tmp_path / "a.png", 0)
    answer = json.loads(invoke("predict", picture, "--weights", "insects", "--json").stdout)
    assert answer[0]["predictions"][0]["class"] == "bee"
    assert "Classes: ant, bee" in invoke("summary", "--weights", "insects").stdout


def test_a_picture_is_answered_with_no_other_step(tmp_path):
    picture = save_picture(tmp_path / "a.png", 0)
    result = invoke("predict", picture, "--json")
    assert result.exit_code == 0, result.stderr
    (answer,) = json.loads(result.stdout)
    assert len(answer["predictions"]) == 3


def test_what_shipped_weights_worth_reported_without_naming_them(tmp_path):
    save_image_folder(tmp_path, dict.fromkeys(CIFAR10_CLASSES, (1, 1)))
    result = invoke("evaluate", "--data", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 10


def test_depth_and_weights_are_two_ways_of_saying_the_same(tmp_path):
    result = invoke("predict", "a.png", "--depth", "20", "--weights", "resnet20")
    assert isinstance(result.exception, InvalidValueError)
    assert "not both" in str(result.exception)


def test_an_original_weight_file_is_converted_with_same_tensors(tmp_path):
    tensors = save_original(tmp_path / "old.h5", ModelSpec("resnet8"))
    new = tmp_path / "new.weights.h5"
    assert invoke("weights", "convert", tmp_path / "old.h5", new).exit_code == 0
    converted, old = load_weights(new), load_weights(tmp_path / "old.h5")
    assert (converted.spec, converted.class_names) == (old.spec, old.class_names)
    assert converted.normalization == old.normalization
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(converted.tensors[name], tensor)


def test_converting_overwrites_nothing_unasked(tmp_path):
    save_original(tmp_path / "old.h5", ModelSpec("resnet8"))
    (tmp_path / "new.h5").write_text("precious")
    result = invoke("weights", "convert", tmp_path / "old.h5", tmp_path / "new.h5")
    assert isinstance(result.exception, InvalidValueError)
    assert Path(tmp_path / "new.h5").read_text() == "precious"
    assert invoke("weights", "convert", tmp_path / "old.h5", tmp_path / "new.h5", "--replace").exit_code == 0


@pytest.fixture
def model_th(tmp_path):
    """A checkpoint of PyTorch with random weights and ten classes."""
    arrays = arrays_of(layouts.LAYOUTS[0], ModelSpec("resnet8-v1"))
    path = tmp_path / "model.th"
    path.write_bytes(torch_file({f"module.{name}": array for name, array in arrays.items()}, "state_dict"))
    layouts._note_once.cache_clear()
    return path


def test_a_checkpoint_of_pytorch_is_converted(tmp_path, model_th, caplog):
    names = [f"kind {k}" for k in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    options = ["--mean", "0.5,0.4,0.3", "--std", "0.2,0.2,0.1", "--classes-file", tmp_path / "names.txt"]
    result = invoke("weights", "convert", model_th, tmp_path / "new.h5", *options)
    assert result.exit_code == 0, result.stderr
    assert "ResNet-8 v1" in result.stderr
    weights = load_weights(tmp_path / "new.h5")
    assert weights.class_names == tuple(names)
    np.testing.assert_allclose(weights.normalization.mean, (127.5, 102.0, 76.5))
    np.testing.assert_allclose(weights.normalization.std, (51.0, 51.0, 25.5))
    assert not caplog.messages
    shown = invoke("summary", "--weights", tmp_path / "new.h5").stdout
    assert "mean 127.5000 102.0000 76.5000 (red, green, blue), standard deviation 51.0000 51.0000 25.5000" in shown


def test_a_checkpoint_of_pytorch_can_be_added(tmp_path, model_th, caplog):
    result = invoke("weights", "add", model_th, "theirs")
    assert result.exit_code == 0, result.stderr
    assert len(caplog.messages) == 1
    assert "Assumed: the normalization of akamaster/pytorch_resnet_cifar10 (mean 0.485,0.456,0.406" in caplog.text
    entries = {entry["name"]: entry for entry in json.loads(invoke("weights", "--json").stdout)}
    assert entries["theirs"]["network"] == "ResNet-8 v1"
    assert load_weights(catalog.find_named("theirs")).sha256() == load_weights(model_th).sha256()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0.5,0.5,0.5"], "`mean` and `std` belong together: give `std` too"),
        (["--std", "0.5,0.5,0.5"], "give `mean` too"),
        (["--mean", "0.5", "--std", "0.5,0.5,0.5"], "--mean takes three numbers.* such as 0.4914.* Received: 0.5"),
        (["--mean", "a,b,c", "--std", "0.5,0.5,0.5"], "--mean takes three numbers.* Received: a,b,c"),
        (
            ["--mean", "125.3,123,113.9", "--std", "63,62.1,66.7"],
            "`mean` takes three numbers from 0 to 1.*divide them by 255: 0.4914,0.4824,0.4467. Received: 125",
        ),
        (["--mean", "0.5,0.5,-1", "--std", "1,1,1"], "`mean` takes three numbers from 0 to 1"),
        (["--mean", "0.5,0.5,nan", "--std", "1,1,1"], "`mean` takes three numbers from 0 to 1"),
        (["--mean", "0.5,0.5,0.5", "--std", "1,1,0"], "a standard deviation above 0"),
        (["--classes-file", "nothing.txt"], "--classes-file nothing.txt can't be read: it is missing"),
    ],
)
def test_a_wrong_normalization_is_explained(tmp_path, model_th, options, message):
    result = invoke("weights", "convert", model_th, tmp_path / "new.h5", *options)
    assert isinstance(result.exception, InvalidValueError)
    assert re.search(message, str(result.exception))
    assert not (tmp_path / "new.h5").exists()


@pytest.mark.parametrize("names", ["a\nb\n", "a\n\nb\nc\nd\ne\nf\ng\nh\ni\n", "a\n" * 10])
def test_a_wrong_list_of_classes_is_explained(tmp_path, model_th, names):
    (tmp_path / "names.txt").write_text(names)
    result = invoke("weights", "convert", model_th, tmp_path / "new.h5", "--classes-file", tmp_path / "names.txt")
    assert isinstance(result.exception, InvalidValueError)
    assert "`class_names` must name" in str(result.exception)


def test_a_file_that_describes_itself_takes_no_other_facts(tmp_path):
    save_original(tmp_path / "old.h5", ModelSpec("resnet8"))
    options = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
    result = invoke("weights", "convert", tmp_path / "old.h5", tmp_path / "new.h5", *options)
    assert "records its normalization and its classes: leave out `mean`" in str(result.exception)


@pytest.mark.parametrize("name", ["resnet20", "nothing"])
def test_only_ones_own_weights_can_be_removed(name):
    result = invoke("weights", "remove", name)
    assert isinstance(result.exception, InvalidValueError)
    assert name in str(result.exception)


def test_file_gone_reported_with_remedy_and_does_not_hide_others(tmp_path):
    invoke("weights", "add", save_tiny_weights(tmp_path / "w.h5", ("ant", "bee")), "insects")
    catalog.entries()["insects"].path.unlink()
    printed = invoke("weights")
    assert printed.exit_code == 0
    assert "resnet20" in printed.stdout
    assert "can't be read" in printed.stdout
    assert "cifarnet weights remove insects" in printed.stderr
    entries = {entry["name"]: entry for entry in json.loads(invoke("weights", "--json").stdout)}
    assert "There is no weight file" in entries["insects"]["problem"]
    assert entries["resnet20"]["problem"] is None


@pytest.mark.parametrize("command", ["predict a.png", "summary"])
def test_a_depth_of_zero_is_no_network(command):
    result = invoke(*command.split(), "--depth", 0)
    assert isinstance(result.exception, InvalidValueError)
