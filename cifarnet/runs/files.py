"""The files of a run directory: their names, and functions that read and write them. Other packages use ``Run``.

config.json             the configuration: enough to repeat the run
history.csv             a row for each finished epoch
checkpoint.h5           the complete state of the run; also a weight file
checkpoint.previous.h5  the checkpoint before it, in case it is damaged; until the run is finished
best.weights.h5         the weights of the best epoch; with validation images only
weights.h5              the weights of the result; once the run is finished
metrics.json            the scores of the result, and how its weights were selected
plots/                  the scores and the history as plots
report.html             the scores, the plots and the configuration on one page
tensorboard/            event files for TensorBoard; with --tensorboard only
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarnet.errors import InvalidValueError, RunError, WeightsError, did_you_mean_path, without_marks
from cifarnet.fields import FLOAT_LIMIT, Range
from cifarnet.files import neither_file_nor_folder, write_text
from cifarnet.json_files import read_bytes, read_object, shown
from cifarnet.shell import command_line

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

_HISTORY_LIMIT, _METRICS_LIMIT = 2**26, 2**26
"""Bytes of half a million epochs, and of the confusion matrix of 5,000 classes."""
# JSON strings have no line breaks, so this never matches in a string.
_ROW = re.compile(r"\[\n([\d,\s]+)\]")
_LINE_LIMIT = 10_000
_SHARE, _COUNT, _FINITE = Range(0, 1), Range(1, 2**53), Range(-FLOAT_LIMIT, FLOAT_LIMIT)
_COLUMNS = {
    "epoch": _COUNT,
    "step": _COUNT,
    "learning_rate": Range(0, FLOAT_LIMIT),
    "loss": _FINITE,
    "accuracy": _SHARE,
}


@dataclass(frozen=True)
class StoredResult:
    """The fields of metrics.json that are read. A missing field is None; files of cifarnet 0.1 have no ``length``.

    Raises:
        InvalidValueError: for a value out of range. The message names the field.
    """

    accuracy: float | None = None
    loss: float | None = None
    epoch: int | None = None
    training_seconds: float | None = None
    images: int | None = None
    selected_by: str | None = None
    weights_sha256: str | None = None
    length: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, valid in (
            ("accuracy", _SHARE),
            ("loss", _FINITE),
            ("epoch", _COUNT),
            ("training_seconds", Range(0, 1e12)),
            ("images", _COUNT),
        ):
            valid.require(name, getattr(self, name))


def find_weights(path: Path) -> Path:
    """Return ``path`` if it is a file, or else the weight file of the run: its result, or its newest checkpoint.

    Raises:
        WeightsError: when there is no such file.
    """
    if os.path.isfile(path):
        return path
    if not os.path.exists(path):
        raise WeightsError(
            f"There is no run or weight file {path}.{did_you_mean_path(path)} Give a run directory (runs/...) or an .h5"
            f" file. Received: {path}"
        )
    if not os.path.isdir(path):
        raise WeightsError(neither_file_nor_folder(path))
    for name in (WEIGHTS, CHECKPOINT, PREVIOUS_CHECKPOINT):
        if (path / name).is_file():
            return path / name
    raise WeightsError(
        f"{path} is not a run directory with weights: it has neither {WEIGHTS} nor {CHECKPOINT}."
        " Give a run that has been saved at least once, or an .h5 file."
    )


def write_metrics(run: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json, with each row of the confusion matrix in one line.

    Raises:
        StorageError: when it can't be written.
    """
    text = json.dumps(metrics, indent=2)
    # With a line for each number the file would be five times as large.
    write_text(run / METRICS, _ROW.sub(lambda row: f"[{''.join(row[1].split())}]", text) + "\n")


def write_config(run: Path, config: dict[str, Any]) -> None:
    """Write config.json. Its last field is a checksum of the other fields.

    Raises:
        StorageError: when it can't be written.
    """
    write_text(run / CONFIG, json.dumps({**config, CHECKSUM: checksum(config)}, indent=2) + "\n")


def read_config(run: Path) -> dict[str, Any]:
    """Return the fields of config.json without its checksum.

    Raises:
        RunError: when it is missing, is no JSON object, or does not match its checksum.
    """
    path = run / CONFIG
    if not path.exists():
        suggestion = "" if run.exists() else did_you_mean_path(run)
        raise RunError(f"{run} is not a run directory: it has no {CONFIG}.{suggestion} Received: {run}")
    try:
        return verified_config(read_object(path), path)
    except InvalidValueError as error:
        raise RunError(f"{path} can't be read. Restore it from a copy. The reason: {error}") from error


def read_history(run: Path) -> list[dict[str, float | None]]:
    """Return the rows of history.csv by column, None for empty fields. There are no rows before the first epoch.

    Raises:
        RunError: when it can't be read, or a row lacks a required value.
    """
    path = run / HISTORY
    if not path.exists():
        return []
    try:
        return list(_history_rows(read_bytes(path, _HISTORY_LIMIT)))
    except InvalidValueError as error:
        raise RunError(f"{path} is damaged: {without_marks(str(error))}. Restore it, or leave out {run}.") from error


def _history_rows(content: bytes) -> Iterator[dict[str, float | None]]:
    """Yield the rows of history.csv one by one, so that reading ends at the first invalid row.

    Raises:
        InvalidValueError: for an invalid row. The message names the line.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"it is not text in UTF-8: byte {error.start + 1:,} is invalid") from error
    if any(len(line) > _LINE_LIMIT for line in lines):
        raise InvalidValueError(f"a line has more than {_LINE_LIMIT:,} characters")
    before: dict[str, float | None] = {"epoch": 0.0, "step": 0.0}
    reader = csv.reader(lines, strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise InvalidValueError(f"it has a column more than once. Received: {shown(','.join(names))}")
        for cells in filter(None, reader):
            before = _history_row(names, cells, before)
            yield before
    except (InvalidValueError, csv.Error) as error:
        raise InvalidValueError(f"line {max(1, reader.line_num):,}: {error}") from error


def _history_row(names: list[str], cells: list[str], before: Mapping[str, float | None]) -> dict[str, float | None]:
    if len(cells) != len(names):
        raise InvalidValueError(f"it must have {len(names)} fields. Received: {len(cells)}")
    row = {name: _history_number(name, cell) if cell else None for name, cell in zip(names, cells, strict=True)}
    held_out = held_out_name([row])
    missing = [name for name in _COLUMNS if row.get(name) is None]
    missing += [name for name in (f"{held_out}_loss", f"{held_out}_accuracy") if name not in row]
    if missing:
        raise InvalidValueError(f"it has no {', '.join(missing)}")
    for name in ("epoch", "step"):
        value, least = row[name] or 0.0, before[name] or 0.0
        if not value.is_integer() or value <= least:
            raise InvalidValueError(f"{name} must be a whole number above {least:g}. Received: {value}")
    return row


def _history_number(name: str, cell: str) -> float:
    valid = _COLUMNS.get(name, _SHARE if name.endswith("_accuracy") else _FINITE)
    try:
        value = float(cell)
    except ValueError:
        raise InvalidValueError(f"{name} must be a number. Received: {shown(cell)}") from None
    valid.require(name, value)
    return value


def held_out_name(history: list[dict[str, float | None]]) -> str:
    """Return the kind of the held-out images in ``history``: ``validation`` or ``test``."""
    return "validation" if history and "validation_loss" in history[0] else "test"


def verified_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of ``config``, read from ``path``, without the checksum, which cifarnet 0.1 did not write.

    Raises:
        RunError: when the checksum does not match.
    """
    rest = {key: value for key, value in config.items() if key != CHECKSUM}
    if config.get(CHECKSUM, checksum(rest)) != checksum(rest):
        raise RunError(
            f"{path} is damaged, or was changed by hand: its SHA-256 does not match. Restore it. Or, if the change is"
            f' intended, delete its line "{CHECKSUM}" and use it as the recipe of a new run (`recipe` {path}).'
        )
    return rest


CHECKSUM = "sha256"
"""The key of a JSON file for the checksum of its other fields."""


def checksum(config: dict[str, Any]) -> str:
    """Return the SHA-256 of the fields ``config`` in JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_metrics(run: Path) -> dict[str, Any]:
    """Return the content of metrics.json.

    Raises:
        RunError: when it can't be read.
    """
    try:
        return read_object(run / METRICS, _METRICS_LIMIT)
    except InvalidValueError as error:
        raise damaged_metrics(run, str(error)) from error


def damaged_metrics(run: Path, what: str) -> RunError:
    """Return the error for a damaged metrics.json; ``what`` is the damage."""
    return RunError(
        f"{run / METRICS} is damaged: {without_marks(what)}. Restore it, or leave out {run}. To score the"
        " run again, use cifarnet evaluate. To write the file again, delete it, then use:"
        f" {command_line('train', '--resume', run)}"
    )
