"""ONNX files as weights: those of cifarnet classify, and all others are refused."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.export import FORMATS, export_model
from cifarnet.export.onnx import annotate, write_int8
from cifarnet.inference.classifier import Classifier
from cifarnet.models.spec import ModelSpec
from cifarnet.weights.catalog import load
from cifarnet.weights.formats import header, is_exported, load_header, load_network, load_weights
from cifarnet.weights.formats.onnx import sealed
from tests.support.networks import SIZE, save_image_folder, save_picture
from tests.support.weights import random_weights, with_random_statistics

WEIGHTS = random_weights(ModelSpec("resnet8", 3, SIZE))
_SEAL_SIZE = 76


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    from dataclasses import replace

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], reference="onnx"))
        return export_model(WEIGHTS, tmp_path_factory.mktemp("onnx") / "n.onnx").path


@pytest.fixture
def copy(file, tmp_path):
    path = tmp_path / "copy.onnx"
    path.write_bytes(file.read_bytes())
    return path


def crafted(path, change):
    """Change the graph of the file as a stranger could, with the right checksum."""
    model = onnx.load_model_from_string(path.read_bytes()[:-_SEAL_SIZE])
    change(model)
    path.write_bytes(sealed(model.SerializeToString()))


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_commands_classify_with_the_file(copy, tmp_path):
    picture = save_picture(tmp_path / "p.png", 1)
    found = json.loads(invoke("predict", picture, "--weights", copy, "--json").stdout)
    expected = json.loads(invoke("predict", picture, "--weights", _saved(tmp_path), "--json").stdout)
    assert [row["class"] for row in found[0]["predictions"]] == [row["class"] for row in expected[0]["predictions"]]
    folder = save_image_folder(tmp_path / "data", dict.fromkeys(WEIGHTS.class_names, (1, 2)))
    scores = json.loads(invoke("evaluate", copy, "--data", folder, "--json").stdout)
    assert (scores["images"], scores["engine"], scores["weights"]) == (6, "onnx", str(copy))


def test_no_training_from_the_file_is_advised(copy, tmp_path):
    folder = save_image_folder(tmp_path / "data", {"other": (1, 1), "another": (1, 1)})
    for data in (folder, "cifar10"):
        result = invoke("evaluate", copy, "--data", data)
        assert "does not have the same classes" in str(result.exception)
        assert "cifarnet train" not in str(result.exception)


def _saved(folder):
    from cifarnet.weights.formats.hdf5 import save_weights

    save_weights(folder / "w.h5", WEIGHTS)
    return folder / "w.h5"


def test_the_file_describes_its_network(file):
    assert is_exported(file)
    assert load_header(file).header() == load_network(file).header() == WEIGHTS.header()


@pytest.mark.parametrize("format", ["onnx", "safetensors"])
def test_an_export_keeps_the_distances(tmp_path, monkeypatch, format):
    from dataclasses import replace

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], reference="onnx"))
    weights = with_random_statistics(WEIGHTS)
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    file = Classifier(export_model(weights, tmp_path / f"n.{format}", format).path, engine="onnx")
    assert file.weights.reject_beyond == weights.reject_beyond
    found, wanted = (
        each.averaged_logits(images, tta="flip", distances=True).distances
        for each in (file, Classifier(weights, engine="onnx"))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_format_without_distances_forgets_the_threshold(tmp_path, monkeypatch):
    from dataclasses import replace

    forgetful = replace(FORMATS["safetensors"], distances=False)
    monkeypatch.setitem(FORMATS, "safetensors", forgetful)
    weights = load_weights(export_model(with_random_statistics(WEIGHTS), tmp_path / "n.safetensors").path)
    assert (weights.reject_beyond, weights.statistics) == (None, None)


def test_distances_in_8_bit_integers_are_those_of_its_embedding(tmp_path):
    weights, path = with_random_statistics(WEIGHTS), tmp_path / "n.onnx"
    images = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)
    write_int8(weights, path, images)
    annotate(path, header.written(weights))
    found, wanted = (
        Classifier(each, engine="onnx").averaged_logits(images, tta="none", distances=True).distances
        for each in (path, weights)
    )
    np.testing.assert_allclose(found, wanted, rtol=0.1)
    model = onnx.load(path)
    (whitened,) = [node for node in model.graph.node if node.name == "distance/whitened"]
    assert not any("Quantize" in name for name in whitened.input[1:])


def test_a_classifier_of_the_file_refuses_what_needs_tensors(file, tmp_path):
    classifier, picture = Classifier(file), np.zeros((SIZE, SIZE, 3), np.uint8)
    for name, call in {
        "an export": lambda: classifier.export(tmp_path / "n.safetensors"),
        "a Keras model": classifier.keras_model,
        "an explanation": lambda: classifier.explain(picture),
    }.items():
        with pytest.raises(WeightsError, match=f"does not hold the tensors that {name} needs: use the run"):
            call()


def test_a_file_in_8_bit_integers_says_so(tmp_path):
    path = tmp_path / "n.onnx"
    images = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)
    write_int8(WEIGHTS, path, images)
    annotate(path, header.written(WEIGHTS))
    assert Classifier(path).precision == "int8"
    with pytest.raises(InvalidValueError, match=r"openvino can't run an exported network in int8\. Use onnx"):
        Classifier(path, engine="openvino")
    with pytest.raises(InvalidValueError, match=r"`precision` can't be chosen .* int8\. Leave .* Received: float32"):
        Classifier(path, precision="float32")
    folder = save_image_folder(tmp_path / "data", dict.fromkeys(WEIGHTS.class_names, (1, 2)))
    result = invoke("evaluate", path, "--data", folder)
    assert "engine onnx, int8" in result.stdout
    assert "Rounding" not in result.stdout


@pytest.mark.parametrize(("name", "format"), [("n.keras", "keras"), ("n.tflite", "litert"), ("n.xml", "openvino")])
def test_files_for_other_programs_are_named(tmp_path, name, format):
    (tmp_path / name).write_bytes(b"PK\3\4")
    with pytest.raises(WeightsError, match=rf"in the format {format} of `cifarnet export`\. Give the run"):
        Classifier(tmp_path / name)


@pytest.mark.parametrize("content", [b"hello", bytes(9)])
def test_anything_called_onnx_is_read_as_onnx(tmp_path, content):
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match="ONNX"):
        Classifier(tmp_path / "n.onnx")


def test_what_needs_tensors_refuses_the_file(file, tmp_path):
    for read in (load_weights, load):
        with pytest.raises(
            WeightsError, match=r"does not hold the tensors .* give the run, the weight file or the name"
        ):
            read(file)
    assert isinstance(invoke("predict", "x.png", "--weights", file, "--engine", "keras").exception, InvalidValueError)
    result = invoke("predict", "x.png", "--weights", file, "--explain", tmp_path / "e")
    assert "--explain needs Keras, which can't run an exported network" in str(result.exception)


@pytest.mark.faults
def test_damaged_files_are_refused(copy):
    content = copy.read_bytes()
    for at in np.linspace(20, len(content) - 1, 25).astype(int):
        copy.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(WeightsError, match="is damaged: its SHA-256 does not match"):
            load_network(copy)
        copy.write_bytes(content[:at])
        with pytest.raises(WeightsError, match="is damaged: its SHA-256 does not match"):
            load_network(copy)


def test_files_of_other_programs_are_refused(tmp_path):
    graph = helper.make_graph([], "g", [], [])
    path = tmp_path / "other.onnx"
    for producer in ("pytorch", ""):
        onnx.save(helper.make_model(graph, producer_name=producer), path)
        with pytest.raises(WeightsError, match="is an ONNX file that cifarnet did not write"):
            load_network(path)


def to_other_file(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def to_loop(model):
    body = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["y"], body=body))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (to_other_file, "its tensors must be in the file itself"),
        (to_loop, "operators that no network of cifarnet has. Received: .Loop"),
        (lambda model: model.graph.node.append(helper.make_node("Relu", ["x"], ["y"], domain="a")), "Received: a.Relu"),
        (lambda model: model.functions.add(name="f"), "operators that no network"),
        (lambda model: model.graph.output.pop(), "must have the input images and the outputs logits"),
        (
            lambda model: model.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 9),
            "the input images",
        ),
        (lambda model: model.metadata_props.pop(), "it is empty"),
        (
            lambda model: model.metadata_props[0].__setattr__(
                "value", json.dumps({**WEIGHTS.header(), "reject_beyond": 1.0})
            ),
            "the outputs logits, probabilities, distance of ResNet-8",
        ),
        (lambda model: model.metadata_props[0].__setattr__("value", '{"format": 99, "version": "9"}'), "Upgrade"),
    ],
)
def test_crafted_files_are_refused(copy, change, message):
    crafted(copy, change)
    with pytest.raises(WeightsError, match=message):
        load_network(copy)


@pytest.mark.faults
def test_a_graph_that_does_not_run_is_an_error_of_the_weights(copy, tmp_path):
    crafted(copy, lambda model: model.graph.node.pop(5))
    result = invoke("predict", save_picture(tmp_path / "p.png", 1), "--weights", copy)
    assert isinstance(result.exception, WeightsError)


def test_safetensors_with_other_tensors_are_refused(tmp_path):
    path = export_model(WEIGHTS, tmp_path / "n.safetensors", "safetensors").path
    from safetensors import safe_open

    with safe_open(path, "np") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    first = next(iter(tensors))
    for changed, message in (
        ({**tensors, "extra": tensors[first]}, "Received but unknown: extra"),
        ({name: value for name, value in tensors.items() if name != first}, f"Missing: {first}"),
        ({**tensors, first: np.zeros(1, np.float32)}, "must have the shape"),
        ({**tensors, first: np.full_like(tensors[first], np.nan)}, "non-finite"),
    ):
        save_file(changed, path, metadata)
        with pytest.raises(WeightsError, match=message):
            load_weights(path)
    save_file(tensors, path, {"cifarnet": "{"})
    with pytest.raises(WeightsError, match="not a valid safetensors file"):
        load_header(path)
