import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.cli.reporting import these_commands
from cifarnet.cli.spelling import with_options
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError, RunError, StorageError, WeightsError
from cifarnet.evaluation.metrics import accuracy, cross_entropy
from cifarnet.inference.classifier import Classifier
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.networks import SIZE, save_image_folder, save_tiny_weights
from tests.support.runs import run_config
from tests.support.weights import with_random_statistics

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_image_folder(tmp_path_factory.mktemp("images"), {"ant": (2, 3), "bee": (2, 1), "cow": (2, 2)}))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_tiny_weights(tmp_path_factory.mktemp("w") / "w.h5", CLASSES, (0, math.log(5), math.log(2))))


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_json_has_exactly_promised_keys_and_is_alone_on_stdout(weights, folder):
    result = evaluate(weights, "--data", folder, "--json", "--tta", "flip", "--batch-size", "4")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert set(scores) == {
        "accuracy",
        "accuracy_interval",
        "loss",
        "top5_accuracy",
        "ece",
        "per_class",
        "confusion_matrix",
        "images",
        "images_per_second",
        "engine",
        "precision",
        "network",
        "weights",
        "data",
        "data_changed",
        "tta",
        "accuracy_by_tta",
        "shifted_images",
    }
    assert (scores["tta"], scores["shifted_images"]) == ("flip", 0)
    assert scores["accuracy_by_tta"] == {"none": scores["accuracy"], "flip": scores["accuracy"]}
    assert set(scores["per_class"][0]) == {"class", "precision", "recall", "f1", "support"}
    assert scores["confusion_matrix"] == [[0, 3, 0], [0, 1, 0], [0, 2, 0]]


def test_json_of_fair_and_corrupted_scores_has_the_promised_keys(weights, folder):
    plain = json.loads(evaluate(weights, "--data", folder, "--json").stdout)
    result = evaluate(weights, "--data", folder, "--json", "--fair", "--corrupt", "--corrupt-images", "2")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores.keys() - plain.keys() == {
        "fair_accuracy",
        "fair_accuracy_interval",
        "near_duplicates",
        "corruptions",
    }
    assert set(scores["corruptions"]) == {"mean_error", "clean_error", "images", "per_corruption"}
    first = scores["corruptions"]["per_corruption"][0]
    assert (first["corruption"], len(first["errors"]), len(scores["corruptions"]["per_corruption"])) == (
        "gaussian_noise",
        5,
        15,
    )


def test_tables_and_page_show_fair_and_corrupted_scores(weights, folder, tmp_path):
    page = tmp_path / "report.html"
    result = evaluate(weights, "--data", folder, "--fair", "--corrupt", "--report", str(page))
    assert result.exit_code == 0, result.output
    assert "16.67 %, 95 % interval 3.01 % to 56.35 %" in page.read_text(encoding="utf-8")
    assert "Fair accuracy       16.67 %   95 % interval 3.01 % to 56.35 %" in result.stdout
    assert "Near-duplicates     0 test images, left out of the fair accuracy" in result.stdout
    # The weights answer the same whatever the image.
    assert "Corruption error    83.33 %   mean of 15 corruptions at 5 severities" in result.stdout
    assert "Without corruption  83.33 %   error on the same 6 images" in result.stdout
    assert any(
        line.split("│")[1:] and line.split("│")[1].strip() == "Gaussian noise" for line in result.stdout.split("\n")
    )
    assert "Classifying corrupted images" in result.stderr
    html = page.read_text(encoding="utf-8")
    assert '<section id="corruptions">' in html
    assert "the highest is 83.3 %, Gaussian noise" in html
    assert "JPEG compression" in html


def test_corrupt_images_without_corrupt_names_the_options(weights, folder):
    result = evaluate(weights, "--data", folder, "--corrupt-images", "2")
    assert isinstance(result.exception, InvalidValueError)
    assert "--corrupt-images is for corrupted images. Give --corrupt too. Received: 2" in with_options(
        str(result.exception)
    )


def test_tta_flip_scores_mean_logits_of_image_and_mirror_image(folder, tmp_path):
    weights = save_tiny_weights(tmp_path / "seeing.h5", CLASSES)
    test = load_data(folder, image_size=SIZE).test
    classifier = Classifier(load_weights(weights))
    seen, mirrored = (classifier.logits(np.ascontiguousarray(x)) for x in (test.images, test.images[:, :, ::-1]))
    losses = []
    for tta, logits in (("none", seen), ("flip", (seen + mirrored) / 2)):
        printed = json.loads(evaluate(str(weights), "--data", folder, "--json", "--tta", tta).stdout)
        losses.append(cross_entropy(logits, test.labels))
        assert printed["loss"] == pytest.approx(losses[-1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_unsure_images_with_shifted_views_are_counted_everywhere(folder, tmp_path):
    weights = save_tiny_weights(tmp_path / "seeing.h5", CLASSES)
    options = [str(weights), "--data", folder, "--tta", "shift-unsure"]
    printed = json.loads(evaluate(*options, "--json").stdout)
    test = load_data(folder, image_size=SIZE).test
    averaged = Classifier(load_weights(weights)).averaged_logits(test.images, tta="shift-unsure")
    assert printed["loss"] == pytest.approx(cross_entropy(averaged.logits, test.labels), rel=1e-5)
    by_tta = {name: accuracy(logits, test.labels) for name, logits in averaged.by_tta.items()}
    assert (printed["tta"], printed["shifted_images"]) == ("shift-unsure", 2)  # Of 6.
    assert list(printed["accuracy_by_tta"].items()) == list(by_tta.items())
    assert printed["accuracy"] == by_tta["shift-unsure"]
    result = evaluate(*options, "--report", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (" ".join(result.stdout.split()), " ".join(page.split())):
        assert f"one view {by_tta['none']:.2%}"[:-1] in text
        assert "with shifted views of 2 of 6 images" in text
    assert "Classifying shifted images" in result.stderr


def test_tables_and_pages_show_the_share_of_rejected_images(folder, tmp_path):
    known = with_random_statistics(load_weights(save_tiny_weights(tmp_path / "seeing.h5", CLASSES)), 1e9)
    for name, weights, line in (
        ("far", known, "0.00 % of the test images   by the distance from the training images"),
        ("all", replace(known, reject_beyond=1e-9), "100.00 % of the test images   by the distance from"),
        ("logit", replace(known, statistics=None, reject_beyond=None, reject_below=1e9), "   by the largest logit"),
    ):
        save_weights(tmp_path / f"{name}.h5", weights)
        page = tmp_path / f"{name}.html"
        result = evaluate(str(tmp_path / f"{name}.h5"), "--data", folder, "--report", str(page))
        assert line in result.stdout
        assert line.replace("   ", ", ", 1).lstrip(", ") in page.read_text(encoding="utf-8")


def test_the_tables_show_the_scores_and_progress_goes_to_stderr(weights, folder):
    result = evaluate(weights, "--data", folder)
    assert result.exit_code == 0
    assert "16.67 %   95 % interval 3.01 % to 56.35 %" in result.stdout
    assert "Never predicted, so precision is undefined (shown as 0): ant, cow" in result.stdout
    assert "Classifying images" in result.stderr
    assert "Classifying images" not in result.stdout


def test_a_report_is_one_page_with_the_scores_and_the_command(weights, folder, tmp_path, monkeypatch):
    page = tmp_path / "out" / "report.html"
    monkeypatch.setattr(sys, "argv", ["cifarnet", "evaluate", weights, "--data", folder])
    result = evaluate(weights, "--data", folder, "--report", str(page))
    assert result.exit_code == 0, result.output
    assert f"The report is in {page}." in result.stderr
    html = page.read_text(encoding="utf-8")
    assert "16.67 %" in html
    assert f"cifarnet evaluate {weights} --data {folder}" in html
    assert "taken for bee" in html


def test_a_report_on_the_current_folder_has_its_name(weights, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    page = tmp_path / "report.html"
    assert evaluate(weights, "--data", ".", "--report", str(page)).exit_code == 0
    assert f"<title>ResNet-8 on {Path(folder).name}</title>" in page.read_text(encoding="utf-8")


def test_a_report_lacks_the_addresses_of_mirrors(weights, folder, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    mirrors = ["--mirror", "https://user:secret@host/x", "--mirror=https://user:secret@host/y"]
    words = [weights, "--data", folder, "--report", str(page)]
    # As for data to download, which no test has.
    monkeypatch.setattr(sys, "argv", ["cifarnet", "evaluate", *mirrors, *words])
    assert evaluate(*words).exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert f"cifarnet evaluate {weights} --data {folder}" in html
    assert "secret" not in html


def test_file_names_after_two_dashes_are_part_of_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cifarnet", "predict", "--", "--mirror", "a.png"])
    assert these_commands()[1] == ["cifarnet", "predict", "--", "--mirror", "a.png"]


def test_an_unwritable_report_is_refused_before_any_work(weights, folder, tmp_path):
    (tmp_path / "file").write_text("")
    result = evaluate(weights, "--data", folder, "--report", str(tmp_path / "file" / "page.html"))
    assert isinstance(result.exception, StorageError)
    assert "Classifying" not in result.stderr


def test_report_of_a_damaged_history_fails_before_any_work(tmp_path, weights, folder):
    (tmp_path / "weights.h5").write_bytes(Path(weights).read_bytes())
    files.write_config(tmp_path, run_config(RECIPES["fast"], folder).to_dict())
    (tmp_path / "history.csv").write_text("epoch,step,learning_rate,loss,accuracy,test_loss,test_accuracy\n1,2\n")
    result = evaluate(str(tmp_path), "--data", folder, "--report", str(tmp_path / "page.html"))
    assert isinstance(result.exception, RunError)
    assert "history.csv is damaged: line 2: it must have" in str(result.exception)
    assert "Classifying" not in result.stderr


def test_a_report_of_another_kind_is_refused_before_any_work(tmp_path):
    result = evaluate("missing.h5", "--report", str(tmp_path / "report.pdf"))
    assert isinstance(result.exception, InvalidValueError)
    assert "ends in .html. Received: " in str(result.exception)


def test_data_of_other_classes_are_refused_with_both_lists(folder, tmp_path):
    result = evaluate(str(save_tiny_weights(tmp_path / "w.h5", ("ant", "dog"))), "--data", folder)
    assert isinstance(result.exception, DataError)
    assert "ant, dog\n" in str(result.exception)
    assert "ant, bee, cow\n" in str(result.exception)


def test_a_wrong_path_is_refused(tmp_path):
    result = evaluate(str(tmp_path / "nothing.h5"))
    assert isinstance(result.exception, WeightsError)


@pytest.mark.slow
def test_jax_gives_the_same_scores_without_tensorflow(folder, tmp_path):
    pytest.importorskip("jax")
    weights = str(save_tiny_weights(tmp_path / "seeing.h5", CLASSES))
    expected = json.loads(evaluate(weights, "--data", folder, "--json").stdout)["loss"]
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    command = [sys.executable, "-m", "cifarnet", "evaluate", weights, "--data", folder, "--json", "--backend", "jax"]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout)["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("without_pillow_heif")
def test_left_out_files_are_listed_on_stderr(weights, tmp_path):
    folder = save_image_folder(tmp_path, {"ant": (2, 3), "bee": (2, 1), "cow": (2, 2)})
    (folder / "test/ant/0.HEIC").touch()
    (folder / "train/ant/broken.png").touch()
    assert "1 of 13 pictures can't be read" in str(evaluate(weights, "--data", str(folder)).exception)
    result = evaluate(weights, "--data", str(folder), "--skip-broken", "--json")
    assert json.loads(result.stdout)["images"] == 6
    assert "Left out: 1 picture that can't be read (train/ant/broken.png)" in result.stderr
    assert "Left out: 1 .heic file (test/ant/0.HEIC): install pillow-heif to read them" in result.stderr
