"""Checkpoints as ``torch.save`` lays them out, and safetensors files, written without PyTorch."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.weights.formats.layouts import Layout

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def many(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + many(*arguments) + b"R"


def ordered_dict(items: Mapping[str, bytes]) -> bytes:
    return named("collections", "OrderedDict") + b")R" + dictionary(items)[1:]


def dictionary(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def storage(key: str, count: int, kind: str = "FloatStorage", *others: bytes) -> bytes:
    return many(text("storage"), named("torch", kind), text(key), text("cpu"), number(count), *others) + b"Q"


def tensor(stored: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    return call(
        named("torch._utils", "_rebuild_tensor_v2"),
        stored,
        number(offset),
        many(*map(number, shape)),
        many(*map(number, strides)),
        b"\x89",
        named("collections", "OrderedDict") + b")R",
    )


def checkpoint(
    pickled: bytes, storages: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, **others: bytes
) -> bytes:
    """A checkpoint of the object ``pickled``, without protocol and end."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        for name, content in others.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def legacy_checkpoint(pickled: bytes, storages: Mapping[str, tuple[int, bytes]], version: int = 1001) -> bytes:
    """A checkpoint of PyTorch before 1.6. Storages have a number of elements and their bytes."""
    magic = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
    machine = dictionary({"protocol_version": number(version), "little_endian": b"\x88"})
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    pickles = [b"\x80\x02" + each + b"." for each in (magic, number(version), machine, pickled, keys)]
    return b"".join(pickles) + b"".join(struct.pack("<q", count) + content for count, content in storages.values())


def state_dict(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, bytes]]:
    """The pickled dictionary of tensors, and the storages."""
    tensors, storages = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)[: array.ndim]
        kind = STORAGES[array.dtype.name]
        tensors[name] = tensor(storage(str(key), array.size, kind), array.shape, strides)
        storages[str(key)] = array.tobytes()
    return ordered_dict(tensors), storages


def torch_file(arrays: Mapping[str, np.ndarray], wrapper: str | None = None) -> bytes:
    """What ``torch.save`` writes for a dictionary of tensors, alone or as ``wrapper`` of a larger dictionary."""
    pickled, storages = state_dict(arrays)
    if wrapper:
        pickled = dictionary({wrapper: pickled, "best_prec1": b"G" + struct.pack(">d", 91.5)})
    return checkpoint(pickled, storages, byteorder=b"little", version=b"3\n")


def safetensors_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, array in arrays.items():
        begin = len(data)
        data += array.tobytes()
        place = [begin, len(data)]
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
    return safetensors({"__metadata__": {"format": "pt"}, **header}, data)


def safetensors(header: object, data: bytes) -> bytes:
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data


def arrays_of(layout: Layout, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Random tensors of ``spec`` by the names of ``layout``, in PyTorch's shapes."""
    rng, found = np.random.default_rng(0), {}
    weights = named_weights(describe(spec))
    for full, name in layout.names(spec).items():
        shape = weights[full].shape
        stored = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        found[name] = rng.uniform(0.5, 1.5, stored).astype(np.float32)
        if name.endswith("running_var"):
            found[name.replace("running_var", "num_batches_tracked")] = np.array(7)
    return found
