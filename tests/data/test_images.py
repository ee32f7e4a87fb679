import io
import re
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cifarnet.choices import CROPS
from cifarnet.data.decoding import PIXEL_LIMIT
from cifarnet.data.images import read_image, read_images, resize_images
from cifarnet.errors import DataError
from tests.support.datasets import random_images

LOSSLESS = ["png", "bmp", "tiff"]


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def smooth(width: int = 32, height: int = 32) -> np.ndarray:
    """A gradient, which JPEG and WebP keep within a few levels."""
    x, y = np.meshgrid(np.linspace(40, 200, width), np.linspace(40, 200, height))
    return np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_image_of_right_size_comes_back_pixel_for_pixel(tmp_path, suffix):
    image = random_images(1)[0]
    Image.fromarray(image).save(tmp_path / f"image.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"image.{suffix}"), image)


def test_a_jpeg_of_the_right_size_is_only_decoded():
    content = encoded(Image.fromarray(random_images(1)[0]), "JPEG", quality=75)
    np.testing.assert_array_equal(read_image(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_are_read(format):
    read = read_image(encoded(Image.fromarray(smooth()), format, quality=95))
    assert np.abs(read.astype(int) - smooth()).max() < 12


def test_a_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    read = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (read == (255, 0, 0)).all()


def test_a_palette_image_gets_its_colours():
    image = Image.new("RGB", (32, 32), (10, 200, 30))
    assert (read_image(encoded(image.quantize(4))) == (10, 200, 30)).all()


@pytest.mark.parametrize(("mode", "value", "level"), [("L", 77, 77), ("1", 1, 255)])
def test_a_grey_image_gets_three_equal_channels(mode, value, level):
    assert (read_image(encoded(Image.new(mode, (32, 32), value))) == level).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(format):
    levels = np.full((32, 32), 65535, np.uint16)
    levels[:, :16] = 32896  # 128 * 257, in the middle
    read = read_image(encoded(Image.fromarray(levels), format))
    assert (read[:, :16] == 128).all()
    assert (read[:, 16:] == 255).all()


def test_32_bit_pixels_are_refused():
    content = encoded(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF")
    with pytest.raises(DataError, match="32 bits per channel"):
        read_image(content)


def test_transparency_is_put_on_white():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 32, 16))
    read = read_image(encoded(image))
    assert (read[:16] == (200, 0, 0)).all()
    assert (read[16:] == 255).all()


def test_a_transparent_palette_entry_is_put_on_white():
    image = Image.new("P", (32, 32), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 32, 16))
    read = read_image(encoded(image, transparency=bytes([0, 255])))
    assert (read[:16] == (255, 0, 0)).all()
    assert (read[16:] == 255).all()


def test_the_exif_orientation_is_applied():
    image = Image.fromarray(random_images(1)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: to be shown rotated by 90 degrees clockwise.
    np.testing.assert_array_equal(read_image(encoded(image, exif=exif)), np.rot90(np.asarray(image), -1))


def test_wide_image_is_cropped_to_its_centre_without_resampling():
    wide = random_images(1, size=64)[0][:32]
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(wide))), wide[:, 16:48])


def test_tall_image_is_cropped_to_its_centre_without_resampling():
    tall = random_images(1, size=64)[0][:, :32]
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(tall))), tall[16:48])


def test_reduction_averages_instead_of_picking_pixels():
    checks = np.zeros((320, 320, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    read = read_image(encoded(Image.fromarray(checks)))
    assert np.abs(read[4:-4, 4:-4].astype(int) - 127).max() < 4


def test_a_small_image_is_enlarged():
    assert (read_image(encoded(Image.new("RGB", (8, 8), "lime"))) == (0, 255, 0)).all()


def test_another_size_can_be_asked_for():
    assert read_image(encoded(Image.fromarray(smooth(100, 80))), 48).shape == (48, 48, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.png can't be read: No such file"):
        read_image(tmp_path / "nothing.png")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        read_image(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png is empty"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_image_is_refused(format):
    content = encoded(Image.fromarray(random_images(1)[0]), format)
    with pytest.raises(DataError, match=r"photo\.x is (a damaged or truncated|not a PNG)"):
        read_image(content[: len(content) // 2], name="photo.x")


@pytest.mark.parametrize("content", [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DataError, match="is not a PNG, JPEG, WebP, BMP, GIF or TIFF image"):
        read_image(content)


@pytest.mark.parametrize("side", [12_000, 10_001, 30_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    assert side * side > PIXEL_LIMIT
    with pytest.raises(DataError, match=re.escape(f"more than {PIXEL_LIMIT:,} are refused")):
        read_image(png_header(side, side))


@pytest.mark.parametrize("limit", [None, 1000])
def test_pillows_own_limit_of_pixels_is_not_in_the_way(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert read_image(encoded(Image.fromarray(smooth(200, 100)))).shape == (32, 32, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_millions_pixels_in_few_bytes_refused_and_in_many_read():
    with pytest.raises(DataError, match=r"photo\.png claims 4000 x 4000 pixels in \d+ bytes"):
        read_image(png_header(4000, 4000), name="photo.png")
    photo = encoded(Image.fromarray(smooth(4000, 3000)), "JPEG")
    np.testing.assert_allclose(read_image(photo), smooth(4000, 3000)[::94, 500:3500:94][:32, :32], atol=8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this many pixels and holds none."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, end)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def hasty_threads():
    """Threads take turns so often that any two of them meet everywhere."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_no_warning_of_pillow_leaks_from_any_thread():
    # Pillow warns of this EXIF block, which promises five entries and ends; warnings are errors in these tests.
    content = encoded(Image.fromarray(smooth()), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(content)).getexif()
    filters = warnings.filters[:]
    with ThreadPoolExecutor(8) as pool:
        for read in pool.map(read_image, [content] * 1000):
            assert read.shape == (32, 32, 3)
    assert warnings.filters == filters


def test_many_images_are_read_in_parallel_in_their_order():
    images = random_images(1200)
    files = [(str(row), encoded(Image.fromarray(image))) for row, image in enumerate(images)]
    reports = []
    read, broken, _ = read_images(files, report=lambda *progress: reports.append(progress))
    np.testing.assert_array_equal(read, images)
    assert broken == []
    assert reports[-1] == ("Decoding images", 1200, 1200)


@pytest.mark.parametrize("count", [10, 1200])
def test_broken_images_are_listed_and_the_others_read(count):
    images = random_images(count)
    files = [(str(row), encoded(Image.fromarray(image))) for row, image in enumerate(images)]
    places = [0, count // 2, count - 1]
    for place in places:
        files[place] = (f"picture {place}", b"no image")
    reports = []
    read, broken, _ = read_images(files, report=lambda *progress: reports.append(progress))
    np.testing.assert_array_equal(read, np.delete(images, places, axis=0))
    assert [place for place, _ in broken] == places
    assert all(message.startswith(f"picture {place} is not a PNG") for place, message in broken)
    assert reports[-1] == ("Decoding images", count, count)


def test_no_images_are_read_from_broken_files_alone():
    read, broken, _ = read_images([("a", b""), ("b", b"x")], 16)
    assert read.shape == (0, 16, 16, 3)
    assert [message.split(" ")[0] for _, message in broken] == ["a", "b"]


def test_resizing_gives_what_reading_a_file_gives():
    images = random_images(2, size=48)
    expected = np.stack([read_image(encoded(Image.fromarray(image))) for image in images])
    np.testing.assert_array_equal(resize_images(images, 32), expected)


def test_images_of_the_right_size_are_not_copied():
    images = random_images(2)
    assert resize_images(images, 32) is images


def test_padding_keeps_all_of_a_picture_between_grey_margins():
    wide = np.full((32, 64, 3), (200, 30, 10), np.uint8)
    read = read_image(encoded(Image.fromarray(wide)), crop="pad")
    assert (read[:7] == 121).all()
    assert (read[10:22] == (200, 30, 10)).all()
    assert (read[-7:] == 121).all()


def test_stretching_uses_the_whole_picture():
    halves = np.concatenate([np.zeros((32, 64, 3), np.uint8), np.full((32, 64, 3), 255, np.uint8)], axis=1)
    read = read_image(encoded(Image.fromarray(halves)), crop="stretch")
    assert (read[:, :14] < 5).all()
    assert (read[:, 18:] > 250).all()


@pytest.mark.parametrize("crop", CROPS)
def test_a_square_picture_is_the_same_whatever_the_crop(crop):
    content = encoded(Image.fromarray(smooth()))
    np.testing.assert_array_equal(read_image(content, crop=crop), read_image(content))


class _Counted:
    """A lock that counts how often it is held."""

    def __init__(self):
        self.times = 0

    def __enter__(self):
        self.times += 1

    def __exit__(self, *_):
        pass


def test_large_pictures_alone_wait_for_each_other(monkeypatch):
    lock = _Counted()
    monkeypatch.setattr("cifarnet.data.decoding.one_large", lock)
    monkeypatch.setattr("cifarnet.data.decoding.LARGE_PIXELS", 50 * 50)
    read_image(encoded(Image.new("RGB", (50, 50))))
    assert lock.times == 0
    read_image(encoded(Image.new("RGB", (50, 51))))
    assert lock.times == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_strips_of_a_picture_equal_the_whole(monkeypatch, mode):
    rng = np.random.default_rng(0)
    if mode == "I;16":
        content = encoded(Image.fromarray(rng.integers(0, 1 << 16, (32, 32), np.uint16)))
    else:
        rgba = Image.fromarray(rng.integers(0, 256, (32, 32, 4), np.uint8))
        image = rgba.convert("RGB").quantize(16) if mode == "P" else rgba.convert(mode)
        content = encoded(image, **({"transparency": bytes(range(0, 256, 16))} if mode == "P" else {}))
    whole = read_image(content)
    monkeypatch.setattr("cifarnet.data.decoding._STRIP_PIXELS", 100)
    np.testing.assert_array_equal(read_image(content), whole)
    assert len(np.unique(whole)) > 10


def test_a_strip_has_at_least_a_row(monkeypatch):
    monkeypatch.setattr("cifarnet.data.decoding._STRIP_PIXELS", 1)
    assert (read_image(encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 0)))) == 255).all()


def test_a_large_image_size_for_many_images_is_refused():
    images = np.broadcast_to(np.zeros(3, np.uint8), (50_000, 32, 32, 3))
    with pytest.raises(DataError, match="50,000 images of 32 x 32 pixels must not be enlarged to 512 x 512"):
        resize_images(images, 512)
