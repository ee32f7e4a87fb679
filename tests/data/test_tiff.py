import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from cifarnet.data.images import read_image
from cifarnet.errors import DataError
from tests.support.tiffs import (
    BLACK_IS_ZERO,
    CIELAB,
    CMYK,
    DEFLATE,
    FLOAT,
    MASK,
    NO_COMPRESSION,
    PALETTE,
    RGB,
    SIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    tiff,
)

GREY = np.add.outer(np.arange(32) * 3, np.arange(32) * 5) % 256
"""Grey levels (32, 32), all of 0 to 255."""
COLOUR = np.stack([GREY, 255 - GREY, GREY * 7 % 256], axis=-1)
ORDERS = ("<", ">")
COMPRESSIONS = (NO_COMPRESSION, DEFLATE)


def at_depth(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels of 0 to 255 as numbers of ``bits`` bits."""
    return np.round(levels / 255 * ((1 << bits) - 1)).astype(np.int64)


def as_read(levels: np.ndarray, bits: int) -> np.ndarray:
    """The levels of 0 to 255 that are left of ``levels`` at a depth of ``bits`` bits."""
    return np.round(at_depth(levels, bits) * 255 / ((1 << bits) - 1))


def assert_levels(content: bytes, expected: np.ndarray, tolerance: int = 1) -> None:
    """Of 16-bit colours Pillow keeps the upper byte, which is up to one level off."""
    expected = np.broadcast_to(expected if expected.ndim == 3 else expected[..., None], (32, 32, 3))
    np.testing.assert_allclose(read_image(content).astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_grey_is_one_picture_at_every_depth(bits, photometric):
    samples = at_depth(GREY, bits)
    if photometric == WHITE_IS_ZERO:
        samples = (1 << bits) - 1 - samples
    for order, compression, fill_order in itertools.product(ORDERS, COMPRESSIONS, (1, 2)):
        options = {"order": order, "compression": compression, "fill_order": fill_order}
        assert_levels(tiff(samples[..., None], bits, photometric, **options), as_read(GREY, bits), 0)
        if bits in (8, 16) and compression == DEFLATE:
            content = tiff(samples[..., None], bits, photometric, predictor=True, **options)
            assert_levels(content, as_read(GREY, bits), 0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [None, 16, 48])
def test_colour_is_one_picture_in_every_arrangement(bits, planar, tile):
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        options = {"order": order, "compression": compression, "planar": planar, "tile": tile}
        assert_levels(tiff(at_depth(COLOUR, bits), bits, RGB, **options), COLOUR)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("extra", [(0,), (1,), (2,)])
def test_extra_samples_are_alpha_where_the_file_says_so(bits, planar, extra):
    alpha = np.full((32, 32, 1), 255)
    alpha[:16] = 153
    opacity = alpha / 255
    associated = extra == (1,)
    colours = COLOUR * opacity if associated else COLOUR
    samples = np.concatenate([at_depth(colours, bits), at_depth(alpha, bits)], axis=-1)
    expected = COLOUR if extra == (0,) else COLOUR * opacity + 255 * (1 - opacity)
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        options = {"order": order, "compression": compression, "planar": planar, "extra": extra}
        assert_levels(tiff(samples, bits, RGB, **options), expected, 2)


@pytest.mark.parametrize("extra", [(0,), (1,), (2,)])
def test_grey_with_an_extra_sample_is_read(extra):
    alpha = np.full((32, 32), 255)
    alpha[:16] = 153
    levels = np.round(GREY * alpha / 255).astype(int) if extra == (1,) else GREY
    expected = GREY if extra == (0,) else GREY * (alpha / 255) + 255 - alpha
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        content = tiff(
            np.stack([levels, alpha], -1), 8, BLACK_IS_ZERO, order=order, compression=compression, extra=extra
        )
        assert_levels(content, expected, 2)


@pytest.mark.parametrize("extra", [(), (999,)])
def test_an_empty_fourth_sample_without_a_meaning_is_no_alpha(extra):
    samples = np.concatenate([COLOUR, np.zeros((32, 32, 1), int)], axis=-1)
    assert_levels(tiff(samples, 8, RGB, extra=extra), COLOUR, 0)


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_of_8_or_16_bits_gives_its_colours(scale):
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) * 7 % 256])
    tags = {320: (3, (colours * scale).ravel().tolist())}
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        assert_levels(tiff(GREY[..., None], 8, PALETTE, order=order, compression=compression, tags=tags), COLOUR, 0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_small_palette_gives_its_colours(bits):
    levels = np.arange(1 << bits) * 255 // ((1 << bits) - 1)
    tags = {320: (3, np.tile(levels * 257, 3).tolist())}
    indices = GREY % (1 << bits)
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        content = tiff(indices[..., None], bits, PALETTE, order=order, compression=compression, tags=tags)
        assert_levels(content, levels[indices], 0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_is_ink_and_not_light(bits, planar):
    inks = np.stack([GREY, 255 - GREY, GREY * 7 % 256, GREY // 3], axis=-1)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        options = {"order": order, "compression": compression, "planar": planar}
        assert_levels(tiff(at_depth(inks, bits), bits, CMYK, **options), expected)


def ycbcr(colours: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 in the full range, TIFF's default."""
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128], axis=-1)


@pytest.mark.parametrize("planar", [False, True])
def test_ycbcr_is_converted(planar):
    samples = np.round(ycbcr(COLOUR)).clip(0, 255).astype(int)
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        content = tiff(samples, 8, YCBCR, order=order, compression=compression, planar=planar, tags={530: (3, [1, 1])})
        assert_levels(content, COLOUR, 3)  # Rounding of the samples.


def test_ycbcr_in_the_video_range_is_converted():
    luma = np.round(16 + GREY * 219 / 255).astype(int)
    samples = np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)], axis=-1)
    video = [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]
    assert_levels(tiff(samples, 8, YCBCR, tags={530: (3, [1, 1]), 532: (5, video)}), GREY, 2)


def test_subsampled_ycbcr_is_converted():
    # Blocks of 2x2 pixels: four samples of luma and one of each colour.
    luma = GREY.reshape(16, 2, 16, 2).transpose(0, 2, 1, 3).reshape(16, 16, 4)
    blocks = np.concatenate([luma, np.full((16, 16, 2), 128)], axis=-1).reshape(1, -1, 1)
    size = {256: (4, [32]), 257: (4, [32]), 278: (4, [32]), 277: (3, [3]), 258: (3, [8, 8, 8]), 530: (3, [2, 2])}
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        assert_levels(tiff(blocks, 8, YCBCR, order=order, compression=compression, tags=size), GREY)


def test_lightness_of_cielab_becomes_the_level_of_srgb():
    samples = np.stack([GREY, np.zeros_like(GREY), np.zeros_like(GREY)], axis=-1)
    root = (GREY / 255 * 100 + 16) / 116
    linear = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    expected = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    for order, compression in itertools.product(ORDERS, COMPRESSIONS):
        assert_levels(tiff(samples, 8, CIELAB, order=order, compression=compression), expected, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_the_orientation_is_applied_once(orientation, bits):
    turned = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: np.rot90(GREY, -1),
        7: GREY[::-1, ::-1].T,
        8: np.rot90(GREY),
    }[orientation]
    samples = (1 << bits) - 1 - at_depth(GREY, bits)
    for compression in COMPRESSIONS:
        tags = {274: (3, [orientation])}
        assert_levels(tiff(samples[..., None], bits, WHITE_IS_ZERO, compression=compression, tags=tags), turned, 0)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "group3", "group4"])
def test_compressions_keep_a_bilevel_picture(compression):
    picture = Image.fromarray(GREY > 100)
    for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF", compression=compression, tiffinfo={262: photometric})
        assert_levels(buffer.getvalue(), (GREY > 100) * 255, 0)


def test_the_first_of_several_pages_is_read():
    pages = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    assert_levels(buffer.getvalue(), np.full((32, 32, 3), (255, 0, 0)), 0)


def one_sample(bits: int, photometric: int = BLACK_IS_ZERO, **options: object) -> bytes:
    return tiff(np.zeros((32, 32, 1), int), bits, photometric, **options)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda order: one_sample(10, order=order), "10 bits per sample"),
        (lambda order: one_sample(14, WHITE_IS_ZERO, order=order), "14 bits per sample"),
        (lambda order: one_sample(16, PALETTE, order=order), "16 bits per sample.*PhotometricInterpretation 3"),
        (lambda order: one_sample(1, MASK, order=order), "PhotometricInterpretation 4"),
        (lambda order: one_sample(16, order=order, sample_format=FLOAT), "16 bits per sample, SampleFormat 3"),
        (lambda order: one_sample(8, order=order, tags={259: (3, [34712])}), "Compression 34712"),
        (lambda order: tiff(at_depth(COLOUR, 4), 4, RGB, order=order), "4, 4, 4 bits per sample"),
        (lambda order: tiff(COLOUR, 8, RGB, order=order, sample_format=SIGNED), "SampleFormat 2"),
        (lambda order: tiff(COLOUR[..., :2] * 257, 16, BLACK_IS_ZERO, order=order, extra=(2,)), "16, 16 bits"),
        (lambda order: tiff(COLOUR[..., :2], 8, WHITE_IS_ZERO, order=order, extra=(2,)), "PhotometricInterpretation 0"),
    ],
)
def test_a_kind_that_cannot_be_read_is_refused_with_its_cause(order, make, received):
    with pytest.raises(DataError, match=rf"photo\.tif is a TIFF .*Save it .*8 or 16 bits.*Received: .*{received}"):
        read_image(make(order), name="photo.tif")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_samples_are_refused(order, bits):
    with pytest.raises(DataError, match=r"signed samples|SampleFormat 2"):
        read_image(one_sample(bits, order=order, sample_format=SIGNED))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sample_format", [1, FLOAT])
def test_32_bits_are_refused(order, sample_format):
    with pytest.raises(DataError, match="32 bits per"):
        read_image(one_sample(32, order=order, sample_format=sample_format))


def test_inks_other_than_cmyk_are_refused():
    with pytest.raises(DataError, match=r"inks other than cyan.*InkSet 2"):
        read_image(tiff(np.zeros((32, 32, 4), int), 8, CMYK, tags={332: (3, [2])}))


def test_reading_leaves_pillow_as_it_was():
    before = (TiffImagePlugin.READ_LIBTIFF, dict(TiffImagePlugin.OPEN_INFO), Image.MAX_IMAGE_PIXELS)
    read_image(one_sample(16))
    with pytest.raises(DataError):
        read_image(one_sample(10))
    assert (TiffImagePlugin.READ_LIBTIFF, dict(TiffImagePlugin.OPEN_INFO), Image.MAX_IMAGE_PIXELS) == before


def test_a_bigtiff_is_read_or_refused_with_its_cause():
    def bigtiff(bits: int) -> bytes:
        tags = [(256, 32), (257, 32), (258, bits), (259, 1), (262, 0), (273, 16 + 8 + 20 * 9 + 8), (277, 1), (278, 32)]
        tags.append((279, 32 * 32 * bits // 8))
        entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags)
        pixels = np.packbits(((255 - GREY)[..., None] >> np.arange(7, -1, -1)) & 1).tobytes()
        return struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags)) + entries + bytes(8) + pixels

    assert_levels(bigtiff(8), GREY, 0)
    with pytest.raises(DataError, match="Received: 10 bits per sample"):
        read_image(bigtiff(10))


@pytest.mark.parametrize(
    ("width", "message"), [(1 << 23, "too many pixels.*8388608 x 16 pixels"), (1 << 20, "claims 1048576 x 16 pixels")]
)
def test_a_tile_that_takes_much_memory_is_refused(width, message):
    content = tiff(COLOUR, 8, RGB, tile=16, tags={322: (4, [width])})
    with pytest.raises(DataError, match=message):
        read_image(content)
