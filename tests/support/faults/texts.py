"""The JSON and CSV files that cifarnet reads, mutated: each is read or refused in a sentence."""

import csv
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cifarnet.cli import console
from cifarnet.errors import CifarnetError
from cifarnet.recipes import RECIPES
from cifarnet.reports.terminal.comparison_tables import render_comparison
from cifarnet.reports.terminal.weights_table import render_weights
from cifarnet.runs import files
from cifarnet.runs.compare import compare
from cifarnet.runs.directory import Run
from cifarnet.runs.recipe_files import read_recipe
from cifarnet.training.schedule import learning_rate, size_at, spans
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import INDEX, make_entry, read_index, write_index
from tests.support.faults.saves import checkpoint
from tests.support.runs import run_config

# As JSON text: some of them can't be made by json.dumps.
VALUES = [
    *("null", "true", "false", "0", "-1", "1", "2", "0.5", "-0.5", "-0.0", "1e308", "-1e308", "1e-320", "1e400"),
    *("9" * 19, "9" * 20, f"-{'9' * 20}", str(2**63), str(2**70), "1" + "0" * 400, "1" + "0" * 5000),
    *("NaN", "Infinity", "-Infinity", '""', '" "', '"text"', '"1"', '"NaN"', r'"\u0000"', r'"a\u0000b"'),
    *(r'"\ud800"', r'"\udcff"', r'"\u001b[2J\u009b31m\u202e\u2028\r\n"', '"../../x"', '"/"', '".."', '"~"', '"-x"'),
    *('"index.json"', f'"{"x" * 300}"', f'"{"x" * 100_000}"', '"=1+1"', '"$(x)"', '"1e9"', '"2030-01-01"'),
    *("[]", "[[]]", "[1]", "[1, 2]", '["a"]', "[null]", "[1e400]", "[[16, 0.5]]", "[[16, 0.5, 1]]", "{}", '{"a": 1}'),
    *(
        opened * depth + "1" + closed * depth
        for opened, closed in ("[]", ('{"a":', "}"))
        for depth in (30, 900, 50_000)
    ),
    *(f"[{','.join(map(str, range(10_000)))}]", f"[{','.join(['[16, 0.00001]'] * 10_000)}]"),
]
CELLS = [
    *("", "0", "-1", "1", "0.5", "nan", "inf", "-inf", "1e308", "1e400", "1e-320", "1_0", "0x10", "text", '"', "\0"),
    *(
        str(2**63),
        "9" * 400,
        "9" * 5000,
        "x" * 200_000,
        "\x1b[2J",
        "\u202e",
        "=1+1",
        " 1",
        "1 ",
        "١",
        "1,2",
        "\r",
        "\n",
    ),
]


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``make`` one in a folder, and ``read`` it as the commands do."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def _run(folder: Path, name: str) -> Path:
    recipe = RECIPES["fast"].with_changes(lr_drop=0, resolutions=((16, 0.5), (20, 0.25)))
    config = run_config(
        replace(recipe, name="mine"),
        data="folder",
        data_path="/data/folder",
        model="resnet20",
        test_split=0.2,
        validation_split=0.1,
        data_sha256="ab" * 32,
        budget=600.0,
        backend="tensorflow",
        precision="float32",
        jit=False,
        cores=2,
    )
    run = folder / "run"
    run.mkdir(exist_ok=True)
    files.write_config(run, config.to_dict())
    rows = [
        {"epoch": n, "step": 4 * n, "image_size": 32, "learning_rate": 0.1, "loss": 1 / n, "accuracy": 0.5}
        | {"validation_loss": 2.0 if n > 1 else "", "validation_accuracy": 0.25 if n > 1 else ""}
        for n in (1, 2, 3)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (run / files.HISTORY).write_text(text.getvalue())
    classes = [{"class": c, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 5} for c in "ab"]
    metrics = {
        "length": config.recipe.length,
        "selected_by": "best validation accuracy",
        "epoch": 3,
        "training_seconds": 12.5,
        "weights_sha256": "cd" * 32,
        "accuracy": 0.5,
        "accuracy_interval": [0.2, 0.8],
        "loss": 1.5,
        "top5_accuracy": 1.0,
        "ece": 0.1,
        "per_class": classes,
        "confusion_matrix": [[2, 3], [3, 2]],
        "images": 10,
    }
    (run / files.METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
    return run / name


def _compared(path: Path) -> None:
    comparison = compare([path.parent])
    _shown(comparison.to_dict())
    console.stdout().print(render_comparison(comparison.to_dict(), 100))


def _shown(data: Any) -> None:
    json.dumps(data).encode()


def _attempts(*reads: Callable[[], object]) -> None:
    """Do each of ``reads``; then raise the first refusal."""
    refusals = []
    for read in reads:
        try:
            read()
        except CifarnetError as error:
            str(error).encode("utf-8", "backslashreplace")
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _read_config(path: Path) -> None:
    def configuration() -> None:
        config = Run(path.parent).config
        _shown(config.to_dict())
        config.command(path)

    _attempts(
        configuration,
        lambda: Run(path.parent).trained_on,
        lambda: _compared(path),
        lambda: _used(read_recipe(path)),
        lambda: Run(path.parent).missing_pictures,
    )


def _used(recipe: Any) -> None:
    _shown(recipe.to_dict())
    recipe.changed_options()
    assert recipe.settling_steps >= 0
    steps = recipe.total_steps(50_000)
    assert spans(recipe, 32)
    for step in (0, steps - 1):
        float(learning_rate(recipe, recipe.steps_per_epoch(50_000), step, step / steps))
        size_at(recipe, 32, step / steps)


def _make_recipe(folder: Path) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps(replace(RECIPES["fast"], name="mine").to_dict(), indent=2))
    return path


def _make_index(folder: Path) -> Path:
    weights = checkpoint(1).weights
    own = folder / "own"
    own.mkdir(exist_ok=True)
    entries = {}
    origin = run_config(RECIPES["fast"], data_sha256="ab" * 32, test_split=0.2).trained_on
    for name in ("mine", "yours"):
        save_weights(own / f"{name}.h5", weights)
        entries[name] = make_entry(
            name, own / f"{name}.h5", "folder", 100, shipped=False, trained_on=origin if name == "mine" else None
        )
    write_index(own, entries)
    return own / INDEX


def _read_index(path: Path) -> None:
    from cifarnet.evaluation.metrics import wilson_interval

    entries = read_index(path.parent, shipped=False)
    facts = []
    for entry in entries.values():
        described = entry.to_dict()
        images = described["test_images"]
        facts.append({**described, "accuracy_interval": wilson_interval(0.5, images) if images else None})
    _shown(facts)
    console.stdout().print(render_weights(facts, 100))
    _attempts(*(entry.verify for entry in entries.values()))


KINDS = {
    "index.json": Kind(_make_index, _read_index),
    "config.json": Kind(lambda folder: _run(folder, files.CONFIG), _read_config),
    "recipe": Kind(_make_recipe, lambda path: _used(read_recipe(path))),
    "metrics.json": Kind(
        lambda folder: _run(folder, files.METRICS),
        lambda path: _attempts(lambda: _compared(path), lambda: Run(path.parent).missing_pictures),
    ),
    "history.csv": Kind(lambda folder: _run(folder, files.HISTORY), _compared),
}


def mutants(content: bytes, is_json: bool, rng: random.Random) -> Iterator[bytes]:
    """Yield mutants of a file's ``content`` without end."""
    text = content.decode()
    while True:
        if rng.random() < 0.2:
            yield _bytes_changed(content, rng)
        else:
            yield (_json_changed(text, rng) if is_json else _csv_changed(text, rng)).encode("utf-8", "surrogatepass")


def _bytes_changed(content: bytes, rng: random.Random) -> bytes:
    place, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + rng.randbytes(rng.randrange(1, 9)) + content[place:]
    if kind == 2:
        return content[:place] + content[end:]
    if kind == 3:
        return content[:end] + content[place:]
    if kind == 4:
        return content.decode().encode(rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"]))
    changed = bytearray(content)
    changed[place % len(content)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _json_changed(text: str, rng: random.Random) -> str:
    """Return ``text`` with one or two of its values, or a field, replaced, left out, added or doubled."""
    data = json.loads(text)
    data.pop("sha256", None) if rng.random() < 0.9 else None
    inserted: list[str] = []

    def value() -> str:
        inserted.append(rng.choice(VALUES))
        return f"@{len(inserted) - 1}@"

    if rng.random() < 0.03:
        return rng.choice(VALUES)
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(list(_places(data)))
        action = rng.random()
        if action < 0.7:
            holder[key] = value()
        elif isinstance(holder, dict) and action < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice([key.upper(), f"{key} ", "", "a\0", "\ud800", "\x1b[2J", "x" * 1000])] = holder.pop(key)
        else:
            holder.append(value())
    changed = json.dumps(data, indent=rng.choice((None, 2)))
    for place, raw in enumerate(inserted):
        changed = changed.replace(f'"@{place}@"', raw)
    if rng.random() < 0.05:
        line = rng.choice([line for line in changed.split(", ") if line.startswith('"')] or ['"a": 1, "a": 1'])
        changed = changed.replace("{", "{" + line.strip("{}[]") + ", ", 1)
    return changed


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _csv_changed(text: str, rng: random.Random) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.choice((1, 1, 2))):
        row = rng.choice(rows)
        action = rng.random()
        if action < 0.7 and row:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
        elif action < 0.8 and row:
            del row[rng.randrange(len(row))]
        elif action < 0.9:
            row.append(rng.choice(CELLS))
        elif action < 0.95:
            rows.insert(rng.randrange(len(rows) + 1), list(row))
        else:
            rows.remove(row)
            rows = rows or [[""]]
    return "\n".join(",".join(row) for row in rows) + rng.choice(("\n", "", "\r\n", "\n\n"))


def fuzz(name: str, folder: Path, count: int, seed: int) -> tuple[Counter[str], float, list[str]]:
    """Read ``count`` mutants of the kind of file ``name``.

    Returns:
        How many were ``read``, ``refused`` with a CifarnetError, and ``crashed`` with another error; the seconds of the
        slowest; and the different other errors.
    """
    kind, rng = KINDS[name], random.Random(f"{name} {seed}")
    path = kind.make(folder)
    kind.read(path)
    counts: Counter[str] = Counter(read=0, refused=0, crashed=0)
    slowest, crashes = 0.0, {}
    for _, content in zip(range(count), mutants(path.read_bytes(), not name.endswith(".csv"), rng), strict=False):
        path.write_bytes(content)
        began = time.perf_counter()
        try:
            kind.read(path)
            counts["read"] += 1
        except CifarnetError:
            counts["refused"] += 1
        except Exception as error:
            counts["crashed"] += 1
            crashes[f"{type(error).__name__}: {error}"[:100]] = content
        slowest = max(slowest, time.perf_counter() - began)
    return counts, slowest, [f"{error} of {content[:2000]!r}" for error, content in crashes.items()]
