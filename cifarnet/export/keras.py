"""Write a network as a ``.keras`` file: a functional model of stock layers."""

import tempfile
from pathlib import Path

from cifarnet.backend.select import use_backend
from cifarnet.files import write_bytes
from cifarnet.weights.record import Weights


def write(weights: Weights, path: Path) -> None:
    """Write the serving model of ``weights`` to ``path``.

    Raises:
        StorageError: when the system refuses; the file that was there still is.
    """
    use_backend()
    from cifarnet.models.serving import serving_model

    model = serving_model(weights.spec, weights.tensors, weights.normalization)
    # Keras writes to a file whose name ends in .keras only, and not atomically.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.keras"
        model.save(written)
        write_bytes(path, written.read_bytes())
