"""Write a network as an ONNX file, with the graph that ``cifarnet.models.onnx`` builds.

The outputs are ``probabilities``, ``logits`` and, for weights with embedding statistics, ``distance``. The metadata has
the entry ``cifarnet``, a JSON object. ``cifarnet.weights.formats.onnx`` reads such files.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import __version__
from cifarnet.export.verify import Probabilities
from cifarnet.models.onnx_names import DISTANCE, IMAGES, PROBABILITIES
from cifarnet.weights.formats import header
from cifarnet.weights.formats.onnx import sealed
from cifarnet.weights.record import Weights

QUANTIZED = ("Conv", "Gemm", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool")
"""The operators that compute in 8-bit integers. The softmax, the distance and the scaling of the pixels stay in
float32."""

_CALIBRATION_BATCH = 64


def write(weights: Weights, path: Path) -> None:
    """Write the graph of ``weights`` to ``path``."""
    path.write_bytes(graph(weights))


def graph(weights: Weights) -> bytes:
    """Return the serialized graph of ``weights`` with its outputs."""
    from cifarnet.models.onnx import onnx_model

    facts = (weights.spec, weights.tensors, weights.normalization)
    model = onnx_model(*facts, temperature=weights.temperature, statistics=weights.statistics)
    model.producer_version = __version__
    serialized: bytes = model.SerializeToString()
    return serialized


def write_int8(weights: Weights, path: Path, images: np.ndarray) -> None:
    """Write the graph in 8-bit integers, one scale for each output channel of a kernel (QDQ).

    The ranges of the activations are the smallest and largest values for ``images``.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, folded, quantized = (Path(folder) / f"{name}.onnx" for name in ("plain", "folded", "quantized"))
        write(weights, plain)
        # Batch normalization becomes part of the convolution before it, where there is one.
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            quantized,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=[node.name for node in onnx.load(folded).graph.node if node.name.startswith(DISTANCE)],
        )
        model = onnx.load(quantized)
    model.producer_name, model.producer_version = "cifarnet", __version__
    used = {node.domain for node in model.graph.node}
    imports = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(imports)
    path.write_bytes(model.SerializeToString())


class _Reader:
    """Gives images to the calibration of ONNX Runtime in batches (``CalibrationDataReader``)."""

    def __init__(self, images: np.ndarray):
        starts = range(0, len(images), _CALIBRATION_BATCH)
        self._batches = iter([{IMAGES: images[start : start + _CALIBRATION_BATCH]} for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by the name of the input; None after the last."""
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the quantization logs about models that were not preprocessed, and about its own choices."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add the metadata, and the SHA-256 of the file, by which damage is found."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {header.NAME: json.dumps(metadata)})
    path.write_bytes(sealed(model.SerializeToString()))


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the file with ONNX Runtime."""
    from cifarnet.inference.engines.onnx import open_session

    session = open_session(path.read_bytes())

    def run(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run([PROBABILITIES], {IMAGES: np.ascontiguousarray(images)})[0]
        return found

    yield run
