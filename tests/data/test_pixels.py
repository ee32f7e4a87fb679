"""Pixels of PNG, BMP, GIF, WebP, JPEG and HEIC files of every kind, against values that the test computes itself."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from cifarnet.data.decoding import HEIC_SUFFIXES, IMAGE_SUFFIXES, has_heic, image_suffixes
from cifarnet.data.images import open_picture, read_image
from cifarnet.errors import DataError
from tests.support.pngs import GREY as GREY_TYPE
from tests.support.pngs import GREY_ALPHA, PALETTE, RGB, RGBA, png

GREY = np.add.outer(np.arange(32) * 3, np.arange(32) * 5) % 256
COLOUR = np.stack([GREY, 255 - GREY, GREY * 7 % 256], axis=-1)
LEFT = np.broadcast_to(np.arange(32) < 16, (32, 32))[..., None]
"""The left half of a picture, bool (32, 32, 1)."""


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def assert_levels(content: bytes, expected: np.ndarray, tolerance: int = 0) -> None:
    expected = np.broadcast_to(expected if expected.ndim == 3 else expected[..., None], (32, 32, 3))
    np.testing.assert_allclose(read_image(content).astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_is_one_picture_at_every_depth(depth, interlaced):
    largest = (1 << depth) - 1
    samples = np.round(GREY / 255 * largest).astype(int)
    assert_levels(png(samples[..., None], depth, GREY_TYPE, interlaced=interlaced), np.round(samples * 255 / largest))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_level_of_a_grey_png_is_white(depth, interlaced):
    largest = (1 << depth) - 1
    samples = np.round(GREY / 255 * largest).astype(int)
    for key in {0, 1, largest // 2, largest}:
        assert (samples == key).any() or depth > 4
        samples[0, :4] = key
        content = png(
            samples[..., None],
            depth,
            GREY_TYPE,
            interlaced=interlaced,
            chunks=[(b"tRNS", struct.pack(">H", key))],
        )
        assert_levels(content, np.where(samples == key, 255, np.round(samples * 255 / largest)))


def test_16_bit_levels_beside_the_transparent_one_are_kept():
    samples = np.full((32, 32, 1), 0x1234)
    samples[:, 16:] = 0x1235
    content = png(samples, 16, GREY_TYPE, chunks=[(b"tRNS", struct.pack(">H", 0x1234))])
    assert_levels(content, np.where(LEFT, 255, round(0x1235 / 257)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("depth", "key", "beside"), [(8, (10, 20, 30), (10, 20, 31)), (16, (0x0A0A,) * 3, (0x0A0B,) * 3)]
)
def test_one_transparent_colour_of_a_png_is_white(depth, key, beside, interlaced):
    samples = np.where(LEFT, key, beside)
    trns = (b"tRNS", struct.pack(">3H", *key))
    expected = np.where(LEFT, 255, np.array(beside) // (1 if depth == 8 else 257))
    assert_levels(png(samples, depth, RGB, interlaced=interlaced, chunks=[trns]), expected)


def test_a_transparent_16_bit_colour_follows_the_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6  # To be shown rotated by 90 degrees clockwise: what was left is at the top.
    samples = np.where(LEFT, (0x0A0A,) * 3, (0x0A0B,) * 3)
    chunks = [(b"tRNS", struct.pack(">3H", *[0x0A0A] * 3)), (b"eXIf", exif.tobytes()[6:])]
    assert_levels(png(samples, 16, RGB, chunks=chunks), np.rot90(np.where(LEFT, 255, 10), -1))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_an_alpha_channel_of_a_png_is_put_on_white(depth, interlaced):
    scale = 1 if depth == 8 else 257
    alpha = np.where(LEFT, 102, 255)
    expected = COLOUR * (alpha / 255) + 255 - alpha
    assert_levels(png(np.concatenate([COLOUR, alpha], -1) * scale, depth, RGBA, interlaced=interlaced), expected, 1)
    grey = GREY[..., None] * (alpha / 255) + 255 - alpha
    content = png(np.concatenate([GREY[..., None], alpha], -1) * scale, depth, GREY_ALPHA, interlaced=interlaced)
    assert_levels(content, grey, 1)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [(0,), (255, 0), (51, 102)])
def test_a_png_palette_has_colours_and_transparency(depth, alphas, interlaced):
    size = 1 << depth
    colours = np.stack([np.arange(size) * 255 // (size - 1), np.full(size, 9), np.arange(size)[::-1]], -1)
    opacity = np.ones((size, 1))
    opacity[: len(alphas), 0] = np.array(alphas) / 255
    indices = GREY % size
    chunks = [(b"PLTE", colours.astype(np.uint8).tobytes()), (b"tRNS", bytes(alphas))]
    content = png(indices[..., None], depth, PALETTE, interlaced=interlaced, chunks=chunks)
    assert_levels(content, (colours * opacity + 255 * (1 - opacity))[indices], 1)


def test_gamma_of_a_png_is_ignored():
    content = png(GREY[..., None], 8, GREY_TYPE, chunks=[(b"gAMA", struct.pack(">I", 100_000))])
    assert_levels(content, GREY)


def test_an_animated_png_gives_its_first_frame():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    assert_levels(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), np.full((32, 32, 3), (255, 0, 0)))


def bmp(rows: bytes, bits: int, *, palette: bytes = b"", compression: int = 0, masks: tuple[int, ...] = ()) -> bytes:
    """A BMP of 32x32 pixels, its rows from the bottom up; with four masks a BITMAPV4HEADER, otherwise the usual one."""
    size = 108 if len(masks) == 4 else 40
    header = struct.pack("<IiiHHIIiiII", size, 32, 32, 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    header = header.ljust(size, b"\0") + palette
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bmp_palette_gives_its_colours(bits):
    size = 1 << bits
    colours = np.stack([np.arange(size) * 255 // (size - 1), np.full(size, 9), np.arange(size)[::-1]], -1)
    palette = np.concatenate([colours[:, ::-1], np.zeros((size, 1), int)], -1).astype(np.uint8).tobytes()
    indices = GREY % size
    digits = (indices[::-1, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    assert_levels(bmp(np.packbits(digits.astype(np.uint8)).tobytes(), bits, palette=palette), colours[indices])


@pytest.mark.parametrize(("masks", "depths"), [((), (5, 5, 5)), ((0xF800, 0x07E0, 0x001F), (5, 6, 5))])
def test_a_16_bit_bmp_is_read(masks, depths):
    levels = [np.round(COLOUR[..., k] / 255 * ((1 << depth) - 1)).astype(int) for k, depth in enumerate(depths)]
    words = levels[0] << (depths[1] + depths[2]) | levels[1] << depths[2] | levels[2]
    content = bmp(words[::-1].astype("<u2").tobytes(), 16, compression=3 if masks else 0, masks=masks)
    expected = np.stack([level * 255 / ((1 << depth) - 1) for level, depth in zip(levels, depths, strict=True)], -1)
    assert_levels(content, expected, 1)


def bgra(alpha: np.ndarray | int) -> bytes:
    channels = [COLOUR[..., ::-1], np.broadcast_to(alpha, (32, 32, 1))]
    return np.concatenate(channels, -1)[::-1].astype(np.uint8).tobytes()


MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def test_a_32_bit_bmp_with_empty_alpha_is_opaque():
    assert_levels(bmp(bgra(0), 32), COLOUR)
    assert_levels(bmp(bgra(0), 32, compression=3, masks=MASKS), COLOUR)


def test_alpha_of_a_bmp_is_put_on_white():
    alpha = np.where(LEFT, 102, 255)
    assert_levels(bmp(bgra(alpha), 32, compression=3, masks=MASKS), COLOUR * (alpha / 255) + 255 - alpha, 1)


def test_a_transparent_colour_of_a_gif_is_white():
    image = Image.fromarray(np.where(LEFT[..., 0], 0, 1).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert_levels(encoded(image, "GIF", transparency=0), np.where(LEFT, 255, (200, 100, 50)))


@pytest.mark.parametrize("lossless", [False, True])
def test_transparency_of_a_webp_is_white(lossless):
    pixels = np.concatenate([np.where(LEFT, 0, (200, 100, 50)), np.where(LEFT, 0, 255)], -1).astype(np.uint8)
    content = encoded(Image.fromarray(pixels), "WEBP", lossless=lossless, quality=100)
    read = read_image(content).astype(int)
    assert (read[:, :14] == 255).all()
    np.testing.assert_allclose(read[:, 18:], np.full((32, 14, 3), (200, 100, 50)), atol=0 if lossless else 12)


def adobe(transform: int, content: bytes) -> bytes:
    """``content``, a JPEG of Pillow's, with Adobe's marker: 0 for CMYK and 2 for YCCK, both inverted by convention."""
    marker = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    while (start := content.find(b"\xff\xee\0\x0eAdobe")) >= 0:
        content = content[:start] + content[start + 16 :]
    return content[:2] + marker + content[2:]


def test_a_cmyk_jpeg_is_not_inverted():
    inks = np.broadcast_to(np.array([0, 100, 200, 30], np.uint8), (32, 32, 4))
    content = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in content
    expected = np.broadcast_to([(255 - ink) * (255 - 30) / 255 for ink in (0, 100, 200)], (32, 32, 3))
    assert_levels(content, expected, 3)
    assert_levels(adobe(0, content), expected, 3)


def test_a_ycck_jpeg_is_not_inverted():
    # YCCK holds the inks C, M and Y in YCbCr, as if they were R, G and B, and 255 - K (libjpeg's cmyk_ycck_convert,
    # given Adobe's inverted inks).
    red, green, blue = 200, 100, 50
    cyan, magenta, yellow = 255 - red, 255 - green, 255 - blue
    luma = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow
    stored = [luma, (yellow - luma) / 1.772 + 128, (cyan - luma) / 1.402 + 128, 255]
    # Pillow stores 255 minus the values that it is given.
    planes = np.broadcast_to(255 - np.round(stored), (32, 32, 4)).astype(np.uint8)
    content = adobe(2, encoded(Image.fromarray(planes, "CMYK"), "JPEG", quality=100))
    assert_levels(content, np.broadcast_to((red, green, blue), (32, 32, 3)), 3)


def test_a_jpeg_of_several_pictures_gives_the_first():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert_levels(content, np.full((32, 32, 3), (255, 0, 0)), 2)


def test_jpeg_suffixes_are_known():
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".jif"} < IMAGE_SUFFIXES


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    smooth = (np.add.outer(np.arange(32), np.arange(32) * 2) + 40).astype(np.uint8)
    content = encoded(Image.fromarray(smooth), "JPEG", quality=98, exif=exif)
    assert_levels(content, np.rot90(smooth, turns), 3)


def heic(image: Image.Image, **options: object) -> bytes:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return encoded(image, "HEIF", quality=95, **options)


class TestHeic:
    smooth = np.stack([np.add.outer(np.arange(64) * 2, np.arange(64)) + 20] * 3, -1).astype(np.uint8)

    def test_a_heic_picture_is_read(self):
        assert has_heic()
        read = read_image(heic(Image.fromarray(self.smooth)), 64)
        np.testing.assert_allclose(read.astype(int), self.smooth, atol=6)

    def test_its_suffixes_are_pictures(self):
        assert {".heic", ".heif", ".hif"} == HEIC_SUFFIXES
        assert image_suffixes() == IMAGE_SUFFIXES | HEIC_SUFFIXES

    def test_it_is_turned_upright_once(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        read = read_image(heic(Image.fromarray(self.smooth), exif=exif.tobytes()), 64)
        np.testing.assert_allclose(read.astype(int), np.rot90(self.smooth, -1), atol=6)

    def test_its_transparency_is_put_on_white(self):
        pixels = np.dstack([self.smooth, np.full((64, 64), 255, np.uint8)])
        pixels[:32] = (200, 0, 0, 0)
        read = read_image(heic(Image.fromarray(pixels)), 64).astype(int)
        np.testing.assert_allclose(read[:24], 255, atol=3)
        np.testing.assert_allclose(read[40:], self.smooth[40:], atol=8)

    def test_10_bits_become_8(self):
        import pillow_heif

        levels = np.broadcast_to((self.smooth.astype(np.uint16) * 257), (64, 64, 3))
        file = pillow_heif.from_bytes("RGB;16", (64, 64), levels.tobytes())
        buffer = io.BytesIO()
        file.save(buffer, quality=95)
        np.testing.assert_allclose(read_image(buffer.getvalue(), 64).astype(int), self.smooth, atol=6)

    def test_a_damaged_one_is_refused(self):
        content = heic(Image.fromarray(self.smooth))
        for length in (40, len(content) // 2):
            with pytest.raises(DataError, match=r"photo\.heic is a damaged"):
                read_image(content[:length], name="photo.heic")

    @pytest.mark.usefixtures("without_pillow_heif")
    def test_without_pillow_heif_its_installation_is_named(self):
        content = b"\0\0\0\x18ftypheic" + bytes(64)
        with pytest.raises(DataError, match=r"photo\.heic is a HEIC image\. Install .* install pillow-heif; or"):
            read_image(content, name="photo.heic")
        assert image_suffixes() == IMAGE_SUFFIXES


def test_an_avif_picture_is_refused_by_name():
    with pytest.raises(DataError, match=r"is an AVIF image.*Save it as PNG or JPEG"):
        read_image(b"\0\0\0\x18ftypavif" + bytes(64))


class TestLargeJpegs:
    """JPEGs of more pixels than are decoded."""

    @pytest.fixture(autouse=True)
    def low_limits(self, monkeypatch):
        monkeypatch.setattr("cifarnet.data.decoding.PIXEL_LIMIT", 100_000)
        monkeypatch.setattr("cifarnet.data.decoding.JPEG_PIXEL_LIMIT", 2_000_000)
        monkeypatch.setattr("cifarnet.data.decoding._COEFFICIENT_LIMIT", 6_000_000)

    @staticmethod
    def photo(width: int, height: int, **options: object) -> bytes:
        noise = np.random.default_rng(0).normal(0, 20, (height // 4, width // 4, 3))
        slope = np.add.outer(np.linspace(0, 100, height // 4), np.linspace(0, 100, width // 4))[..., None]
        small = Image.fromarray((slope + noise + 30).clip(0, 255).astype(np.uint8))
        return encoded(small.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=90, **options)

    @staticmethod
    def size_to_show(content: bytes, name: str) -> tuple[int, int]:
        with open_picture(content, name, 32, to_show=True) as picture:
            return picture.size

    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize("crop", ["center", "pad", "stretch"])
    def test_they_are_read_as_at_full_size(self, monkeypatch, crop, progressive):
        content = self.photo(1200, 900, progressive=progressive)
        read = read_image(content, crop=crop)
        monkeypatch.setattr("cifarnet.data.decoding.PIXEL_LIMIT", 2_000_000)
        np.testing.assert_allclose(read.astype(int), read_image(content, crop=crop).astype(int), atol=2)

    def test_they_are_upright_and_a_fraction_of_the_size(self, monkeypatch):
        exif = Image.Exif()
        exif[0x0112] = 6
        monkeypatch.setattr("cifarnet.data.decoding.PIXEL_LIMIT", 1_000_000)
        monkeypatch.setattr("cifarnet.data.images._SHOWN", 600)
        assert self.size_to_show(self.photo(1600, 1200, exif=exif), "photo.jpg") == (600, 800)

    def test_a_picture_that_is_shown_keeps_its_detail(self, monkeypatch):
        monkeypatch.setattr("cifarnet.data.decoding.PIXEL_LIMIT", 1_000_000)
        monkeypatch.setattr("cifarnet.data.images._SHOWN", 300)
        assert self.size_to_show(self.photo(1600, 1200), "photo.jpg") == (400, 300)

    def test_smaller_ones_are_decoded_at_full_size(self):
        content = self.photo(300, 300)
        whole = Image.open(io.BytesIO(content)).convert("RGB")
        np.testing.assert_array_equal(read_image(content), np.asarray(whole.resize((32, 32), Image.Resampling.LANCZOS)))

    def test_too_many_pixels_are_refused(self):
        for content in (self.photo(1600, 1400), self.photo(1600, 1200, progressive=True, subsampling=0)):
            with pytest.raises(DataError, match=r"photo\.jpg has too many pixels.*Received: 1600 x 1[24]00 pixels"):
                read_image(content, name="photo.jpg")

    def test_a_flat_panorama_is_shrunk_as_far_as_is_needed(self, monkeypatch):
        monkeypatch.setattr("cifarnet.data.decoding.PIXEL_LIMIT", 1_000_000)
        assert read_image(self.photo(4000, 400), 200).shape == (200, 200, 3)
        assert self.size_to_show(self.photo(4000, 400), "wide.jpg") == (2000, 200)

    def test_a_truncated_one_is_refused(self):
        with pytest.raises(DataError, match="damaged or truncated"):
            read_image(self.photo(1600, 1200)[:30_000])


def with_scans(side, scans):
    """A progressive JPEG whose last scan is repeated, ``scans`` in all."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rfind(b"\xff\xda") : -2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + content[-2:]


def test_a_large_jpeg_with_many_scans_is_refused():
    with pytest.raises(DataError, match=r"too many scans for its size.* Received: 200 scans of 1500 x 1500 pixels"):
        read_image(with_scans(1500, 200))


@pytest.mark.parametrize(("side", "scans"), [(1500, 20), (64, 200)])
def test_usual_scans_and_small_pictures_are_read(side, scans):
    assert read_image(with_scans(side, scans)).shape == (32, 32, 3)


@pytest.mark.parametrize(("width", "height"), [(65, 1), (1, 65), (3000, 40)])
def test_a_flat_picture_shows_in_a_padded_view(width, height):
    content = encoded(Image.new("RGB", (width, height), (255, 0, 0)), "PNG")
    view = read_image(content, crop="pad")
    assert (view == (255, 0, 0)).all(axis=-1).sum() == 32


@pytest.mark.parametrize("size", [(65, 40), (33, 64), (1000, 999)])
def test_a_padded_view_is_that_of_pillow(size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    wanted = ImageOps.pad(picture, (32, 32), Image.Resampling.LANCZOS, color=(121, 121, 121))
    np.testing.assert_array_equal(read_image(encoded(picture, "PNG"), crop="pad"), wanted)
