"""Checkpoints and safetensors files that somebody made with intent: each must be refused soon, in little memory."""

import io
import struct
import zipfile
import zlib

from tests.support.checkpoints import (
    call,
    checkpoint,
    dictionary,
    many,
    named,
    number,
    ordered_dict,
    safetensors,
    storage,
    tensor,
    text,
)

_RUN = text("echo a pickle was run")
_FOUR = {"0": bytes(16)}


def _pickled(content: bytes) -> bytes:
    return checkpoint(content, _FOUR)


def _stacked(module: str, name: str) -> bytes:
    return b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"


def _tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    return _pickled(ordered_dict({"x": tensor(storage("0", count), shape, strides, offset)}))


def _parts(shape: bytes, strides: bytes, offset: bytes = number(0)) -> bytes:
    function = named("torch._utils", "_rebuild_tensor_v2")
    return _pickled(dictionary({"x": call(function, storage("0", 4), offset, shape, strides)}))


def _identity(*items: bytes) -> bytes:
    return _pickled(dictionary({"x": many(*items) + b"Q"}))


def _duplicated() -> bytes:
    """A checkpoint with two files of one name. zipfile would warn, so the second one is renamed afterwards."""
    content = checkpoint(ordered_dict({"x": tensor(storage("0", 4), (4,), (1,))}), {"0": bytes(16), "1": bytes(16)})
    return content.replace(b"archive/data/1", b"archive/data/0")


def _many_files(count: int) -> bytes:
    """A zip file with a directory of ``count`` empty files, all at the same place."""
    name = b"a/data.pkl"
    fields = struct.pack("<HHHIIIHH", 0, 0, 0, 0, 0, 0, len(name), 0)
    local = struct.pack("<IHH", 0x04034B50, 20, 0) + fields + name
    entry = struct.pack("<IHHH", 0x02014B50, 20, 20, 0) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    directory = entry * count
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 65535, 65535, len(directory), len(local), 0)
    return local + directory + end


def _bomb() -> bytes:
    """A pickle of 1 GiB of zeros, compressed to 1 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)) + packer.flush()
    name = b"a/data.pkl"
    fields = struct.pack("<HHHIIIHH", 8, 0, 0, 0, len(packed), 1 << 30, len(name), 0)
    local = struct.pack("<IHH", 0x04034B50, 20, 0) + fields + name + packed
    entry = struct.pack("<IHHH", 0x02014B50, 20, 20, 0) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + entry + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(local), 0)


def _other_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photos/cat.png", b"")
    return file.getvalue()


_GOOD = _tensor((2, 2), (2, 1))

CHECKPOINTS = {
    # name: (content, part of the message)
    "os.system": (_pickled(call(named("os", "system"), _RUN)), "asks for os.system"),
    "posix.system": (_pickled(call(named("posix", "system"), _RUN)), "asks for posix.system"),
    "eval": (_pickled(call(named("builtins", "eval"), text("print('a pickle was run')"))), "asks for builtins.eval"),
    "getattr": (_pickled(call(named("builtins", "getattr"), text("a"), text("b"))), "asks for builtins.getattr"),
    "os.system from the stack": (_pickled(_stacked("os", "system") + many(_RUN) + b"R"), "asks for os.system"),
    "an attribute of an allowed global": (
        _pickled(_stacked("collections", "OrderedDict.fromkeys") + many(_RUN) + b"R"),
        "asks for collections.OrderedDict.fromkeys",
    ),
    "torch.load": (_pickled(call(named("torch", "load"), text("x"))), "asks for torch.load"),
    "a global of numbers": (_pickled(number(1) + number(2) + b"\x93"), "a global without a name"),
    "a module of lists": (_pickled(b"]]\x93"), "a global without a name"),
    "the opcode INST": (_pickled(b"(ios\nsystem\n"), "asks for the opcode INST"),
    "the opcode OBJ": (_pickled(b"(" + named("collections", "OrderedDict") + b"o"), "asks for the opcode OBJ"),
    "the opcode NEWOBJ": (_pickled(named("collections", "OrderedDict") + b")\x81"), "asks for the opcode NEWOBJ"),
    "an extension": (_pickled(b"\x82\x01"), "asks for the opcode EXT1"),
    "a call of a type of storages": (
        _pickled(call(named("torch", "FloatStorage"), number(9))),
        "a call of no function",
    ),
    "a call of a text": (_pickled(text("x") + b")R"), "a call of no function"),
    "a call of a persistent id": (_pickled(storage("0", 4) + b")R"), "a call of no function"),
    "a dictionary made of items": (_pickled(call(named("collections", "OrderedDict"), b"]")), "damaged"),
    "a state for a tensor": (_pickled(tensor(storage("0", 4), (4,), (1,)) + b"}b"), "a value of another kind"),
    "nested tuples as a key": (_pickled(b"})" + b"\x85" * 20_000 + b"K\x01s"), "a key that is no text"),
    "keys that collide": (_pickled(b"}" + number(2**61 - 1) + b"Ns"), "a key that is no text"),
    "tuples that double": (
        _pickled(b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(60))),
        "must hold a dictionary",
    ),
    "nested lists": (_pickled(b"]" * 20_000 + b"a" * 19_999), "must hold a dictionary"),
    "a list in itself": (_pickled(b"]q\x00h\x00a"), "must hold a dictionary"),
    "a dictionary in itself": (_pickled(b"}q\x00" + text("net") + b"h\x00s"), "no tensors of a network"),
    "a number of 10 million digits": (_pickled(b"I" + b"9" * 10_000_000 + b"\n"), "damaged"),
    "a text of an exabyte": (_pickled(b"\x8d" + struct.pack("<Q", 1 << 62)), "damaged"),
    "a million opcodes": (_pickled(b"N0" * 500_000), "asks for"),
    "a pickle that ends early": (_pickled(b"}(")[:-60] + _GOOD[-60:], "damaged"),
    "an empty stack": (_pickled(b""), "damaged"),
    "a huge shape": (_tensor((2**39, 2**39), (1, 1)), "elements outside its storage of 4"),
    "a shape whose size overflows": (_tensor((2**32, 2**32), (0, 0)), "elements outside its storage of 4"),
    "one value in many places": (_tensor((2**30,), (0,)), "elements outside its storage of 4"),
    "negative strides": (_tensor((4,), (-1,), 3), "without a storage, a shape or strides"),
    "strides beyond the storage": (_tensor((2, 2), (3, 1)), "elements outside its storage of 4"),
    "a negative offset": (_tensor((4,), (1,), -1), "elements outside its storage of 4"),
    "an offset beyond the storage": (_tensor((4,), (1,), 1), "elements outside its storage of 4"),
    "a huge offset": (_tensor((1,), (1,), 2**62), "elements outside its storage of 4"),
    "a hundred axes": (_tensor((1,) * 100, (1,) * 100), "without a storage, a shape or strides"),
    "more axes than strides": (_tensor((2, 2), (1,)), "other axes than strides"),
    "a shape of True": (_parts(many(b"\x88"), many(number(1))), "without a storage, a shape or strides"),
    "a shape of texts": (_parts(many(text("4")), many(number(1))), "without a storage, a shape or strides"),
    "a shape that is a list": (_parts(b"]", b"]"), "without a storage, a shape or strides"),
    "an offset of a text": (_parts(many(), many(), text("0")), "without a storage, a shape or strides"),
    "a tensor of no storage": (
        _pickled(call(named("torch._utils", "_rebuild_tensor_v2"), b"N", number(0), many(), many())),
        "without a storage, a shape or strides",
    ),
    "a parameter of no tensor": (
        _pickled(call(named("torch._utils", "_rebuild_parameter"), text("x"), b"\x88", b"N")),
        "a parameter that is not a tensor",
    ),
    "a missing storage": (
        checkpoint(ordered_dict({"x": tensor(storage("7", 4), (4,), (1,))}), _FOUR),
        "its file data/7 is missing",
    ),
    "a storage elsewhere": (
        checkpoint(ordered_dict({"x": tensor(storage("../../../etc/passwd", 4), (4,), (1,))}), _FOUR),
        "is missing",
    ),
    "a short storage": (_tensor((5,), (1,), count=5), "its file data/0 is too short"),
    "a storage of a huge count": (_tensor((4,), (1,), count=2**62), "its file data/0 is too short"),
    "a storage of a negative count": (_tensor((0,), (1,), count=-1), "its file data/0 is too short"),
    "an identity of a module": (
        _identity(text("module"), named("torch", "FloatStorage"), text("0"), text("cpu"), number(4)),
        "a persistent id that is not a storage",
    ),
    "an identity of an unknown type": (
        _identity(text("storage"), text("FloatStorage"), text("0"), text("cpu"), number(4)),
        "a persistent id that is not a storage",
    ),
    "an identity of a number": (_pickled(number(1) + b"Q"), "damaged"),
    "an identity in text": (_pickled(b"P0\n"), "asks for the opcode PERSID"),
    "a compressed checkpoint": (
        checkpoint(ordered_dict({"x": tensor(storage("0", 4), (4,), (1,))}), _FOUR, zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "a bomb": (_bomb(), "is compressed"),
    "two files of one name": (_duplicated(), "a name in it twice"),
    "21,000 files": (_many_files(21_000), "damaged|at most 20,000 files"),
    "a directory of 11 MB": (_many_files(200_000), "a directory of"),
    "a truncated file": (_GOOD[: len(_GOOD) // 2], "damaged"),
    "the first bytes alone": (_GOOD[:4], "damaged"),
    "a byte order of its own": (
        checkpoint(ordered_dict({"x": tensor(storage("0", 4), (4,), (1,))}), _FOUR, byteorder=b"middle"),
        "damaged",
    ),
    "photos": (_other_zip(), "not a checkpoint of PyTorch"),
    "a good tensor of no network": (_GOOD, "the tensors of no network that cifarnet knows"),
    "10,000 tensors of no network": (
        _pickled(ordered_dict({f"{k}": tensor(storage("0", 4), (4,), (1,)) for k in range(10_000)})),
        r"the tensors of no network that cifarnet knows.*\(10,000 in all\)",
    ),
    "a classifier of 10 million classes": (
        checkpoint(
            ordered_dict({"linear.weight": tensor(storage("0", 10_000_000), (10_000_000, 1), (1, 1))}),
            {"0": bytes(40_000_000)},
        ),
        "a network that is too large. The largest number of classes is 5,000",
    ),
    "a name of 14 million letters": (
        _pickled(ordered_dict({"module." * 2_000_000: tensor(storage("0", 4), (4,), (1,))})),
        "the tensors of no network that cifarnet knows",
    ),
    "10,000 units": (
        _pickled(
            ordered_dict(
                {
                    "linear.weight": tensor(storage("0", 4), (2, 2), (2, 1)),
                    **{f"layer1.{k}.conv1.weight": tensor(storage("0", 4), (4,), (1,)) for k in range(10_000)},
                }
            )
        ),
        "a network that is too large. The largest depth is 1,202",
    ),
}

SAFETENSORS = {
    "a header of 8 EiB": (struct.pack("<Q", 2**63) + b"{}", "its header must have at most"),
    "a header of 100 MB": (
        struct.pack("<Q", 100 << 20) + b"{" + b" " * (100 << 20),
        "its header must have at most 4,194,304 bytes",
    ),
    "a header of nested lists": (
        struct.pack("<Q", 3_000_006) + b'{"a":' + b"[" * 3_000_001 + b" ",
        "not a valid safetensors file",
    ),
    "a header of 100,000 tensors": (safetensors({f"{k}": 0 for k in range(100_000)}, b""), "at most 20,000 tensors"),
    "a shape whose size overflows": (
        safetensors({"x": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
        "must have data_offsets within 0 bytes",
    ),
    "a tensor of no network": (
        safetensors({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "the tensors of no network that cifarnet knows",
    ),
}
