"""Compute logits and distances with OpenVINO (https://docs.openvino.ai), on the cores that the process may use."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from cifarnet.backend.devices import cpu_multiplies_bfloat16, worker_count
from cifarnet.data.progress import Progress
from cifarnet.errors import BackendError
from cifarnet.inference.graphs import graph_bytes
from cifarnet.models.batches import in_batches
from cifarnet.models.onnx_names import DISTANCE, IMAGES, LOGITS
from cifarnet.weights.record import Weights

_TYPES = {"float32": "f32", "bfloat16": "bf16"}


class OpenvinoEngine:
    """Runs the ONNX graph of a network with OpenVINO, in float32 or bfloat16.

    Raises:
        BackendError: for bfloat16 on a CPU that does not multiply it.
    """

    def __init__(self, weights: Weights, *, precision: str = "float32"):
        if precision == "bfloat16" and not cpu_multiplies_bfloat16():
            raise BackendError(
                "This CPU does not multiply bfloat16 (it has neither AVX512_BF16 nor AMX): leave out `precision`."
                " Received: bfloat16"
            )
        self.weights = weights
        self._precision = precision
        self._run = open_model(graph_bytes(weights), (LOGITS,), precision)

    def logits(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits, float32 (n, classes), of uint8 ``images`` (n, size, size, 3); see ``Engine``."""
        return in_batches(self._run, images, batch_size, (self.weights.spec.classes,), report, same_shape=True)

    def logits_and_distances(
        self, images: np.ndarray, *, batch_size: int, compiled: bool = True, report: Progress | None = None
    ) -> np.ndarray:
        """Return logits and distances, float32 (n, classes + 1), of ``images``; see ``Engine``."""
        return in_batches(self._both, images, batch_size, (self.weights.spec.classes + 1,), report, same_shape=True)

    @cached_property
    def _both(self) -> Callable[[np.ndarray], np.ndarray]:
        graph = graph_bytes(self.weights)
        if self._precision == "float32":
            return open_model(graph, (LOGITS, DISTANCE))
        # Distances are differences of large numbers, of which bfloat16 has three digits.
        distances = open_model(graph, (DISTANCE,))
        return lambda images: np.column_stack([self._run(images), distances(images)])


def open_model(
    source: bytes | Path, outputs: Sequence[str], precision: str = "float32"
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from uint8 images (n, size, size, 3) to ``outputs`` of a network, float32 (n, columns).

    Args:
        source: the serialized ONNX graph, or the ``.xml`` file.
        outputs: the names of the outputs, whose columns are put side by side.
        precision: the data type of the computation.
    """
    import openvino

    core = openvino.Core()
    settings = {
        # By default OpenVINO computes in bfloat16 where the CPU can, and starts a thread for each core.
        "INFERENCE_PRECISION_HINT": _TYPES[precision],
        "INFERENCE_NUM_THREADS": worker_count(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(source), "CPU", settings)

    def run(images: np.ndarray) -> np.ndarray:
        found = model({IMAGES: np.ascontiguousarray(images)})
        # The results' memory is used again for the next batch, so that they are copied.
        return np.column_stack([found[name] for name in outputs])

    return run
