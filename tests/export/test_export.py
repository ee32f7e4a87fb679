import json
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cifarnet.errors import BackendError, ExportError, InvalidValueError, StorageError
from cifarnet.evaluation.metrics import softmax
from cifarnet.export import FORMATS, build, export_model, onnx
from cifarnet.export.verify import compare, require_equal
from cifarnet.inference.classifier import Classifier
from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.weights.catalog import load
from tests.support.weights import random_weights

# The image size of the programs in the documentation.
WEIGHTS = replace(random_weights(ModelSpec("resnet8", 3)), temperature=1.5, accuracy=0.5)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "exporting.md"


def name_of(format):
    return f"resnet20{FORMATS[format].suffix}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function that exports the network in a format once, and returns the figures."""
    folder, made = tmp_path_factory.mktemp("exported"), {}
    np.save(folder / "images.npy", IMAGES)

    def export_once(format):
        if format not in made:
            made[format] = export_model(WEIGHTS, folder / name_of(format), format)
        return made[format]

    return export_once


@pytest.fixture
def alone(monkeypatch):
    """Compare ONNX files with the engine ``onnx``, so that no backend starts."""
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], reference="onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_written_file_gives_the_probabilities_of_the_weights(exported, format):
    figures = exported(format)
    compared = figures.comparison
    assert (compared.images, compared.source, compared.changed) == (500, "synthetic:500", 0)
    assert compared.largest_difference <= FORMATS[format].tolerance
    assert 100_000 < figures.bytes < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_the_documented_program_runs_without_cifarnet(exported, format):
    path = exported(format).path
    (program,) = re.findall(rf"### {format}\n.*?```python\n(.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    program = f"import sys\nsys.modules['cifarnet'] = None\n{program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    likeliest = Classifier(WEIGHTS).logits(IMAGES).argmax(axis=1)
    names = [WEIGHTS.class_names[k] for k in likeliest]
    expected = (
        f"['c0', 'c1', 'c2'] {WEIGHTS.normalization.to_dict()} (3, 3, 3, 16)" if format == "safetensors" else names
    )
    assert done.stdout.strip() == str(expected)


def test_a_safetensors_file_is_a_weight_file(tmp_path):
    path = export_model(WEIGHTS, tmp_path / "n.safetensors", "safetensors").path
    found = load(path)
    assert found.header() == WEIGHTS.header()
    assert found.sha256() == WEIGHTS.sha256()


def test_an_onnx_file_answers_as_the_weights_do(alone, tmp_path):
    figures = export_model(WEIGHTS, tmp_path / "n.onnx")
    classifier = Classifier(figures.path)
    np.testing.assert_allclose(classifier.logits(IMAGES), Classifier(WEIGHTS).logits(IMAGES), rtol=1e-4, atol=1e-5)
    assert classifier.weights.class_names == WEIGHTS.class_names
    with pytest.raises(InvalidValueError, match="`engine` keras can't run an exported network"):
        Classifier(figures.path, engine="keras")


@pytest.mark.parametrize(
    "spec",
    [ModelSpec("resnet8-v1", 3, 20), ModelSpec("vgg16", 3, 12), ModelSpec("airbench94", 3, 16)],
    ids=lambda spec: spec.name,
)
def test_onnx_files_of_other_families_keep_the_logits(alone, tmp_path, spec):
    normalization = Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))
    weights = replace(random_weights(spec), normalization=normalization, temperature=2.0)
    classifier = Classifier(export_model(weights, tmp_path / "n.onnx").path)
    images = IMAGES[:, : spec.image_size, : spec.image_size]
    np.testing.assert_allclose(classifier.logits(images), Classifier(weights).logits(images), rtol=1e-4, atol=1e-5)
    assert classifier.weights.header() == weights.header()


def test_the_metadata_has_the_figures_of_the_check(alone, tmp_path):
    import onnx as library

    figures = export_model(WEIGHTS, tmp_path / "n.onnx")
    entries = {entry.key: entry.value for entry in library.load(figures.path).metadata_props}
    facts = json.loads(entries["cifarnet"])
    assert facts["class_names"] == ["c0", "c1", "c2"]
    assert (facts["temperature"], facts["accuracy"]) == (1.5, 0.5)
    assert facts["exported"] == {"format": "onnx", "int8": False, "tolerance": 1e-5, **figures.comparison.to_dict()}


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_file_that_differs_is_not_kept(alone, monkeypatch, tmp_path, before):
    path = tmp_path / "n.onnx"
    if before:
        path.write_bytes(before)

    @contextmanager
    def wrong(path):
        yield lambda images: np.tile(np.float32([0, 0, 1]), (len(images), 1))

    monkeypatch.setattr(onnx, "open_network", wrong)
    with pytest.raises(ExportError, match="does not give the probabilities of the weights, and was not kept"):
        export_model(WEIGHTS, path, replace=True)
    assert [file.read_bytes() for file in tmp_path.iterdir() if file.is_file()] == ([before] if before else [])


def test_what_a_library_raises_is_an_export_error(alone, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "write", lambda weights, path: 1 / 0)
    with pytest.raises(ExportError, match=r"can't be written and opened as ONNX.* ZeroDivisionError"):
        export_model(WEIGHTS, tmp_path / "n.onnx")


def test_near_ties_are_counted_and_allowed():
    expected = np.array([[0.500001, 0.499999], [0.9, 0.1]])
    found = np.array([[0.499999, 0.500001], [0.9, 0.1]])
    comparison = compare(found, expected, "x", "onnx", 1e-5)
    assert (comparison.changed, comparison.near_ties) == (1, 1)
    require_equal(comparison, 1e-5, "ONNX")
    with pytest.raises(ExportError, match="another class for 1 of 2 images"):
        require_equal(replace(comparison, near_ties=0), 1e-5, "ONNX")


@pytest.mark.parametrize("value", [np.nan, 0.6])
def test_other_probabilities_are_refused(value):
    comparison = compare(np.array([[value, 0.4]]), np.array([[0.7, 0.3]]), "x", "onnx", 1e-5)
    with pytest.raises(ExportError, match="a difference of "):
        require_equal(comparison, 1e-5, "ONNX")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_int8_reports_size_accuracy_and_time(tmp_path, format):
    weights = random_weights(ModelSpec("resnet8", 10))
    from cifarnet.data.sources import load_data

    names = load_data("synthetic:100").test.class_names
    weights = replace(weights, class_names=names)
    path = tmp_path / f"n{FORMATS[format].suffix}"
    figures = export_model(weights, path, format, int8=True, data="synthetic:500")
    cost = figures.int8
    assert figures.bytes == path.stat().st_size < cost.float32.bytes / 2
    assert cost.calibration_images == 500
    assert cost.int8.milliseconds_one > 0
    assert figures.comparison.changed < 0.2 * figures.comparison.images
    if format == "onnx":
        # The classifier runs the file, not the weights.
        with onnx.open_network(path) as network:
            expected = network(IMAGES)
        found = Classifier(path)
        np.testing.assert_allclose(softmax(found.weights.calibrated(found.logits(IMAGES))), expected, atol=1e-5)


def test_large_images_are_compared_in_smaller_batches(alone, monkeypatch, tmp_path):
    monkeypatch.setattr("cifarnet.models.memory.ACTIVATION_LIMIT", 1 << 22)
    counts, before = [], onnx.open_network

    @contextmanager
    def counting(path):
        with before(path) as network:
            yield lambda images: (counts.append(len(images)), network(images))[1]

    monkeypatch.setattr(onnx, "open_network", counting)
    export_model(WEIGHTS, tmp_path / "n.onnx")
    assert max(counts) < 40


def test_int8_needs_training_images(tmp_path):
    with pytest.raises(InvalidValueError, match=r"`int8` needs training images.* Give them with `data`"):
        export_model(WEIGHTS, tmp_path / "n.onnx", int8=True)
    with pytest.raises(InvalidValueError, match=r"`int8` is for the format onnx or litert. Received: keras"):
        export_model(WEIGHTS, tmp_path / "n.keras", "keras", int8=True)


@pytest.mark.parametrize(("format", "hint"), [("onxx", r" Did you mean onnx\?"), ("", ""), (["keras"], ".*")])
def test_an_unknown_format_is_refused(tmp_path, format, hint):
    with pytest.raises(InvalidValueError, match=rf"`format` must be onnx, .* or openvino\.{hint} Received: "):
        export_model(WEIGHTS, tmp_path / "x.keras", format)


@pytest.mark.parametrize("name", [".", "/", "network", "network.h5", ".keras"])
def test_the_file_name_must_have_the_suffix_of_the_format(name):
    with pytest.raises(InvalidValueError, match=r"`path` must be a file whose name ends with \.keras\. Received: "):
        export_model(WEIGHTS, name, "keras")


def test_paths_that_can_not_be_files_are_refused(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InvalidValueError, match="must be a file, not a folder"):
        export_model(WEIGHTS, tmp_path / "folder.onnx")
    with pytest.raises(InvalidValueError, match="takes a path without a NUL character"):
        export_model(WEIGHTS, tmp_path / "a\0.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        export_model(WEIGHTS, tmp_path / "file" / "network.onnx")


def test_the_file_of_the_weights_is_not_replaced(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = export_model(WEIGHTS, format="safetensors").path
    before = path.read_bytes()
    for target in (None, path.absolute()):
        with pytest.raises(InvalidValueError, match="must be another file than that of the weights"):
            export_model(path, target, "safetensors", replace=True)
    assert path.read_bytes() == before


def test_a_bin_file_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "n.bin").write_text("mine")
    with pytest.raises(InvalidValueError, match=r"must not have the name of .*n\.bin beside it"):
        export_model(WEIGHTS, tmp_path / "n.xml")


def test_the_old_folder_survives_when_nothing_can_be_moved(monkeypatch, tmp_path):
    new, target = tmp_path / "new", tmp_path / "target"
    for folder in (new, target):
        folder.mkdir()
        (folder / "saved_model.pb").write_text(folder.name)
    replace_once = iter([build.os.replace])

    def refuse(source, place):
        try:
            next(replace_once)(source, place)
        except StopIteration:
            raise OSError("refused") from None

    monkeypatch.setattr(build, "os", SimpleNamespace(replace=refuse, getpid=lambda: 1))
    with pytest.raises(StorageError):
        build.move(new, target)
    assert [path.read_text() for path in tmp_path.glob(".target*/saved_model.pb")] == ["target"]


def test_only_an_empty_folder_or_a_savedmodel_is_replaced(tmp_path):
    target, other = tmp_path / "target", tmp_path / "other"
    for folder, names in ((target, ("saved_model.pb", "fingerprint.pb")), (other, ("saved_model.pb", "thesis.doc"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("old")
    with pytest.raises(InvalidValueError, match="must be a new folder, an empty one, or a SavedModel"):
        export_model(WEIGHTS, other, "savedmodel")
    new = tmp_path / "new"
    new.mkdir()
    (new / "saved_model.pb").write_text("new")
    build.move(new, target)
    assert [file.read_text() for file in target.iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"new", "target", "other"}


def test_through_a_link_the_folder_is_replaced_and_the_link_kept(tmp_path):
    new, real, link = tmp_path / "new", tmp_path / "models" / "real", tmp_path / "link"
    for folder in (new, real):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(folder.name)
    link.symlink_to(real)
    build.move(new, link)
    assert link.readlink() == real
    assert (real / "saved_model.pb").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"new", "models", "link"}
    assert list(real.parent.iterdir()) == [real]


@pytest.mark.parametrize("path", [".", "../empty"])
def test_the_current_folder_is_refused_before_any_work(tmp_path, monkeypatch, path):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr("cifarnet.export.build.build", lambda *arguments: pytest.fail("it was not refused"))
    with pytest.raises(InvalidValueError, match="must be another folder than the current one"):
        export_model(WEIGHTS, path, "savedmodel", replace=True)


def test_a_missing_package_is_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr("cifarnet.installation.is_installed", lambda name: False)
    with pytest.raises(BackendError, match=r"litert needs ai-edge-litert.* Install it with: .*ai-edge-litert"):
        export_model(WEIGHTS, tmp_path / "n.tflite", "litert")


def test_formats_of_tensorflow_are_refused_on_jax(monkeypatch, tmp_path):
    monkeypatch.setattr("cifarnet.backend.select.choose_backend", lambda: "jax")
    with pytest.raises(BackendError, match=r"use `backend` tensorflow, or .* KERAS_BACKEND=tensorflow .* jax"):
        export_model(WEIGHTS, tmp_path / "s", "savedmodel")


@pytest.mark.parametrize(("name", "format"), [("x.tflite", "litert"), ("x.keras", "keras"), (None, "onnx")])
def test_the_suffix_gives_the_format(monkeypatch, tmp_path, name, format):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cifarnet.export.build.build", lambda weights, path, format, *rest: (path.name, format))
    assert export_model(WEIGHTS, name) == (name or "resnet8.onnx", format)


@pytest.mark.parametrize("name", ["x.onx", "x", "x.ONNX"])
def test_an_unknown_suffix_needs_a_format(tmp_path, name):
    with pytest.raises(InvalidValueError, match=r"needs a `format`, or a name that ends with \.onnx \(onnx\), "):
        export_model(WEIGHTS, tmp_path / name)


def test_an_existing_file_is_replaced_on_request_only(alone, tmp_path):
    path = tmp_path / "n.onnx"
    path.write_text("mine")
    with pytest.raises(InvalidValueError, match=r"n\.onnx exists\. Choose another file, or give `replace`\."):
        export_model(WEIGHTS, path)
    assert path.read_text() == "mine"
    assert export_model(WEIGHTS, path, replace=True).bytes == path.stat().st_size
