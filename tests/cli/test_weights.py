import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError
from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec
from cifarnet.models.weights import load_weights
from cifarnet.weights import catalog
from tests.evaluation.making import save_image_folder, save_picture, save_tiny_weights
from tests.models.test_weights import save_original


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_list_has_what_comes_with_cifarnet_and_what_the_user_added(tmp_path):
    file = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee"))
    assert invoke("weights", "add", file, "insects").exit_code == 0
    entries = {entry["name"]: entry for entry in json.loads(invoke("weights", "--json").stdout)}
    assert entries.keys() == {"insects", *catalog.shipped()}
    low, high = entries["resnet20"]["accuracy_interval"]
    assert low < entries["resnet20"]["accuracy"] < high
    shown = invoke("weights").stdout
    for entry in entries.values():
        assert entry["name"] in shown
        assert entry["sha256"][:12] in shown


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


def test_what_the_shipped_weights_are_worth_is_told_without_naming_them(tmp_path):
    save_image_folder(tmp_path, dict.fromkeys(CIFAR10_CLASSES, (1, 1)))
    result = invoke("evaluate", "--data", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 10


def test_depth_and_weights_are_two_ways_of_saying_the_same(tmp_path):
    result = invoke("predict", "a.png", "--depth", "20", "--weights", "resnet20")
    assert isinstance(result.exception, InvalidValueError)
    assert "not both" in str(result.exception)


def test_an_original_weight_file_is_converted_with_the_same_tensors(tmp_path):
    tensors = save_original(tmp_path / "old.h5", ModelSpec(8))
    new = tmp_path / "new.weights.h5"
    assert invoke("weights", "convert", tmp_path / "old.h5", new).exit_code == 0
    converted, old = load_weights(new), load_weights(tmp_path / "old.h5")
    assert (converted.spec, converted.class_names) == (old.spec, old.class_names)
    assert converted.normalization == old.normalization
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(converted.tensors[name], tensor)


def test_converting_overwrites_nothing_unasked(tmp_path):
    save_original(tmp_path / "old.h5", ModelSpec(8))
    (tmp_path / "new.h5").write_text("precious")
    result = invoke("weights", "convert", tmp_path / "old.h5", tmp_path / "new.h5")
    assert isinstance(result.exception, InvalidValueError)
    assert Path(tmp_path / "new.h5").read_text() == "precious"
    assert invoke("weights", "convert", tmp_path / "old.h5", tmp_path / "new.h5", "--replace").exit_code == 0


@pytest.mark.parametrize("name", ["resnet20", "nothing"])
def test_only_ones_own_weights_can_be_removed(name):
    result = invoke("weights", "remove", name)
    assert isinstance(result.exception, InvalidValueError)
    assert name in str(result.exception)


def test_a_file_that_is_gone_is_told_with_its_remedy_and_does_not_hide_the_others(tmp_path):
    invoke("weights", "add", save_tiny_weights(tmp_path / "w.h5", ("ant", "bee")), "insects")
    catalog.entries()["insects"].path.unlink()
    told = invoke("weights")
    assert told.exit_code == 0
    assert "resnet20" in told.stdout
    assert "can't be read" in told.stdout
    assert "cifarnet weights remove insects" in told.stderr
    entries = {entry["name"]: entry for entry in json.loads(invoke("weights", "--json").stdout)}
    assert "There is no weight file" in entries["insects"]["problem"]
    assert entries["resnet20"]["problem"] is None


@pytest.mark.parametrize("command", ["predict a.png", "summary"])
def test_a_depth_of_zero_is_no_network(command):
    result = invoke(*command.split(), "--depth", 0)
    assert isinstance(result.exception, InvalidValueError)
