"""What the benchmarks share: the machine's facts, Markdown tables, and measurements in processes of their own.

It imports no backend: what is measured runs in ``measure.py``, in a process that nothing else disturbs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EPOCH = 50_000
"""Images of an epoch of CIFAR-10."""

MARKS = (0.80, 0.84, 0.86, 0.88)
"""Test accuracies whose times are told."""

MIB = 2**20
GIB = 2**30


def machine(*, torch: str | None = None) -> str:
    """Date, processor and versions in one line; ``torch`` is the peer's version, which another Python may have."""
    from cifarnet import __version__
    from cifarnet.backend.devices import usable_cores

    versions = [f"Python {platform.python_version()}", f"cifarnet {__version__}"]
    for name in ("keras", "tensorflow", "jax", "torch"):
        version = torch if name == "torch" and torch else _version(name)
        if version:
            versions.append(f"{name} {version}")
    return f"{date.today()}; {_cpu()}, {usable_cores()} cores; {', '.join(versions)}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor by name, family and model: virtual machines often tell no more of the name than "AMD EPYC"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], facts: str) -> str:
    """A Markdown table below its title and the machine's facts."""
    lines = [f"### {title}", "", facts, "", _row(columns), "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*lines, *map(_row, rows), ""])


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def measure(tasks: Sequence[dict[str, Any]], environment: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Run ``tasks`` (see ``measure.py``) one after the other in one process of their own; a result for each.

    Raises:
        SystemExit: when the process fails; what it said is on stderr.
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
    """The result of a single task in a process of its own."""
    (result,) = measure([task], environment)
    return result


def python(script: Path, argument: str) -> dict[str, Any]:
    """Return what ``script`` prints last, as JSON, when it runs in a process of its own.

    Raises:
        SystemExit: when the process fails; what it said is on stderr.
    """
    done = subprocess.run([sys.executable, str(script), argument], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script.name} ended with status {done.returncode}.")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def pytorch(python: str, *options: object) -> dict[str, Any]:
    """What ``pytorch_reference.py`` prints when ``python`` runs it.

    Raises:
        RuntimeError: with the last line that it said, when it fails.
    """
    command = [python, str(HERE / "pytorch_reference.py"), *map(str, options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(str(error)) from error
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def tell(text: str) -> None:
    """Progress, to stderr: a table on stdout can go to a file."""
    print(text, file=sys.stderr, flush=True)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows a script's docstring as it is."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def status(pid: int | str = "self") -> dict[str, float]:
    """Memory of a process in MB (10^6 bytes): ``VmRSS`` resident now, ``VmHWM`` its highest so far; empty when gone."""
    try:
        return _memory(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return {}


def _memory(text: str) -> dict[str, float]:
    fields = (line.split() for line in text.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(kib) * 1024 / 1e6 for name, kib, *_ in fields}


def tensorflow_mb() -> float:
    """Resident memory of a process that has imported TensorFlow and done nothing else, MB."""
    code = "import tensorflow; print(open('/proc/self/status').read())"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **quiet}).stdout
    return _memory(told)["VmRSS"]


def reached(epochs: Sequence[tuple[float, float | None]], mark: float) -> float | None:
    """The seconds after which the test accuracy ``mark`` was first seen, in ``epochs`` as ``measure.history`` gives."""
    return next((seconds for seconds, accuracy in epochs if accuracy is not None and accuracy >= mark), None)


def operations(depth: int) -> float:
    """Floating-point operations of training on one image: 2 a multiply-accumulate, three products a convolution."""
    from cifarnet.models.layers import total_macs
    from cifarnet.models.spec import ModelSpec, describe

    return 2 * 3 * total_macs(describe(ModelSpec(f"resnet{depth}")))


def feature_map_bytes(depth: int, precision: str) -> float:
    """Bytes of feature maps that training on one image moves at the very least.

    Each convolution reads its input and writes its output forward, and reads both the output's gradient and the input
    and writes the input's gradient backward (the first one has none to write). Everything else (normalization, ReLU,
    shortcuts, whose sums must be complete before they are used) is taken as done on the way, at no cost.
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
