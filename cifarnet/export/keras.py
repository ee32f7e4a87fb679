"""Write a network as a ``.keras`` file: a functional model of stock layers.

The file is a zip file, in which ``cifarnet.json`` has the metadata. Keras ignores it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.errors import ExportError
from cifarnet.export.attached import attach
from cifarnet.export.verify import Probabilities
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the serving model of ``weights`` to ``path``."""
    probabilities_model(weights).save(path)


def probabilities_model(weights: Weights) -> Any:
    """Return the Keras model from uint8 images to calibrated probabilities."""
    from cifarnet.backend.select import use_backend

    use_backend()
    from cifarnet.models.serving import serving_model

    return serving_model(weights.spec, weights.tensors, weights.normalization, temperature=weights.temperature)


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add the metadata as ``cifarnet.json``."""
    attach(path, metadata)


# Importing cifarnet fails in this program. Libraries may print, so that the results leave by a copy of stdout. It reads
# arrays of uint8 and writes arrays of float32, each after its shape as 64-bit integers: four sizes, or two.
_PROGRAM = """
import os, sys
results = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.modules["cifarnet"] = None
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1])
while head := sys.stdin.buffer.read(32):
    shape = np.frombuffer(head, np.int64)
    images = np.frombuffer(sys.stdin.buffer.read(shape.prod()), np.uint8).reshape(shape)
    found = np.ascontiguousarray(model.predict_on_batch(images), np.float32)
    results.write(np.array(found.shape, np.int64).tobytes() + found.tobytes())
    results.flush()
"""


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the file with Keras in another process, which can't import cifarnet."""
    # Settings in the user's keras.json may change numbers.
    environment = {**os.environ, "KERAS_HOME": os.devnull, "TF_CPP_MIN_LOG_LEVEL": "2"}
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-c", _PROGRAM, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment)
        to_keras, from_keras = process.stdin, process.stdout
        assert to_keras
        assert from_keras

        def run(images: np.ndarray) -> np.ndarray:
            try:
                to_keras.write(np.array(images.shape, np.int64).tobytes() + images.tobytes())
                to_keras.flush()
                rows, classes = np.frombuffer(from_keras.read(16), np.int64)
                found = np.frombuffer(from_keras.read(rows * classes * 4), np.float32).reshape(rows, classes)
            except (OSError, ValueError) as error:
                process.kill()
                log.seek(0)
                last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise ExportError(f"Keras alone can't open the file, which was not kept: {last:.300}") from error
            return found

        try:
            yield run
        finally:
            try:
                to_keras.close()
            except OSError:
                process.kill()  # The process has ended, or reads no more.
            process.wait()
            from_keras.close()
