import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError
from cifarnet.models.initial import initial_weights
from cifarnet.models.spec import PRESETS, ModelSpec, describe
from cifarnet.preprocessing import Normalization
from cifarnet.reports.terminal.network_tables import render_network, summary_data
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights


def summary(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["summary", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_the_promised_keys_and_figures():
    data = json.loads(summary("--depth", "20", "--json"))
    assert list(data) == [
        "model",
        "depth",
        "classes",
        "image_size",
        "layers",
        "total_params",
        "trainable_params",
        "non_trainable_params",
        "macs",
    ]
    assert (data["model"], data["depth"], data["classes"]) == ("resnet20", 20, 10)
    assert data["layers"][1] == {
        "name": "sequential",
        "type": "Sequential",
        "output_shape": [None, 32, 32, 16],
        "params": 14208,
    }
    figures = [data[key] for key in ("total_params", "trainable_params", "non_trainable_params", "macs")]
    assert figures == [271_098, 269_722, 1_376, 40_551_040]


def test_units_open_the_stages_down_to_layers():
    data = json.loads(summary("--depth", "8", "--units", "--json"))
    names = [row["name"] for row in data["layers"]]
    assert "sequential_1/res_net_unit_1/conv2" in names
    leaves = [row for row in data["layers"] if row["type"] not in ("Sequential", "ResidualUnit")]
    assert sum(row["params"] for row in leaves) == data["total_params"]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_broken_label_keeps_its_indentation(columns):
    spec, console = ModelSpec("resnet8"), Console(width=columns)
    with console.capture() as printed:
        console.print(render_network(summary_data(spec, describe(spec), units=True), None))
    lines = printed.get().splitlines()
    name = next(line for line in lines if "batchnorm_1" in line)
    kind = next(line for line in lines if "(BatchNormalization)" in line)
    assert (kind == name) == (columns == 80)
    assert {len(line) - len(line.lstrip()) for line in (name, kind)} == {6}


def test_without_options_all_documented_networks_are_compared():
    printed = summary()
    assert [data["model"] for data in json.loads(summary("--json"))] == list(PRESETS)
    assert max(map(len, printed.splitlines())) <= 60
    rows = {name: numbers for name, *numbers in map(str.split, printed.splitlines()[2:])}
    assert list(rows) == list(PRESETS)
    assert rows["resnet110"] == ["1,736,058", "1,727,962", "253", "M", "6.9", "MB"]


@pytest.fixture
def weight_file(tmp_path) -> Path:
    spec = ModelSpec("resnet14", 3)
    weights = Weights(spec, initial_weights(spec, 0), ("a", "b", "c"), Normalization(100.0, 50.0), None, 0.625)
    save_weights(tmp_path / "w.h5", weights)
    return tmp_path / "w.h5"


def test_a_weight_file_says_its_network_classes_and_accuracy(weight_file):
    printed = summary("--weights", str(weight_file))
    for fact in ("ResNet-14", "a, b, c", "mean 100.0000", "62.50%"):
        assert fact in printed
    data = json.loads(summary("--weights", str(weight_file), "--json"))
    assert data["depth"] == 14
    assert data["weights"]["class_names"] == ["a", "b", "c"]
    assert data["weights"]["normalization"] == {"mean": 100.0, "std": 50.0}
    assert data["weights"]["accuracy"] == 0.625


def test_plain_units_keep_their_columns_apart():
    lines = summary("--depth", "20", "--units", "--plain").splitlines()
    row = next(line for line in lines if line.startswith("sequential_2/res_net_unit_3/conv2 "))
    assert row.split() == ["sequential_2/res_net_unit_3/conv2", "(Conv2D)", "(None,", "8,", "8,", "64)", "36864"]


def test_image_size_changes_shapes_and_cost():
    data = json.loads(summary("--depth", "20", "--image-size", "64", "--json"))
    assert (data["image_size"], data["layers"][1]["output_shape"]) == (64, [None, 64, 64, 16])
    assert data["total_params"] == 271_098
    assert 4 * 40_500_000 < data["macs"] < 4 * 40_551_040
    networks = json.loads(summary("--image-size", "64", "--json"))
    assert [each["image_size"] for each in networks] == [64] * len(PRESETS)
    assert "(None, 64, 64, 16)" in summary("--depth", "20", "--image-size", "64", "--plain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "20", "--image-size", "33"], "nearest: 32 and 36. Received: 33"),
        (["--model", "vgg16", "--image-size", "0"], "a VGG-16; nearest: 8. Received: 0"),
        (["--image-size", "-64"], "Received: -64"),
        (["--depth", "20", "--image-size", "100000"], "Received: 100,000"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_refused(arguments, message):
    error = CliRunner().invoke(app, ["summary", *arguments]).exception
    assert isinstance(error, InvalidValueError)
    assert message in str(error)


def test_the_accuracy_is_that_of_the_image_size_of_the_weights(weight_file):
    size = load_weights(weight_file).spec.image_size
    assert summary("--weights", str(weight_file)).endswith("test accuracy: 62.50%\n")
    resized = summary("--weights", str(weight_file), "--image-size", "48")
    assert resized.endswith(f"test accuracy: 62.50% at {size} pixels\n")


def test_image_size_of_weights_must_fit(weight_file, tmp_path):
    data = json.loads(summary("--weights", str(weight_file), "--image-size", "48", "--json"))
    assert (data["image_size"], data["classes"]) == (48, 3)
    spec = ModelSpec("vgg16", 3)
    save_weights(tmp_path / "v.h5", Weights(spec, initial_weights(spec, 0), ("a", "b", "c"), Normalization(1.0, 5.0)))
    error = CliRunner().invoke(app, ["summary", "--weights", str(tmp_path / "v.h5"), "--image-size", "64"]).exception
    assert isinstance(error, InvalidValueError)
    assert "don't fit images of 64 pixels; nearest: 28 and 32" in str(error)


def test_an_empty_name_is_no_network():
    with pytest.raises(InvalidValueError, match=r"There is no such network\."):
        ModelSpec("")
