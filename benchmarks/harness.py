"""Shared by the benchmarks: options, tables, the description of the machine, and measurements in other processes.

This module imports no backend. ``measure.py`` measures, in a process of its own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EPOCH = 50_000
"""Images of an epoch of CIFAR-10."""


MIB = 2**20
GIB = 2**30

SHARED: dict[str, dict[str, Any]] = {
    "data": {"default": "cifar10", "help": "as cifarnet train takes it (default: %(default)s)"},
    "depth": {"type": int, "default": 20, "help": "(default: %(default)s)"},
    "batch": {"type": int, "default": 128, "help": "images of a batch (default: %(default)s)"},
    "images": {"type": int, "default": EPOCH, "help": "training images in memory (default: %(default)s)"},
    "seeds": {"type": int, "default": 3, "help": "(default: %(default)s)"},
    "textures": {"type": Path, "nargs": "*", "default": [], "help": "pictures of textures, 512 x 512 pixels"},
}
"""Options of several scripts."""


def machine(*, torch: str | None = None) -> str:
    """Return date, processor and versions in one line. ``torch`` is the version of PyTorch in another Python."""
    from cifarnet import __version__
    from cifarnet.backend.devices import usable_cores

    versions = [f"Python {platform.python_version()}", f"cifarnet {__version__}"]
    for name in ("keras", "tensorflow", "jax", "torch"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {torch if name == 'torch' and torch else metadata.version(name)}")
    return f"{date.today()}; {_cpu()}, {usable_cores()} cores; {', '.join(versions)}"


def _cpu() -> str:
    """Return the name, family and model of the processor. In virtual machines the name may be "AMD EPYC" only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def print_table(title: str, columns: str, rows: Sequence[Sequence[Any]], facts: str = "") -> None:
    """Print a Markdown table with ``columns`` separated by " | ". ``facts`` describe the machine."""
    names = columns.split(" | ")
    lines = [f"### {title}", "", facts or machine(), "", _row(names), "|---|" + "---:|" * (len(names) - 1)]
    print("\n".join([*lines, *map(_row, rows), ""]), flush=True)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def number(value: float | None, digits: int = 0) -> str:
    """Return ``value`` with thousands separators; "-" for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def spread(values: Sequence[float], digits: int = 0) -> list[str]:
    """Return median and range of ``values`` as two cells; dashes for none."""
    if not values:
        return ["-", "-"]
    low, median, high = (number(function(values), digits) for function in (min, statistics.median, max))
    return [median, f"{low} - {high}"]


def seconds(*command: object) -> float:
    """Run a command and return its seconds from start to end.

    Raises:
        SystemExit: with the error output when the command fails.
    """
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{done.stderr}")
    return elapsed


def measure(tasks: Sequence[dict[str, Any]], environment: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Run ``tasks`` of ``measure.py`` one after the other in a new process, and yield their results.

    Raises:
        SystemExit: when the process fails. Its error output is on stderr.
    """
    command = [sys.executable, str(HERE / "measure.py"), json.dumps(list(tasks))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if run.returncode:
        raise SystemExit(f"The measuring process ended with status {run.returncode}.")


def measure_one(task: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the result of one task in a new process."""
    (result,) = measure([task], environment)
    return result


def kept(file: Path, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result in ``file``. If there is no such file, measure it and write the file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        note(file.stem)
        file.write_text(json.dumps(measured()) + "\n")
    return dict(json.loads(file.read_text()))


def trained(directory: Path, **settings: Any) -> dict[str, Any]:
    """Return the result of ``measure.train`` with the run ``directory``; see ``kept``. The file is next to the run.

    The result has ``process_seconds`` too, those of the process from start to end.

    Raises:
        SystemExit: when ``directory`` holds a run without a result.
    """
    file = directory.with_name(f"{directory.name}.json")
    if directory.exists() and not file.exists():
        raise SystemExit(f"{directory} holds a run that was interrupted: its time is lost. Remove it first.")

    def measured() -> dict[str, Any]:
        began = time.monotonic()
        result = measure_one({"task": "train", "output": str(directory), **settings})
        return {**result, "process_seconds": time.monotonic() - began}

    return kept(file, measured)


def pytorch(python: str, script: str, *options: object) -> dict[str, Any]:
    """Return the result of ``script``, run by ``python``: its last line of JSON. Lines about epochs go to stderr.

    Raises:
        SystemExit: with its last line of output when it fails.
    """
    lines: list[str] = []
    try:
        command = [python, str(HERE / script), *map(str, options)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                lines.append(line.rstrip())
                if line.startswith("Epoch "):
                    note(lines[-1])
    except OSError as error:
        raise SystemExit(f"PyTorch can't be measured: {error}") from error
    if run.returncode:
        raise SystemExit(f"PyTorch can't be measured: {(lines or [f'status {run.returncode}'])[-1]}")
    return dict(json.loads([line for line in lines if line.startswith("{")][-1]))


def note(text: str) -> None:
    """Print progress to stderr. Tables go to stdout."""
    print(text, file=sys.stderr, flush=True)


def parser(doc: str | None, *names: str) -> argparse.ArgumentParser:
    """Return a parser with the docstring ``doc`` of a script and the shared options ``names``."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in names:
        made.add_argument(f"--{name}", **SHARED[name])
    return made


def status(pid: int | str = "self") -> dict[str, float]:
    """Return the memory of a process in MB (10^6 bytes): ``VmRSS`` now, ``VmHWM`` its peak; {} when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(kib) * 1024 / 1e6 for name, kib, *_ in fields}


def tensorflow_mb() -> float:
    """Return the resident memory, in MB, of a process that has only imported TensorFlow."""
    command = [sys.executable, "-c", "import harness, tensorflow; print(harness.status()['VmRSS'])"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=HERE)
    return float(done.stdout)


def reached(epochs: Sequence[tuple[float, float | None]], mark: float) -> float | None:
    """Return the seconds to the test accuracy ``mark``, with ``epochs`` as ``measure.train`` returns them."""
    return next((seconds for seconds, accuracy in epochs if accuracy is not None and accuracy >= mark), None)


def operations(depth: int) -> float:
    """Return the floating-point operations of training on one image: three products, of 2 a multiply-accumulate."""
    from cifarnet.models.layers import total_macs
    from cifarnet.models.spec import ModelSpec, describe

    return 2 * 3 * total_macs(describe(ModelSpec(f"resnet{depth}")))


def feature_map_bytes(depth: int, precision: str) -> float:
    """Return a lower bound of the bytes of feature maps that training on one image moves.

    Forward, each convolution reads its input and writes its output. Backward, it reads its input and the gradient of
    its output, and writes the gradient of its input (except for the first one). Everything else is taken as fused.
    """
    from cifarnet.models.spec import ModelSpec, describe

    elements = 0
    for index, layer in enumerate(_convolutions(describe(ModelSpec(f"resnet{depth}")))):
        height, width, filters = layer.output_shape
        strides = layer.config["strides"]
        read = height * strides * width * strides * layer.weights[0].shape[2]
        written = height * width * filters
        elements += (3 if index else 2) * read + 2 * written
    return elements * (4 if precision == "float32" else 2)


def _convolutions(layers: Sequence[Any]) -> Iterator[Any]:
    for layer in layers:
        if layer.type == "Conv2D":
            yield layer
        yield from _convolutions(layer.layers)
