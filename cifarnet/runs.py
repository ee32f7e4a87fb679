"""The run directory: which file is which, for whatever writes one and whatever takes one as an argument.

config.json       the run's recipe, data, network and seed: enough to run it again
history.csv       one line per finished epoch
checkpoint.h5     all that resuming needs; also a weight file
best.weights.h5   the best epoch by validation (with --validation-split only)
weights.h5        the result, once the run has finished
metrics.json      what the result scores, and how it was selected
"""

import json
from pathlib import Path
from typing import Any

from cifarnet.errors import RunError, WeightsError

CONFIG = "config.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.h5"
BEST_WEIGHTS = "best.weights.h5"
WEIGHTS = "weights.h5"
METRICS = "metrics.json"


def find_weights(path: Path) -> Path:
    """The weight file that ``path`` stands for: itself, or a run's result, or an unfinished run's checkpoint.

    Raises:
        WeightsError: when there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise WeightsError(f"There is no run or weight file {path}. Give a run directory (runs/...) or an .h5 file.")
    for name in (WEIGHTS, CHECKPOINT):
        if (path / name).is_file():
            return path / name
    raise WeightsError(
        f"{path} is not a run directory with weights: it has neither {WEIGHTS} nor {CHECKPOINT}."
        " Give a run that has been saved at least once, or an .h5 file."
    )


def read_config(run: Path) -> dict[str, Any]:
    """A run's config.json as plain data.

    Raises:
        RunError: when it is missing or no JSON object.
    """
    path = run / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{run} is not a run directory: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise RunError(f"{path} should hold a JSON object. Received: {type(config).__name__}")
    return config


def find_data_source(path: Path) -> str | None:
    """The data source that a run directory recorded; None for a bare weight file."""
    if not path.is_dir() or not (path / CONFIG).exists():
        return None
    source = read_config(path).get("data")
    return source if isinstance(source, str) else None
