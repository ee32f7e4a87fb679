"""The serialized ONNX graph of weights, kept in the cache folder.

Building a graph takes 0.2 s, most of it to import onnx. The cache saves that for networks below ``LARGEST_KEPT``.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from cifarnet.errors import NoHomeError, StorageError
from cifarnet.files import write_bytes
from cifarnet.models.onnx_names import VERSION
from cifarnet.paths import graphs_dir
from cifarnet.weights.record import Weights

LARGEST_KEPT = 16 << 20
"""Bytes of the tensors of the largest network whose graph is kept. Reading more takes as long as building the graph."""

KEPT = 20
"""The number of graphs that are kept. A new one replaces the one that was written first."""

_DIGEST = hashlib.sha256().digest_size


def graph_bytes(weights: Weights) -> bytes:
    """Return the serialized ONNX graph of ``weights``: the exported one, or from the cache or newly built.

    Its outputs are logits and, for weights with embedding statistics, distances.

    A damaged cache entry is built again. A cache that can't be read or written is not used.
    """
    if weights.graph is not None:
        return weights.graph
    path = _entry(weights)
    if path and (kept := _read(path)):
        return kept
    from cifarnet.models.onnx import onnx_model

    model = onnx_model(weights.spec, weights.tensors, weights.normalization, statistics=weights.statistics)
    graph: bytes = model.SerializeToString()
    if path:
        with suppress(OSError, StorageError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, hashlib.sha256(graph).digest() + graph)
            _remove_oldest(path.parent)
    return graph


def _entry(weights: Weights) -> Path | None:
    """Return the place of the graph in the cache; None if there is no cache folder, or the network is too large."""
    if sum(tensor.nbytes for tensor in weights.tensors.values()) > LARGEST_KEPT:
        return None  # Without the SHA-256, which takes 0.05 s for VGG-16.
    facts = {"version": VERSION, "spec": weights.spec.to_dict(), "normalization": weights.normalization.to_dict()}
    key = hashlib.sha256(f"{weights.sha256()}\n{json.dumps(facts, sort_keys=True)}".encode())
    for array in weights.statistics.arrays().values() if weights.statistics else ():
        key.update(array.tobytes())
    try:
        return graphs_dir() / f"{key.hexdigest()[:32]}.graph"
    except NoHomeError:
        return None


def _read(path: Path) -> bytes | None:
    """Return the graph in the cache entry ``path``; None if it is missing, unreadable or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, graph = content[:_DIGEST], content[_DIGEST:]
    return graph if hashlib.sha256(graph).digest() == digest else None


def _remove_oldest(folder: Path) -> None:
    entries = sorted(folder.glob("*.graph"), key=lambda path: path.stat().st_mtime)
    for path in entries[:-KEPT]:
        path.unlink(missing_ok=True)
