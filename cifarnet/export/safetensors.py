"""Write the tensors of a network as a safetensors file, which cifarnet reads as a weight file.

The tensors have their full names, and kernels the axes (height, width, inputs, outputs). The entry ``cifarnet`` of the
metadata is a JSON object with what evaluation and prediction need.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.evaluation.metrics import softmax
from cifarnet.export.verify import Probabilities
from cifarnet.inference.engines import start_engine
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import describe
from cifarnet.weights.formats import header
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the tensors and the header of ``weights`` to ``path``."""
    _save(path, {**weights.tensors, **header.statistics_arrays(weights)}, header.written(weights))


def _save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    save_file(contiguous, path, metadata={header.NAME: json.dumps(metadata)})


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata."""
    from safetensors.numpy import load_file

    _save(path, load_file(path), metadata)


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the file with the package safetensors, and compute with its tensors and its metadata."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        described = header.parsed(json.loads(file.metadata()[header.NAME]), path)
        names = named_weights(describe(described.spec))
        weights = replace(described, tensors={name: file.get_tensor(name) for name in names})
    engine = start_engine("onnx", weights)

    def run(images: np.ndarray) -> np.ndarray:
        return softmax(weights.calibrated(engine.logits(images, batch_size=len(images))))

    yield run
