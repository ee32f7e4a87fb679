"""Time of a training step by TensorFlow operation.

    python benchmarks/profile_step.py --model resnet20
    python benchmarks/profile_step.py --model airbench94 --recipe fast --batch 500
    python benchmarks/profile_step.py --model resnet20 --precision float32 --keras-batchnorm

Profiles a few steps of ``cifarnet.train`` with TensorFlow's profiler. Operations run on several threads, so their times
add up to more than the step. --keras-batchnorm uses Keras's batch normalization instead of cifarnet's. Takes a minute.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import harness
import measure


def main() -> None:
    """Profile and print the table."""
    parser = harness.parser(__doc__, "batch", "images")
    parser.add_argument("--model", default="resnet20", help="(default: %(default)s)")
    parser.add_argument("--recipe", default="paper", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="(default: what cifarnet chooses here)")
    parser.add_argument("--steps", type=int, default=10, help="recorded steps")
    parser.add_argument("--rows", type=int, default=20, help="operations listed, by time")
    parser.add_argument("--keras-batchnorm", action="store_true")
    args = parser.parse_args()
    from cifarnet.backend.select import use_backend

    use_backend("tensorflow")
    if args.keras_batchnorm:
        _use_keras_batchnorm()
    with tempfile.TemporaryDirectory() as directory:
        seconds, precision = _record(args, directory)
        milliseconds, counts = _by_operation(Path(directory))
    total, listed = sum(milliseconds.values()), milliseconds.most_common(args.rows)
    lines = [(name, value, harness.number(counts[name] / args.steps)) for name, value in listed]
    lines += [("all others", total - sum(value for _, value in listed), ""), ("all operations", total, "")]
    rows = [
        [name, harness.number(value / args.steps, 2), times, f"{value / total:.1%}"] for name, value, times in lines
    ]
    rows.append(["the step, by the clock", harness.number(1000 * seconds / args.steps, 2), "", ""])
    kind = "Keras's" if args.keras_batchnorm else "cifarnet's"
    title = f"A training step of {args.model}, batch {args.batch}, {precision}, {kind} batch normalization"
    harness.print_table(title, "operation | ms per step | times per step | share", rows)


def _use_keras_batchnorm() -> None:
    import keras

    from cifarnet.models import network

    network._BUILDERS["BatchNormalization"] = lambda description, dtype: keras.layers.BatchNormalization(
        name=description.name, dtype=dtype, **description.config
    )


def _record(args: Any, directory: str) -> tuple[float, str]:
    """Train with the last ``args.steps`` steps under the profiler; return their seconds and the precision."""
    import tensorflow as tf

    from cifarnet.events import StepDone

    times: list[float] = []
    last = measure.WARMUP_STEPS + args.steps

    def watch(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == measure.WARMUP_STEPS:
            tf.profiler.experimental.start(directory)
            times.append(time.perf_counter())
        if isinstance(event, StepDone) and event.step == last:
            times.append(time.perf_counter())
            tf.profiler.experimental.stop()

    changes = {"batch_size": args.batch, "checks": 1, "steps": last, "resolutions": []}
    images = max(args.images, last * args.batch)
    settings = {"images": images, "precision": args.precision, "changes": changes}
    trained = measure.train(args.model, args.recipe, watch=watch, **settings)
    return times[1] - times[0], trained["precision"]


def _by_operation(directory: Path) -> tuple[Counter[str], Counter[str]]:
    """Return milliseconds and number of the events of each operation in the profile in ``directory``."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    (file,) = directory.rglob("*.xplane.pb")
    space.ParseFromString(file.read_bytes())
    milliseconds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for plane in space.planes:
        if not plane.name.startswith("/host:CPU"):
            continue
        for line in plane.lines:
            for event in line.events:
                # The events of operations are called "name:type". Others have no colon, or a double one.
                name, _, operation = plane.event_metadata[event.metadata_id].name.rpartition(":")
                if name and operation.isidentifier() and not name.endswith(":"):
                    milliseconds[operation] += event.duration_ps / 1e9
                    counts[operation] += 1
    return milliseconds, counts


if __name__ == "__main__":
    main()
