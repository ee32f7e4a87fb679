import json
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from cifarnet.errors import WeightsError
from cifarnet.hdf5 import read_hdf5
from cifarnet.inference.classifier import Classifier
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.weights.formats import load_header, load_weights
from cifarnet.weights.formats.hdf5 import HEADER, save_weights
from cifarnet.weights.formats.original import NORMALIZATION as ORIGINAL_NORMALIZATION
from cifarnet.weights.record import Weights
from tests.support.tampering import edit
from tests.support.weights import save_original, with_random_statistics


@pytest.fixture
def weights():
    spec = ModelSpec("resnet8", 3)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(weight.shape).astype(np.float32)
        for name, weight in named_weights(describe(spec)).items()
    }
    return Weights(spec, tensors, ("a", "b", "c"), Normalization(1.5, 2.5), {"name": "paper"}, 0.5, 1.5, 4.5)


@pytest.fixture
def path(tmp_path, weights):
    save_weights(tmp_path / "w.h5", weights)
    return tmp_path / "w.h5"


def test_a_weight_file_gives_back_all_that_was_saved(path, weights):
    loaded = load_weights(path)
    assert loaded.header() == weights.header()
    assert loaded.sha256() == weights.sha256()
    for name, array in weights.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], array)


def test_the_header_alone_can_be_read(path, weights):
    assert load_header(path).header() == weights.header()
    assert load_header(path).tensors == {}


@pytest.mark.parametrize("half", [False, True])
def test_embedding_statistics_are_given_back(tmp_path, weights, half):
    saved = with_random_statistics(weights, 2.5)
    save_weights(tmp_path / "w.h5", saved, half=half)
    loaded = load_weights(tmp_path / "w.h5")
    assert (loaded.reject_beyond, loaded.reject_below) == (2.5, 4.5)
    for name, array in saved.statistics.arrays().items():
        stored = array.astype(np.float16).astype(np.float32) if half else array
        np.testing.assert_array_equal(loaded.statistics.arrays()[name], stored)
    assert load_header(tmp_path / "w.h5").reject_beyond == 2.5
    assert replace(loaded, statistics=None).sha256() == loaded.sha256()


def test_statistics_of_another_shape_or_without_threshold_refused(weights):
    known = with_random_statistics(weights)
    narrow = replace(known.statistics, whitening=known.statistics.whitening[:, 1:])
    with pytest.raises(
        WeightsError, match=r"whitening .* ResNet-8 must have the shape \(64, 64\). Received: \(64, 63\)"
    ):
        replace(known, statistics=narrow)
    with pytest.raises(WeightsError, match="need the threshold reject_beyond"):
        replace(known, reject_beyond=None)


@pytest.mark.parametrize("name", ["means", "whitening"])
def test_statistics_too_large_for_float32_are_refused(weights, name):
    known = with_random_statistics(weights)
    array = (known.statistics.arrays()[name] * 1e30).astype(np.float32)
    with pytest.raises(WeightsError, match=r"ResNet-8 are too large for distances in float32: .* below 1e\+15"):
        replace(known, statistics=replace(known.statistics, **{name: array}))


def test_distances_without_statistics_are_refused(weights):
    with pytest.raises(WeightsError, match="ResNet-8 has no embedding statistics"):
        Classifier(weights).averaged_logits(np.zeros((1, 32, 32, 3), np.uint8), tta="none", distances=True)


@pytest.mark.parametrize("depth", [8, 20, 32, 110])
def test_original_projects_layout_read_with_depth_found_file(tmp_path, depth):
    tensors = save_original(tmp_path / "old.h5", ModelSpec(f"resnet{depth}"))
    loaded = load_weights(tmp_path / "old.h5")
    assert loaded.spec == ModelSpec(f"resnet{depth}")
    assert loaded.class_names == CIFAR10_CLASSES
    assert loaded.normalization == ORIGINAL_NORMALIZATION
    for name, array in tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], array)


def test_a_missing_tensor_is_named(path):
    edit(path, lambda file: file.pop("weights/conv2d_1/bias"))
    with pytest.raises(WeightsError, match="lacks the tensor weights/conv2d_1/bias"):
        load_weights(path)


def test_an_extra_tensor_is_named(path):
    edit(path, lambda file: file.create_dataset("weights/conv2d_9/kernel", data=[1.0]))
    with pytest.raises(WeightsError, match="conv2d_9/kernel"):
        load_weights(path)


def test_a_tensor_of_another_shape_is_refused(path):
    def reshape(file):
        del file["weights/conv2d_1/bias"]
        file["weights/conv2d_1/bias"] = np.zeros(4, np.float32)

    edit(path, reshape)
    with pytest.raises(WeightsError, match=r"conv2d_1/bias must be .* shape \(3,\)"):
        load_weights(path)


def test_values_that_are_not_finite_are_refused(path):
    def poison(file):
        file["weights/conv2d_1/bias"][0] = np.nan

    edit(path, poison)
    with pytest.raises(WeightsError, match="non-finite"):
        load_weights(path)


def test_values_that_lie_in_another_file_are_not_read(path, tmp_path):
    (tmp_path / "secret").write_bytes(np.ones(3, np.float32).tobytes())

    def point_elsewhere(file):
        del file["weights/conv2d_1/bias"]
        file.create_dataset(
            "weights/conv2d_1/bias", (3,), "f4", external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        )

    edit(path, point_elsewhere)
    with pytest.raises(WeightsError, match="in the file itself"):
        load_weights(path)


def test_links_are_refused(path):
    def link(file):
        del file["weights/conv2d_1/bias"]
        file["weights/conv2d_1/bias"] = h5py.ExternalLink("other.h5", "/x")

    edit(path, link)
    with pytest.raises(WeightsError, match="link"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no weight file"), (b"", "it is empty"), (b"no HDF5 at all", "not a weight file")]
)
def test_other_files_are_no_weight_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / "w.h5").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / "w.h5")


def test_a_file_cut_short_is_refused(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match="SHA-256 does not match"):
        load_weights(path)


@pytest.mark.parametrize(
    "header",
    ["{", "[]", "{}", '{"format": 1}', json.dumps({"format": 1, "version": "0", "spec": {"depth": 9}})],
)
def test_a_header_that_makes_no_sense_is_refused(path, header):
    edit(path, lambda file: file.attrs.__setitem__(HEADER, header))
    with pytest.raises(WeightsError, match="header"):
        load_weights(path)


def test_a_newer_format_asks_for_an_upgrade(path):
    edit(path, lambda file: file.attrs.__setitem__(HEADER, '{"format": 99, "version": "9.0"}'))
    with pytest.raises(WeightsError, match=r"cifarnet 9\.0.*Upgrade"):
        load_weights(path)


def test_a_failed_save_keeps_the_old_file(path, weights, monkeypatch):
    before = path.read_bytes()
    broken = Weights(weights.spec, {"x": object()}, weights.class_names, weights.normalization)  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        save_weights(path, broken)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_file_of_cifarnet_0_1_knows_no_temperature(path):
    def forget(file):
        header = json.loads(file.attrs[HEADER])
        del header["temperature"], header["reject_below"]
        file.attrs[HEADER] = json.dumps(header)

    edit(path, forget)
    loaded = load_weights(path)
    assert (loaded.temperature, loaded.reject_below) == (1.0, None)


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (0, r"temperature is 0\.001 to 1000"),
        (-1, r"temperature is 0\.001 to 1000"),
        (float("nan"), "temperature must be a finite number"),
        (float("inf"), "temperature must be a finite number"),
        ("1", "temperature must be a number"),
    ],
)
def test_a_temperature_that_makes_no_probabilities_is_refused(path, temperature, message):
    def heat(file):
        file.attrs[HEADER] = json.dumps({**json.loads(file.attrs[HEADER]), "temperature": temperature})

    edit(path, heat)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


def test_a_header_that_could_not_be_read_is_not_written(tmp_path, weights):
    huge = replace(weights, recipe={"name": "x" * 5_000_000})
    with pytest.raises(WeightsError, match="is not written: its cifarnet has more than"):
        save_weights(tmp_path / "huge.h5", huge)
    assert not (tmp_path / "huge.h5").exists()


def test_a_file_names_its_network(path):
    header = read_hdf5(path).json(HEADER)
    assert header["format"] == 2
    assert header["spec"] == {"name": "resnet8", "classes": 3, "image_size": 32}


def test_a_mean_for_each_channel_is_format_3(tmp_path, weights):
    per_channel = replace(weights, normalization=Normalization((1.5, 2.5, 3.5), (4.5, 5.5, 6.5)))
    save_weights(tmp_path / "w.h5", per_channel)
    header = read_hdf5(tmp_path / "w.h5").json(HEADER)
    assert header["format"] == 3
    assert header["normalization"] == {"mean": [1.5, 2.5, 3.5], "std": [4.5, 5.5, 6.5]}
    assert load_weights(tmp_path / "w.h5").normalization == per_channel.normalization


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        ({"mean": [1.0, 2.0, 3.0], "std": 1.0}, "for all channels or for each channel"),
        ({"mean": [1.0, 2.0], "std": [1.0, 2.0]}, "mean must be a number or a list of 3, each a number"),
        ({"mean": [1.0, 2.0, 3.0], "std": [1.0, 0.0, 3.0]}, "a standard deviation above 0"),
        ({"mean": [1.0, 2.0, "3"], "std": [1.0, 1.0, 3.0]}, "mean must be a number or a list of 3"),
        ({"mean": [1.0, 2.0, 1e300], "std": [1.0, 1.0, 3.0]}, "a finite mean"),
    ],
)
def test_an_impossible_normalization_is_refused(path, normalization, message):
    def change(file):
        file.attrs[HEADER] = json.dumps({**json.loads(file.attrs[HEADER]), "normalization": normalization})

    edit(path, change)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


def test_a_file_of_format_1_has_a_depth(path, weights):
    def date_back(file):
        spec = {"depth": 8, "classes": 3, "image_size": 32}
        file.attrs[HEADER] = json.dumps({**json.loads(file.attrs[HEADER]), "format": 1, "spec": spec})

    edit(path, date_back)
    loaded = load_weights(path)
    assert loaded.spec == weights.spec
    assert loaded.sha256() == weights.sha256()
