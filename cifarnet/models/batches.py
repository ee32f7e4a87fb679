"""Compute outputs for many inputs in batches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cifarnet.data.progress import Progress


def in_batches(
    run: Callable[[np.ndarray], Any],
    inputs: np.ndarray,
    batch_size: int,
    output_shape: tuple[int, ...],
    report: Progress | None = None,
    *,
    same_shape: bool = False,
) -> np.ndarray:
    """Return the outputs of ``run`` for ``inputs`` (n, ...), (n, ...) of the type that ``run`` returns.

    Args:
        run: returns the outputs for a batch.
        inputs: images or features.
        batch_size: inputs per batch.
        output_shape: the shape of the output for one input.
        report: called with the progress after every batch.
        same_shape: whether to fill the last batch with zeros. Otherwise engines that compile for the shape of a batch
            would compile again, which takes longer than computing outputs for zeros.
    """
    outputs = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        count = len(batch)
        if same_shape and start and count < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - count, *batch.shape[1:]), batch.dtype)])
        outputs.append(np.asarray(run(batch))[:count])
        if report:
            report("Classifying images", start + count, len(inputs))
    return np.concatenate(outputs) if outputs else np.zeros((0, *output_shape), np.float32)
