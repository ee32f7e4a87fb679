import numpy as np
import pytest
from PIL import Image

from cifarnet.data.augmentation import CUTOUT_DRAWS, FLIP, MOVE_DRAWS, augment, hide_squares, shrink
from cifarnet.recipes import RECIPES
from cifarnet.training.model import epoch_order

IMAGES = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)
NOTHING = RECIPES["paper"].with_changes(crop_padding=0, flip=False)
CENTRE = 0.5  # a draw of 0.5 moves and turns nothing


def apply(recipe, turn=CENTRE, down=CENTRE, right=CENTRE, mirror=0.9):
    draws = np.tile(np.array([turn, down, right, mirror], np.float32), (len(IMAGES), 1))
    return np.asarray(augment(IMAGES, draws, recipe))


def test_a_flip_mirrors_exactly():
    flips = NOTHING.with_changes(flip=True)
    np.testing.assert_array_equal(apply(flips, mirror=0.1), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(apply(flips, mirror=0.9), IMAGES)


@pytest.mark.parametrize(("draw", "move"), [(0.0, -2), (0.5, 0), (0.9999999, 2)])
def test_a_crop_moves_whole_pixels_and_pads_with_zeros(draw, move):
    found = apply(NOTHING.with_changes(crop_padding=2), down=draw, right=CENTRE)
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(found, padded[:, 2 + move : 10 + move, 2:10])


def test_every_crop_offset_is_equally_likely():
    offsets = np.linspace(0, 1, 10_000, endpoint=False, dtype=np.float32)
    from cifarnet.data.augmentation import affine_maps

    maps = np.asarray(affine_maps(np.tile(offsets[:, None], (1, 4)), RECIPES["paper"].with_changes(flip=False), 32))
    values, counts = np.unique(maps[:, 2], return_counts=True)
    assert values.tolist() == list(range(-4, 5))
    assert counts.min() > 0.95 * counts.max()


def test_rotation_by_a_right_angle_is_exact():
    found = apply(NOTHING.with_changes(rotation=90.0), turn=1.0)
    np.testing.assert_allclose(found, np.rot90(IMAGES, 1, (1, 2)), atol=1e-5)


def test_fractional_shifts_interpolate_and_repeat_the_border():
    found = apply(NOTHING.with_changes(shift=0.125), right=0.75)  # half of 8 * 0.125: half a pixel
    wanted = (IMAGES[:, :, :-1] + IMAGES[:, :, 1:]) / 2
    np.testing.assert_allclose(found[:, :, :-1], wanted, atol=1e-5)
    np.testing.assert_allclose(found[:, :, -1], IMAGES[:, :, -1], atol=1e-5)


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    rows, draws = epoch_order(NOTHING, 1, 2, 100)
    again, draws_again = epoch_order(NOTHING, 1, 2, 100)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(draws, draws_again)
    assert sorted(rows) == list(range(100))
    assert not np.array_equal(rows, epoch_order(NOTHING, 1, 3, 100)[0])
    assert not np.array_equal(rows, epoch_order(NOTHING, 2, 2, 100)[0])


def flipped(recipe, epoch):
    rows, draws = epoch_order(recipe, 0, epoch, 1000)
    return (draws[:, FLIP] < 0.5)[np.argsort(rows)]


def test_alternate_flips_mirror_every_other_epoch():
    recipe = NOTHING.with_changes(flip=True, alternate_flips=True)
    np.testing.assert_array_equal(flipped(recipe, 0), ~flipped(recipe, 1))
    np.testing.assert_array_equal(flipped(recipe, 0), flipped(recipe, 2))
    assert 400 < flipped(recipe, 0).sum() < 600


def test_alternate_flips_and_cutout_leave_the_other_draws_alone():
    _, plain = epoch_order(NOTHING, 0, 0, 50)
    _, draws = epoch_order(NOTHING.with_changes(flip=True, alternate_flips=True, cutout=4), 0, 0, 50)
    np.testing.assert_array_equal(draws[:, :FLIP], plain[:, :FLIP])
    assert draws.shape == (50, MOVE_DRAWS + CUTOUT_DRAWS)


@pytest.mark.parametrize(("place", "rows"), [(0.5, slice(2, 6)), (0.0, slice(0, 2)), (0.99, slice(5, 8))])
def test_cutout_hides_a_square_that_the_border_may_cut(place, rows):
    draws = np.full((3, MOVE_DRAWS + CUTOUT_DRAWS), place, np.float32)
    wanted = IMAGES.copy()
    wanted[:, rows, rows] = 0
    np.testing.assert_array_equal(np.asarray(hide_squares(IMAGES, draws, 4)), wanted)


def test_shrinking_is_pillows_bilinear():
    pixels = np.random.default_rng(0).random((32, 32), np.float32)
    wanted = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    found = np.asarray(shrink(pixels[None, :, :, None], 20))[0, :, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_image_of_the_right_size_is_not_shrunk():
    assert shrink(IMAGES, 8) is IMAGES
