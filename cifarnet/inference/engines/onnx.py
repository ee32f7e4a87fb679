"""Compute logits and distances with ONNX Runtime (https://onnxruntime.ai).

It starts in a twentieth of TensorFlow's time.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from cifarnet.backend.devices import worker_count
from cifarnet.data.progress import Progress
from cifarnet.inference.graphs import graph_bytes
from cifarnet.models.batches import in_batches
from cifarnet.models.onnx_names import DISTANCE, IMAGES, LOGITS
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ERRORS = 3
"""ONNX Runtime's log level for errors. Warnings are about its own choices, such as a cache it can't use."""


class OnnxEngine:
    """Runs the ONNX graph of a network on the CPU cores that the process may use."""

    def __init__(self, weights: Weights, *, precision: str = "float32"):
        self.weights = weights
        self._session = open_session(graph_bytes(weights))

    def logits(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3); see ``Engine``."""

        def run(batch: np.ndarray) -> Any:
            return self._session.run([LOGITS], {IMAGES: np.ascontiguousarray(batch)})[0]

        return in_batches(run, images, batch_size, (self.weights.spec.classes,), report)

    def logits_and_distances(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits and distances, float32 (n, classes + 1), of ``images``; see ``Engine``."""

        def run(batch: np.ndarray) -> Any:
            return np.column_stack(self._session.run([LOGITS, DISTANCE], {IMAGES: np.ascontiguousarray(batch)}))

        return in_batches(run, images, batch_size, (self.weights.spec.classes + 1,), report)


def open_session(graph: bytes) -> "InferenceSession":
    """Return the session of ONNX Runtime for the serialized ``graph``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # By default it starts a thread for each core of the machine, also those that the process may not use.
    options.intra_op_num_threads = worker_count()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
