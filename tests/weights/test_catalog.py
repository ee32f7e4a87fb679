import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import INDEX, write_index
from tests.support.weights import make


@pytest.fixture
def run(tmp_path):
    """A finished run, as far as naming its weights needs one."""
    directory = tmp_path / "run"
    directory.mkdir()
    make(directory / "weights.h5")
    (directory / "config.json").write_text(json.dumps({"data": "synthetic"}))
    (directory / "metrics.json").write_text(json.dumps({"images": 40}))
    return directory


def test_what_added_is_found_by_name_with_what_it_was_tested_on(run):
    catalog.add(run, "mine")
    assert load_weights(catalog.find(Path("mine"))).sha256() == load_weights(run / "weights.h5").sha256()
    facts = catalog.entries()["mine"].to_dict()
    assert (facts["network"], facts["classes"], facts["recipe"]) == ("ResNet-8", ["a", "b", "c"], "paper")
    assert (facts["accuracy"], facts["test_set"], facts["test_images"]) == (0.5, "synthetic", 40)
    assert not facts["shipped"]


def test_bare_weight_file_can_be_added_though_test_set_unknown(run):
    catalog.add(run / "weights.h5", "bare")
    assert catalog.entries()["bare"].test_set is None


@pytest.mark.parametrize("metrics", [{"accuracy": 0.5}, {"images": None}, {}])
def test_a_run_that_does_not_know_its_test_images_can_be_added(run, metrics):
    (run / "metrics.json").write_text(json.dumps(metrics))
    catalog.add(run, "mine")
    facts = catalog.entries()["mine"].to_dict()
    assert (facts["test_set"], facts["test_images"]) == (None, None)


def test_an_index_that_could_not_be_read_is_not_written(run):
    entry = catalog.add(run, "mine")
    folder = entry.path.parent
    with pytest.raises(InvalidValueError, match="mine: test_set and test_images must both be known"):
        write_index(folder, {"mine": replace(entry, test_images=None)})
    assert catalog.entries()["mine"] == entry


def test_a_path_goes_before_a_name(run, tmp_path, monkeypatch):
    catalog.add(run, "run")
    monkeypatch.chdir(tmp_path)
    assert catalog.find(Path("run")) == Path("run/weights.h5")


@pytest.mark.parametrize("name", ["", "Mine", "../up", "a/b", ".hidden", "x" * 65])
def test_a_name_that_could_leave_the_folder_is_refused(run, name):
    with pytest.raises(InvalidValueError, match="Received"):
        catalog.add(run, name)


def test_a_taken_name_is_kept_unless_replacing_is_asked_for(run, tmp_path):
    first = catalog.add(run, "mine")
    other = make(tmp_path / "other.h5", depth=14)
    with pytest.raises(InvalidValueError, match="`replace`"):
        catalog.add(other, "mine")
    assert catalog.entries()["mine"].sha256 == first.sha256
    catalog.add(other, "mine", replace=True)
    assert catalog.load("mine").spec.depth == 14
    assert not first.path.exists()


def test_readers_find_weights_while_they_are_replaced(run, tmp_path):
    sources = [run / "weights.h5", make(tmp_path / "other.h5", depth=14)]
    catalog.add(sources[0], "mine")

    def replace_often():
        for number in range(20):
            catalog.add(sources[number % 2], "mine", replace=True)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace_often)
        depths = []
        while not writing.done():
            depths.append(catalog.load("mine").spec.depth)
            assert catalog.find("mine").name.startswith("mine.")
        writing.result()
    assert set(depths) <= {8, 14}


def test_a_reader_takes_the_file_of_the_new_index(run, tmp_path, monkeypatch):
    first = catalog.add(run, "mine")
    known = catalog.entries()
    catalog.add(make(tmp_path / "other.h5", depth=14), "mine", replace=True)
    now, answers = catalog.entries(), [known]
    monkeypatch.setattr(catalog, "entries", lambda: answers.pop() if answers else now)
    assert not first.path.exists()
    assert catalog.load("mine").spec.depth == 14


def test_a_list_made_during_a_replacement_has_no_problem(run, tmp_path, monkeypatch):
    catalog.add(run, "mine")
    known = catalog.entries()
    catalog.add(make(tmp_path / "other.h5", depth=14), "mine", replace=True)
    now, answers = catalog.entries(), [known]
    monkeypatch.setattr(catalog, "entries", lambda: answers.pop() if answers else now)
    assert {fact["name"]: fact["problem"] for fact in catalog.listing()}["mine"] is None


def test_a_name_that_is_too_long_for_the_system_is_unknown(run):
    with pytest.raises(WeightsError, match="There is no run or weight file"):
        catalog.load("a" * 300)
    with pytest.raises(WeightsError, match="There is no run or weight file"):
        catalog.add(Path("a" * 300), "mine")


def test_lost_weights_are_named_with_what_to_do(run):
    catalog.add(run, "mine").path.unlink()
    with pytest.raises(WeightsError, match=r"mine .* can't be read: No such file.*--replace"):
        catalog.load("mine")


def test_a_file_that_the_user_put_there_stays(run):
    folder = catalog.add(run, "mine").path.parent
    own = make(folder / "own.0123456789abcdef.h5")
    catalog.add(run, "mine", replace=True)
    catalog.remove("mine")
    assert own.exists()


def test_a_folder_deleted_while_weights_are_added_is_reported(run, monkeypatch):
    def delete_first(folder, index):
        shutil.rmtree(folder)
        write_index(folder, index)

    monkeypatch.setattr(catalog, "write_index", delete_first)
    with pytest.raises(WeightsError, match=r"mine .* No such file"):
        catalog.add(run, "mine")


def test_weights_that_an_earlier_version_added_are_replaced(run, tmp_path):
    entry = catalog.add(run, "mine")
    old = entry.path.rename(entry.path.with_name("mine.h5"))
    write_index(old.parent, {"mine": replace(entry, path=old)})
    assert catalog.load("mine").spec.depth == 8
    catalog.add(make(tmp_path / "other.h5", depth=14), "mine", replace=True)
    assert catalog.load("mine").spec.depth == 14
    assert not old.exists()


def test_the_names_of_shipped_weights_are_taken(run):
    for name in catalog.shipped():
        with pytest.raises(InvalidValueError, match="come with cifarnet"):
            catalog.add(run, name, replace=True)


def test_name_keeps_meaning_when_weights_name_come_with_cifarnet(run, monkeypatch):
    own = catalog.add(run, "mine")
    later = {**catalog.shipped(), "mine": replace(own, path=Path("elsewhere.h5"), shipped=True)}
    monkeypatch.setattr(catalog, "shipped", lambda: later)
    assert catalog.find(Path("mine")) == own.path


def test_of_many_who_add_at_once_none_is_forgotten(run):
    names = [f"mine{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: catalog.add(run, name), names))
    assert set(names) <= catalog.entries().keys()


def test_what_is_no_weight_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "no.h5").write_bytes(b"no")
    with pytest.raises(WeightsError):
        catalog.add(tmp_path / "no.h5", "mine")
    assert "mine" not in catalog.entries()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_or_device_is_neither_run_nor_weight_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(WeightsError, match=f"^{path} is neither a file nor a folder, but .* Received: {path}$"):
            catalog.find(path)


def test_a_changed_file_is_refused_by_name(run):
    entry = catalog.add(run, "mine")
    content = bytearray(entry.path.read_bytes())
    content[len(content) // 2] ^= 1
    entry.path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"mine .* are damaged"):
        catalog.find(Path("mine"))
    entry.path.unlink()
    with pytest.raises(WeightsError, match="can't be read"):
        catalog.find(Path("mine"))


def test_an_index_can_not_name_a_file_elsewhere(run, tmp_path):
    entry = catalog.add(run, "mine")
    write_index(entry.path.parent, {"mine": replace(entry, path=tmp_path / "run" / "weights.h5")})
    assert catalog.entries()["mine"].path.parent == entry.path.parent


@pytest.mark.parametrize("text", ["{", "[]", '{"mine": {}}', '{"mine": 3}'])
def test_a_damaged_index_is_named(run, text):
    index = catalog.add(run, "mine").path.parent / INDEX
    index.write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json"):
        catalog.entries()


def test_what_is_removed_is_gone_and_the_run_stays(run):
    entry = catalog.add(run, "mine")
    catalog.remove("mine")
    assert "mine" not in catalog.entries()
    assert not entry.path.exists()
    assert (run / "weights.h5").exists()
    with pytest.raises(InvalidValueError, match="Received: mine"):
        catalog.remove("mine")


def test_an_unknown_name_is_answered_with_those_that_there_are(run):
    catalog.add(run, "mine")
    with pytest.raises(WeightsError, match=r"nowhere.*mine"):
        catalog.find(Path("nowhere"))


def test_depth_without_weights_is_answered_with_those_there_are():
    with pytest.raises(WeightsError, match=r"No trained ResNet-26 comes with cifarnet; there are: .*resnet20"):
        catalog.for_model("resnet26")


def test_every_shipped_file_is_listed_intact_and_small():
    entries = catalog.shipped()
    folder = next(iter(entries.values())).path.parent
    data = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {path.name for path in data} == {INDEX, *(entry.path.name for entry in entries.values())}
    # A wheel compresses them, to about 0.8 of it.
    assert sum(path.stat().st_size for path in data) < 15e6
    for name, entry in entries.items():
        weights = load_weights(entry.verify())
        assert weights.spec.name == name
        assert weights.accuracy
        assert weights.recipe
        # What calibration by held-out images gives.
        assert weights.temperature != 1
        assert weights.reject_below is not None
        judged_by_distance = weights.spec.family.distance_rejects
        assert (weights.reject_beyond is not None, weights.statistics is not None) == (judged_by_distance,) * 2


@pytest.mark.parametrize("name", catalog.shipped())
def test_a_network_that_ships_is_answered_with_its_file(name):
    path = catalog.for_model(name)
    assert path == catalog.shipped()[name].path
    assert load_weights(path).spec.name == name


def test_half_precision_halves_the_file_and_keeps_three_digits(tmp_path):
    whole, half = make(tmp_path / "a.h5"), make(tmp_path / "b.h5", half=True)
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    wanted = load_weights(whole).tensors
    for name, tensor in load_weights(half).tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, wanted[name], rtol=1e-3, atol=1e-7)


def save_values(path, values):
    """Save a ResNet-8 whose tensors hold ``values``, repeated, with ``half``; return its tensors."""
    weights = load_weights(make(path))
    tensors = {name: np.resize(values, tensor.shape).astype(np.float32) for name, tensor in weights.tensors.items()}
    save_weights(path, replace(weights, tensors=tensors), half=True)
    return tensors


@pytest.mark.parametrize("sign", [0, 2**15])
def test_every_float16_number_is_read_exactly(tmp_path, sign):
    # Zero, the subnormal numbers, and all others below infinity.
    values = np.arange(sign, sign + 0x7C00, dtype=np.uint16).view(np.float16)
    wanted = save_values(path := tmp_path / "w.h5", values)
    assert max(tensor.size for tensor in wanted.values()) > values.size
    found = load_weights(path).tensors
    with h5py.File(path) as file:
        stored = {name: file[f"weights/{name}"][:] for name in found}
    for name, tensor in found.items():
        assert stored[name].dtype == np.float16
        # Compare bits, because -0 equals 0.
        for other in (wanted[name], stored[name].astype(np.float32)):
            np.testing.assert_array_equal(tensor.view(np.uint32), other.view(np.uint32))


def test_tensors_beyond_the_range_of_float16_stay_float32(tmp_path):
    wanted = save_values(path := tmp_path / "w.h5", [1.0, 65505.0])
    for name, tensor in load_weights(path).tensors.items():
        np.testing.assert_array_equal(tensor, wanted[name])
