import io

import numpy as np
from PIL import Image

from cifarnet.reports.figures.grid import CELL, MOST_CLASSES, grid_png


def drawn(names, raw, augmented, recipe="paper"):
    return np.asarray(Image.open(io.BytesIO(grid_png(names, raw, augmented, recipe))))


def coloured(count, colour):
    return np.full((count, 8, 8, 3), colour, np.uint8)


def places(image, colour):
    rows, columns = np.nonzero((image == colour).all(axis=-1))
    return len(rows) / CELL**2, rows.min(), columns.min(), columns.max()


def test_class_row_with_raw_images_left_and_augmented_ones_right():
    red, green, blue, pink = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 0, 200)
    image = drawn(
        ("cat", "dog"), [coloured(3, red), coloured(2, green)], [coloured(3, blue), coloured(2, pink)], "paper"
    )
    cells, red_top, _, red_end = places(image, red)
    assert cells == 3
    blue_cells, blue_top, blue_begin, _ = places(image, blue)
    assert (blue_cells, blue_top) == (3, red_top)
    assert blue_begin > red_end
    green_cells, green_top, *_ = places(image, green)
    assert green_cells == places(image, pink)[0] == 2
    assert green_top >= red_top + CELL


def test_the_heading_names_the_recipe():
    parts = (("cat",), [coloured(3, 90)], [coloured(3, 90)])
    assert (drawn(*parts, "paper") != drawn(*parts, "other")).any()


def test_a_class_without_images_is_an_empty_row():
    one = [coloured(0, 0), coloured(1, (200, 0, 0))]
    image = drawn(("none", "one"), one, one)
    assert places(image, (200, 0, 0))[0] == 2


def test_one_class_alone_and_names_of_any_kind_are_drawn():
    image = drawn(("a\n\x1b\udcff" * 50,), [coloured(1, (200, 0, 0))], [coloured(1, (0, 200, 0))])
    assert places(image, (200, 0, 0))[0] == places(image, (0, 200, 0))[0] == 1


def test_of_very_many_classes_the_first_are_drawn():
    many = [coloured(1, (200, 0, 0))] * (MOST_CLASSES + 900)
    image = drawn([str(k) for k in range(len(many))], many, many)
    assert places(image, (200, 0, 0))[0] == 2 * MOST_CLASSES
