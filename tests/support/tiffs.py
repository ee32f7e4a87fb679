"""TIFF files of every kind, written byte by byte from the specification (TIFF 6.0), whatever Pillow can write."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 4, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
NO_COMPRESSION, DEFLATE = 1, 8


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    planar: bool = False,
    extra: Sequence[int] = (),
    compression: int = NO_COMPRESSION,
    predictor: bool = False,
    fill_order: int = 1,
    sample_format: int = UNSIGNED,
    tile: int | None = None,
    tags: dict[int, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """A TIFF of ``samples`` (height, width, channels), numbers of ``bits`` bits, in one strip a plane or in tiles.

    ``order`` is ``<`` or ``>``. ``tags`` adds or replaces tags: their type (3 SHORT, 4 LONG, 5 RATIONAL as pairs of
    numbers) and values.
    """
    height, width, channels = samples.shape
    planes = [samples[..., c : c + 1] for c in range(channels)] if planar else [samples]
    pieces = [piece for plane in planes for piece in _tiles(plane, tile)]
    strips = [_packed(piece, bits, order, predictor, sample_format) for piece in pieces]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    if fill_order == 2:  # Applies to the bytes of the file, compressed or not.
        strips = [np.packbits(np.unpackbits(np.frombuffer(s, np.uint8)), bitorder="little").tobytes() for s in strips]
    lengths = [len(strip) for strip in strips]
    where = {324: (4, lengths), 325: (4, lengths), 322: (4, [tile or 0]), 323: (4, [tile or 0])}
    if tile is None:
        where = {273: (4, lengths), 279: (4, lengths), 278: (4, [height])}
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * channels),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [channels]),
        **where,
    }
    if planar:
        entries[284] = (3, [2])
    if extra:
        entries[338] = (3, extra)
    if predictor:
        entries[317] = (3, [2])
    if fill_order != 1:
        entries[266] = (3, [fill_order])
    if sample_format != UNSIGNED:
        entries[339] = (3, [sample_format] * channels)
    return _file(entries | (tags or {}), strips, order)


def _tiles(plane: np.ndarray, tile: int | None) -> list[np.ndarray]:
    if tile is None:
        return [plane]
    height, width, _ = plane.shape
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)), mode="edge")
    return [
        padded[top : top + tile, left : left + tile] for top in range(0, height, tile) for left in range(0, width, tile)
    ]


def _packed(piece: np.ndarray, bits: int, order: str, predictor: bool, sample_format: int) -> bytes:
    """Rows of samples, each row padded to whole bytes."""
    if predictor:
        piece = np.concatenate([piece[:, :1], np.diff(piece.astype(np.int64), axis=1)], axis=1) % (1 << bits)
    if sample_format == FLOAT:
        return piece.astype(f"{order}f{bits // 8}").tobytes()
    if bits in (8, 16, 32):
        return (piece.astype(np.int64) % (1 << bits)).astype(f"{order}u{bits // 8}").tobytes()
    # Samples that are not whole bytes are packed from the highest bit on, in either byte order.
    rows = piece.reshape(len(piece), -1).astype(np.int64)
    ones = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def _file(entries: dict[int, tuple[int, Sequence[int]]], strips: list[bytes], order: str) -> bytes:
    codes = {3: "H", 4: "I", 5: "I"}
    start = 8 + 2 + 12 * len(entries) + 4
    directory, beyond = b"", b""

    def put(values: Sequence[int], kind: int) -> bytes:
        return struct.pack(f"{order}{len(values)}{codes[kind]}", *values)

    outside = {tag: put(values, kind) for tag, (kind, values) in entries.items() if len(put(values, kind)) > 4}
    data_start = start + sum(len(value) for value in outside.values())
    offsets = [data_start + sum(map(len, strips[:k])) for k in range(len(strips))]
    for tag in sorted(entries):
        kind, values = entries[tag]
        if tag in (273, 324):
            values = offsets
        content = put(values, kind)
        count = len(values) // (2 if kind == 5 else 1)
        if len(content) > 4:
            content, beyond = struct.pack(f"{order}I", start + len(beyond)), beyond + content
        directory += struct.pack(f"{order}HHI", tag, kind, count) + content.ljust(4, b"\0")
    magic = b"II" if order == "<" else b"MM"
    header = magic + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return header + directory + bytes(4) + beyond + b"".join(strips)
