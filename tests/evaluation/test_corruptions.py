import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from cifarnet.errors import InvalidValueError
from cifarnet.evaluation.corruptions import CORRUPTIONS, SEVERITIES, _zoom_matrix, corrupt

RANDOM = {
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
}


@pytest.fixture(scope="module")
def images():
    """Noise of squares of 5x5 pixels, uint8 (20, 32, 32, 3)."""
    squares = np.random.default_rng(0).integers(40, 216, (20, 7, 7, 3), np.uint8)
    return np.ascontiguousarray(squares.repeat(5, axis=1).repeat(5, axis=2)[:, :32, :32])


def grey(level, count=50):
    return np.full((count, 32, 32, 3), level, np.uint8)


def difference(first, second):
    return np.abs(first.astype(float) - second).mean()


def test_the_corruptions_are_those_of_the_paper():
    assert len(CORRUPTIONS) == 15
    assert all(len(each.settings) == SEVERITIES == 5 for each in CORRUPTIONS.values())


@pytest.mark.parametrize(
    ("name", "severity", "seed", "message"),
    [
        ("fogg", 1, 0, r"The corruption must be gaussian_noise, .* Did you mean fog\? Received: fogg"),
        ("fog", 6, 0, r"`severity` must be .*5.* Received: 6"),
        ("fog", 1, -1, r"`seed` must be .*0.* Received: -1"),
    ],
)
def test_unknown_corruptions_are_refused(images, name, severity, seed, message):
    with pytest.raises(InvalidValueError, match=message):
        corrupt(images, name, severity, seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_its_arguments_only(name, images):
    before = images.copy()
    first = corrupt(images, name, 3, seed=5)
    assert (first.dtype, first.shape) == (np.uint8, images.shape)
    assert (first == corrupt(images, name, 3, seed=5)).all()
    assert (images == before).all()
    assert difference(first, images) > 0.5
    assert (difference(first, corrupt(images, name, 3, seed=6)) > 0) == (name in RANDOM)


@pytest.mark.parametrize(
    "name", [name for name in CORRUPTIONS if name not in ("glass_blur", "elastic_transform", "frost")]
)
def test_severities_grow(name, images):
    changes = [difference(corrupt(images, name, severity), images) for severity in range(1, 6)]
    assert all(later > 0.95 * earlier for earlier, later in pairwise(changes))
    assert changes[-1] > 1.2 * changes[0]


@pytest.mark.parametrize("size", [8, 48, 64])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_any_size_are_corrupted(name, size):
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
    for severity in (1, 5):
        assert corrupt(images, name, severity).shape == images.shape


@pytest.mark.parametrize(
    "name",
    ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "elastic_transform", "pixelate"],
)
def test_blurs_and_shifts_keep_an_image_of_one_colour(name):
    for severity in range(1, 6):
        assert difference(corrupt(grey(130), name, severity), grey(130)) < 0.01


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.04), (5, 0.10)])
def test_gaussian_noise_has_its_deviation(severity, deviation):
    noisy = corrupt(grey(128), "gaussian_noise", severity)
    assert noisy.std() == pytest.approx(255 * deviation, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_shot_noise_grows_with_the_root_of_the_level():
    dark, bright = (corrupt(grey(level), "shot_noise", 3).std() for level in (40, 160))
    assert dark == pytest.approx(np.sqrt(40 / 255 / 100) * 255, rel=0.03)
    assert bright / dark == pytest.approx(2, rel=0.03)


def test_impulse_noise_makes_a_share_of_values_black_or_white():
    noisy = corrupt(grey(128), "impulse_noise", 5)
    assert [(noisy == level).mean() for level in (0, 255)] == pytest.approx([0.035, 0.035], rel=0.05)
    assert set(np.unique(noisy)) == {0, 128, 255}


def test_defocus_spreads_a_point_over_a_disk():
    point = np.zeros((1, 32, 32, 3), np.uint8)
    point[0, 16, 16] = 255
    spread = corrupt(point, "defocus_blur", 5)[0, :, :, 0]
    assert (spread[15:18, 15:18] == 28).all()
    assert spread[:, :14].max() == spread[:14].max() == 0
    assert (spread == spread.T).all()


def test_glass_moves_pixels_by_one_in_each_pass():
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[:, 16, 16] = 255
    moved = corrupt(images, "glass_blur", 1)[..., 0]
    # Each of four pixels takes the value with a chance of a quarter.
    assert (moved == 255).mean(axis=0)[16:18, 16:18] == pytest.approx(np.full((2, 2), 0.25), abs=0.1)
    rest = moved.sum(axis=0)
    rest[16:18, 16:18] = 0
    assert rest.max() == 0


def test_motion_draws_a_point_out_to_the_right():
    images = np.zeros((300, 33, 33, 3), np.uint8)
    images[:, 16, 16] = 255
    y, x = np.nonzero(corrupt(images, "motion_blur", 5)[..., 0].max(axis=0))
    # A pixel looks to its right, within 45 degrees: so the trail of a point is on its left.
    assert x.min() < 16 == x.max()
    assert (np.abs(y - 16) <= 16 - x).all()


@pytest.mark.parametrize("factor", [1.03, 1.1, 1.25, 2.25])
def test_a_zoom_is_that_of_scipy(factor):
    ndimage = pytest.importorskip("scipy.ndimage")
    line = np.random.default_rng(0).random(32)
    middle = int(np.ceil(32 / factor))
    start = (32 - middle) // 2
    zoomed = ndimage.zoom(line[start : start + middle], factor, order=1)
    spare = (len(zoomed) - 32) // 2
    assert _zoom_matrix(32, factor) @ line == pytest.approx(zoomed[spare : spare + 32], abs=1e-5)


def test_snow_adds_white_flakes():
    snowy = [corrupt(grey(60), "snow", severity).astype(int) - 60 for severity in (1, 2)]
    assert all(each.min() >= 0 for each in snowy)
    assert 0 < (snowy[0] > 30).mean() < (snowy[1] > 30).mean() < 0.5
    assert all((each == each[..., :1]).all() for each in snowy)


def test_frost_has_the_colours_and_contrast_of_the_photos():
    frost = corrupt(grey(0, count=600), "frost", 2) / 0.3
    kinds = np.array([(78, 149, 165), (198, 203, 212), (143, 158, 171), (103, 114, 126)])
    means = frost.mean(axis=(1, 2))
    nearest = np.abs(means[:, None] - kinds).sum(axis=2).argmin(axis=1)
    assert np.bincount(nearest, minlength=4) / 600 == pytest.approx([0.2, 0.4, 0.2, 0.2], abs=0.06)
    assert (means - kinds[nearest]).mean(axis=1).std() == pytest.approx(10, rel=0.15)
    deviations = frost.std(axis=(1, 2)).mean(axis=1)
    contrasts = [deviations[nearest == kind].mean() for kind in range(4)]
    assert contrasts == pytest.approx([14, 17, 26, 34], rel=0.12)
    level = frost[..., 1]
    roughness = np.abs(np.diff(level, axis=2)).mean(axis=(1, 2)) / level.std(axis=(1, 2))
    assert 0.8 < roughness.mean() < 0.95


def test_fog_lightens_by_clouds_and_keeps_the_brightest_level():
    foggy = corrupt(grey(100), "fog", 5)
    level, weight = 100 / 255, 1.5
    assert foggy.max() == pytest.approx(100, abs=1)
    assert foggy.min() == pytest.approx(255 * level * level / (level + weight), abs=1)
    # Neighbours in a cloud have almost the same level.
    assert np.abs(np.diff(foggy[..., 0].astype(int), axis=2)).mean() < 0.4 * foggy.std()


def test_brightness_adds_to_the_value_and_keeps_hue_and_saturation():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0] = [[(100, 50, 0), (0, 0, 0)], [(250, 250, 125), (51, 51, 51)]]
    assert corrupt(image, "brightness", 4)[0].tolist() == [
        [[151, 76, 0], [51, 51, 51]],
        [[255, 255, 128], [102, 102, 102]],
    ]


def test_contrast_shrinks_the_differences_from_the_mean(images):
    less = corrupt(images, "contrast", 5)
    assert less.std(axis=(1, 2)) == pytest.approx(0.15 * images.std(axis=(1, 2)), rel=0.02)
    assert less.mean(axis=(1, 2)) == pytest.approx(images.mean(axis=(1, 2)), abs=0.2)


def test_elastic_moves_points_by_at_most_its_reach():
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[:, 16, 16] = 255
    moved = corrupt(images, "elastic_transform", 1)[..., 0].astype(float)
    y, x = np.mgrid[:32, :32]
    mass = moved.sum(axis=(1, 2))
    centres = np.stack([(moved * axis).sum(axis=(1, 2)) / mass for axis in (y, x)], 1) - 16
    # The point is between two corners of the square, each of which moves by at most 0.08 * 32 pixels.
    assert np.abs(centres).max() < 2.6
    assert centres.std(axis=0).min() > 0.5
    assert np.abs(centres.mean(axis=0)).max() < 0.4


def test_pixelate_and_jpeg_are_those_of_pillow(images):
    picture = Image.fromarray(images[0])
    small = picture.resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert (corrupt(images, "pixelate", 5)[0] == np.asarray(small)).all()
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    assert (corrupt(images, "jpeg_compression", 5)[0] == np.asarray(Image.open(file))).all()
