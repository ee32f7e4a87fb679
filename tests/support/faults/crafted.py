"""Weight files that somebody made with intent: each must be refused, without reading elsewhere and without waiting.

Each maker gets the path of a good weight file of ResNet-8, which it changes or replaces, and a folder with a file
``secret`` that lies outside. All but the few that are no HDF5 at all are sealed again afterwards, since whoever can
craft a file can seal it.
"""

import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from cifarnet import hdf5
from cifarnet.models.spec import ModelSpec
from cifarnet.weights.formats.hdf5 import HEADER
from tests.support.tampering import edit

BIAS = "weights/conv2d_1/bias"
SECRET = "secret.bin"

Maker = Callable[[Path, Path], None]


def _header(**changes: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs[HEADER] = json.dumps({**json.loads(file.attrs[HEADER]), **changes})

    return change


def _statistics(arrays: dict[str, np.ndarray | None], **header: object) -> Callable[[h5py.File], None]:
    """Add embedding statistics that would be right without the ``arrays`` and the changes of the ``header``."""
    right = {"means": np.zeros((10, 64), "f4"), "whitening": np.eye(64, dtype="f4")}

    def change(file: h5py.File) -> None:
        _header(**{"reject_beyond": 1.0, **header})(file)
        for name, array in {**right, **arrays}.items():
            if array is not None:
                file.create_dataset(f"embeddings/{name}", data=array)

    return change


def _spec(**changes: object) -> Callable[[h5py.File], None]:
    return _header(spec={**ModelSpec("resnet8").to_dict(), **changes})


def _first_spec(**changes: object) -> Callable[[h5py.File], None]:
    return _header(format=1, spec={"depth": 8, "classes": 10, "image_size": 32, **changes})


def _instead(put: Callable[[h5py.File, Path], object], address: str = BIAS) -> Maker:
    """``put`` something in the place of what lies at ``address``."""

    def make(path: Path, outside: Path) -> None:
        def change(file: h5py.File) -> None:
            del file[address]
            put(file, outside)

        edit(path, change)

    return make


def _edited(change: Callable[[h5py.File], object]) -> Maker:
    return lambda path, outside: edit(path, change)


def _virtual(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource(str(outside / "secret.h5"), "values", (10,))
    file.create_virtual_dataset(BIAS, layout)


def _external(file: h5py.File, outside: Path) -> None:
    file.create_dataset(BIAS, (10,), "f4", external=[(str(outside / SECRET), 0, h5py.h5f.UNLIMITED)])


def _external_relative(file: h5py.File, outside: Path) -> None:
    file.create_dataset(BIAS, (10,), "f4", external=[(SECRET, 0, 40)])


def _huge_attribute(file: h5py.File) -> None:
    # Beyond 64 KB attributes need the dense storage of newer formats.
    file.attrs.create(HEADER, "x" * 60_000)


def _variable_length_bomb(file: h5py.File) -> None:
    file.attrs.create(HEADER, "[" * 2_000_000, dtype=h5py.string_dtype())


def _array_header(file: h5py.File) -> None:
    del file.attrs[HEADER]
    file.attrs[HEADER] = np.zeros(1000, "f8")


def _reference_header(file: h5py.File) -> None:
    del file.attrs[HEADER]
    file.attrs.create(HEADER, file["weights"].ref, dtype=h5py.ref_dtype)


def _many_groups(file: h5py.File) -> None:
    for k in range(3000):
        file.create_group(f"weights/g{k}")


def _deep_groups(file: h5py.File) -> None:
    group = file["weights"]
    for _ in range(2000):
        group = group.create_group("g")


def _cycle(file: h5py.File) -> None:
    file["weights/conv2d_1/again"] = file["weights"]


def _swapped(file: h5py.File) -> None:
    first, second = "weights/conv2d/kernel", "weights/conv2d_1/kernel"
    values = file[first][()], file[second][()]
    del file[first], file[second]
    file[first], file[second] = values[1], values[0]


def _not_finite(file: h5py.File) -> None:
    file[BIAS][0] = np.inf


def _unknown_filter(file: h5py.File, _: Path) -> None:
    # 32015 is Zstandard's, which comes as a plugin; written through the optional flag, without having it.
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((10,))
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((10,))
    h5py.h5d.create(file["weights/conv2d_1"].id, b"bias", h5py.h5t.IEEE_F32LE, space, creation)


def _large_chunks(file: h5py.File, _: Path) -> None:
    # 2 GiB a chunk, compressed to nearly nothing, behind ten numbers.
    file.create_dataset(BIAS, (10,), "f4", maxshape=(None,), chunks=(2**29,), compression="gzip")


def _shape_bomb(file: h5py.File, _: Path) -> None:
    file.create_dataset(BIAS, (2**40,), "f4", chunks=(2**20,), compression="gzip")


def _original(change: Callable[[h5py.File, Path], object] = lambda file, outside: None) -> Maker:
    """A file in the original project's layout, and a ``change``."""

    def make(path: Path, outside: Path) -> None:
        from cifarnet.weights.formats import load_weights

        tensors = load_weights(path).tensors
        with h5py.File(path, "w") as file:
            for name, values in tensors.items():
                file[f"{name.split('/')[0]}/{name}:0"] = values
            change(file, outside)

    return make


def _original_instead(address: str, put: Callable[[h5py.File, Path], object]) -> Maker:
    def change(file: h5py.File, outside: Path) -> None:
        del file[address]
        put(file, outside)

    return _original(change)


def _moved_out(address: str) -> Callable[[h5py.File, Path], None]:
    """An external link to what lies at ``address``, moved: who follows it reads the whole, innocent network."""

    def change(file: h5py.File, outside: Path) -> None:
        with h5py.File(outside / "secret.h5", "a") as secret:
            parent, _, name = address.rpartition("/")
            file.copy(address, secret.require_group(parent or "/"), name)
        del file[address]
        file[address] = h5py.ExternalLink(str(outside / "secret.h5"), address)

    return change


def _moved_out_of_own_layout(address: str) -> Maker:
    return lambda path, outside: edit(path, lambda file: _moved_out(address)(file, outside))


def _set(address: str, value: Callable[[], object]) -> Callable[[h5py.File, Path], None]:
    def put(file: h5py.File, _: Path) -> None:
        file[address] = value()

    return put


def _soft_link(file: h5py.File) -> None:
    file.move(BIAS, "spare")
    file[BIAS] = h5py.SoftLink("/spare")


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("a pickle was run",)


def _no_hdf5(content: bytes) -> Maker:
    return lambda path, outside: path.write_bytes(content) and None


def _truncated_with_seal(path: Path, outside: Path) -> None:
    content = path.read_bytes()[hdf5.BLOCK : -5000]
    path.write_bytes(hdf5._seal(content) + content)


def _large(path: Path, outside: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(hdf5.LARGEST + 1)  # Sparse: it takes no space.


def _bytes(change: Callable[[bytearray], object]) -> Maker:
    """``change`` the bytes that HDF5 sees, whose addresses count from the beginning of these, and seal them."""

    def make(path: Path, outside: Path) -> None:
        content = bytearray(path.read_bytes()[hdf5.BLOCK :])
        change(content)
        path.write_bytes(hdf5._seal(content) + content)

    return make


def _put(content: bytearray, place: int, value: int, size: int = 8) -> None:
    content[place : place + size] = value.to_bytes(size, "little")


def _root(content: bytearray) -> int:
    """The address of the first message in the header of the root group, that of its symbol table."""
    return int.from_bytes(content[64:72], "little") + 16


def _index(content: bytearray) -> int:
    """The address of the root's index."""
    return int.from_bytes(content[80:88], "little")


def _after(signature: bytes, place: int, value: int, size: int = 8) -> Maker:
    """Put ``value`` ``place`` bytes from the first ``signature`` on."""
    return _bytes(lambda content: _put(content, content.index(signature) + place, value, size))


def _message(kind: int, change: Callable[[bytearray, int], object]) -> Maker:
    """``change`` the content of the header message ``kind`` of the first tensor with 10 numbers."""

    def patch(content: bytearray) -> None:
        shape = content.index(struct.pack("<BBB5xQQ", 1, 1, 1, 10, 10))  # A data space of (10,).
        begin = shape
        while int.from_bytes(content[begin - 8 : begin - 6], "little") != kind:
            begin += int.from_bytes(content[begin - 6 : begin - 4], "little") + 8
        change(content, begin)

    return _bytes(patch)


def _share(content: bytearray, begin: int) -> None:
    first = content.index(struct.pack("<HHBxxxBB", 8, 24, 0, 3, 1)) + 10  # The address in a layout.
    content[begin + 2 : begin + 10] = content[first : first + 8]


def _header_loop(content: bytearray) -> None:
    # The root's header goes on in itself, for 65,535 messages.
    first = _root(content)
    content[first : first + 24] = struct.pack("<HHBxxxQQ", 16, 16, 0, first, 24)
    _put(content, first - 14, 2**16 - 1, 2)


def _index_loop(content: bytearray) -> None:
    index = _index(content)
    _put(content, index + 32, index)


def _index_of_levels(content: bytearray) -> None:
    index = _index(content)
    content[index + 5] = 255
    _put(content, index + 6, 2**16 - 1, 2)
    for place in range(index + 32, len(content) - 8, 16):
        _put(content, place, index)


def _twice_compressed(file: h5py.File, _: Path) -> None:
    # Ten numbers that unpack to 100 MB on the way.
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((10,))
    creation.set_deflate(9)
    creation.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    space = h5py.h5s.create_simple((10,))
    data = h5py.h5d.create(file["weights/conv2d_1"].id, b"bias", h5py.h5t.IEEE_F32LE, space, creation)
    data.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(10**8), 9), 9))


def _stored(**options: object) -> Maker:
    """Ten numbers, stored with ``options`` of h5py's."""
    return _instead(lambda file, _: file.create_dataset(BIAS, data=np.zeros(10, "f4"), **options))


def _compact(file: h5py.File, _: Path) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((10,))
    h5py.h5d.create(file["weights/conv2d_1"].id, b"bias", h5py.h5t.IEEE_F32LE, space, creation)


def _committed_type(file: h5py.File, _: Path) -> None:
    file["type"] = np.dtype("f4")
    file.create_dataset(BIAS, (10,), dtype=file["type"])


def _of_version(libver: str) -> Maker:
    """The same file in a newer format."""

    def make(path: Path, outside: Path) -> None:
        with h5py.File(path, "r") as old, h5py.File(outside / "new.h5", "w", libver=libver) as new:
            new.attrs[HEADER] = old.attrs[HEADER]
            old.copy("weights", new)
        path.write_bytes((outside / "new.h5").read_bytes())

    return make


MODEL_CONFIG = json.dumps({"class_name": "Lambda", "config": {"function": ["print('code was run')", None, None]}})

CRAFTED: dict[str, Maker] = {
    "values in another file (external storage)": _instead(_external),
    "values in another file, by a relative path": _instead(_external_relative),
    "values of a virtual data set": _instead(_virtual),
    "an external link to a tensor": _moved_out_of_own_layout(BIAS),
    "an external link to a group": _moved_out_of_own_layout("weights/conv2d_1"),
    "an external link to all weights": _moved_out_of_own_layout("weights"),
    "a soft link to a tensor": _edited(_soft_link),
    "a soft link to itself": _instead(_set(BIAS, lambda: h5py.SoftLink(f"/{BIAS}"))),
    "a shape of 4 TiB": _instead(_shape_bomb),
    "chunks of 2 GiB behind ten numbers": _instead(_large_chunks),
    "a filter that has to be loaded": _instead(_unknown_filter),
    "whole numbers instead of fractions": _instead(_set(BIAS, lambda: np.zeros(10, np.int32))),
    "text instead of numbers": _instead(_set(BIAS, lambda: np.array([b"0"] * 10))),
    "variable-length text instead of numbers": _instead(
        lambda file, _: file.create_dataset(BIAS, data=["0"] * 10, dtype=h5py.string_dtype())
    ),
    "object references instead of numbers": _instead(
        lambda file, _: file.create_dataset(BIAS, (10,), dtype=h5py.ref_dtype)
    ),
    "compound values instead of numbers": _instead(_set(BIAS, lambda: np.zeros(10, [("a", "f4"), ("b", "f4")]))),
    "complex numbers": _instead(_set(BIAS, lambda: np.zeros(10, np.complex64))),
    "a data set without a shape": _instead(lambda file, _: file.create_dataset(BIAS, data=h5py.Empty("f4"))),
    "a group in the place of a tensor": _instead(lambda file, _: file.create_group(BIAS)),
    "a tensor in the place of a group": _instead(_set("weights/conv2d_1", lambda: [1.0]), "weights/conv2d_1"),
    "a tensor too few": _instead(lambda file, _: None),
    "a tensor too many": _edited(lambda file: file.create_dataset("weights/more", data=[1.0])),
    "a tensor of another network beside them": _edited(
        lambda file: file.create_dataset("weights/sequential_9/kernel", data=np.zeros((3, 3)))
    ),
    "two tensors swapped": _edited(_swapped),
    "an infinite weight": _edited(_not_finite),
    "three thousand groups": _edited(_many_groups),
    "two thousand groups in one another": _edited(_deep_groups),
    "a group that holds itself, with a tensor too many": _edited(
        lambda file: (_cycle(file), file.create_dataset("weights/more", data=[1.0]))
    ),
    "a depth of 6e12 + 2": _edited(_first_spec(depth=6 * 10**12 + 2)),
    "a depth of 2,006": _edited(_first_spec(depth=2006)),
    "a network with a part that none has": _edited(_header(spec={"depth": 0, "classes": 10, "image_size": 32, "x": 1})),
    "a depth that is a fraction": _edited(_first_spec(depth=8.0)),
    "a depth that is text": _edited(_first_spec(depth="8")),
    "a negative depth": _edited(_first_spec(depth=-4)),
    "a name of a depth of 2,006": _edited(_spec(name="resnet2006")),
    "a name with a number of 400 digits": _edited(_spec(name="resnet" + "9" * 400)),
    "a name that no network has": _edited(_spec(name="resnet21")),
    "a name that is a number": _edited(_spec(name=20)),
    "a name of a million characters": _edited(_spec(name="r" * 10**6)),
    "a name with a line break": _edited(_spec(name="resnet8\n")),
    "ten thousand million classes": _edited(_spec(classes=10**10)),
    "images of a million pixels' side": _edited(_spec(image_size=10**6)),
    "class names that are no texts": _edited(_header(class_names=[1] * 10)),
    "fewer class names than classes": _edited(_header(class_names=["a"])),
    "a standard deviation of zero": _edited(_header(normalization={"mean": 0.0, "std": 0.0})),
    "a normalization that names a file": _edited(_header(normalization={"mean": "/etc/passwd", "std": 1.0})),
    "a recipe that is a list": _edited(_header(recipe=[])),
    "a recipe without a name": _edited(_header(recipe={"a": 1})),
    "an accuracy of four hundred digits": _edited(_header(accuracy=10**400)),
    "a temperature that float32 takes for zero": _edited(_header(temperature=1e-50)),
    "a rejection threshold that is a text": _edited(_header(reject_below="x")),
    "a distance threshold that is a text": _edited(_statistics({}, reject_beyond="x")),
    "a distance threshold below zero": _edited(_statistics({}, reject_beyond=-1)),
    "a distance threshold of four hundred digits": _edited(_statistics({}, reject_beyond=10**400)),
    "a distance threshold without statistics": _edited(_header(reject_beyond=1.0)),
    "statistics without a distance threshold": _edited(_statistics({}, reject_beyond=None)),
    "statistics without means": _edited(_statistics({"means": None})),
    "statistics of another size": _edited(_statistics({"whitening": np.zeros((64, 63), "f4")})),
    "statistics of a million numbers": _edited(_statistics({"whitening": np.zeros((1000, 1000), "f4")})),
    "statistics that are whole numbers": _edited(_statistics({"means": np.zeros((10, 64), "i4")})),
    "statistics that are not numbers": _edited(_statistics({"means": np.full((10, 64), np.nan, "f4")})),
    "statistics too large for float32": _edited(_statistics({"means": np.full((10, 64), 1e300)})),
    "statistics with an array too many": _edited(_statistics({"more": np.zeros(3, "f4")})),
    "data that are a list": _edited(_header(trained_on=["/etc"])),
    "data without a name": _edited(_header(trained_on={"data_path": "/etc"})),
    "a path of data with a null character": _edited(_header(trained_on={"data": "x", "data_path": "/etc\0x"})),
    "a fraction held out of four hundred digits": _edited(_header(trained_on={"data": "x", "test_split": 10**400})),
    "a seed of five thousand digits": _edited(_header(trained_on={"data": "x", "seed": 10**4200})),
    "a header of 60,000 letters": _edited(_huge_attribute),
    "a header of two million brackets": _edited(_variable_length_bomb),
    "a header that is an array": _edited(_array_header),
    "a header that is a reference": _edited(_reference_header),
    "the original layout without a layer": _original_instead("sequential_1", lambda file, _: None),
    "the original layout with an external link to its units": _original(_moved_out("sequential")),
    "the original layout with an external link to its classes": _original(_moved_out("conv2d_1/conv2d_1/bias:0")),
    "the original layout with 10^9 classes": _original_instead(
        "conv2d_1/conv2d_1/bias:0",
        lambda file, _: file.create_dataset("conv2d_1/conv2d_1/bias:0", (10**9,), "f4", chunks=(2**20,)),
    ),
    "the original layout, a tensor without its values": _original_instead(
        "conv2d_1/conv2d_1/bias:0", lambda file, outside: file.create_group("conv2d_1/conv2d_1/bias:0")
    ),
    "a Keras model whose model_config names code": lambda path, outside: _keras_model(path),
    "a pickle called .h5": _no_hdf5(pickle.dumps(_Runs())),
    "a zip called .h5": _no_hdf5(b"PK\x03\x04" + bytes(1000)),
    "a seal around nothing": _no_hdf5(hdf5._seal(b"")),
    "a seal around no HDF5": _no_hdf5(hdf5._seal(b"x" * 3000) + b"x" * 3000),
    "HDF5's signature and nothing else": _no_hdf5(hdf5.SIGNATURE),
    "HDF5's signature and noise": _no_hdf5(hdf5.SIGNATURE + np.random.default_rng(0).bytes(5000)),
    "cut short and sealed again": _truncated_with_seal,
    "a heap of another size": _after(b"GCOL", 8, 4104),
    "a heap of no size": _after(b"GCOL", 8, 0),
    "a heap of 2^64 bytes": _after(b"GCOL", 8, 2**64 - 1),
    "a text in a heap of no size": _after(b"GCOL", 24, 0),
    "a text in a heap of 2^64 bytes": _after(b"GCOL", 24, 2**64 - 1),
    "a header that goes on in itself": _bytes(_header_loop),
    "an index that leads to itself": _bytes(_index_loop),
    "an index of 255 levels": _bytes(_index_of_levels),
    "an index without entries": _bytes(lambda content: _put(content, _index(content) + 6, 0, 2)),
    "an index of 65,535 entries": _bytes(lambda content: _put(content, _index(content) + 6, 2**16 - 1, 2)),
    "an index at the end": _bytes(lambda content: _put(content, 80, len(content)) or _put(content, 112, len(content))),
    "65,535 members": _after(b"SNOD", 6, 2**16 - 1, 2),
    "a name outside its heap": _after(b"SNOD", 8, 2**40),
    "a member that leads to the root": _after(b"SNOD", 16, 96),
    "a heap of names of 2^63 bytes": _after(b"HEAP", 8, 2**63),
    "names at the end of all": _after(b"HEAP", 24, 2**64 - 1),
    "an end beyond the file": _bytes(lambda content: _put(content, 40, 2**40)),
    "a base address elsewhere": _bytes(lambda content: _put(content, 24, 0)),
    "a superblock of version 2": _bytes(lambda content: _put(content, 8, 2, 1)),
    "the newest format": _of_version("latest"),
    "the format of HDF5 1.8": _of_version("v108"),
    "a side of 2^63": _message(1, lambda content, begin: _put(content, begin + 8, 2**63)),
    "a side of 2^64 - 1": _message(1, lambda content, begin: _put(content, begin + 8, 2**64 - 1)),
    "a side of zero": _message(1, lambda content, begin: _put(content, begin + 8, 0)),
    "255 sides": _message(1, lambda content, begin: _put(content, begin + 1, 255, 1)),
    "numbers of 2^32 bytes": _message(3, lambda content, begin: _put(content, begin + 4, 2**32 - 1, 4)),
    "an exponent of 255 bits": _message(3, lambda content, begin: _put(content, begin + 13, 255, 1)),
    "values beyond the end": _message(8, lambda content, begin: _put(content, begin + 2, len(content) - 39)),
    "values nowhere": _message(8, lambda content, begin: _put(content, begin + 2, 2**64 - 1)),
    "more values than the shape": _message(8, lambda content, begin: _put(content, begin + 10, 2**40)),
    "values of another tensor": _message(8, _share),
    "compressed twice": _instead(_twice_compressed),
    "compressed": _stored(compression="gzip"),
    "compressed by LZF": _stored(compression="lzf"),
    "with checksums": _stored(fletcher32=True),
    "shuffled": _stored(shuffle=True),
    "in chunks": _stored(chunks=(3,)),
    "in a header": _instead(_compact),
    "a type of its own": _instead(_committed_type),
    "the other byte order": _instead(_set(BIAS, lambda: np.zeros(10, ">f4"))),
    "truths instead of numbers": _instead(_set(BIAS, lambda: np.zeros(10, bool))),
    "a float64 beyond float32": _instead(_set(BIAS, lambda: np.full(10, 1e300))),
    "a tensor in two places": _edited(lambda file: file.__setitem__("weights/more", file[BIAS])),
    "a header in ASCII": _edited(
        lambda file: file.attrs.create(HEADER, file.attrs[HEADER].encode(), dtype=h5py.string_dtype("ascii"))
    ),
    "one byte more than any weight file has": _large,
}


def _keras_model(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = MODEL_CONFIG
        file.attrs["keras_version"] = "3.15.1"
        file.create_dataset("model_weights/dense/kernel:0", data=np.zeros((3, 3)))


def save_secrets(outside: Path) -> None:
    """What none of the files must bring to light: ones, as raw bytes and as HDF5."""
    outside.mkdir()
    (outside / SECRET).write_bytes(np.ones(10, np.float32).tobytes())
    with h5py.File(outside / "secret.h5", "w") as file:
        file["values"] = np.ones(10, np.float32)
        for name in ("kernel", "bias"):
            file[name] = np.ones(10, np.float32)
