"""How fast ``cifarnet predict`` answers: a folder of pictures, one picture from a cold start, and ``--help``.

    python benchmarks/predict.py --images cifar10/test --weights cifar10-resnet20.h5

Every figure is the time of a whole process, and of several such the median. Images per second without start-up leave
out what one picture takes: the imports, the weights and the first batch. The cold start is measured in turn with
``python -c "import tensorflow"``, because a machine's speed drifts; what counts is the median of the differences.

Without --images it makes --count synthetic pictures of 32x32 pixels, as JPEG files in a temporary folder; without
--weights it takes an untrained ResNet-20, whose arithmetic is the same. KERAS_BACKEND chooses the backend. Takes two
minutes on two cores.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

from cifarnet.evaluation.predict import find_images

CIFARNET = (sys.executable, "-m", "cifarnet")
TENSORFLOW = (sys.executable, "-c", "import tensorflow")


def main() -> None:
    """Measure and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures, in it and below it")
    parser.add_argument("--weights", type=Path, metavar="RUN|FILE")
    parser.add_argument("--count", type=int, default=10_000, help="synthetic pictures (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that the folder is classified")
    parser.add_argument("--pairs", type=int, default=5, help="cold starts, and imports of TensorFlow in turn with them")
    args = parser.parse_args()
    if min(args.count, args.rounds, args.pairs) < 1:
        parser.error("--count, --rounds and --pairs must be at least 1.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.images or _synthetic(Path(temporary) / "images", args.count)
        weights = args.weights or _untrained(Path(temporary) / "weights.h5")
        files = [source.content for source in find_images([str(folder)], bytes)]
        if not isinstance(files[0], Path):
            raise SystemExit(f"No pictures to classify: {files[0]}")
        rows = _rows(folder, files[0], len(files), weights, args.rounds, args.pairs)
    title = f"cifarnet predict, {len(files):,} pictures"
    print(common.table(title, ("what", "median", "from - to", "runs"), rows, common.machine()))


def _rows(folder: Path, file: Path, count: int, weights: Path, rounds: int, pairs: int) -> list[list[object]]:
    predict = (*CIFARNET, "predict", "--csv", "--weights", str(weights))
    # The first process of each kind reads its files from the disk, and perhaps compiles their bytecode.
    for command in ((*predict, str(file)), TENSORFLOW):
        _seconds(*command)
    imports, starts = [], []
    for pair in range(pairs):
        common.tell(f"Pair {pair + 1} of {pairs}: one picture, and import tensorflow")
        imports.append(_seconds(*TENSORFLOW))
        starts.append(_seconds(*predict, str(file)))
    helps = [_seconds(*CIFARNET, "--help") for _ in range(pairs)]
    folders = []
    for turn in range(rounds):
        common.tell(f"Round {turn + 1} of {rounds}: {count:,} pictures")
        folders.append(_seconds(*predict, str(folder)))
    start = statistics.median(starts)
    # With a few pictures the start is nearly all, and noise can make the rest negative.
    warm = [(count - 1) / (seconds - start) for seconds in folders if seconds > start]
    differences = [one - alone for one, alone in zip(starts, imports, strict=True)]
    return [
        _row("the folder, images/s, whole process", [count / seconds for seconds in folders], 0),
        _row("the folder, images/s, without start-up", warm, 0),
        _row("one picture, cold start, s", starts, 2),
        _row("import tensorflow, s", imports, 2),
        _row("one picture above import tensorflow, s", differences, 2),
        _row("cifarnet --help, s", helps, 2),
    ]


def _row(what: str, values: list[float], digits: int) -> list[object]:
    if not values:
        return [what, "-", "-", 0]
    low, median, high = (common.number(f(values), digits) for f in (min, statistics.median, max))
    return [what, median, f"{low} - {high}", len(values)]


def _seconds(*command: str) -> float:
    """How long a process takes from start to end.

    Raises:
        SystemExit: when it fails, with what it said.
    """
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return seconds


def _synthetic(folder: Path, count: int) -> Path:
    from PIL import Image

    from cifarnet.data.synthetic import synthetic

    folder.mkdir()
    for number, image in enumerate(synthetic(max(count, 50)).train.images[:count]):
        Image.fromarray(image).save(folder / f"{number:06}.jpg", quality=75)
    return folder


def _untrained(path: Path) -> Path:
    from cifarnet.backend.select import use_backend
    from cifarnet.models.spec import CIFAR10_CLASSES, ModelSpec, Normalization
    from cifarnet.models.weights import Weights, save_weights

    use_backend()
    from cifarnet.models.initial import initial_weights

    spec = ModelSpec("resnet20")
    save_weights(path, Weights(spec, initial_weights(spec, seed=0), CIFAR10_CLASSES, Normalization(120.0, 64.0)))
    return path


if __name__ == "__main__":
    main()
