"""Tensors of safetensors files."""

import struct

import numpy as np
import pytest

from cifarnet.errors import WeightsError
from cifarnet.weights.formats.safetensors import read_tensors, recognizes
from tests.support.checkpoints import safetensors, safetensors_file

ARRAYS = {
    "conv.weight": np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32),
    "conv.bias": np.ones(2),
    "half": np.ones(3, np.float16),
    "count": np.array(7),
}


def read(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert recognizes(content[:32])
    return read_tensors(path)


def test_tensors_and_their_types_are_read(tmp_path):
    tensors = read(tmp_path, safetensors_file(ARRAYS))
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].values(), array.astype(np.float32))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    header = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    tensors = read(tmp_path, safetensors(header, struct.pack("<HH", 0x3F80, 0xC048)))
    np.testing.assert_array_equal(tensors["x"].values(), [1.0, -3.125])


def test_what_the_package_safetensors_writes_is_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    tensors = read(tmp_path, package.save(ARRAYS))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].values(), array.astype(np.float32))


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "its header must have at most 4,194,304 bytes"),
        (struct.pack("<Q", 100) + b"{}", "end before the file. Received: 100 bytes"),
        (struct.pack("<Q", 1) + b"{", "not a valid safetensors file"),
        (struct.pack("<Q", 30) + b'{"a": {}, "a": {}}'.ljust(30), 'has the field "a" more than once'),
        (safetensors({"x": []}, b""), "must have data_offsets, dtype, shape"),
        (safetensors(entry(more=1), bytes(8)), "must have data_offsets, dtype, shape"),
        (safetensors(entry(dtype="F8_E4M3"), bytes(8)), "must be of one of the types F64"),
        (safetensors(entry(dtype=["F32"]), bytes(8)), "must be of one of the types F64"),
        (safetensors(entry(shape=[-2]), bytes(8)), "must have a shape"),
        (safetensors(entry(shape=[True, 2]), bytes(8)), "must have a shape"),
        (safetensors(entry(shape=[1.0, 2]), bytes(8)), "must have a shape"),
        (safetensors(entry(shape=[1] * 9), bytes(8)), "must have a shape of at most 8 sizes"),
        (safetensors(entry(shape=[2**39] * 8), bytes(8)), "must have data_offsets within 8 bytes"),
        (safetensors(entry(data_offsets=[0, 2**40 - 1]), bytes(8)), "must have data_offsets within 8 bytes"),
        (safetensors(entry(data_offsets=[8, 0]), bytes(8)), "must have data_offsets within 8 bytes"),
        (safetensors(entry(data_offsets=[-8, 0]), bytes(8)), "must have two data_offsets"),
        (safetensors(entry(data_offsets=[0]), bytes(8)), "must have two data_offsets"),
        (safetensors(entry(), bytes(12)), "its tensors must have 12 bytes. Received: 8"),
        (safetensors({**entry(), "y": entry()["x"]}, bytes(8)), "without an overlap or a gap"),
        (safetensors(entry(data_offsets=[4, 12]), bytes(12)), "without an overlap or a gap"),
        (safetensors({f"{k}": 0 for k in range(20_001)}, b""), "at most 20,000 tensors"),
        (safetensors({"x": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}, b""), "nested more than 16 deep"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, content, message):
    with pytest.raises(WeightsError, match=message) as raised:
        read(tmp_path, content)
    assert len(str(raised.value)) < 600
