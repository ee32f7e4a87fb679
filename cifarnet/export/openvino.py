"""Write a network as OpenVINO's ``.xml`` file with a ``.bin`` file beside it.

The outputs are those of ``cifarnet.export.onnx``. The entry ``cifarnet`` of the runtime information is a JSON object.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifarnet.export.onnx import graph
from cifarnet.export.verify import Probabilities
from cifarnet.models.onnx_names import PROBABILITIES
from cifarnet.weights.formats import header
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the graph of ``weights`` to ``path``, with tensors in float32."""
    import openvino

    # By default the tensors are rounded to float16.
    openvino.save_model(openvino.Core().read_model(graph(weights)), path, compress_to_fp16=False)


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add the metadata to the runtime information."""
    import openvino

    model = openvino.Core().read_model(path)
    model.set_rt_info(json.dumps(metadata), [header.NAME])
    # The model maps its ``.bin`` file into memory, so that it must not be written over.
    new = path.with_name(f"new{path.suffix}")
    openvino.save_model(model, new, compress_to_fp16=False)
    del model
    for suffix in (".bin", path.suffix):
        os.replace(new.with_suffix(suffix), path.with_suffix(suffix))


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the file with OpenVINO, in float32."""
    from cifarnet.inference.engines.openvino import open_model

    yield open_model(path, (PROBABILITIES,))
