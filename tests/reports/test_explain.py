import io

import numpy as np
import pytest
from PIL import Image

from cifarnet.reports.figures.canvas import fitting, font
from cifarnet.reports.figures.explanation import VIEW_SIDE, explanation_png, overlay

ANSWER = (("cat", 0.75), ("dog", 0.25))


def drawn(picture, heat, view=None, predictions=ANSWER, name="a.png"):
    view = np.zeros((32, 32, 3), np.uint8) if view is None else view
    return np.asarray(Image.open(io.BytesIO(explanation_png(name, predictions, picture, heat, view))))


def grey(width, height):
    return np.full((height, width, 3), 128, np.uint8)


def test_heat_brighter_than_none_and_unseen_parts_picture_itself():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    heat = np.full((40, 60), np.nan)
    heat[:, 20:40] = 0
    heat[10:20, 25:30] = 1
    image = np.asarray(overlay(picture, heat))
    unseen = np.isnan(heat)
    np.testing.assert_array_equal(image[unseen], picture[unseen])
    assert image[12:18, 26:29].mean() > 2 * image[25:35, 25:35].mean()


def test_a_line_goes_round_what_was_seen_only_where_not_all():
    heat = np.full((40, 60), np.nan)
    heat[:, 20:40] = 0
    image = np.asarray(overlay(grey(60, 40), heat))
    assert (image[20, [20, 39]] == 255).all()
    assert (np.asarray(overlay(grey(60, 40), np.zeros((40, 60)))) < 255).all()


@pytest.mark.parametrize(("width", "height"), [(300, 200), (1200, 100), (100, 1200), (1, 256), (256, 1)])
def test_picture_and_view_are_shown_pixel_for_pixel(width, height):
    picture = np.full((height, width, 3), (10, 200, 10), np.uint8)
    view = np.full((8, 8, 3), (200, 10, 10), np.uint8)
    image = drawn(picture, np.full((height, width), np.nan), view)
    for colour, count in (((10, 200, 10), width * height), ((200, 10, 10), VIEW_SIDE**2)):
        rows, columns = np.nonzero((image == colour).all(axis=-1))
        assert len(rows) == count
        assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == count


def test_the_bars_are_as_long_as_the_classes_are_probable():
    image = drawn(grey(300, 200), np.zeros((200, 300)))
    blue = (image == (0x00, 0x72, 0xB2)).all(axis=-1)
    lengths = [length for length in blue.sum(axis=1) if length]
    assert set(lengths) == {round(0.75 * VIEW_SIDE), round(0.25 * VIEW_SIDE)}


def test_a_map_without_heat_is_labelled_in_place_of_the_scale():
    some, none = np.zeros((200, 300)), np.zeros((200, 300))
    some[0, 0] = 1
    beside = [drawn(grey(300, 200), heat)[:, 340:].astype(int) for heat in (some, none)]
    assert [(image[..., 0] - image[..., 2] > 100).any() for image in beside] == [True, False]


@pytest.mark.slow
def test_long_names_odd_names_and_many_classes_fit():
    predictions = [(f"class {k} " * 20, 0.01) for k in range(1000)]
    image = drawn(grey(300, 200), np.zeros((200, 300)), predictions=predictions, name="\n\x1b\udcff猫" * 200)
    assert image.shape[0] < 1000
    assert (image[:, -10:] == 255).all()


def test_text_that_fits_stays_and_other_is_cut_with_an_ellipsis():
    assert fitting("cat", 200) == "cat"
    cut = fitting("a very long name of a class", 60)
    assert cut.endswith("…")
    assert font().getlength(cut) <= 60


def test_the_same_numbers_make_the_same_file():
    arguments = ("a.png", ANSWER, grey(300, 200), np.zeros((200, 300)), np.zeros((32, 32, 3), np.uint8))
    assert explanation_png(*arguments) == explanation_png(*arguments)
