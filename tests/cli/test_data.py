import hashlib
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cifarnet.cli import console
from cifarnet.cli.main import app
from cifarnet.data.download import RemoteFile
from cifarnet.data.inventory import Inventory, copies
from cifarnet.data.official_names import CIFAR10
from cifarnet.data.sources import load_data
from cifarnet.errors import DownloadError, InvalidValueError
from cifarnet.recipes import RECIPES
from cifarnet.reports.terminal.data_tables import render_inventory
from tests.support.datasets import fill, image_folder


def data(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def pets(tmp_path):
    return image_folder(tmp_path / "pets", train=10, test=2)


def test_a_source_is_shown_with_classes_and_statistics(pets):
    shown = data(pets)
    assert shown.exit_code == 0
    summary = json.loads(data(pets, "--json").stdout)
    for text in ("cat", "dog", "2 classes", "32 x 32", f"{summary['mean']:.2f}", f"{summary['std']:.2f}"):
        assert text in shown.stdout
    assert [line.split()[1:6:2] for line in shown.stdout.splitlines() if "cat" in line] == [["cat", "10", "2"]]


def test_json_is_all_that_stdout_has(pets):
    splits = load_data(str(pets))
    summary = json.loads(data(pets, "--json").stdout)
    assert summary["source"] == str(pets)
    assert summary["classes"] == ["cat", "dog"]
    assert (summary["train_counts"], summary["test_counts"]) == ([10, 10], [2, 2])
    assert (summary["train_images"], summary["test_images"]) == (20, 4)
    assert summary["image_size"] == 32
    assert summary["mean"] == pytest.approx(splits.train.images.mean())
    assert summary["std"] == pytest.approx(splits.train.images.std())


def test_progress_goes_to_stderr(pets):
    shown = data(pets, "--json")
    assert "Decoding training images" in shown.stderr
    assert json.loads(shown.stdout)


def test_a_test_split_is_held_out(tmp_path):
    source = image_folder(tmp_path / "pets", train=10, test=0)
    assert json.loads(data(source, "--test-split", 0.3, "--json").stdout)["test_counts"] == [3, 3]


def test_a_test_split_without_a_source_is_refused():
    assert isinstance(data("--test-split", 0.3).exception, InvalidValueError)


def test_a_mirror_with_nothing_to_download_is_refused():
    error = data("--mirror", "https://example.org").exception
    assert isinstance(error, InvalidValueError)
    assert "give --download too" in str(error)


def test_names_from_a_strangers_data_can_not_move_the_cursor(tmp_path):
    source = image_folder(tmp_path / "pets", train=2, test=1)
    source = source.rename(tmp_path / "pe\x1b[2Jts")
    shown = data(source)
    assert shown.exit_code == 0
    assert "\x1b[2J" not in shown.stdout
    assert "pe\\x1b[2Jts" in shown.stdout.replace("\n", "")


def test_without_a_source_the_cache_is_shown(pets, cache, monkeypatch):
    monkeypatch.setattr(console, "_WIDTH", 400)  # Paths of temporary folders are long, and would be broken into lines.
    assert "missing; " in data().stdout
    load_data(str(pets))
    cache.joinpath("cifar-10-binary.tar.gz").write_bytes(b"damaged")
    shown = data().stdout
    for text in (str(cache), "checksum wrong", "cifarnet data cifar10 --download", str(pets)):
        assert text in shown


def test_json_holds_what_is_cached(pets, cache):
    load_data(str(pets))
    inventory = json.loads(data("--json").stdout)
    assert inventory["cache"] == str(cache)
    assert [(each["source"], each["checksum_holds"], each["expected_bytes"]) for each in inventory["datasets"]] == [
        ("cifar10", None, 170_052_171),
        ("cifar100", None, 169_001_437),
    ]
    assert [held["source"] for held in inventory["decoded"]] == [str(pets)]


def test_the_decoded_sets_can_be_deleted(pets, cache):
    load_data(str(pets))
    assert json.loads(data("--clear-cache", "--json").stdout)["decoded"] == []
    assert list((cache / "decoded").iterdir()) == []


@pytest.mark.parametrize(("content", "state"), [(b"intact", "0.0 MB, checksum correct"), (b"intacT", "checksum wrong")])
def test_the_state_of_the_archive_is_shown(cache, content, state):
    cache.mkdir()
    (cache / "small.tar.gz").write_bytes(content)
    small = RemoteFile("small.tar.gz", "http://127.0.0.1:9/x", 6, hashlib.sha256(b"intact").hexdigest())
    console = Console(file=io.StringIO(), width=200)
    inventory = Inventory(str(cache), (copies("small", replace(CIFAR10, archive=small)),), ())
    console.print(render_inventory(inventory.to_dict()))
    assert state in console.file.getvalue()


def test_a_mirror_of_a_download_stays_beside_another_source(pets, monkeypatch):
    asked = []
    monkeypatch.setattr("cifarnet.data.copies.fetch", lambda archive, folder, *, mirrors, report: asked.append(mirrors))
    shown = data(pets, "--download", "--mirror", "https://example.org/one", "--json")
    assert (shown.exit_code, asked) == (0, [["https://example.org/one"]])
    assert json.loads(shown.stdout)["source"] == str(pets)


def test_a_failed_download_lists_mirrors_and_a_remedy(cache, monkeypatch):
    # No connection leaves this machine: the proxy is a port on which nothing listens.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    error = data("--download", "--mirror", "http://127.0.0.1:9/one", "--mirror", "http://127.0.0.1:9/two").exception
    assert isinstance(error, DownloadError)
    for text in ("127.0.0.1:9/one: no connection", "127.0.0.1:9/two: no connection", "www.cs.toronto.edu"):
        assert text in str(error)
    assert str(cache / "cifar-10-binary.tar.gz") in str(error)


def test_a_bad_source_is_one_line_on_stderr_and_exit_status_1(tmp_path):
    command = [sys.executable, "-m", "cifarnet", "data", str(tmp_path / "nowhere")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "There is no file or folder" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_grid_is_drawn_with_the_description(pets, tmp_path):
    shown = data(pets, "--grid", tmp_path / "new" / "grid.png")
    assert shown.exit_code == 0
    assert "2 classes" in shown.stdout
    assert str(tmp_path / "new" / "grid.png") in shown.stderr
    first = (tmp_path / "new" / "grid.png").read_bytes()
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
    data(pets, "--grid", tmp_path / "again.PNG", "--json")
    assert (tmp_path / "again.PNG").read_bytes() == first


def test_the_recipe_of_the_grid_is_a_named_one_or_a_file(pets, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPES["documented"].with_changes(cutout=16).to_dict()))
    drawn = set()
    for name, options in {"default": [], "paper": ["paper"], "file": [tmp_path / "recipe.json"]}.items():
        data(pets, "--grid", tmp_path / f"{name}.png", *(["--recipe", *options] if options else []))
        drawn.add((tmp_path / f"{name}.png").read_bytes())
    assert len(drawn) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--grid", "grid.jpg"], "ends in .png. Received: grid.jpg"),
        (["nowhere", "--grid", "grid"], "ends in .png. Received: grid"),
        (["--grid", "grid.png"], "needs a SOURCE"),
        (["nowhere", "--recipe", "paper"], "Received: paper and no --grid"),
        (["nowhere", "--grid", "grid.png", "--recipe", "papre"], "Received: papre"),
    ],
)
def test_an_invalid_grid_is_refused_before_reading(arguments, message):
    error = data(*arguments).exception
    assert isinstance(error, InvalidValueError)
    assert message in str(error)


def test_a_grid_in_the_place_of_a_folder_is_refused(pets, tmp_path):
    (tmp_path / "grid.png").mkdir()
    assert "which is a folder" in str(data(pets, "--grid", tmp_path / "grid.png").exception)


@pytest.mark.usefixtures("without_pillow_heif")
def test_left_out_files_are_shown_and_in_the_json(pets):
    (pets / "train/cat/0.HEIC").touch()
    (pets / "train/cat/7.png").write_bytes(b"no picture")
    lines = [
        "Left out: 1 picture that can't be read (train/cat/7.png)",
        "Left out: 1 .heic file (train/cat/0.HEIC): install pillow-heif to read them",
    ]
    assert data(pets, "--skip-broken").stdout.splitlines()[-2:] == lines
    assert json.loads(data(pets, "--skip-broken", "--json").stdout)["left_out"] == [
        {"reason": "pictures that can't be read", "count": 1, "examples": ["train/cat/7.png"]},
        {
            "reason": ".heic files: install pillow-heif to read them",
            "count": 1,
            "examples": ["train/cat/0.HEIC"],
        },
    ]
    assert "1 of 24 pictures can't be read" in str(data(pets).exception)


def test_validation_images_have_a_column_and_counts(pets):
    fill(pets, "val/cat", "val/dog", count=3)
    shown = data(pets).stdout
    assert "Validation images" in shown
    assert [line.split()[1:8:2] for line in shown.splitlines() if "cat" in line] == [["cat", "10", "2", "3"]]
    summary = json.loads(data(pets, "--json").stdout)
    assert (summary["validation_counts"], summary["validation_images"]) == ([3, 3], 6)


def test_without_validation_images_there_is_no_column(pets):
    assert "Validation" not in data(pets).stdout
    assert json.loads(data(pets, "--json").stdout)["validation_counts"] is None


def test_skipping_broken_pictures_needs_a_source():
    assert "--skip-broken needs a SOURCE" in str(data("--skip-broken").exception)
