"""Write a network as a SavedModel of TensorFlow, a folder.

``assets.extra/cifarnet.json`` has the metadata: TensorFlow keeps that folder for such files.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.export.attached import NAME
from cifarnet.export.keras import probabilities_model
from cifarnet.export.verify import Probabilities
from cifarnet.models.onnx_names import IMAGES, PROBABILITIES
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the serving model of ``weights`` to the folder ``path``, with the signature ``serving_default``."""
    model = probabilities_model(weights)
    import keras
    import tensorflow as tf

    size = weights.spec.image_size
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda images: {PROBABILITIES: model(images, training=False)},
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, name=IMAGES)],
    )
    archive.write_out(str(path), verbose=False)


def annotate(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add the metadata as ``assets.extra/cifarnet.json``."""
    folder = path / "assets.extra"
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(json.dumps(metadata, indent=1), encoding="utf-8")


@contextmanager
def open_network(path: Path) -> Iterator[Probabilities]:
    """Open the folder with TensorFlow."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]

    def run(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = signature(**{IMAGES: tf.constant(images)})[PROBABILITIES].numpy()
        return found

    yield run
