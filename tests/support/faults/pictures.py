"""Pictures of every format, mutated: ``read_image`` must answer each soon, with an image or with a DataError.

A process of its own reads them, so that a crash or a hang of a decoder is seen and counted:

    python -m tests.support.faults.pictures COUNT SEED

prints, as JSON, how many were read and refused, and the longest time.
"""

import io
import json
import sys
import time
from typing import Any

import numpy as np
from PIL import Image

from cifarnet.data.images import read_image
from cifarnet.errors import DataError
from tests.support import pngs, tiffs
from tests.support.faults.apart import fuzz_apart

SLOWEST = 5.0
"""Seconds that one picture may take."""


def seeds() -> list[bytes]:
    """A small picture in every format and in the modes that it has."""
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(24), np.arange(20))[..., None] * np.array([3, 5, 2]) % 256
    pixels = (smooth + rng.integers(0, 20, (24, 20, 3))).clip(0, 255).astype(np.uint8)
    colour = Image.fromarray(pixels)
    modes = {"RGB": colour, "L": colour.convert("L"), "P": colour.quantize(16), "1": colour.convert("1")}
    modes["RGBA"] = Image.merge("RGBA", (*colour.split(), modes["L"]))
    modes["CMYK"] = colour.convert("CMYK")
    modes["I;16"] = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    found = []
    for suffix, wanted, options in (
        ("PNG", ("RGB", "L", "P", "1", "RGBA", "I;16"), {}),
        ("JPEG", ("RGB", "L", "CMYK"), {"exif": _orientation()}),
        ("JPEG", ("RGB",), {"progressive": True}),
        ("WEBP", ("RGB", "RGBA"), {}),
        ("WEBP", ("RGB",), {"lossless": True}),
        ("BMP", ("RGB", "L", "P", "1"), {}),
        ("GIF", ("P", "L"), {}),
        ("TIFF", ("RGB", "L", "RGBA", "I;16", "CMYK"), {}),
        ("TIFF", ("RGB", "L"), {"compression": "tiff_lzw"}),
        ("TIFF", ("1",), {"compression": "group4"}),
        ("TIFF", ("RGB",), {"compression": "jpeg"}),
        ("TIFF", ("RGB",), {"compression": "tiff_deflate"}),
    ):
        for mode in wanted:
            buffer = io.BytesIO()
            modes[mode].save(buffer, suffix, **options)
            found.append(buffer.getvalue())
    return found + _rare_kinds(pixels.astype(int))


def _rare_kinds(pixels: np.ndarray) -> list[bytes]:
    """What Pillow can't write: kinds that are decoded in a way of their own."""
    import pillow_heif

    grey, alpha = pixels[..., :1], pixels[..., 1:2]
    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels.astype(np.uint8))).save(heic)
    return [
        heic.getvalue(),
        tiffs.tiff(grey * 16, 12, tiffs.BLACK_IS_ZERO),
        tiffs.tiff(grey * 257, 16, tiffs.WHITE_IS_ZERO, order=">", compression=tiffs.DEFLATE, predictor=True),
        tiffs.tiff(pixels * 257, 16, tiffs.RGB, planar=True),
        tiffs.tiff(np.concatenate([pixels, alpha], -1), 8, tiffs.RGB, extra=(1,), tile=16),
        tiffs.tiff(pixels, 8, tiffs.CIELAB),
        tiffs.tiff(pixels, 8, tiffs.YCBCR, tags={530: (3, [1, 1])}),
        tiffs.tiff(grey, 8, tiffs.PALETTE, tags={320: (3, list(range(256)) * 3)}),
        pngs.png(pixels * 257, 16, pngs.RGB, chunks=[(b"tRNS", bytes(6))]),
        pngs.png(grey // 64, 2, pngs.GREY, interlaced=True, chunks=[(b"tRNS", bytes(2))]),
    ]


def _orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


# Lengths, counts and sizes that programs have stumbled over.
_NUMBERS = [value.to_bytes(size, order) for size in (1, 2, 4) for order in ("big", "little")
            for value in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)]  # fmt: skip


def mutated(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """``content`` after one to eight mutations; more of them near its beginning, where formats keep their sizes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if not data:
            break
        place = int(len(data) * rng.random() ** 2)
        kind = rng.integers(6)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place] = int(rng.integers(256))
        elif kind == 2:
            number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
            data[place : place + len(number)] = number
        elif kind == 3:
            del data[place : place + int(rng.integers(1, 40))]
        elif kind == 4:
            data[place:place] = data[place : place + int(rng.integers(1, 40))]
        else:
            other = others[int(rng.integers(len(others)))]
            start = int(rng.integers(len(other)))
            piece = other[start : start + int(rng.integers(1, 60))]
            data[place : place + len(piece)] = piece
    return bytes(data)


def read_mutated(count: int, seed: int) -> dict[str, Any]:
    """Read ``count`` mutated pictures in this process."""
    rng, originals = np.random.default_rng(seed), seeds()
    counts = {"read": 0, "refused": 0}
    slowest = 0.0
    for index in range(count):
        content = mutated(originals[index % len(originals)], originals, rng)
        started = time.monotonic()
        try:
            image = read_image(content, crop=("center", "pad", "stretch")[index % 3])
            assert image.shape == (32, 32, 3)
            assert image.dtype == np.uint8
            counts["read"] += 1
        except DataError:
            counts["refused"] += 1
        slowest = max(slowest, time.monotonic() - started)
    return {**counts, "slowest": slowest}


def fuzz(count: int, seed: int = 0) -> dict[str, Any]:
    """``read_mutated`` in a process of its own.

    Raises:
        AssertionError: when that crashed, hung or let an error through; seed and count repeat it.
    """
    return fuzz_apart("pictures", (count, seed), 60 + count * 0.05, SLOWEST)


if __name__ == "__main__":
    print(json.dumps(read_mutated(int(sys.argv[1]), int(sys.argv[2]))))
