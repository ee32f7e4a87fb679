"""The state of the installation as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cifarnet.plurals import counted, verb
from cifarnet.printable import printable

WIDEST = 100
"""The most characters in a line, except for commands."""

_INDENT = 2


def print_diagnosis(data: Mapping[str, Any], out: Console) -> None:
    """Print the state of the installation on ``out``.

    Args:
        data: what ``cifarnet doctor --json`` prints.
        out: the console. A command is never broken into lines, so that it can be copied.
    """
    width = min(out.width, WIDEST)
    facts = [*_machine_rows(data), *_software_rows(data)]
    backends = [row for backend in data["backends"] for row in _backend_rows(backend)]
    engines = [(engine["name"], _engine_text(engine)) for engine in data["engines"]]
    column = max(len(name) for name, _ in (*facts, *backends, *engines))
    for title, rows in (("Machine", facts), ("Training", backends), ("Classifying", engines)):
        out.print(Text(title, "bold"), width=width)
        out.print(_grid(rows, column), width=width)
        out.print()
    for title, failure, style in (("Broken", True, "bold red"), ("To note", False, "bold")):
        found = [finding for finding in data["findings"] if finding["failure"] is failure]
        if not found:
            continue
        out.print(Text(title, style), width=width)
        for finding in found:
            out.print(Padding(Text(printable(finding["text"])), (0, 0, 0, _INDENT)), width=width)
            if finding["command"]:
                out.print(Text(f"{' ' * 2 * _INDENT}{printable(finding['command'])}", "cyan"), soft_wrap=True)
        out.print()
    out.print(Text(_verdict(data), "bold red" if data["failed"] else "bold green"), width=width)


def _grid(rows: list[tuple[str, str]], column: int) -> Padding:
    """Return rows of a name and a text. The column of names has the width ``column``.

    All lines of a text are indented by the spaces at its start.
    """
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=column, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        indent = len(text) - len(text.lstrip())
        grid.add_row(Text(printable(name)), Padding(Text(printable(text.strip())), (0, 0, 0, indent)))
    return Padding(grid, (0, 0, 0, _INDENT))


def _machine_rows(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    machine = data["machine"]
    yield "cifarnet", machine["cifarnet"]
    yield "Python", machine["python"]
    yield "System", machine["system"]
    instructions = "".join(f", {name}" for name in machine["instructions"])
    bfloat16 = "multiplies bfloat16" if machine["bfloat16"] else "no bfloat16"
    yield "Processor", f"{machine['processor']}, {counted(machine['cores'], 'core')}{instructions}, {bfloat16}"
    free = "" if machine["available"] is None else f", {_gigabytes(machine['available'])} free"
    yield "Memory", "unknown" if machine["memory"] is None else f"{_gigabytes(machine['memory'])}{free}"
    for row, folder in enumerate(data["folders"]):
        yield "" if row else "Disk", _folder_text(folder)
    nvidia = data["nvidia"]
    hardware = "present" if nvidia["hardware"] else "none"
    driver = f"driver {nvidia['driver'] or 'not loaded'}"
    yield "NVIDIA GPU", f"{hardware}, {driver}" if nvidia["hardware"] else hardware
    if nvidia["packages"]:
        yield "CUDA", _listed(nvidia["packages"].items())


def _software_rows(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    versions = {package["name"]: package["version"] for package in data["packages"]}
    yield "Packages", _listed((name, version) for name, version in versions.items() if version is not None)
    for row, variable in enumerate(data["variables"]):
        value = "(not shown)" if variable["value"] is None else variable["value"]
        ignored = " (ignored, since it would change numbers)" if variable["ignored"] else ""
        yield "" if row else "Variables", f"{variable['name']}={value}{ignored}"


def _folder_text(folder: Mapping[str, Any]) -> str:
    if folder["path"] is None:
        return f"no folder for {folder['purpose']}"
    free = "unknown" if folder["free"] is None else f"{_gigabytes(folder['free'])} free"
    refused = "" if folder["writable"] else ", not writable"
    return f"{folder['purpose']}: {folder['path']}, {free}{refused}"


def _backend_rows(backend: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if backend["version"] is None:
        yield backend["name"], "not installed"
        return
    default = ", the default" if backend["chosen"] else ""
    started = "" if backend["seconds"] is None else f", starts in {backend['seconds']:.1f} s"
    broken = ", broken" if backend["problem"] else ""
    yield backend["name"], f"{backend['version']}{default}{started}{broken}"
    for device in backend["devices"]:
        others = len(backend["devices"]) > 1 and not device["chosen"]
        yield "", f"{device['name']}{' (not used for training)' if others else ''}"
        yield "", f"  {device['precision']}, because {device['precision_reason']}"
        compiled = "compiled with XLA" if device["jit"] else "not compiled"
        yield "", f"  {compiled}, because {device['jit_reason']}"
        if device["test"]:
            yield "", f"  {_test_text(device['test'])}"


def _test_text(test: Mapping[str, Any]) -> str:
    if test["problem"]:
        return f"self-test FAILED: {test['problem']}"
    learned = f"loss {test['loss_before']:.2f} to {test['loss_after']:.2f} in {counted(test['steps'], 'step')}"
    compared = "logits not compared"
    if test["difference"] is not None:
        compared = (
            f"logits differ from those of {test['reference']} by {test['difference']:.0e} of the largest"
            f" ({test['tolerance']:.0e} is allowed, because {test['why']})"
        )
    return f"self-test passed in {test['seconds']:.1f} s: {learned}, {compared}"


def _engine_text(engine: Mapping[str, Any]) -> str:
    if engine["version"] is None:
        return "not installed"
    parts = [f"{engine['package']} {engine['version']}"]
    if engine["chosen"]:
        parts.append(f"the default, because {engine['reason']}")
    if engine["problem"]:
        parts.append("broken")
    elif engine["difference"] is not None:
        parts.append(f"logits differ from those of {engine['reference']} by {engine['difference']:.0e}")
    return ", ".join(parts)


def _verdict(data: Mapping[str, Any]) -> str:
    broken = sum(finding["failure"] for finding in data["findings"])
    if broken:
        fails = f"{counted(broken, 'thing')} {verb(broken, 'does', 'do')} not work"
        return f"{fails}. A bug report needs: cifarnet doctor --json"
    return "Everything that is installed works." if data["tested"] else "Everything starts. Nothing was trained."


def _listed(versions: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
