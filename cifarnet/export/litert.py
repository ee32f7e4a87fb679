"""Write a network as a LiteRT file (formerly TensorFlow Lite).

The signature ``serving_default`` takes ``images`` and gives ``probabilities``. The file ends with a zip archive, in
which ``cifarnet.json`` has the metadata. Files of TensorFlow Lite with metadata hold their labels in the same way
(https://ai.google.dev/edge/litert/models/metadata), and runtimes ignore the archive.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.backend.devices import worker_count
from cifarnet.backend.environment import native_notices_held
from cifarnet.export.attached import attach
from cifarnet.export.keras import probabilities_model
from cifarnet.export.verify import Probabilities
from cifarnet.models.onnx_names import IMAGES, PROBABILITIES
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the serving model of ``weights`` to ``path``."""
    path.write_bytes(_converted(weights, lambda converter: None))


def write_int8(weights: Weights, path: Path, images: np.ndarray) -> None:
    """Write the serving model in 8-bit integers, one scale for each output channel of a kernel.

    The ranges of the activations are the smallest and largest values for ``images``. The input stays uint8.
    """

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for row in range(len(images)):
            yield {IMAGES: images[row : row + 1]}

    def quantize(converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = batches

    path.write_bytes(_converted(weights, quantize))


def _converted(weights: Weights, prepare: Callable[[Any], None]) -> bytes:
    """Return the file of the serving model, after ``prepare`` has set options of the converter."""
    model = probabilities_model(weights)
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    size = weights.spec.image_size
    images = tf.TensorSpec((None, size, size, 3), tf.uint8, name=IMAGES)
    with tempfile.TemporaryDirectory() as folder, native_notices_held(), warnings.catch_warnings():
        # The converter uses an interpreter of TensorFlow for the calibration, which warns of its own end.
        warnings.simplefilter("ignore")
        # TensorFlow 2.21 keeps the variables of a Keras 3 model as variables, which nothing initializes.
        plain = tf.function(lambda images: model(images, training=False)).get_concrete_function(images)
        frozen = convert_variables_to_constants_v2(plain)
        module = tf.Module()
        module.serve = tf.function(lambda images: {PROBABILITIES: frozen(images)[0]}, input_signature=[images])
        # Only files from a SavedModel have names for their input and output.
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        prepare(converter)
        converted: bytes = converter.convert()
    return converted


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add the metadata as ``cifarnet.json`` in a zip archive at the end of the file."""
    attach(path, metadata)


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the file with the interpreter of LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    with native_notices_held():
        run_signature = Interpreter(model_path=str(path), num_threads=worker_count()).get_signature_runner()
        # The first run logs a line from C++.
        shape = run_signature.get_input_details()[IMAGES]["shape"]
        run_signature(**{IMAGES: np.zeros(shape, np.uint8)})

    def run(images: np.ndarray) -> np.ndarray:
        # The result's memory is used again for the next batch.
        found: np.ndarray = run_signature(**{IMAGES: images})[PROBABILITIES].copy()
        return found

    yield run
