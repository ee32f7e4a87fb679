"""What a time budget gives, and whether it is kept: ``cifarnet train --budget`` on large and on small data.

    python benchmarks/budgets.py --data cifar10-jpeg75.tar.xz --textures brick.png grass.png gravel.png

runs the command with each of ``--budgets`` on each source: ``--data``, the synthetic set, and 40 images of each
texture (squares of its left half; 100 of its right half to test on). It prints the wall-clock seconds of the process
and the test accuracy. The decoded images are in the cache: run it once before to put them there.
The machine should be idle. Finished runs in ``--output`` are not repeated.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
from fine_tuning import save, textures

from cifarnet.cli.options import seconds as seconds_of


def run(directory: Path, options: list[str]) -> dict[str, Any]:
    """Return status, seconds, steps, accuracy and warnings of a run: read, or measured now and kept beside it."""
    kept = directory.with_suffix(".json")
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    command = [sys.executable, "-m", "cifarnet", "train", *options, "--output", str(directory)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = {"status": done.returncode, "seconds": time.monotonic() - started}
    if not done.returncode:
        checkpoint = json.loads((directory / "metrics.json").read_text())
        last = (directory / "history.csv").read_text().splitlines()[-1].split(",")
        found |= {"accuracy": checkpoint["accuracy"], "epochs": int(last[0]), "steps": int(last[1])}
    found["warned"] = any("is enough for" in line for line in done.stderr.splitlines())
    kept.write_text(json.dumps(found) + "\n")
    return found


def main() -> None:
    """Run every budget on every source and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--textures", type=Path, nargs="*", default=[])
    parser.add_argument("--budgets", nargs="*", default=["30s", "60s", "90s", "2m", "5m", "10m", "20m"])
    parser.add_argument("--sources", nargs="*", help="of cifar10, synthetic, textures (default: all)")
    parser.add_argument("--output", type=Path, default=Path("runs/budgets"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    sources = {"cifar10": args.data, "synthetic": "synthetic"}
    if args.textures:
        sources["textures"] = str(args.output / "textures.npz")
        save(Path(sources["textures"]), textures(args.textures, 40, 100))
    rows = []
    for name in args.sources or sources:
        for budget in args.budgets:
            common.tell(f"{name}, {budget}")
            found = run(args.output / f"{name}-{budget}", ["--data", sources[name], "--budget", budget])
            allowed = seconds_of(budget, "--budgets")
            rows.append(
                [
                    name,
                    budget,
                    f"{found['seconds']:.1f}",
                    f"{found['seconds'] - allowed:+.1f}",
                    common.number(found.get("steps")),
                    "refused" if found["status"] else f"{100 * found['accuracy']:.2f}",
                    "below one epoch" if found["warned"] else "",
                ]
            )
    columns = ["data", "budget", "seconds", "over", "steps", "test accuracy, %", "warning"]
    print(common.table("ResNet-20 within short budgets", columns, rows, common.machine()))


if __name__ == "__main__":
    main()
