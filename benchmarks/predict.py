"""How fast ``cifarnet predict`` answers: a folder of pictures, one picture from a cold start, ``--help``; and a report.

    python benchmarks/predict.py --images cifar10/test --weights cifar10-resnet20.h5

Every figure is the time of a whole process. Images per second without start-up leave out what one picture takes: the
imports, the weights and the first batch. One picture and ``python -c "import tensorflow"`` are measured in turn: a
machine's speed drifts, and the median of their differences counts. The last row is what ``cifarnet evaluate --report``
adds to inference on --count pictures, in a process that has imported neither matplotlib nor Pillow before.

Without --images it makes --count synthetic pictures of 32x32 pixels, as JPEG files in a temporary folder. KERAS_BACKEND
chooses the backend. Takes two minutes on two cores.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

from cifarnet.inference.predict import find_images

CIFARNET = (sys.executable, "-m", "cifarnet")
TENSORFLOW = (sys.executable, "-c", "import tensorflow")
REPORT = """
import sys, time
from pathlib import Path
import numpy as np

from cifarnet.cli.reporting import evaluation_html
from cifarnet.data.dataset import Dataset
from cifarnet.evaluation.metrics import measure
from cifarnet.evaluation.scored import Scored
from cifarnet.preprocessing import CIFAR10_CLASSES

count = int(sys.argv[1])
rng = np.random.default_rng(0)
labels = rng.integers(0, 10, count).astype(np.int32)
# Nine in ten are right, as a trained network's are.
logits = rng.normal(size=(count, 10)) + 3.2 * np.eye(10)[labels]
# Smooth pictures: random pixels would make a JPEG ten times as large as photographs do.
coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
scored = Scored(Dataset(coarse.repeat(8, axis=1).repeat(8, axis=2), labels, CIFAR10_CLASSES), logits)
scores = measure(logits, labels, CIFAR10_CLASSES).to_dict()
started = time.perf_counter()
html = evaluation_html(scores, scored, "A network", [], [["cifarnet", "evaluate"]])
Path(sys.argv[2]).write_text(html, encoding="utf-8")
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and print the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures, in it and below it")
    parser.add_argument("--weights", default="resnet20", metavar="RUN|FILE|NAME")
    parser.add_argument("--count", type=int, default=10_000, help="synthetic pictures (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that the folder is classified")
    parser.add_argument("--pairs", type=int, default=5, help="cold starts, and imports of TensorFlow in turn with them")
    args = parser.parse_args()
    if min(args.count, args.rounds, args.pairs) < 1:
        parser.error("--count, --rounds and --pairs must be at least 1.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.images or _synthetic(Path(temporary) / "images", args.count)
        files = [source.content for source in find_images([str(folder)], bytes)]
        if not isinstance(files[0], Path):
            raise SystemExit(f"No pictures to classify: {files[0]}")
        rows = _rows(folder, files[0], len(files), args)
        rows.append(["a report, s", *harness.spread(_reports(args, Path(temporary)), 2), args.rounds])
    harness.print_table(f"cifarnet predict, {len(files):,} pictures", "what | median | from - to | runs", rows)


def _rows(folder: Path, file: Path, count: int, args: object) -> list[list[object]]:
    predict = (*CIFARNET, "predict", "--csv", "--weights", args.weights)
    # The first process of each kind reads its files from the disk, and perhaps compiles their bytecode.
    for command in ((*predict, file), TENSORFLOW):
        harness.seconds(*command)
    starts = {"import": lambda: harness.seconds(*TENSORFLOW), "one": lambda: harness.seconds(*predict, file)}
    starts["help"] = lambda: harness.seconds(*CIFARNET, "--help")
    times = harness.in_turn(args.pairs, starts)
    folders = harness.in_turn(args.rounds, {f"{count:,} pictures": lambda: harness.seconds(*predict, folder)})
    (whole,), start = folders.values(), statistics.median(times["one"])
    # With a few pictures the start is nearly all, and noise can make the rest negative.
    warm = [(count - 1) / (seconds - start) for seconds in whole if seconds > start]
    differences = [one - alone for one, alone in zip(times["one"], times["import"], strict=True)]
    return [
        [what, *harness.spread(values, digits), len(values)]
        for what, values, digits in (
            ("the folder, images/s, whole process", [count / seconds for seconds in whole], 0),
            ("the folder, images/s, without start-up", warm, 0),
            ("one picture, cold start, s", times["one"], 2),
            ("import tensorflow, s", times["import"], 2),
            ("one picture above import tensorflow, s", differences, 2),
            ("cifarnet --help, s", times["help"], 2),
        )
    ]


def _reports(args: object, folder: Path) -> list[float]:
    command = [sys.executable, "-c", REPORT, str(args.count), str(folder / "report.html")]
    runs = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(args.rounds))
    return [float(done.stdout.splitlines()[-1]) for done in runs]


def _synthetic(folder: Path, count: int) -> Path:
    from PIL import Image

    from cifarnet.data.synthetic import synthetic

    folder.mkdir()
    for number, image in enumerate(synthetic(max(count, 50)).train.images[:count]):
        Image.fromarray(image).save(folder / f"{number:06}.jpg", quality=75)
    return folder


if __name__ == "__main__":
    main()
