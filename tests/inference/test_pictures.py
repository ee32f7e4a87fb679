"""The pictures that ``Classifier.predict`` takes: paths, contents, Pillow's images and arrays, one or many."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
from PIL import Image, ImageOps

import cifarnet
from cifarnet.data.images import read_image
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.inference.pictures import picture_sources
from cifarnet.inference.predict import Prediction
from tests.support.networks import SIZE, save_picture, save_tiny_weights


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return cifarnet.load(save_tiny_weights(tmp_path_factory.mktemp("w") / "w.h5", ("ant", "bee", "cow")))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three pictures in a folder, the last damaged; the working directory is above it."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        save_picture(tmp_path / "photos" / name, seed)
    Path("photos/c.png").write_bytes(b"no picture")
    return Path("photos")


def test_one_picture_gives_one_prediction(classifier, photos):
    path = photos / "a.png"
    wanted = classifier.predict(str(path))
    assert isinstance(wanted, Prediction)
    assert wanted.label == wanted.predictions[0][0] == classifier.class_names[classifier.logits(pixels(path)).argmax()]
    assert wanted.probability == wanted.predictions[0][1]
    assert str(wanted).startswith(f"{path}: {wanted.label} {100 * wanted.probability:.1f} %, ")
    for same in (path, path.read_bytes(), Image.open(path), np.asarray(Image.open(path))):
        assert classifier.predict(same).predictions == wanted.predictions


def pixels(path):
    return read_image(path, SIZE)[None]


def test_many_pictures_give_a_list(classifier, photos):
    a, b = photos / "a.png", photos / "b.png"
    levels = np.stack([np.asarray(Image.open(path)) for path in (a, b)])
    wanted = [classifier.predict(path).predictions for path in (a, b)]
    for many in ([a, str(b)], (Image.open(a), levels[1]), iter([a, b]), levels, np.array([str(a), str(b)])):
        assert [each.predictions for each in classifier.predict(many)] == wanted
    assert [each.predictions for each in classifier.predict([a])] == wanted[:1]


def test_names_are_paths_or_places_in_the_list(classifier, photos):
    image = Image.open(photos / "a.png")
    assert classifier.predict(image).image == "picture"
    found = classifier.predict([image, str(photos / "b.png"), np.zeros((4, 4), np.uint8)])
    assert [each.image for each in found] == ["pictures[0]", str(photos / "b.png"), "pictures[2]"]


def test_folders_and_patterns_give_lists(classifier, photos):
    names = [str(photos / name) for name in ("a.png", "b.png", "c.png")]
    assert [each.image for each in classifier.predict(photos)] == names
    assert [each.image for each in classifier.predict("photos/[ab].png")] == names[:2]
    assert [each.image for each in classifier.predict("photos/a*")] == names[:1]
    assert [each.image for each in classifier.predict([names[1], photos])] == [names[1], *names]


@pytest.mark.usefixtures("photos")
def test_a_dash_is_a_file_and_not_standard_input(classifier):
    with pytest.raises(DataError, match="- is not a file or folder"):
        classifier.predict("-")


def test_an_unreadable_picture_is_raised_alone_and_told_among_many(classifier, photos):
    with pytest.raises(DataError, match=r"c.png is not a PNG"):
        classifier.predict(photos / "c.png")
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty has no images"):
        classifier.predict("empty")
    with pytest.raises(DataError, match="The picture has 32 bits per channel"):
        classifier.predict(Image.new("F", (3, 3)))
    good, bad, missing, deep = classifier.predict(
        [photos / "a.png", photos / "c.png", "no.png", Image.new("F", (3, 3))]
    )
    assert good.error is None
    assert (bad.label, bad.probability, bad.predictions) == (None, None, ())
    assert "c.png is not a PNG" in str(bad)
    assert "no.png is not a file" in missing.error
    assert deep.error.startswith("pictures[3] has 32 bits")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I;16"])
def test_images_of_all_modes_have_the_pixels_of_their_files(mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 5, 3), np.uint8))
    image = Image.new(mode, (5, 9), 40000) if mode == "I;16" else image.convert("RGBA").convert(mode)
    with picture_sources(image)[0][0][0].open(SIZE) as found:
        assert (found.mode, found.size) == ("RGB", (5, 9))
        level = np.asarray(found)[0, 0, 0]
    assert mode != "I;16" or level == round(40000 / 257)


def test_orientation_and_transparency_are_those_of_files(tmp_path, classifier):
    levels = np.random.default_rng(0).integers(0, 256, (SIZE, 2 * SIZE, 4), np.uint8)
    image = Image.fromarray(levels)
    exif = Image.Exif()
    exif[0x0112] = 6
    # Pillow 13 turns a TIFF wrongly unless libtiff decodes it.
    files = {"a.png": (image, {}), "a.tif": (image, {"compression": "tiff_lzw"}), "a.jpg": (image.convert("RGB"), {})}
    for name, (made, options) in files.items():
        made.save(path := tmp_path / name, exif=exif, **options)
        wanted = classifier.predict(path, crop="pad").predictions
        for opened in (Image.open(path), ImageOps.exif_transpose(Image.open(path))):
            assert classifier.predict(opened, crop="pad").predictions == wanted, name
    opened = Image.open(tmp_path / "a.png")
    classifier.predict([opened, opened])
    assert (opened.size, opened.mode) == ((2 * SIZE, SIZE), "RGBA")


def test_grey_arrays_of_any_size_are_pictures(classifier):
    grey = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    assert classifier.predict(grey).predictions == classifier.predict(np.dstack([grey] * 3)).predictions


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8, 3)), r"Levels from 0 to 1 become uint8 with .* Received: float64 \(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.float32), r"`pictures` takes uint8 .* Received: float32 \(2, 8, 8, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), r"moveaxis.* Received: uint8 \(3, 8, 8\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"moveaxis.* Received: uint8 \(2, 3, 8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"PIL.Image.fromarray .* Received: uint8 \(8, 8, 4\)"),
        (np.zeros(8, np.uint8), r"or for many \(n, height, width, 3\)\. Received: uint8 \(8,\)"),
        ([np.zeros((2, 8, 8, 3), np.uint8)], r"`pictures\[0\]` takes uint8 .* Received: uint8 \(2, 8, 8, 3\)"),
        (["a.png", 3], r"`pictures\[1\]` takes a path, .* Received: 3"),
        ([[1, 2]], r"`pictures\[0\]` takes a path, .* Received: \[1, 2\]"),
        (None, "`pictures` takes a path, .* Received: None"),
        ({"a.png": 1}, "`pictures` takes a path, "),
        ("", "`pictures` must not be empty: give a path"),
        ([], "`pictures` must have at least one picture. Received: no pictures"),
        (iter(()), "`pictures` must have at least one picture"),
        (np.zeros((0, 8, 8, 3), np.uint8), "`pictures` must have at least one picture"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_anything_else_is_refused_with_what_is_taken(classifier, wrong, message):
    with pytest.raises(InvalidValueError, match=f"{message}"):
        classifier.predict(wrong)


def test_an_open_file_is_refused_with_what_to_give(classifier, photos):
    taken = "a path, a PIL image, a uint8 array, the content of a file as bytes, or several of these"
    with open(photos / "a.png", "rb") as opened, NamedTemporaryFile() as temporary:
        for file in (opened, temporary):
            for pictures, what in ((file, "pictures"), ([file], "pictures[0]")):
                with pytest.raises(InvalidValueError) as refused:
                    classifier.predict(pictures)
                assert str(refused.value) == (
                    f"`{what}` takes {taken}. Give the content of the open file, which its read() returns."
                    f" Received: {file!r:.80}"
                )


@pytest.mark.parametrize("empty", [np.zeros((0, 8), np.uint8), Image.new("RGB", (0, 8))], ids=["array", "image"])
def test_a_picture_without_pixels_is_an_error(classifier, empty):
    with pytest.raises(DataError, match="The picture has no pixels"):
        classifier.predict(empty)


def test_an_iterator_is_read_in_groups(monkeypatch):
    monkeypatch.setattr("cifarnet.inference.pictures._HELD", 2)
    taken = []

    def pictures():
        for number in range(5):
            taken.append(number)
            yield np.zeros((2, 2), np.uint8)

    groups = iter(picture_sources(pictures())[0])
    assert [source.name for source in next(groups)] == ["pictures[0]", "pictures[1]"]
    assert taken == [0, 1]
    assert [len(group) for group in groups] == [2, 1]


def test_options_are_those_of_the_command(classifier):
    picture = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    assert len(classifier.predict(picture, top_k=1).predictions) == 1
    plain, padded, flipped = (
        classifier.predict(picture, crop=crop, tta=tta)
        for crop, tta in (("center", "none"), ("pad", "none"), ("center", "flip"))
    )
    assert plain != padded
    assert plain != flipped
    for wrong in ({"top_k": 4}, {"crop": "round"}, {"tta": "twice"}, {"reject": True}):
        with pytest.raises(InvalidValueError, match=f"`{next(iter(wrong))}`"):
            classifier.predict(picture, **wrong)


def test_a_classifier_tells_what_it_is(classifier):
    assert repr(classifier) == f"<Classifier: ResNet-8, 3 classes, engine {classifier.engine_name}>"
    assert classifier.class_names == ("ant", "bee", "cow")


@pytest.mark.skipif(os.name != "posix", reason="names of files")
def test_a_file_named_dash_is_read(classifier, photos, monkeypatch):
    (photos / "a.png").rename(photos / "-")
    monkeypatch.chdir(photos)
    assert classifier.predict("-").error is None
