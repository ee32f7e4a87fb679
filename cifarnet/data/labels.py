"""Labels as sources store them, checked and brought to int32."""

from typing import Any

import numpy as np

from cifarnet.errors import DataError

# Every class needs a name, so that a damaged label must not ask for billions of them. ImageNet-21k has 21,841.
_LABEL_LIMIT = 100_000


def as_labels(values: Any, count: int, told: str) -> np.ndarray:
    """``values``, whole numbers of shape (count,) or (count, 1), as int32 (count,); ``told`` names them in messages.

    Raises:
        DataError: when they are something else, or no number can be a class's.
    """
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{told} must be {count:,} whole numbers: {error}") from error
    if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
        raise DataError(f"{told} must be {count:,} whole numbers. Received: {labels.dtype} {labels.shape}")
    if count and not 0 <= labels.min() <= labels.max() < _LABEL_LIMIT:
        raise DataError(
            f"{told} must number classes from 0, below {_LABEL_LIMIT:,}. Received: {labels.min()} to {labels.max()}"
        )
    return labels.reshape(-1).astype(np.int32)
