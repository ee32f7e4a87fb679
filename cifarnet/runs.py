"""The run directory: which file is which, for whatever writes one and whatever takes one as an argument.

config.json       the run's recipe, data, network and seed: enough to run it again
history.csv       one line per finished epoch
checkpoint.h5     all that resuming needs; also a weight file
checkpoint.previous.h5  the one before, should the newest be damaged; gone once the run has finished
best.weights.h5   the best epoch by validation (with validation images only)
weights.h5        the result, once the run has finished
metrics.json      what the result scores, and how it was selected
plots/            the same as pictures
report.html       all of it on one page
tensorboard/      what TensorBoard shows (with --tensorboard only)
"""

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError, LostRunError, RunError, WeightsError, did_you_mean_path, wrong_content
from cifarnet.files import write_text
from cifarnet.provenance import TrainedOn

CONFIG = "config.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.h5"
PREVIOUS_CHECKPOINT = "checkpoint.previous.h5"
BEST_WEIGHTS = "best.weights.h5"
WEIGHTS = "weights.h5"
METRICS = "metrics.json"
PLOTS = "plots"
REPORT = "report.html"
TENSORBOARD = "tensorboard"

WEIGHT_FILES = (WEIGHTS, BEST_WEIGHTS, CHECKPOINT, PREVIOUS_CHECKPOINT)
PLOT_NAMES = ("curves", "confusion", "reliability", "classes")
LENGTH = "length"
"""The key of metrics.json for the length of the run that has the result."""
SHOWN_DIGITS = 12
"""The number of digits of a SHA-256 that are shown."""


def find_weights(path: Path) -> Path:
    """The weight file that ``path`` stands for: itself, or a run's result, or an unfinished run's checkpoint.

    Raises:
        WeightsError: when there is none.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise WeightsError(
            f"There is no run or weight file {path}.{did_you_mean_path(path)} Give a run directory (runs/...) or an .h5"
            f" file. Received: {path}"
        )
    for name in (WEIGHTS, CHECKPOINT, PREVIOUS_CHECKPOINT):
        if (path / name).is_file():
            return path / name
    raise WeightsError(
        f"{path} is not a run directory with weights: it has neither {WEIGHTS} nor {CHECKPOINT}."
        " Give a run that has been saved at least once, or an .h5 file."
    )


def write_config(run: Path, config: dict[str, Any]) -> None:
    """Write a run's config.json, with the checksum of what it says as its last field.

    Raises:
        StorageError: when the system refuses.
    """
    write_text(run / CONFIG, json.dumps({**config, _CHECKSUM: _checksum(config)}, indent=2) + "\n")


def read_config(run: Path) -> dict[str, Any]:
    """A run's config.json as plain data, without its checksum.

    Raises:
        RunError: when it is missing, no JSON object, or not what the run wrote.
    """
    path = run / CONFIG
    if not path.exists():
        suggestion = "" if run.exists() else did_you_mean_path(run)
        raise RunError(f"{run} is not a run directory: it has no {CONFIG}.{suggestion} Received: {run}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise RunError(f"{path} should hold a JSON object. Received: {type(config).__name__}")
    return verified_config(config, path)


def read_history(run: Path) -> list[dict[str, float | None]]:
    """The rows of the run's history.csv, by column; None where a field is empty. No rows before its first epoch.

    Raises:
        RunError: when it can't be read, or a row lacks a figure that every epoch has.
    """
    path = run / HISTORY
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: float(cell) if cell else None for name, cell in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {wrong_content(error)}. Restore it, or leave {run} out.") from error
    held_out = held_out_name(rows)
    for line, row in enumerate(rows, start=2):
        missing = [name for name in ("epoch", "step", "learning_rate", "loss", "accuracy") if row.get(name) is None]
        missing += [name for name in (f"{held_out}_loss", f"{held_out}_accuracy") if name not in row]
        if missing:
            raise RunError(
                f"{path} is damaged: line {line} has no {', '.join(missing)}. Restore it, or leave {run} out."
            )
        for name in ("epoch", "step"):
            if not ((value := row[name] or 0.0) >= 1 and value.is_integer()):
                raise RunError(
                    f"{path} is damaged: line {line} should have a whole {name} from 1 on. Received: {row[name]}."
                    f" Restore it, or leave {run} out."
                )
    return rows


def held_out_name(history: list[dict[str, float | None]]) -> str:
    """What the images are that the epochs of ``history`` ended with: validation or test."""
    return "validation" if history and "validation_loss" in history[0] else "test"


def verified_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """``config``, as read from ``path``, without its checksum, which must hold; cifarnet 0.1 wrote none.

    Raises:
        RunError: when it does not.
    """
    rest = {key: value for key, value in config.items() if key != _CHECKSUM}
    if config.get(_CHECKSUM, _checksum(rest)) != _checksum(rest):
        raise RunError(
            f"{path} is damaged, or was changed by hand: its SHA-256 does not hold. Restore it; or, where the change is"
            f' meant, delete its line "{_CHECKSUM}" and take it as the recipe of a new run (--recipe {path}).'
        )
    return rest


_CHECKSUM = "sha256"


def _checksum(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def trained_on(run: Path) -> TrainedOn | None:
    """Return which images the run in ``run`` was trained on; None when its config.json does not say.

    Raises:
        RunError: when config.json can't be read, or has an impossible value.
    """
    config = read_config(run)
    if not isinstance(config.get("data"), str):
        return None
    try:
        return TrainedOn.from_dict(config)
    except InvalidValueError as error:
        raise RunError(f"{run / CONFIG} is not a valid run configuration: {error}") from error


def read_result(run: Path) -> dict[str, Any] | None:
    """Return the content of metrics.json; None while the run has no result of the length that config.json asks for.

    A finished run that was given more epochs keeps its first result until the next one replaces it.

    Raises:
        RunError: when config.json or metrics.json can't be read.
    """
    path = run / METRICS
    if not path.exists():
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged_metrics(run, str(error)) from error
    if not isinstance(metrics, dict):
        raise _damaged_metrics(run, f"it should hold a JSON object. Received: {type(metrics).__name__}")
    # Before 0.2 runs could not be made longer, and metrics.json has no length.
    recipe = read_config(run).get("recipe")
    if LENGTH in metrics and isinstance(recipe, dict) and metrics[LENGTH] != length(recipe):
        return None
    return metrics


def result_values(run: Path, *names: str) -> list[float] | None:
    """Return numbers from metrics.json by their ``names``; None where ``read_result`` does.

    Raises:
        RunError: when config.json or metrics.json can't be read, or one is not a finite number.
    """
    metrics = read_result(run)
    if metrics is None:
        return None
    try:
        values = [float(metrics[name]) for name in names]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged_metrics(run, wrong_content(error)) from error
    if not all(map(math.isfinite, values)):
        raise _damaged_metrics(run, f"it should hold finite numbers. Received: {values}")
    return values


def length(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``recipe`` that give the length of a run."""
    return {name: recipe.get(name) for name in ("epochs", "steps")}


def require_result(run: Path) -> None:
    """Check that the run that has just been finished in ``run`` is still there.

    Raises:
        LostRunError: when its result was deleted or moved.
    """
    if lost := [name for name in (CONFIG, WEIGHTS, METRICS) if not (run / name).is_file()]:
        raise LostRunError(
            f"The run in {run} was finished, but {' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} no longer"
            " there: deleted or moved since. Look for the moved directory, or train anew."
        )


def missing_pictures(run: Path) -> list[str]:
    """Return the names of the plots and the page that ``run`` lacks or that show an earlier result.

    Raises:
        RunError: when metrics.json can't be read.
    """
    metrics, report = read_result(run), run / REPORT
    missing = [f"{PLOTS}/{name}{kind}" for name in PLOT_NAMES for kind in (".png", ".svg")]
    missing = [name for name in missing if not (run / name).is_file()]
    try:
        # The page is written last, and names the weights that it is about.
        is_current = str((metrics or {}).get("weights_sha256"))[:SHOWN_DIGITS] in report.read_text(encoding="utf-8")
    except (OSError, ValueError):
        is_current = False
    return missing if is_current else [*missing, REPORT]


def _damaged_metrics(run: Path, what: str) -> RunError:
    return RunError(
        f"{run / METRICS} is damaged: {what}. Restore it, or leave {run} out; cifarnet evaluate {run} scores the run"
        f" anew, and without {METRICS} cifarnet train --resume {run} writes it again."
    )
