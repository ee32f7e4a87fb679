"""The measurements of one process. The scripts start it with a JSON list of tasks and read one line of JSON for each.

    python benchmarks/measure.py '[{"task": "train", "model": "resnet20", "changes": {"steps": 38}}]'

A task names one of ``TASKS`` and its keyword arguments. KERAS_BACKEND chooses the backend.
"""

import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import harness
import numpy as np

import cifarnet

STARTED = time.monotonic()
WARMUP_STEPS = 8
"""Steps that are not timed, as in pytorch_reference.py."""


def execution() -> dict[str, Any]:
    """Return the device, and the settings that cifarnet chooses for it."""
    from dataclasses import asdict

    from cifarnet.backend.devices import Execution, device

    here = device()
    return {**asdict(Execution.best_on(here)), "device": str(here), "kind": here.kind, "advice": here.advice}


class _Events:
    """The events of a training run, with the time of each."""

    def __init__(self, watch: Callable[[Any], None]):
        self.watch = watch
        self.began = 0.0
        self.precision = ""
        self.images = 0
        self.below_one_epoch = False
        self.tested = 0.0
        self.steps: list[tuple[float, Any]] = []
        self.epochs: list[tuple[float, float | None]] = []

    def __call__(self, event: Any) -> None:
        from cifarnet.events import EpochDone, Planned, StepDone, Warned

        now = time.monotonic()
        if isinstance(event, Planned):
            self.began, self.precision, self.images = now, event.precision, event.train_images
        if isinstance(event, StepDone):
            self.steps.append((now, event))
        if isinstance(event, EpochDone):
            self.epochs.append((now - self.began - self.tested, event.row.held_accuracy))
            harness.note(f"Epoch {event.row.epoch} of {event.epochs}: {now - self.began:.0f} s")
        if isinstance(event, Warned):
            self.below_one_epoch |= "is enough for" in event.message
        self.watch(event)

    @contextmanager
    def timing_tests(self) -> Iterator[None]:
        """Add the seconds of classifying the held-out images to ``tested``."""
        from cifarnet.training.evaluator import Evaluator

        classify = Evaluator.logits

        def timed(*arguments: Any) -> Any:
            began = time.monotonic()
            logits = classify(*arguments)
            self.tested += time.monotonic() - began
            return logits

        Evaluator.logits = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            Evaluator.logits = classify  # type: ignore[method-assign]

    def step_seconds(self, batch_size: int) -> float | None:
        """Return the median time of a step after the warm-up, over calls of full batches; None without any."""
        full = self.images // batch_size
        calls = [
            (end - begin, after.step - before.step)
            for (begin, before), (end, after) in pairwise(self.steps)
            if before.epoch == after.epoch and before.step >= WARMUP_STEPS and after.batch <= full
        ]
        # The last call of an epoch may have fewer steps than the others.
        most = max((steps for _, steps in calls), default=0)
        return statistics.median(seconds / steps for seconds, steps in calls if steps == most) if calls else None

    def epoch_seconds(self) -> list[float]:
        """Return the time from the end of each epoch's last step to that of the next; the first one compiles."""
        ends = {event.epoch: when for when, event in self.steps}
        return [end - begin for begin, end in pairwise([self.began, *ends.values()])]


def train(
    model: str | None = None,
    recipe: str = "paper",
    data: str | None = None,
    output: str | None = None,
    images: int = harness.EPOCH,
    moving: bool = False,
    watch: Callable[[Any], None] = lambda event: None,
    **fields: Any,
) -> dict[str, Any]:
    """Train as ``cifarnet train`` does and return times, memory (MB) and accuracy.

    Args:
        model: the name of the network; by default as in ``cifarnet.TrainRequest``.
        recipe: the name of the recipe.
        data: the data source; by default ``images`` random images, with ten test images.
        output: the new run directory; by default a temporary one.
        images: the number of random images.
        moving: add the test accuracy with moving averages instead of moments from training images.
        watch: receives the events of the run.
        fields: other fields of ``cifarnet.TrainRequest``.

    Returns:
        A dictionary. ``epochs`` has (seconds since training began, test accuracy or None) for each epoch, without the
        seconds of the tests. ``start_seconds`` are those before training, after ``import_seconds`` from the start of
        the process. A budget counts from the start of the process. ``refused`` alone is the message about a budget
        that is too small.
    """
    from cifarnet.errors import InvalidValueError
    from cifarnet.training import start

    averaged = _moving_averages() if moving else None
    events, called = _Events(watch), time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        source = data or _random_images(Path(temporary) / "random.npz", images)
        request = cifarnet.TrainRequest(recipe, data=source, model=model, **fields)
        directory, started = output or f"{temporary}/run", STARTED if request.budget else called
        try:
            with events.timing_tests():
                result = start.train(request, directory, started=started, report=events)
        except InvalidValueError as error:
            if not request.budget:
                raise
            return {"refused": str(error), "seconds": time.monotonic() - STARTED}
        batch_size = cifarnet.Run.open(directory).config.recipe.batch_size
        moving_accuracy = None if averaged is None else _accuracy(directory, source, averaged)
    step_seconds = events.step_seconds(batch_size)
    return {
        "precision": events.precision,
        "import_seconds": called - STARTED,
        "start_seconds": events.began - called,
        "seconds": result.seconds,
        "epochs": events.epochs,
        "epoch_seconds": events.epoch_seconds(),
        "images_per_s": step_seconds and batch_size / step_seconds,
        "images": events.images,
        "steps": events.steps[-1][1].step,
        "accuracy": result.metrics.accuracy,
        "moving": moving_accuracy,
        "below_one_epoch": events.below_one_epoch,
        "peak_mb": harness.status().get("VmHWM"),
    }


def _random_images(file: Path, images: int) -> str:
    rng = np.random.default_rng(0)
    arrays = {"x_train": images, "x_test": 10}
    pixels = {name: rng.integers(0, 256, (count, 32, 32, 3), np.uint8) for name, count in arrays.items()}
    np.savez(file, **pixels, y_train=rng.permutation(np.arange(images) % 10), y_test=np.arange(10))
    return str(file)


def _moving_averages() -> dict[str, Any]:
    """Return a dictionary that receives the tensors before each computation of moments from training images."""
    from cifarnet.training.precise_batchnorm import PreciseBatchnorm

    averaged: dict[str, Any] = {}
    update = PreciseBatchnorm.update

    def recording(precise: PreciseBatchnorm, trained: Any, *arguments: Any) -> None:
        averaged.update(trained.get_tensors())
        update(precise, trained, *arguments)

    PreciseBatchnorm.update = recording  # type: ignore[method-assign]
    return averaged


def _accuracy(run: str, data: str, tensors: dict[str, Any]) -> float:
    from dataclasses import replace

    weights, test = cifarnet.load_weights(run), cifarnet.load_data(data).test
    logits = cifarnet.Classifier(replace(weights, tensors=tensors), engine="keras").logits(test.images)
    return float(np.mean(logits.argmax(axis=1) == test.labels))


def _initial(model: str, class_names: tuple[str, ...]) -> Any:
    """Return initial weights with the normalization of the original project."""
    from cifarnet.models.initial import initial_weights
    from cifarnet.weights.formats.original import NORMALIZATION
    from cifarnet.weights.record import Weights

    spec = cifarnet.ModelSpec(model, len(class_names))
    return Weights(spec, initial_weights(spec, 0), class_names, NORMALIZATION)


def infer(model: str, batch_size: int = 128, steps: int = 30) -> dict[str, Any]:
    """Return images per second from uint8 images to logits, both in the host's memory."""
    from cifarnet.preprocessing import CIFAR10_CLASSES

    images = np.random.default_rng(0).integers(0, 256, (batch_size, 32, 32, 3), np.uint8)
    classifier = cifarnet.Classifier(_initial(model, CIFAR10_CLASSES), engine="keras")
    seconds = _seconds(lambda: classifier.logits(images, batch_size=batch_size), steps, WARMUP_STEPS)
    return {"images_per_s": batch_size / statistics.median(seconds)}


def logits(weights: str | None, model: str, data: str, images: int, output: str) -> dict[str, Any]:
    """Save logits of the first ``images`` test images of ``data``, by ``weights`` or by initial ones of ``model``."""
    test = cifarnet.load_data(data).test
    classifier = cifarnet.Classifier(weights or _initial(model, test.class_names), engine="keras")
    np.save(output, classifier.logits(test.images[:images]))
    return {"title": classifier.weights.spec.title, "images": min(images, len(test.images))}


def report(count: int, file: str) -> dict[str, Any]:
    """Return the seconds of writing the report of an evaluation of ``count`` random images to ``file``."""
    from cifarnet.cli.reporting import evaluation_html
    from cifarnet.data.dataset import Dataset
    from cifarnet.evaluation.metrics import measure
    from cifarnet.evaluation.scored import Scored
    from cifarnet.preprocessing import CIFAR10_CLASSES

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, count).astype(np.int32)
    # Nine in ten are right, as with a trained network.
    logits = rng.normal(size=(count, 10)) + 3.2 * np.eye(10)[labels]
    # Random pixels would make a JPEG file ten times as large as photographs do.
    coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    scored = Scored(Dataset(coarse.repeat(8, axis=1).repeat(8, axis=2), labels, CIFAR10_CLASSES), logits)
    scores = measure(logits, labels, CIFAR10_CLASSES).to_dict()
    started = time.perf_counter()
    html = evaluation_html(scores, scored, "A network", [], [["cifarnet", "evaluate"]])
    Path(file).write_text(html, encoding="utf-8")
    return {"seconds": time.perf_counter() - started}


def product(precision: str, size: int, repeats: int = 10) -> dict[str, Any]:
    """Return floating-point operations a second of products of square matrices; the best of ``repeats``."""
    from keras import ops

    rng = np.random.default_rng(0)
    # Products of these keep their size, so that none overflows.
    first, second = (ops.cast(rng.standard_normal((size, size), np.float32) / size**0.5, precision) for _ in range(2))
    # The start of a GPU's kernel and the transfer to the host take time, too.
    chain = 10 if execution()["kind"] == "gpu" else 1
    times = _compiled(lambda a, b: a @ b)

    def multiply() -> None:
        result = first
        for _ in range(chain):
            result = times(result, second)
        ops.convert_to_numpy(ops.cast(result[:1, :1], "float32"))

    return {"precision": precision, "flops": chain * 2 * size**3 / min(_seconds(multiply, repeats, 2))}


def copy(size: int, repeats: int = 10) -> dict[str, Any]:
    """Return bytes a second, read and written, of copying ``size`` bytes in the device's memory; the best of some."""
    from keras import ops

    source = ops.zeros((size // 4,), "float32")
    # A plain copy would be optimized away.
    negate = _compiled(lambda a: -a)
    seconds = _seconds(lambda: ops.convert_to_numpy(negate(source)[:1]), repeats, 2)
    return {"bytes_per_s": 2 * size / min(seconds)}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


def _seconds(action: Callable[[], object], repeats: int, warmup: int) -> list[float]:
    seconds = []
    for _ in range(warmup + repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds[warmup:]


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (execution, train, infer, logits, report, product, copy)
}


def main() -> None:
    """Run the tasks of the first argument."""
    from cifarnet.backend.select import use_backend

    use_backend(os.environ.get("KERAS_BACKEND"))
    for task in json.loads(sys.argv[1]):
        print(json.dumps(TASKS[task.pop("task")](**task)), flush=True)
        # The weights and images of one network must not take the memory of the next one.
        import keras

        keras.utils.clear_session(free_memory=True)
        gc.collect()


if __name__ == "__main__":
    main()
