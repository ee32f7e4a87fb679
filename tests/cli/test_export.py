import json
import os
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cifarnet.cli import console
from cifarnet.cli.main import app
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.export import FORMATS, Exported
from cifarnet.export.quantization import Figures, Int8Cost
from cifarnet.export.verify import Comparison
from cifarnet.reports.terminal.export_tables import render_export
from cifarnet.runs.provenance import TrainedOn
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.networks import save_image_folder, save_tiny_weights

COMPARISON = Comparison(500, "synthetic:500", "keras", 1.5e-7, 2, 1)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"))


def invoke(*words):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def shown(figures):
    out = console.stdout()
    with out.capture() as capture:
        out.print(render_export(figures))
    return capture.get()


def test_the_file_is_named_like_the_network(weights, tmp_path):
    result = invoke(weights, "--format", "safetensors")
    assert result.exit_code == 0, result.output
    assert "Written             resnet8.safetensors, " in result.stdout
    assert "the same as onnx's for all images" in result.stdout
    assert (tmp_path / "resnet8.safetensors").is_file()


def test_own_images_without_test_images_need_a_split(weights, tmp_path, monkeypatch):
    folder = save_image_folder(tmp_path / "data", {"ant": (5, 0), "bee": (5, 0)})
    words = (weights, "--format", "safetensors", "--data", folder)
    assert "or hold some of every class out with `test_split` 0.2" in str(invoke(*words).exception)
    assert "Compared            2 images of data" in invoke(*words, "--test-split", "0.2").stdout
    monkeypatch.chdir(folder)
    here = (weights, "--output", tmp_path / "n.safetensors", "--data", ".", "--test-split", "0.2")
    assert "Compared            2 images of data" in invoke(*here, "--format", "safetensors").stdout
    result = invoke(weights, "--test-split", "0.2", "--format", "safetensors")
    assert "`test_split` needs `data` to split" in str(result.exception)


def test_recorded_images_that_have_test_images_now_are_not_compared(weights, tmp_path):
    folder = save_image_folder(tmp_path / "data", {"ant": (5, 2), "bee": (5, 2)})
    origin = TrainedOn("data", os.path.realpath(folder), None, 0.2)
    save_weights(weights, replace(load_weights(weights), trained_on=origin))
    assert "500 images of synthetic:500" in invoke(weights, "--format", "safetensors").stdout
    result = invoke(weights, "--format", "safetensors", "--replace", "--data", folder)
    assert isinstance(result.exception, DataError)
    assert "data does not hold the images any more that the ResNet-8 was trained on" in str(result.exception)


def test_json_has_the_figures(weights):
    data = json.loads(invoke(weights, "--format", "safetensors", "--output", "n.safetensors", "--json").stdout)
    assert list(data) == ["path", "format", "network", "bytes", "comparison", "int8"]
    assert list(data["comparison"]) == ["images", "source", "engine", "largest_difference", "changed", "near_ties"]
    assert (data["path"], data["int8"]) == ("n.safetensors", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "onxx"), r"Did you mean onnx\? Received: onxx"),
        (("--output", "n.h5"), r"needs a `format`, or a name that ends with .* Received: n\.h5"),
        (("--output", "n.h5", "--format", "onnx"), r"must be a file whose name ends with \.onnx\. Received: n\.h5"),
        (("--int8", "--format", "keras"), "is for the format onnx or litert"),
        (("--int8",), "needs training images"),
    ],
)
def test_wrong_usage_is_explained(weights, words, message):
    result = invoke(weights, *words)
    assert isinstance(result.exception, InvalidValueError)
    with pytest.raises(InvalidValueError, match=message):
        raise result.exception


@pytest.mark.parametrize(("accuracy", "warns"), [(0.88, True), (0.9, False)])
def test_a_costly_int8_file_gives_a_warning(weights, monkeypatch, accuracy, warns):
    float32 = Figures(1000, 0.9, 1.5, 50.0)
    cost = Int8Cost(512, 250, float32, replace(float32, bytes=400, accuracy=accuracy))
    figures = Exported(weights, "onnx", "ResNet-8", 400, COMPARISON, cost)
    monkeypatch.setattr("cifarnet.export.export_model", lambda *args, **options: figures)
    result = invoke(weights, "--int8")
    assert ("loses 2.00 points of accuracy" in result.stderr) == warns
    assert "88.00 %" in result.stdout or not warns
    assert "2.00 points lost" in result.stdout if warns else "0.00 points lost" in result.stdout
    assert "512 training images" in result.stdout


def test_near_ties_are_shown(weights):
    figures = Exported(weights, "onnx", "ResNet-8", 400, COMPARISON).to_dict()
    assert "another than keras's for 2 images, 1 of them near-ties" in shown(figures)


def test_the_option_offers_the_formats_of_the_table():
    from cifarnet.choices import EXPORT_FORMATS

    assert tuple(FORMATS) == EXPORT_FORMATS
