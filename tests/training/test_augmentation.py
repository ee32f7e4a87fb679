import numpy as np
import pytest

from cifarnet.data.augmentation import augment
from cifarnet.recipes import RECIPES
from cifarnet.training.trainee import epoch_order

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


def test_rotation_by_a_right_angle_is_exact_in_the_middle_of_the_pixels():
    found = apply(NOTHING.with_changes(rotation=90.0), turn=1.0)
    np.testing.assert_allclose(found, np.rot90(IMAGES, 1, (1, 2)), atol=1e-5)


def test_a_shift_by_fractions_interpolates_and_repeats_the_border():
    found = apply(NOTHING.with_changes(shift=0.125), right=0.75)  # half of 8 * 0.125: half a pixel
    wanted = (IMAGES[:, :, :-1] + IMAGES[:, :, 1:]) / 2
    np.testing.assert_allclose(found[:, :, :-1], wanted, atol=1e-5)
    np.testing.assert_allclose(found[:, :, -1], IMAGES[:, :, -1], atol=1e-5)


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    rows, draws = epoch_order(1, 2, 100)
    again, draws_again = epoch_order(1, 2, 100)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(draws, draws_again)
    assert sorted(rows) == list(range(100))
    assert not np.array_equal(rows, epoch_order(1, 3, 100)[0])
    assert not np.array_equal(rows, epoch_order(2, 2, 100)[0])
