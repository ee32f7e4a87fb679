import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarnet.choices import CROPS
from cifarnet.data.images import read_image
from cifarnet.errors import InvalidValueError, StorageError
from cifarnet.files import write_bytes
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.explain import (
    LARGEST_SHOWN,
    Area,
    Explainer,
    explanation_paths,
    grad_cam,
    prepare_directory,
    seen_area,
    spread,
)
from cifarnet.inference.predict import ImageSource, Prediction
from cifarnet.weights.formats import load_weights
from tests.support.gradients import check_gradients, gradients_by_hand
from tests.support.networks import SIZE, save_tiny_weights

CLASSES = ("ant", "bee", "cow")


def test_gradients_of_tensorflow_are_those_by_hand():
    check_gradients()


JAX_GRADIENTS = """
from cifarnet.backend.select import use_backend

assert use_backend() == "jax"
from tests.support.gradients import check_gradients

check_gradients()
print("same")
"""


@pytest.mark.slow
def test_gradients_of_jax_are_those_by_hand():
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", JAX_GRADIENTS],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("same\n", 0), done.stderr


def test_the_map_weights_channels_by_mean_gradients():
    features = np.array([[[[1.0, 2.0]], [[3.0, -4.0]]]], np.float32)
    gradients = np.array([[[[1.0, 0.5]], [[3.0, 0.5]]]], np.float32)
    np.testing.assert_allclose(grad_cam(features, gradients), [[[3.0], [4.0]]])  # 2 a + 0.5 b


def hot(row, column):
    cells = np.zeros((8, 8), np.float32)
    cells[row, column] = 1
    return cells


@pytest.mark.parametrize(
    ("crop", "width", "height", "cell", "centre"),
    [
        ("center", 96, 32, (0, 0), (34, 2)),
        ("center", 32, 96, (7, 4), (18, 62)),
        ("pad", 128, 64, (3, 1), (24, 24)),
        ("pad", 64, 128, (0, 5), (56, 8)),
        ("stretch", 96, 32, (4, 0), (6, 18)),
        ("stretch", 32, 96, (7, 7), (30, 90)),
    ],
)
def test_a_hot_cell_lies_over_the_part_of_the_picture_it_saw(crop, width, height, cell, centre):
    heat = spread(hot(*cell), seen_area(width, height, crop, 32), height, width)
    hottest = np.argwhere(heat == np.nanmax(heat)) + 0.5
    # At the edge the hottest pixels reach as far as it; of the others they surround the cell's centre.
    assert np.abs(hottest - np.array(centre)[::-1]).min(axis=0).max() <= 0.5
    assert np.nanmax(heat) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("width", "height"), [(97, 41), (41, 97), (300, 299), (64, 64)])
def test_the_area_is_where_the_views_pixels_come_from(crop, width, height, tmp_path):
    """A white block, found again in the view, is where the area says that those pixels of the view lie."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 2] = 255
    middle_row, middle_column = height // 2, width // 2
    picture[middle_row:, middle_column:] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "p.png")
    view = read_image(tmp_path / "p.png", 32, crop=crop)
    red = view[..., 0].astype(float) - view[..., 2] > 0
    red &= np.abs(view.astype(int) - 121).max(axis=-1) > 1  # Not the grey margin.
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    area = seen_area(width, height, crop, 32)
    pixel_height, pixel_width = (area.bottom - area.top) / 32, (area.right - area.left) / 32
    assert area.top + rows[0] * pixel_height == pytest.approx(middle_row, abs=0.6 * pixel_height)
    assert area.left + columns[0] * pixel_width == pytest.approx(middle_column, abs=0.6 * pixel_width)


def test_where_the_network_saw_nothing_there_is_no_map():
    heat = spread(np.ones((8, 8)), seen_area(10, 4, "center", 32), 4, 10)
    assert np.isnan(heat[:, [0, 1, 2, 7, 8, 9]]).all()
    np.testing.assert_allclose(heat[:, 3:7], 1)
    for crop in ("pad", "stretch"):
        np.testing.assert_allclose(spread(np.ones((8, 8)), seen_area(10, 4, crop, 32), 4, 10), 1)


def test_a_flat_picture_is_seen_in_a_padded_view():
    np.testing.assert_allclose(spread(np.ones((8, 8)), seen_area(1000, 1, "pad", 32), 1, 1000), 1)


def test_between_the_centres_of_cells_the_map_is_linear():
    heat = spread(np.array([[0.0, 1.0]]), Area(0, 0, 4, 2), 2, 4)
    np.testing.assert_allclose(heat, [[0, 0.25, 0.75, 1]] * 2)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier(load_weights(save_tiny_weights(tmp_path_factory.mktemp("w") / "w.h5", CLASSES)), engine="keras")


def saved(path, width, height):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return ImageSource(path.name, path), pixels


def explained(classifier, crop, source, name):
    explainer = Explainer(classifier, crop)
    with source.open(SIZE, to_show=True) as picture:
        shown = explainer.show(picture)
    return explainer.explain(Prediction(source.name, ((name, 0.5),)), shown)


def test_an_explanation_holds_picture_and_what_the_network_saw(classifier, tmp_path):
    source, pixels = saved(tmp_path / "a.png", 300, 200)
    explanation = explained(classifier, "center", source, "bee")
    np.testing.assert_array_equal(explanation.picture, pixels)
    np.testing.assert_array_equal(explanation.view, read_image(tmp_path / "a.png", SIZE))
    assert explanation.heat.shape == (200, 300)
    assert np.isnan(explanation.heat[:, :50]).all()
    assert np.isfinite(explanation.heat[:, 50:250]).all()
    assert np.nanmax(explanation.heat) == pytest.approx(1, abs=0.02)


def test_the_map_is_that_of_the_class_that_was_answered(classifier):
    view = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    maps = [Explainer(classifier, "center").class_map(view, label) for label in range(3)]
    features = classifier.engine.features(view[None], batch_size=1)
    network = classifier.engine.network
    for label, found in enumerate(maps):
        expected = grad_cam(features, gradients_by_hand(network, features, np.array([label])))
        np.testing.assert_allclose(found[None], expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(maps[0], maps[1])


def test_where_nothing_speaks_for_the_class_the_map_is_zero(tmp_path):
    weights = load_weights(save_tiny_weights(tmp_path / "w.h5", CLASSES, bias=(0.0, 1.0, 2.0)))
    source, _ = saved(tmp_path / "a.png", 16, 16)
    explanation = explained(Classifier(weights, engine="keras"), "center", source, "cow")
    assert (explanation.heat == 0).all()


@pytest.mark.parametrize(
    ("size", "shown"),
    [((20, 10), (260, 130)), ((2400, 120), (LARGEST_SHOWN, 60)), ((500, 700), (500, 700)), ((3000, 1), (1200, 1))],
)
def test_small_pictures_enlarged_squares_and_large_ones_shrunk(classifier, tmp_path, size, shown):
    source, pixels = saved(tmp_path / "a.png", *size)
    explanation = explained(classifier, "stretch", source, "bee")
    assert explanation.picture.shape[1::-1] == explanation.heat.shape[::-1] == shown
    if size == (20, 10):
        np.testing.assert_array_equal(explanation.picture, pixels.repeat(13, axis=0).repeat(13, axis=1))


def test_a_picture_is_explained_upright(classifier, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Orientation: to be turned by 90 degrees.
    Image.new("RGB", (300, 400)).save(tmp_path / "a.jpg", exif=exif)
    source = ImageSource("a.jpg", tmp_path / "a.jpg")
    explanation = explained(classifier, "center", source, "bee")
    assert explanation.picture.shape == (300, 400, 3)


def test_every_picture_has_file_own_and_none_is_picture_itself(tmp_path):
    names = ["a.png", "A.jpg", "sub/a.png", "a-explained.png", "long" * 60 + ".png"]
    sources = [ImageSource(str(tmp_path / name), tmp_path / name) for name in names] + [ImageSource("-", b"")]
    (tmp_path / "a-explained.png").write_bytes(b"a picture")
    paths = explanation_paths(sources, tmp_path)
    assert len({str(path).casefold() for path in paths}) == len(sources)
    assert not {source.content for source in sources} & set(paths)
    assert all(path.parent == tmp_path for path in paths)
    assert [path.name for path in paths[:4]] == [
        "a-explained-2.png",
        "A-explained-3.png",
        "a-explained-4.png",
        "a-explained-explained.png",
    ]
    assert paths[5].name == "stdin-explained.png"
    write_bytes(paths[4], b"a name that the file system takes")
    assert paths[4].is_file()


def test_a_map_never_takes_the_name_of_a_file_that_is_there(tmp_path):
    for name in ("a-explained.png", "a-explained-3.png"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "a-explained-4.png").symlink_to("nowhere")
    sources = [ImageSource(name, Path(name)) for name in ("p1/a.png", "p2/a.jpg", "b.png")]
    names = [path.name for path in explanation_paths(sources, tmp_path)]
    assert names == ["a-explained-2.png", "a-explained-5.png", "b-explained.png"]


def test_a_folder_is_made_where_it_is_missing(tmp_path):
    prepare_directory(tmp_path / "new" / "one")
    assert (tmp_path / "new" / "one").is_dir()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidValueError, match="takes a folder"):
        prepare_directory(tmp_path / "file")
    with pytest.raises(StorageError, match="Choose another folder"):
        prepare_directory(tmp_path / "file" / "below")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="no folder is closed to this user")
def test_a_folder_that_can_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="permission denied"):
            prepare_directory(tmp_path)
    finally:
        tmp_path.chmod(0o755)
