"""Read checkpoints that ``torch.save`` wrote, without PyTorch and without running what they contain.

Since PyTorch 1.6 a checkpoint is a zip file: ``data.pkl`` has the objects as a pickle, and each file in ``data/`` the
values of one storage, which one or more tensors share. Earlier versions wrote five pickles in a row (a magic number, a
version, the machine, the objects, the names of the storages), and then the storages. Sources:
https://docs.pytorch.org/docs/stable/notes/serialization.html for the zip file, and ``torch/serialization.py`` for the
names in the pickle and for the earlier format.

Everything is checked here against the bytes that the file really has: the pickle may name tensors, storages and plain
containers alone (``cifarnet.unpickling``), and the zip file must not be compressed.
"""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifarnet.errors import WeightsError, listed
from cifarnet.hdf5 import read_content
from cifarnet.unpickling import Globals, RefusedPickleError, Replacement, load_pickle
from cifarnet.weights.formats.tensors import DTYPES, TENSOR_LIMIT, Tensor, elements, is_shape, itemsize

_ZIP = b"PK\x03\x04"
# The first pickle of a file of PyTorch 0.1.10 to 1.5, its magic number.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_LEGACY_VERSION = 1001
_PICKLE_LIMIT = 16 << 20
# A checkpoint of 20,000 tensors needs a directory of 2 MB.
_DIRECTORY_LIMIT = 8 << 20
_BYTE_ORDERS = {b"little": "<", b"big": ">"}
# TorchScript programs are zip files with code and constants.
_SCRIPT = "constants.pkl"

WRAPPERS = ("state_dict", "model_state_dict", "net", "model")
"""Names under which training scripts store the tensors of a network, beside epochs, accuracies and optimizers."""

_SAVE = "torch.save(model.state_dict(), 'weights.pt')"


def recognizes(head: bytes) -> bool:
    """Return whether the first bytes ``head`` of a file are those of a file of PyTorch."""
    return head.startswith((_ZIP, _LEGACY))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the network in the checkpoint ``path`` by name.

    Raises:
        WeightsError: when the file can't be read, holds anything but tensors and plain containers, or no network.
    """
    content = read_content(path)
    try:
        if content.startswith(_LEGACY):
            return _network(_LegacyCheckpoint(content).load(), path)
        stream = _LimitedStream(content)
        archive = zipfile.ZipFile(stream)
        stream.limit = None
        return _network(_Checkpoint.open(archive, path).load(), path)
    except (WeightsError, MemoryError):
        raise
    except RefusedPickleError as error:
        raise WeightsError(
            f"{path} is refused: it asks for {error}, which no weights need. Nothing in it was run. Save the tensors"
            f" alone: {_SAVE}. Received: {error}"
        ) from error
    except Exception as error:
        # Damaged files make zipfile and the unpickler raise nearly anything: BadZipFile, KeyError, IndexError, ...
        raise WeightsError(f"{path} is damaged, or is not a checkpoint of PyTorch: {error!s:.200}.") from error


class _LimitedStream(io.BytesIO):
    """A file in memory whose reads have a ``limit``, because zipfile reads a whole directory at once."""

    limit: int | None = _DIRECTORY_LIMIT

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes.

        Raises:
            ValueError: when they are more than the limit.
        """
        if size is not None and self.limit is not None and size > self.limit:
            raise ValueError(f"a directory of {size:,} bytes")
        return super().read(size)


@dataclass(frozen=True)
class _Storage:
    """The place of the values that tensors share.

    Attributes:
        dtype: the type of its elements (see ``Tensor``).
        count: the number of its elements.
        read: returns its bytes.
        byte_order: ``<`` or ``>``.
    """

    dtype: str
    count: int
    read: Callable[[], bytes | memoryview]
    byte_order: str


@dataclass(frozen=True)
class _StorageType:
    """Replaces ``torch.FloatStorage`` and others."""

    dtype: str


class _OrderedDict(dict[Any, Any], Replacement):
    """Replaces ``collections.OrderedDict``. The state that PyTorch adds has versions of modules, and is ignored."""

    def __init__(self) -> None:
        super().__init__()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Replaces ``torch._utils._rebuild_tensor_v2``."""
    if not isinstance(storage, _Storage) or type(offset) is not int or not (is_shape(shape) and is_shape(strides)):
        raise ValueError("a tensor without a storage, a shape or strides")
    if len(shape) != len(strides):
        raise ValueError("a tensor with other axes than strides")
    count = elements(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # The first condition refuses tensors that repeat the values of a storage.
    if not (count <= storage.count and offset >= 0 and (count == 0 or last < storage.count)):
        raise ValueError(f"a tensor of {count:,} elements outside its storage of {storage.count:,}")
    return Tensor(shape, storage.dtype, storage.read, offset, strides, storage.byte_order)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    """Replaces ``torch._utils._rebuild_parameter``."""
    if not isinstance(tensor, Tensor):
        raise ValueError("a parameter that is not a tensor")
    return tensor


_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}

_GLOBALS: Globals = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _StorageType(DTYPES[dtype]) for name, dtype in _STORAGES.items()},
}


@dataclass(frozen=True)
class _Checkpoint:
    """The zip file of a checkpoint.

    Attributes:
        archive: the open file.
        members: its members by name without the folder that all are in.
        path: the file, for messages.
        read: the contents of the storages that were read.
    """

    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    path: Path
    read: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, archive: zipfile.ZipFile, path: Path) -> "_Checkpoint":
        """Return the checkpoint in ``archive``.

        Raises:
            WeightsError: when it is another kind of zip file.
        """
        found = archive.infolist()
        if len(found) > TENSOR_LIMIT:
            raise WeightsError(f"{path} must have at most {TENSOR_LIMIT:,} files. Received: {len(found):,}")
        members = {member.filename.partition("/")[2]: member for member in found}
        if len(members) < len(found):
            raise WeightsError(f"{path} must have one folder, and every file once. Received: a name in it twice")
        if _SCRIPT in members:
            raise WeightsError(
                f"{path} is a TorchScript program, not a checkpoint. Save its weights:"
                f" torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pt')."
                f" Received: a file with {_SCRIPT}"
            )
        if "data.pkl" not in members:
            names = listed([f"{member.filename:.60}" for member in found], 3)
            raise WeightsError(
                f"{path} is a zip file, but not a checkpoint of PyTorch. Received: {names or 'no files'}"
            )
        return cls(archive, members, path)

    def load(self) -> Any:
        """Return the object in the checkpoint, with tensors in plain containers."""
        pickled = self.content("data.pkl", _PICKLE_LIMIT)
        # Containers may be shared: nothing walks through more than two levels of dictionaries.
        return load_pickle(io.BytesIO(pickled), _GLOBALS, self._storage, shares=True)

    def content(self, name: str, limit: int) -> bytes:
        """Return the content of the file ``name``, which has at most ``limit`` bytes and is not compressed."""
        member = self.members[name]
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > limit:
            raise ValueError(f"{name:.60} is compressed, or has more than {limit:,} bytes")
        return self.archive.read(member)

    def _storage(self, identity: Any) -> _Storage:
        """Return the storage of the persistent id ``("storage", type, key, device, number of elements)``."""
        kind, stored, key, _, count = identity
        if kind != "storage" or not isinstance(stored, _StorageType) or not isinstance(key, str):
            raise ValueError("a persistent id that is not a storage")
        name, size = f"data/{key}", itemsize(stored.dtype)
        member = self.members.get(name)
        if member is None:
            raise ValueError(f"its file {name:.60} is missing")
        if type(count) is not int or not 0 <= count * size <= member.file_size:
            raise ValueError(f"its file {name:.60} is too short")
        return _Storage(stored.dtype, count, lambda: self._values(name, count * size), self._byte_order())

    def _values(self, name: str, limit: int) -> bytes:
        """Return the ``content`` of a storage, which is read once, because thousands of tensors may share it."""
        if name not in self.read:
            self.read[name] = self.content(name, limit)
        return self.read[name]

    def _byte_order(self) -> str:
        # Before PyTorch 2.1 there was no such file, and nearly all machines are little-endian.
        order = self.content("byteorder", 16) if "byteorder" in self.members else b"little"
        return _BYTE_ORDERS[order]


class _LegacyCheckpoint:
    """A checkpoint of PyTorch before 1.6, with the bytes ``content``."""

    def __init__(self, content: bytes):
        self._content = content
        self._byte_order = "<"
        self._storages: dict[str, _Storage] = {}
        self._starts: dict[str, int] = {}

    def load(self) -> Any:
        """Return the object in the checkpoint, with tensors in plain containers.

        Raises:
            Exception: of nearly any kind when it is damaged.
        """
        stream = io.BytesIO(self._content)
        load_pickle(stream, {})
        if (version := load_pickle(stream, {})) != _LEGACY_VERSION:
            raise ValueError(f"version {version!s:.20} of the format, not {_LEGACY_VERSION}")
        self._byte_order = "<" if load_pickle(stream, {})["little_endian"] else ">"
        loaded = load_pickle(stream, _GLOBALS, self._storage, shares=True)
        for key in load_pickle(stream, {}):
            self._find(key, stream)
        if missing := self._storages.keys() - self._starts.keys():
            raise ValueError(f"its storage {min(missing):.60} is missing")
        return loaded

    def _find(self, key: str, stream: io.BytesIO) -> None:
        """Note where the values of the storage ``key`` start: at the position of ``stream``, after their number."""
        storage = self._storages[key]
        (count,) = struct.unpack(f"{self._byte_order}q", stream.read(8))
        self._starts[key] = stream.tell()
        end = stream.tell() + storage.count * itemsize(storage.dtype)
        if count != storage.count or end > len(self._content):
            raise ValueError(f"its storage {key:.60} has other elements than {storage.count:,}")
        stream.seek(end)

    def _storage(self, identity: Any) -> _Storage:
        """Return the storage of the id ``("storage", type, key, device, number of elements, view)``."""
        kind, stored, key, _, count, view = identity
        if kind != "storage" or not isinstance(stored, _StorageType) or not isinstance(key, str) or view is not None:
            raise ValueError("a persistent id that is not a storage")
        if type(count) is not int or not 0 <= count * itemsize(stored.dtype) <= len(self._content):
            raise ValueError(f"its storage {key:.60} is too short")

        def read() -> memoryview:
            start = self._starts[key]
            return memoryview(self._content)[start : start + count * itemsize(stored.dtype)]

        storage = _Storage(stored.dtype, count, read, self._byte_order)
        known = self._storages.setdefault(key, storage)
        if (known.dtype, known.count) != (stored.dtype, count):
            raise ValueError(f"its storage {key:.60} has two types or lengths")
        return known


def _network(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name in ``loaded``: a dictionary of tensors, alone or in a dictionary of other things."""
    if not isinstance(loaded, dict):
        raise WeightsError(
            f"{path} must hold a dictionary of tensors. Save the tensors: {_SAVE}. Received: {type(loaded).__name__}"
        )
    # An accuracy beside the network can be a tensor too.
    for held in (*(loaded.get(name) for name in WRAPPERS), loaded):
        if isinstance(held, dict):
            tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
            if tensors and all(isinstance(name, str) for name in tensors):
                return tensors
    names = listed([f"{name!s:.60}" for name in loaded], 5)
    raise WeightsError(
        f"{path} has no tensors of a network, neither directly nor as one of {', '.join(WRAPPERS)}. Save them: {_SAVE}."
        f" Received: {names or 'an empty dictionary'}"
    )
