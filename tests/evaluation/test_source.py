import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.data import copies
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.evaluation.source import find_source
from cifarnet.preprocessing import CIFAR10_CLASSES
from cifarnet.runs import files
from cifarnet.runs.provenance import TrainedOn
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.networks import SIZE, save_image_folder, save_picture, save_tiny_weights

COUNTS = {"ant": (4, 2), "bee": (4, 2), "cow": (8, 2)}


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("CIFAR-10 would be downloaded")

    monkeypatch.setattr(copies, "find_or_fetch", refuse)


def save_run(run: Path, data: str, test_split: float | None = None) -> Path:
    """A finished run that was started with ``data`` from the folder above ``run``, as far as evaluating needs one."""
    path = os.path.realpath(run.parent / data)
    sha256 = load_data(path, test_split=test_split, image_size=SIZE).sha256()
    origin = TrainedOn(data, path, sha256, test_split)
    save_tiny_weights(run / files.WEIGHTS, tuple(COUNTS))
    weights = replace(load_weights(run / files.WEIGHTS), trained_on=origin)
    save_weights(run / files.WEIGHTS, weights)
    files.write_config(run, origin.to_dict())
    return run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with images and a run that was trained on them; the test stands elsewhere, where other images are."""
    save_image_folder(tmp_path / "project/images", COUNTS)
    (tmp_path / "project/run").mkdir()
    save_run(tmp_path / "project/run", "images")
    save_image_folder(tmp_path / "elsewhere/images", dict.fromkeys(COUNTS, (1, 1)))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_a_run_is_scored_on_its_own_data_from_every_directory(project):
    found = evaluate(project / "run")
    assert found.metrics.images == 6  # 3 in the folder of that name here.
    assert found.data == str(project / "images")
    assert found.data_changed is False


def test_changed_images_are_refused_with_the_remedy(project):
    save_picture(project / "images/train/ant/new.png", seed=1)
    assert evaluate(project / "run").data_changed is True
    printed = CliRunner().invoke(app, ["evaluate", str(project / "run"), "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["data_changed"] is True
    assert f"The images in {project}/images have changed since {project}/run was trained" in printed.stderr
    assert "--data" in printed.stderr


def test_data_that_were_asked_for_are_scored_without_a_word(project):
    printed = CliRunner().invoke(app, ["evaluate", str(project / "run"), "--data", "images", "--json"])
    assert json.loads(printed.stdout)["images"] == 3
    assert json.loads(printed.stdout)["data_changed"] is None
    assert "changed" not in printed.stderr


def test_missing_data_are_refused_with_the_remedy(project):
    (project / "images").rename(project / "photos")
    shutil.rmtree("images")
    with pytest.raises(DataError, match=r"nothing at .*project/images any more.*`data`"):
        evaluate(project / "run")
    assert evaluate(project / "run", str(project / "photos")).metrics.images == 6


def test_of_a_moved_project_the_same_images_are_taken(project, monkeypatch):
    moved = project.rename(project.parent / "moved")
    monkeypatch.chdir("/")
    printed = CliRunner().invoke(app, ["evaluate", str(moved / "run"), "--json"])
    assert json.loads(printed.stdout)["data"] == str(moved / "images")
    assert f"nothing at {project}/images any more: trying {moved}/images." in printed.stderr


@pytest.mark.parametrize("test_split", [None, 0.5])  # Of one image a class, none can be held out.
def test_other_images_where_a_moved_run_looks_are_refused(project, test_split):
    (project / "images").rename(project / "photos")  # So that those in the present folder are found.
    if test_split:
        for images in (project / "photos", Path("images")):
            shutil.rmtree(images / "test")
        files.write_config(project / "run", {**files.read_config(project / "run"), "test_split": test_split})
    with pytest.raises(DataError, match=r"elsewhere/images does not hold the same images\. .*`data`"):
        evaluate(project / "run")


@pytest.mark.parametrize("kind", ["named", "copied", "in the run"])
def test_weights_apart_from_their_run_know_their_data(project, kind):
    catalog.add(project / "run", "mine")
    copy = project.parent / "copy.h5"
    copy.write_bytes((project / "run" / files.WEIGHTS).read_bytes())
    wanted = {"named": "mine", "copied": str(copy), "in the run": str(project / "run" / files.WEIGHTS)}[kind]
    printed = CliRunner().invoke(app, ["evaluate", wanted, "--json"])
    assert json.loads(printed.stdout)["data"] == str(project / "images")
    assert f"Scoring on {project}/images, the data that {wanted} records." in printed.stderr


def test_weights_of_before_0_2_are_named_with_their_data(project):
    save_tiny_weights(project / "run" / files.WEIGHTS, tuple(COUNTS))
    catalog.add(project / "run", "mine")
    for wanted in (Path("mine"), project / "run" / files.WEIGHTS):
        assert find_source(wanted, None).name == str(project / "images")


def test_without_a_record_other_classes_ask_for_data(tmp_path):
    path = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee", "cow"))
    with pytest.raises(InvalidValueError, match=r"w\.h5 does not record .*\(ant, bee, cow\) with `data`") as refused:
        evaluate(path)
    assert refused.value.exit_code == 2
    catalog.add(path, "bare")
    with pytest.raises(InvalidValueError, match="bare does not record"):
        find_source(Path("bare"), None)


def test_cifar10_is_not_read_for_other_classes(tmp_path):
    path = save_tiny_weights(tmp_path / "w.h5", ("ant", "bee", "cow"))
    with pytest.raises(DataError, match="weights: ant, bee, cow\nThe data: airplane"):
        evaluate(path, "cifar10")
    save_weights(path, replace(load_weights(path), trained_on=TrainedOn("cifar10")))
    with pytest.raises(DataError, match="weights: ant, bee, cow\nThe data: airplane"):
        evaluate(path)


def test_without_a_record_cifar10s_classes_mean_cifar10(tmp_path):
    assert find_source(save_tiny_weights(tmp_path / "w.h5", CIFAR10_CLASSES), None).name == "cifar10"
    assert find_source(Path("resnet20"), None).name == "cifar10"


@pytest.fixture
def divided(tmp_path):
    """A run that held half of its images out, and its weights in a file of their own."""
    save_image_folder(tmp_path / "images", {"ant": (4, 0), "bee": (4, 0), "cow": (8, 0)})
    (tmp_path / "run").mkdir()
    run = save_run(tmp_path / "run", "images", test_split=0.5)
    (tmp_path / "copy.h5").write_bytes((run / files.WEIGHTS).read_bytes())
    return tmp_path


def test_copied_weights_hold_out_what_their_run_held_out(divided):
    assert evaluate(divided / "copy.h5").metrics.images == 8
    for data in (None, str(divided / "images")):
        with pytest.raises(InvalidValueError, match=r"copy\.h5 held 0\.5 of its data out .* Received: 0\.25"):
            evaluate(divided / "copy.h5", data, test_split=0.25)


@pytest.mark.parametrize("wanted", ["run", "copy.h5"])
def test_images_at_another_place_are_known_by_their_content(divided, wanted):
    moved = str((divided / "images").rename(divided / "photos"))
    assert evaluate(divided / wanted, moved).metrics.images == 8
    with pytest.raises(InvalidValueError, match=r"held 0\.5 of its data out"):
        evaluate(divided / wanted, moved, test_split=0.25)
    save_picture(divided / "photos/train/ant/new.png", seed=1)
    with pytest.raises(DataError, match="`test_split`"):
        evaluate(divided / wanted, moved)
    assert evaluate(divided / wanted, moved, test_split=0.5).metrics.images == 8


def test_changed_images_that_were_divided_are_refused(divided):
    save_picture(divided / "images/train/ant/new.png", seed=1)
    with pytest.raises(DataError, match=r"does not hold the images any more that .*copy\.h5 was trained on"):
        evaluate(divided / "copy.h5")


def test_divided_images_that_have_test_images_now_are_refused_without_naming_a_split(divided):
    save_image_folder(divided / "images", COUNTS)
    for data in (None, str(divided / "images")):
        with pytest.raises(
            DataError, match=r"any more that .*copy\.h5 was trained on \(they have test images"
        ) as refused:
            evaluate(divided / "copy.h5", data)
        assert "split" not in str(refused.value)
    with pytest.raises(InvalidValueError, match="`test_split` is only for sources without"):
        evaluate(divided / "copy.h5", test_split=0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": ""},
        {"data": "x" * 5000},
        {"data": 3},
        {"data_path": ["/"]},
        {"data_path": "a\0b"},
        {"data_sha256": "abc"},
        {"test_split": 1.5},
        {"test_split": True},
        {"validation_split": "0.2"},
        {"seed": -1},
        {"seed": 2**70},
    ],
)
def test_a_record_that_can_not_be_meant_is_refused(changes):
    with pytest.raises(InvalidValueError, match=f"{next(iter(changes))} must be"):
        TrainedOn.from_dict({"data": "images", **changes})
