"""The run directory: which file is which, for whatever writes one and whatever takes one as an argument.

config.json       the run's recipe, data, network and seed: enough to run it again
history.csv       one line per finished epoch
checkpoint.h5     all that resuming needs; also a weight file
checkpoint.previous.h5  the one before, should the newest be damaged; gone once the run has finished
best.weights.h5   the best epoch by validation (with --validation-split only)
weights.h5        the result, once the run has finished
metrics.json      what the result scores, and how it was selected
plots/            the same as pictures
report.html       all of it on one page
tensorboard/      what TensorBoard shows (with --tensorboard only)
"""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError, RunError, WeightsError, did_you_mean_path, wrong_content
from cifarnet.files import write_text

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


def find_data_source(path: Path) -> str | None:
    """The data source that a run directory recorded; None for a bare weight file."""
    if not path.is_dir() or not (path / CONFIG).exists():
        return None
    source = read_config(path).get("data")
    return source if isinstance(source, str) else None


def split_of_run(run: Path, source: str, test_split: float | None) -> float | None:
    """The fraction of ``source`` to hold out to test on, where weights of ``run``, or a bare weight file, are tested.

    Of the images that the run itself was trained on it is the run's: another would hold images out that it has learned.

    Raises:
        InvalidValueError: when ``test_split`` is another.
    """
    held_out = _test_split(run, source)
    if held_out is not None and test_split not in (None, held_out):
        raise InvalidValueError(
            f"{run} held {held_out:g} of its data out to test on and was trained on the rest, of which another fraction"
            f" would be made. Leave --test-split out. Received: {test_split:g}"
        )
    return test_split if held_out is None else held_out


def holds_out_others(run: Path, source: str, sha256: Callable[[], str]) -> bool:
    """Whether ``source``, out of which ``run`` held its test images, has changed since; ``sha256`` is of its splits.

    Other images are held out then, most of which the run has learned.
    """
    return _test_split(run, source) is not None and read_config(run).get("data_sha256") not in (None, sha256())


def _test_split(run: Path, source: str) -> float | None:
    """The fraction of ``source`` that ``run`` held out; None where it did not, or was trained on something else."""
    recorded = find_data_source(run)
    if recorded is None or not _same_source(source, recorded):
        return None
    held_out: float | None = read_config(run).get("test_split")
    return held_out


def _same_source(one: str, other: str) -> bool:
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())
