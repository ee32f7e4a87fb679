"""A comparison of runs as rows of text, for tables of every medium.

A ``comparison`` has the keys of ``cifarnet compare --json``.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from cifarnet.paths import last_name
from cifarnet.plurals import counted
from cifarnet.printable import printable
from cifarnet.reports.text import percent

NONE = "–"
"""The text of a cell without a value."""


class ResultRow(NamedTuple):
    """The results of a group, or of one run of a group with several runs.

    ``cells`` are the group's number, the name, accuracy, loss, epoch and best epoch.
    """

    cells: list[str]
    seconds: float | None
    is_member: bool


def notes_on(comparison: Mapping[str, Any]) -> list[str]:
    """Return the notes that belong below the results."""
    notes = []
    if not comparison["same_images"]:
        notes.append("The runs were tested on different images: their accuracies can't be compared directly.")
    if any(group["accuracy_deviation"] is not None for group in comparison["groups"]):
        notes.append("Mean ± sample standard deviation over seeds.")
    notes.append("Best: the epoch with the highest accuracy on the validation images, or else on the test images.")
    return notes


def group_names(comparison: Mapping[str, Any]) -> list[str]:
    """Return a name for each group: that of its run, or the common beginning of its runs' names."""
    names = run_names(comparison)
    return [_group_name(group, names) for group in comparison["groups"]]


def _group_name(group: Mapping[str, Any], names: Mapping[str, str]) -> str:
    members = [names[run["run"]] for run in group["runs"]]
    if len(members) == 1:
        return members[0]
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*members, strict=False))
    common = "".join(letters[0] for letters in shared).rstrip("-_. ")
    seeds = counted(group["seeds"], "seed")
    return f"{common or members[0] + ', …'} ({counted(len(members), 'run')}, {seeds})"


def run_names(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each run by its path: the last part of the path, or all of it where last parts are equal."""
    paths = [run["run"] for group in comparison["groups"] for run in group["runs"]]
    short = [last_name(path) for path in paths]
    chosen = short if len(set(short)) == len(short) else paths
    return {path: printable(name) for path, name in zip(paths, chosen, strict=True)}


def results_rows(comparison: Mapping[str, Any]) -> list[ResultRow]:
    """Return the rows of the results: one for each group and, in a group of several runs, one for each run."""
    names = run_names(comparison)
    rows: list[ResultRow] = []
    for number, group in enumerate(comparison["groups"], start=1):
        members = group["runs"]
        several = len(members) > 1
        if several:
            loss = NONE if group["loss"] is None else f"{group['loss']:.4f}"
            cells = [str(number), _group_name(group, names), _group_accuracy(group), loss, "", ""]
            rows.append(ResultRow(cells, group["training_seconds"], False))
        for run in members:
            name = names[run["run"]] + (f", seed {run['seed']}" if several else "")
            cells = ["" if several else str(number), name, *_run_cells(run)]
            rows.append(ResultRow(cells, run["training_seconds"], several))
    return rows


def _group_accuracy(group: Mapping[str, Any]) -> str:
    if group["accuracy"] is None:
        return "unfinished"
    if group["accuracy_deviation"] is None:
        return percent(group["accuracy"])
    return f"{100 * group['accuracy']:.2f} ± {percent(group['accuracy_deviation'])}"


def accuracy_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Return a line on the test accuracy of each group with a finished run. Several groups are numbered."""
    groups = [(number, group) for number, group in enumerate(comparison["groups"], start=1) if group["finished_seeds"]]
    several = len(comparison["groups"]) > 1
    return [f"{f'#{number} ' if several else ''}Test accuracy {_of_seeds(group)}" for number, group in groups]


def _of_seeds(group: Mapping[str, Any]) -> str:
    seeds = group["finished_seeds"]
    accuracy = _group_accuracy(group)
    return f"{accuracy} (1 seed)" if seeds == 1 else f"{accuracy} (mean ± standard deviation of {seeds} seeds)"


def _run_cells(run: Mapping[str, Any]) -> list[str]:
    """Return accuracy, loss, epoch and best epoch."""
    return [
        percent(run["accuracy"]) if run["finished"] else "unfinished",
        f"{run['loss']:.4f}" if run["finished"] else NONE,
        f"{run['epoch']}/{run['epochs'] or '?'}",
        str(run["best_epoch"] or NONE),
    ]


def results_in_minutes(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the results with the training time in minutes, which can be sorted."""
    head = ["#", "Run", "Test accuracy", "Loss", "Epoch", "Best", "Minutes"]
    rows = results_rows(comparison)
    return head, [[*row.cells, NONE if row.seconds is None else f"{row.seconds / 60:,.1f}"] for row in rows]


def settings_rows(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings (the groups' numbers) and a row for each setting that differs."""
    groups = comparison["groups"]
    head = ["Setting", *(f"#{number}" for number in range(1, len(groups) + 1))]
    rows = [[name, *(_value(name, group["settings"][name]) for group in groups)] for name in comparison["differing"]]
    return head, rows


def _value(name: str, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "resolutions":
        return ",".join(f"{side}:{share:g}" for side, share in value) or NONE
    if isinstance(value, Sequence) and not isinstance(value, str):
        between = ", " if name.startswith("teacher") else ","
        return between.join(_value(name, item) for item in value) or NONE
    if name.endswith("sha256"):
        return str(value)[:12]
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
