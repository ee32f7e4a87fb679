import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from cifarnet.data.augmentation import (
    CUTOUT_DRAWS,
    FLIP,
    MOVE_DRAWS,
    augment,
    draw_columns,
    hide_squares,
    shrink,
    training_images,
)
from cifarnet.data.colors import jitter
from cifarnet.data.trivial_augment import OPERATIONS, STRENGTHS, TRIVIAL_DRAWS, choose
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES
from cifarnet.training.model import epoch_order

IMAGES = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (13, 8, 8, 3), np.uint8)
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


ALL = {"cutout": 4, "jitter": 0.4, "trivial_augment": True, "mixup": 0.2, "cutmix": 0.5}


def draws_of(recipe, name):
    return epoch_order(recipe, 2, 3, 50)[1][:, draw_columns(recipe)[name]]


@pytest.mark.parametrize("name", ALL)
def test_draws_do_not_depend_on_other_augmentations(name):
    together = NOTHING.with_changes(**ALL)
    assert epoch_order(together, 2, 3, 50)[1].shape == (50, max(each.stop for each in draw_columns(together).values()))
    alone = draws_of(NOTHING.with_changes(**{name: ALL[name]}), name)
    np.testing.assert_array_equal(draws_of(together, name), alone)
    assert alone.size
    others = [draws_of(together, other)[:, 0] for other in ("moves", *ALL) if other != name]
    assert not any(np.array_equal(other, alone[:, 0]) for other in others)


@pytest.mark.parametrize(("place", "rows"), [(0.5, slice(2, 6)), (0.0, slice(0, 2)), (0.99, slice(5, 8))])
def test_cutout_hides_a_square_that_the_border_may_cut(place, rows):
    draws = np.full((3, MOVE_DRAWS + CUTOUT_DRAWS), place, np.float32)
    wanted = IMAGES.copy()
    wanted[:, rows, rows] = 0
    np.testing.assert_array_equal(np.asarray(hide_squares(IMAGES, draws, 4)), wanted)


def test_jitter_multiplies_brightness_then_contrast():
    draws = np.random.default_rng(2).random((len(PIXELS), 2), np.float32)
    found = np.asarray(jitter(PIXELS.astype(np.float32), draws, 0.5))
    for image, (bright, contrast), changed in zip(PIXELS, 0.5 + draws, found, strict=True):
        wanted = np.clip(image * bright, 0, 255)
        mean = (wanted @ [0.299, 0.587, 0.114]).mean()
        np.testing.assert_allclose(changed, np.clip(mean + contrast * (wanted - mean), 0, 255), atol=1e-3)
    assert found.min() == 0
    assert found.max() == 255


def test_jitter_comes_before_normalization_and_moves():
    recipe, normalization = NOTHING.with_changes(jitter=0.3, crop_padding=2, cutout=3), Normalization(100.0, 50.0)
    draws = epoch_order(recipe, 0, 0, len(PIXELS))[1]
    jittered = np.asarray(jitter(PIXELS.astype(np.float32), draws[:, draw_columns(recipe)["jitter"]], 0.3))
    moved = augment(((jittered - 100) / 50).astype(np.float32), draws, recipe)
    found = np.asarray(training_images(PIXELS, draws, recipe, normalization))
    np.testing.assert_allclose(found, np.asarray(hide_squares(moved, draws, 3)), atol=1e-5)
    assert (found == 0).any()


def by_pillow(image, operation, strength):
    """What TrivialAugment does by Pillow, with a signed strength of -1 to 1."""
    affine = {
        "identity": (0, 0, 0, 0),
        "shear_x": (0.99 * strength, 0, 0, 0),
        "shear_y": (0, 0, 0.99 * strength, 0),
        "translate_x": (0, 32 * strength, 0, 0),
        "translate_y": (0, 0, 0, 32 * strength),
    }
    if operation in affine:
        b, c, d, f = affine[operation]
        return image.transform(image.size, Image.Transform.AFFINE, (1, b, c, d, 1, f))
    if operation == "rotate":
        return image.rotate(135 * strength)
    if operation == "posterize":
        return ImageOps.posterize(image, 8 - round(6 * abs(strength)))
    if operation == "solarize":
        return ImageOps.solarize(image, 255 * (1 - abs(strength)))
    if operation == "autocontrast":
        return ImageOps.autocontrast(image)
    return getattr(ImageEnhance, operation.capitalize())(image).enhance(1 + 0.99 * strength)


PICTURE = np.random.default_rng(3).integers(40, 200, (32, 32, 3), np.uint8)
PICTURES = np.stack([PICTURE] * 8)
TRIVIAL = NOTHING.with_changes(trivial_augment=True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_trivial_augment_is_pillows(operation):
    levels, signs = np.repeat([0, 7, 18, 30], 2), np.tile([-1, 1], 4)
    draws = np.full((8, MOVE_DRAWS + TRIVIAL_DRAWS), CENTRE, np.float32)
    draws[:, MOVE_DRAWS] = (OPERATIONS.index(operation) + 0.5) / len(OPERATIONS)
    draws[:, MOVE_DRAWS + 1] = (levels + 0.5) / STRENGTHS
    draws[:, MOVE_DRAWS + 2] = 0.5 + signs / 4
    found = np.asarray(training_images(PICTURES, draws, TRIVIAL, Normalization(0.0, 1.0)))
    for image, level, sign in zip(found, levels, signs, strict=True):
        wanted = np.asarray(by_pillow(Image.fromarray(PICTURE), operation, sign * level / 30), np.float32)
        # Pillow rounds to whole numbers, in the blend and in the mean grey. After a turn of 135 degrees some pixels are
        # from halfway between two.
        assert np.mean(np.abs(image - wanted) > 1.5) < (0.03 if operation == "rotate" else 1e-9), (level, sign)


def test_a_constant_image_survives_autocontrast():
    draws = np.full((8, MOVE_DRAWS + TRIVIAL_DRAWS), 0.999, np.float32)
    pixels = np.full(PICTURES.shape, 77, np.uint8)
    found = training_images(pixels, draws, TRIVIAL, Normalization(0.0, 1.0))
    np.testing.assert_array_equal(np.asarray(found), pixels)


def test_every_operation_and_strength_is_equally_likely():
    draws = np.repeat(np.linspace(0, 1, 20_000, endpoint=False, dtype=np.float32)[:, None], 3, axis=1)
    draws[-1] = np.nextafter(np.float32(1), np.float32(0))
    operation, strength, sign = map(np.asarray, choose(draws))
    for values, count in ((operation, len(OPERATIONS)), (np.rint(strength * 30), STRENGTHS), (sign, 2)):
        assert (np.bincount(np.unique(values, return_inverse=True)[1]) > 0.95 * len(draws) / count).all()
        assert len(np.unique(values)) == count
    assert (operation.max(), strength.max()) == (len(OPERATIONS) - 1, 1)


def test_a_shear_is_cropped_and_flipped_afterwards():
    recipe = TRIVIAL.with_changes(crop_padding=2, flip=True)
    draws = np.full((8, MOVE_DRAWS + TRIVIAL_DRAWS), 0.9, np.float32)
    draws[:, 1:3] = 0.9999, 0.0  # two pixels up, two to the right
    draws[:, FLIP] = 0.1
    draws[:, MOVE_DRAWS:] = 1.5 / len(OPERATIONS), 20.5 / STRENGTHS, 0.9
    sheared = np.asarray(by_pillow(Image.fromarray(PICTURE), "shear_x", 20 / 30))
    padded = np.pad(sheared, ((2, 2), (2, 2), (0, 0)))[4:, 0:32]
    found = np.asarray(training_images(PICTURES, draws, recipe, Normalization(0.0, 1.0)))[-1]
    # The crop's border shows what the shear had moved out of the image, so only the inside is compared.
    np.testing.assert_array_equal(found[:30, :30], padded[:, ::-1][:30, :30])


def test_shrinking_is_pillows_bilinear():
    pixels = np.random.default_rng(0).random((32, 32), np.float32)
    wanted = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    found = np.asarray(shrink(pixels[None, :, :, None], 20))[0, :, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_image_of_the_right_size_is_not_shrunk():
    assert shrink(IMAGES, 8) is IMAGES
