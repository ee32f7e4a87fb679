import base64
import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cifarnet.choices import CROPS
from cifarnet.cli.main import app
from cifarnet.cli.predict import predict as command
from cifarnet.data.images import read_image
from cifarnet.errors import InvalidValueError
from cifarnet.evaluation.metrics import softmax
from cifarnet.inference.classifier import Classifier
from cifarnet.reports.text import REJECTION
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from tests.support.networks import SIZE, save_picture, save_tiny_weights
from tests.support.weights import with_random_statistics

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Probabilities 1/8, 5/8 and 2/8, whatever the image."""
    path = tmp_path_factory.mktemp("w") / "w.h5"
    return str(save_tiny_weights(path, CLASSES, (0, math.log(5), math.log(2))))


@pytest.fixture(scope="module")
def seeing_weights(tmp_path_factory):
    """Probabilities that depend on the image."""
    return str(save_tiny_weights(tmp_path_factory.mktemp("w") / "w.h5", CLASSES))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures and a damaged one between them, as relative paths."""
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a[red].png", 0)
    (tmp_path / "b.png").write_bytes(b"no picture")
    save_picture(tmp_path / "c.png", 1)


def network(weights):
    """What stderr says of the network that answers."""
    return f"{weights} (ResNet-8), 3 classes: ant, bee, cow\n"


def predict(*arguments, **options):
    return CliRunner().invoke(app, ["predict", *arguments], **options)


@pytest.mark.usefixtures("photos")
def test_every_image_gets_a_row_with_its_top_classes_and_bars(weights):
    result = predict("a[red].png", "c.png", "--weights", weights, "--top-k", "2")
    assert (result.exit_code, result.stderr) == (0, network(weights))
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["a[red].png", "bee", "█" * 12 + "▌", "62.5", "%"],
        ["cow", "█" * 5, "25.0", "%"],
        ["c.png", "bee", "█" * 12 + "▌", "62.5", "%"],
        ["cow", "█" * 5, "25.0", "%"],
    ]


@pytest.mark.usefixtures("photos")
def test_bad_file_is_reported_while_others_are_answered(weights):
    result = predict("a[red].png", "b.png", "c.png", "missing.png", "--weights", weights)
    assert result.exit_code == 1
    first, *errors = result.stderr.splitlines(keepends=True)
    assert first == network(weights)
    assert [line.split()[0] for line in errors] == ["b.png", "missing.png"]
    assert [line.split()[0] for line in result.stdout.splitlines()[::3]] == ["a[red].png", "c.png"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_the_network_is_named_once_on_stderr(weights, form):
    result = predict("a[red].png", "c.png", "--weights", weights, *form)
    assert result.stderr == network(weights)
    assert "ResNet" not in result.stdout


def test_the_weights_that_come_with_cifarnet_are_named():
    printed = predict(str(Path(__file__).parents[2] / "docs/circle.png"), "--top-k", "1", "--csv").stderr
    names = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"
    assert printed == f"resnet20 (ResNet-20), 10 classes: {names}\n"


@pytest.mark.usefixtures("photos")
def test_without_a_picture_no_network_answers(weights):
    assert predict("b.png", "--weights", weights).stderr == "b.png is not a PNG, JPEG, WebP, BMP, GIF or TIFF image.\n"


@pytest.mark.usefixtures("photos")
def test_json_list_with_object_per_image_in_order_of_arguments(weights):
    result = predict("c.png", "b.png", "--weights", weights, "--json")
    assert result.exit_code == 1
    answered, failed = json.loads(result.stdout)
    assert answered == {
        "image": "c.png",
        "predictions": [
            {"class": "bee", "probability": pytest.approx(5 / 8)},
            {"class": "cow", "probability": pytest.approx(2 / 8)},
            {"class": "ant", "probability": pytest.approx(1 / 8)},
        ],
    }
    assert failed == {"image": "b.png", "error": "b.png is not a PNG, JPEG, WebP, BMP, GIF or TIFF image."}


@pytest.mark.usefixtures("photos")
def test_errors_between_json_objects_have_their_own_lines(weights):
    pictures = ["c.png", "b.png", "a[red].png"]
    run = [sys.executable, "-u", "-m", "cifarnet", "predict", *pictures, "--weights", weights, "--json"]
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    named, first, error, *others = done.stdout.splitlines()
    assert (f"{named}\n", error) == (network(weights), "b.png is not a PNG, JPEG, WebP, BMP, GIF or TIFF image.")
    assert [each["image"] for each in json.loads("".join([first, *others]))] == pictures
    assert all(line.endswith("}") for line in (first, *others[:-1]))


@pytest.mark.usefixtures("photos")
def test_csv_has_a_row_per_image_with_an_error_column(weights):
    result = predict("c.png", "b.png", "--weights", weights, "--csv", "--top-k", "1")
    assert result.exit_code == 1
    assert list(csv.reader(io.StringIO(result.stdout))) == [
        ["image", "class_1", "probability_1", "error"],
        ["c.png", "bee", "0.625000", ""],
        ["b.png", "", "", "b.png is not a PNG, JPEG, WebP, BMP, GIF or TIFF image."],
    ]


@pytest.mark.usefixtures("photos")
def test_an_image_on_standard_input_is_answered(weights, tmp_path):
    result = predict("-", "--weights", weights, "--json", input=(tmp_path / "c.png").read_bytes())
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["predictions"][0]["class"] == "bee"


def test_a_closed_standard_input_is_an_empty_one(weights, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(typer.Exit) as stopped:
        command(["-"], Path(weights), as_csv=True)
    assert stopped.value.exit_code == 1
    assert capsys.readouterr().err == "Standard input is empty.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="such names can't exist")
def test_names_files_can_neither_break_line_nor_control_terminal(weights, tmp_path):
    name = str(tmp_path / "\x1b[2J\n.png")
    (tmp_path / "\x1b[2J\n.png").write_bytes(b"no picture")
    shown = predict(name, "--weights", weights)
    assert "\x1b" not in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert json.loads(predict(name, "--weights", weights, "--json").stdout)[0]["image"] == name


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse such names")
def test_a_name_that_is_no_text_is_answered_in_every_form(weights, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    save_picture(folder / "1.png", 0).rename(folder / "\udcff.png")
    for form in ([], ["--csv"], ["--json"]):
        result = predict(str(folder), "--weights", weights, *form)
        assert (result.exit_code, result.stderr) == (0, network(weights))
        assert r"\udcff.png" in result.stdout


def test_many_images_are_streamed_in_order(weights, tmp_path):
    names = [str(save_picture(tmp_path / f"{k:03}.png", k)) for k in range(130)]
    result = predict(str(tmp_path), "--weights", weights, "--csv")
    assert [row["image"] for row in csv.DictReader(io.StringIO(result.stdout))] == names
    assert "Classifying images" in result.stderr


def test_crop_and_tta_say_which_views_of_a_picture_are_answered(seeing_weights, tmp_path):
    picture = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (SIZE, 3 * SIZE, 3), np.uint8)).save(picture)
    views = np.stack([read_image(picture, SIZE, crop=crop) for crop in CROPS])
    classifier = Classifier(load_weights(Path(seeing_weights)))
    seen, mirrored = (classifier.logits(np.ascontiguousarray(x)) for x in (views, views[:, :, ::-1]))
    center, pad, stretch = CROPS.index("center"), CROPS.index("pad"), CROPS.index("stretch")
    wanted = {
        "": seen[center],
        "--crop center --tta none": seen[center],
        "--crop pad": seen[pad],
        "--crop stretch": seen[stretch],
        "--tta flip": (seen[center] + mirrored[center]) / 2,
        "--crop pad --tta flip": (seen[pad] + mirrored[pad]) / 2,
        "--tta shift": classifier.logits(views[center : center + 1], tta="shift")[0],
        "--tta views": (seen.mean(axis=0) + mirrored.mean(axis=0)) / 2,
    }
    found = {}
    for options, logits in wanted.items():
        result = predict(str(picture), "--weights", seeing_weights, *options.split(), "--json")
        answers = {each["class"]: each["probability"] for each in json.loads(result.stdout)[0]["predictions"]}
        found[options] = [answers[name] for name in CLASSES]
        assert found[options] == pytest.approx(softmax(logits[None])[0].tolist(), abs=1e-5), options
    del found[""]
    for one, other in combinations(found, 2):
        assert found[one] != pytest.approx(found[other], abs=1e-3), (one, other)


def test_reject_says_of_each_picture_whether_logits_too_small(seeing_weights, tmp_path):
    pictures = [str(save_picture(tmp_path / f"{seed}.png", seed)) for seed in range(2)]
    weights = load_weights(Path(seeing_weights))
    images = np.stack([read_image(Path(picture), SIZE) for picture in pictures])
    largest = Classifier(weights).logits(images).max(axis=1)
    save_weights(tmp_path / "knowing.h5", replace(weights, reject_below=float(largest.mean())))
    options = [*pictures, "--weights", str(tmp_path / "knowing.h5")]
    asked = [each["rejected"] for each in json.loads(predict(*options, "--reject", "--json").stdout)]
    assert asked == (largest < largest.mean()).tolist()
    assert sorted(asked) == [False, True]
    shown = csv.DictReader(io.StringIO(predict(*options, "--reject", "--csv").stdout))
    assert [row["rejected"] for row in shown] == [str(rejected).lower() for rejected in asked]
    assert not any("rejected" in each for each in json.loads(predict(*options, "--json").stdout))
    assert "no embedding statistics, so --reject judges by the largest logit" in predict(*options, "--reject").stderr
    assert "--reject" not in predict(*options).stderr


def test_reject_judges_by_the_distance_where_there_is_one(seeing_weights, tmp_path):
    pictures = [str(save_picture(tmp_path / f"{seed}.png", seed)) for seed in range(2)]
    weights = with_random_statistics(load_weights(Path(seeing_weights)))
    images = np.stack([read_image(Path(picture), SIZE) for picture in pictures])
    distances = Classifier(weights).averaged_logits(images, tta="none", distances=True).distances
    save_weights(tmp_path / "knowing.h5", replace(weights, reject_beyond=float(distances.mean())))
    options = [*pictures, "--weights", str(tmp_path / "knowing.h5"), "--reject"]
    asked = [each["rejected"] for each in json.loads(predict(*options, "--json").stdout)]
    assert asked == (distances > distances.mean()).tolist()
    shown = predict(*options, "--report", str(tmp_path / "page.html"))
    assert "embedding statistics" not in shown.stderr
    assert shown.stdout.count(REJECTION) == 1
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count(REJECTION) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "--json", "--weights", "w.h5"], "--csv and --json"),
        (["--depth", "20", "--weights", "w.h5"], "not both"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_says_what_to_do(options, message):
    result = predict("a.png", *options)
    assert isinstance(result.exception, InvalidValueError)
    assert message in str(result.exception)


def test_a_top_k_beyond_the_classes_is_a_usage_error(weights):
    result = predict("a.png", "--weights", weights, "--top-k", "4")
    assert isinstance(result.exception, InvalidValueError)
    assert "1 to 3" in str(result.exception)


def test_depth_without_weights_is_refused_with_those_there_are():
    command = [sys.executable, "-m", "cifarnet", "predict", "a.png", "--depth", "26"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No trained ResNet-26 comes with cifarnet; there are: " in done.stderr


@pytest.mark.usefixtures("photos")
def test_report_shows_every_picture_with_its_answer_or_its_error(weights, tmp_path, monkeypatch):
    arguments = ["predict", "a[red].png", "b.png", "c.png", "--weights", weights, "--report", "out/page.html"]
    monkeypatch.setattr(sys, "argv", ["cifarnet", *arguments])
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "The report is in out/page.html." in result.stderr
    html = (tmp_path / "out/page.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 2
    assert '<img alt="c.png: bee" src="data:image/jpeg' in html
    assert html.count("<span>bee</span><span>62.5 %</span>") == 2
    assert "b.png is not a PNG, JPEG, WebP, BMP, GIF or TIFF image." in html
    assert "cifarnet predict 'a[red].png' b.png c.png" in unescape(html)


@pytest.mark.usefixtures("photos")
def test_a_report_shows_the_maps_of_explained_pictures(seeing_weights, tmp_path):
    options = ["--weights", seeing_weights, "--explain", "why", "--report", "page.html"]
    result = predict("a[red].png", "b.png", "c.png", *options)
    assert result.exit_code == 1
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = dict(re.findall(r'<img alt="([^"]*)" src="data:image/jpeg;base64,([^"]*)"', html))
    (best_a, best_c) = (re.search(rf'alt="{name}: (\w+)"', html)[1] for name in (r"a\[red\]\.png", r"c\.png"))
    assert list(shown) == [
        f"a[red].png: {best_a}",
        f"Where {best_a} was seen in a[red].png",
        f"c.png: {best_c}",
        f"Where {best_c} was seen in c.png",
    ]
    picture, seen = (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in list(shown.values())[:2])
    drawn = np.asarray(Image.open(tmp_path / "why/a[red]-explained.png"))
    top = 48  # Below the margins and the name, the map over the picture is the left part of the file.
    assert np.abs(seen.astype(int) - resized(drawn[top:][:256, 16:272], seen.shape)).mean() < 12
    original = np.asarray(Image.open("a[red].png"))
    squares = resized(original, picture.shape, Image.Resampling.NEAREST)
    assert np.abs(picture.astype(int) - squares).mean() < 12
    assert "Grad-CAM" in html


def resized(pixels, shape, resampling=Image.Resampling.LANCZOS):
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), resampling)).astype(int)


def test_a_page_of_many_pictures_shows_the_first_and_says_so(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("cifarnet.reports.html.prediction_page.SHOWN", 2)
    for number in range(3):
        save_picture(tmp_path / f"{number}.png", 0)
    result = predict(str(tmp_path), "--weights", weights, "--report", str(tmp_path / "page.html"))
    assert result.exit_code == 0, result.output
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 pictures classified, of which the first 2 are shown." in html
    assert html.count("<img ") == 2


@pytest.mark.usefixtures("photos")
def test_explanations_are_drawn_one_for_each_picture_can_be_read(weights, tmp_path):
    before = (tmp_path / "c.png").read_bytes()
    result = predict("a[red].png", "b.png", "c.png", "-", "--weights", weights, "--explain", "new/why", input=before)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()[::3]] == ["a[red].png", "c.png", "-"]
    drawn = sorted(path.name for path in (tmp_path / "new/why").iterdir())
    assert drawn == ["a[red]-explained.png", "c-explained.png", "stdin-explained.png"]
    for name in drawn:
        with Image.open(tmp_path / "new/why" / name) as image:
            assert (image.mode, image.format) == ("RGB", "PNG")
            assert min(image.size) > 256  # the view, enlarged
            assert image.getpixel((0, 0)) == (255, 255, 255)
            assert len(np.unique(np.asarray(image))) > 100  # random pixels


@pytest.mark.usefixtures("photos")
def test_json_names_explanations_and_pictures_are_kept(weights, tmp_path):
    inputs = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    for number in ("", "-2"):
        result = predict(*(path.name for path in inputs), "--weights", weights, "--explain", ".", "--json")
        named = {each["image"]: each["explanation"] for each in json.loads(result.stdout) if "error" not in each}
        assert named == {"a[red].png": f"a[red]-explained{number}.png", "c.png": f"c-explained{number}.png"}
    assert {path: path.read_bytes() for path in inputs} == inputs


@pytest.mark.usefixtures("photos")
def test_a_map_replaces_no_earlier_map_and_no_picture_behind_a_link(weights, tmp_path):
    before = {}
    for seed in range(2):
        save_picture(tmp_path / f"p{seed}/a.png", seed)
        assert predict(f"p{seed}/a.png", "--weights", weights, "--explain", "maps").exit_code == 0
        assert {path: path.read_bytes() for path in before} == before
        before = {path: path.read_bytes() for path in (tmp_path / "maps").iterdir()}
    assert len(set(before.values())) == 2
    picture = save_picture(tmp_path / "maps/link-explained.png", 2)
    content = picture.read_bytes()
    (tmp_path / "link.png").symlink_to(picture)
    assert predict("link.png", "--weights", weights, "--explain", "maps").exit_code == 0
    assert picture.read_bytes() == content
    assert (tmp_path / "maps/link-explained-2.png").is_file()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("options", [["--crop", "pad"], ["--crop", "stretch"], ["--tta", "views"], ["--csv"]])
def test_explanations_go_with_every_way_to_look_and_to_print(weights, tmp_path, options):
    plain = predict("a[red].png", "--weights", weights, *options)
    result = predict("a[red].png", "--weights", weights, "--explain", "why", *options)
    told = f"{network(weights)}The heat maps are in why\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, plain.stdout, told)
    assert (tmp_path / "why" / "a[red]-explained.png").is_file()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    "options", [[], ["--report", "page.html"], ["--explain", "why", "--report", "page.html", "--tta", "views"]]
)
def test_each_picture_is_read_and_decoded_once(weights, monkeypatch, options):
    from cifarnet.data import images
    from cifarnet.inference import predict as service

    read, decoded = [], []
    read_file, decode = service.read_file, images.decoded

    def counted_read(path, name):
        read.append(name)
        return read_file(path, name)

    def counted_decode(content, name, shorter):
        decoded.append(name)
        return decode(content, name, shorter)

    monkeypatch.setattr(service, "read_file", counted_read)
    monkeypatch.setattr(images, "decoded", counted_decode)
    result = predict("a[red].png", "b.png", "c.png", "--weights", weights, *options)
    assert result.exit_code == 1
    assert sorted(read) == sorted(decoded) == ["a[red].png", "b.png", "c.png"]


@pytest.mark.usefixtures("photos")
def test_explained_pictures_are_held_in_small_batches(weights, monkeypatch):
    from cifarnet.inference import predict as service

    sizes = []

    def note(sources, classifier, *, batch_size, **options):
        sizes.append(batch_size)
        return iter(())

    monkeypatch.setattr(service, "predict", note)
    for options in ([], ["--explain", "why"]):
        predict("c.png", "--weights", weights, *options)
    assert sizes == [128, 16]


@pytest.mark.usefixtures("photos")
def test_unwritable_explanations_are_an_error_without_traceback(weights):
    command = [sys.executable, "-m", "cifarnet", "predict", "a[red].png", "--weights", weights, "--explain", "c.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: --explain takes a folder. Received: c.png, which is a file\n"


@pytest.mark.usefixtures("photos", "without_pillow_heif")
def test_files_that_a_folder_leaves_out_are_listed_on_stderr(tmp_path, weights):
    save_picture(tmp_path / "folder/0.png", 0)
    for name in ("._0.png", "1.HEIC", "2.HEIC"):
        (tmp_path / "folder" / name).touch()
    result = predict("folder", "--weights", weights, "--json")
    assert result.exit_code == 0
    assert [answer["image"] for answer in json.loads(result.stdout)] == ["folder/0.png"]
    line = "Left out: 2 .heic files (folder/1.HEIC, folder/2.HEIC): install pillow-heif to read them"
    assert line in result.stderr.splitlines()
