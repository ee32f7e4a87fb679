"""Speed of ``cifarnet predict`` on a folder and on one picture, of ``cifarnet --help``, and of a report.

    python benchmarks/predict.py --images cifar10/test --weights resnet20

Times are those of whole processes. "Without start-up" leaves out the time of one picture. What is compared is measured
in turn, because the speed of a machine drifts; a ratio is the median of the pairs.
The last row is the page that ``cifarnet evaluate --report`` adds to inference on --count pictures.

Without --images the pictures are --count synthetic JPEG files. Takes three minutes on two cores.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

from cifarnet.inference.predict import find_images

CIFARNET = (sys.executable, "-m", "cifarnet")
TENSORFLOW = (sys.executable, "-c", "import tensorflow")


def main() -> None:
    """Measure and print the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures, also in folders below")
    parser.add_argument("--weights", default="resnet20", metavar="RUN|FILE|NAME")
    parser.add_argument("--count", type=int, default=10_000, help="synthetic pictures (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs on the folder, and reports")
    parser.add_argument("--pairs", type=int, default=5, help="cold starts, and imports of TensorFlow")
    args = parser.parse_args()
    if min(args.count, args.rounds, args.pairs) < 1:
        parser.error("--count, --rounds and --pairs must be at least 1.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.images or _synthetic(Path(temporary) / "images", args.count)
        files = [source.content for source in find_images([str(folder)], bytes)]
        if not isinstance(files[0], Path):
            raise SystemExit(f"No pictures to classify: {files[0]}")
        rows = _rows(folder, files[0], len(files), args)
        task = {"task": "report", "count": args.count, "file": f"{temporary}/report.html"}
        reports = [harness.measure_one(task)["seconds"] for _ in range(args.rounds)]
    rows.append(["a report, s", *harness.spread(reports, 2), args.rounds])
    harness.print_table(f"cifarnet predict, {len(files):,} pictures", "what | median | from - to | runs", rows)


def _rows(folder: Path, file: Path, count: int, args: Any) -> list[list[object]]:
    predict = (*CIFARNET, "predict", "--csv", "--weights", args.weights)
    # The first process reads its files from the disk, and may compile bytecode.
    for command in ((*predict, file), TENSORFLOW):
        harness.seconds(*command)
    with_keras = (*predict, "--engine", "keras")
    starts = {
        "import": TENSORFLOW,
        "one": (*predict, file),
        "keras": (*with_keras, file),
        "help": (*CIFARNET, "--help"),
    }
    turns = [{name: harness.seconds(*command) for name, command in starts.items()} for _ in range(args.pairs)]
    pairs = [(harness.seconds(*predict, folder), harness.seconds(*with_keras, folder)) for _ in range(args.rounds)]
    whole = [seconds for seconds, _ in pairs]
    start = statistics.median(turn["one"] for turn in turns)
    # With few pictures the start is nearly all of the time, and the rest may be negative.
    warm = [(count - 1) / (seconds - start) for seconds in whole if seconds > start]
    return [
        [what, *harness.spread(values, digits), len(values)]
        for what, values, digits in (
            ("the folder, images/s, whole process", [count / seconds for seconds in whole], 0),
            ("the folder, images/s, without start-up", warm, 0),
            ("one picture, cold start, s", [turn["one"] for turn in turns], 2),
            ("import tensorflow, s", [turn["import"] for turn in turns], 2),
            ("one picture with --engine keras, s", [turn["keras"] for turn in turns], 2),
            ("one picture, keras / default engine", [turn["keras"] / turn["one"] for turn in turns], 1),
            ("the folder, keras / default engine", [keras / default for default, keras in pairs], 2),
            ("cifarnet --help, s", [turn["help"] for turn in turns], 2),
        )
    ]


def _synthetic(folder: Path, count: int) -> Path:
    from PIL import Image

    from cifarnet.data.synthetic import synthetic

    folder.mkdir()
    for number, image in enumerate(synthetic(max(count, 50)).train.images[:count]):
        Image.fromarray(image).save(folder / f"{number:06}.jpg", quality=75)
    return folder


if __name__ == "__main__":
    main()
