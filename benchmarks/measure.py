"""The measurements of one process: the scripts start it with a JSON list of tasks and read a JSON line for each.

    python benchmarks/measure.py '[{"task": "train", "depth": 20, "warm_steps": 30}]'

A task names one of ``TASKS`` and its keyword arguments. KERAS_BACKEND chooses the backend.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import harness
import numpy as np

STARTED = time.monotonic()

# As in pytorch_reference.py: what is left out at the beginning.
WARMUP_STEPS = 8


class _NoEvaluator:
    """Replaces the evaluator of the held-out images where training alone is timed."""

    def __init__(self, classes: int):
        self.classes = classes

    def logits(self, tensors: dict[str, np.ndarray], image_size: int, report: Callable[..., None]) -> np.ndarray:
        return np.zeros((1, self.classes), np.float32)

    def time(self, count: int) -> float:
        return 0.0


def training_loop(
    depth: int,
    report: Callable[[Any], None],
    *,
    images: int = harness.EPOCH,
    batch_size: int = 128,
    recipe: str = "paper",
    precision: str | None = None,
    steps_per_call: int | None = None,
    warm_steps: int | None = None,
    epochs: int | None = None,
) -> Any:
    """Return the training loop of ``cifarnet train`` on random images, without the test after each epoch.

    ``precision`` and ``steps_per_call`` None are what cifarnet chooses. The loop lasts ``epochs``, or ``WARMUP_STEPS``
    and ``warm_steps`` more within one epoch, which has images enough.
    """
    from dataclasses import replace

    from cifarnet.backend.devices import Execution, device
    from cifarnet.data.dataset import Dataset
    from cifarnet.models.network import build_model
    from cifarnet.models.spec import ModelSpec
    from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
    from cifarnet.recipes import named_recipe
    from cifarnet.training.build import Parts
    from cifarnet.training.checkpoint import TrainState
    from cifarnet.training.control import LoopControl
    from cifarnet.training.loop import Loop
    from cifarnet.training.model import TrainingModel
    from cifarnet.training.run_data import RunData
    from cifarnet.training.schedule import Plan

    execution = Execution.best_on(device())
    execution = replace(
        execution,
        precision=precision or execution.precision,
        steps_per_call=steps_per_call or execution.steps_per_call,
    )
    steps = None if warm_steps is None else WARMUP_STEPS + warm_steps
    images = max(images, (steps or 0) * batch_size)
    rng = np.random.default_rng(0)
    data = Dataset(
        rng.integers(0, 256, (images, 32, 32, 3), np.uint8), rng.integers(0, 10, images, np.int32), CIFAR10_CLASSES
    )
    spec = ModelSpec(f"resnet{depth}")
    chosen = named_recipe(recipe).for_model(spec.name).with_changes(batch_size=batch_size, steps=steps, epochs=epochs)
    network = build_model(spec, precision=execution.precision)
    model = TrainingModel(network, data.images, Normalization.of(data.images), chosen, execution)
    plan = Plan(chosen.steps or model.steps_per_epoch * (chosen.epochs or 0))
    one = data.take(np.arange(1))
    return Loop(
        Parts(model, _NoEvaluator(len(CIFAR10_CLASSES)), None),
        RunData(data, one, "test", one, ""),
        0,
        TrainState(0, 0, 0, 0.0, [], plan=plan),
        LoopControl(lambda: None, lambda: False, float("inf"), report),
    )


def execution() -> dict[str, Any]:
    """What cifarnet chooses on this device."""
    from dataclasses import asdict

    from cifarnet.backend.devices import Execution, device

    here = device()
    return {**asdict(Execution.best_on(here)), "device": str(here), "kind": here.kind, "advice": here.advice}


def train(depth: int, **settings: Any) -> dict[str, Any]:
    """Train; ``settings`` as ``training_loop`` takes them. Seconds, images per second and memory (MB).

    ``step_seconds`` is the median between the loop's notices of finished steps after ``WARMUP_STEPS``, over calls of
    full batches; ``epoch_seconds`` are whole epochs, the first with compilation, with everything that the host does.
    """
    from cifarnet.backend.devices import device
    from cifarnet.events import EpochDone, StepDone

    steps: list[tuple[float, Any]] = []
    epochs: list[float] = []

    def note(event: Any) -> None:
        if isinstance(event, StepDone):
            steps.append((time.perf_counter(), event))
        if isinstance(event, EpochDone):
            epochs.append(event.seconds)

    loop = training_loop(depth, note, **settings)
    while not loop.done:
        loop.run_epoch()
    batch_size, calls = loop.recipe.batch_size, loop.model.steps_per_execution
    full = len(loop.data.train) // batch_size  # The batch after these, if any, is smaller.
    seconds = [
        (end - begin) / (after.step - before.step)
        for (begin, before), (end, after) in pairwise(steps)
        if before.epoch == after.epoch
        and before.step >= WARMUP_STEPS
        and after.batch <= full
        and after.step - before.step == calls
    ]
    step_seconds = statistics.median(seconds) if seconds else None
    peak = harness.status().get("VmHWM")
    return {
        "device": str(device()),
        "kind": device().kind,
        "precision": loop.model.network.compute_dtype_of_features,
        "steps_per_call": calls,
        "images": len(loop.data.train),
        "step_seconds": step_seconds,
        "images_per_s": step_seconds and batch_size / step_seconds,
        "epoch_seconds": epochs,
        "peak_mb": peak,
        "tensorflow_imported": sys.modules.get("tensorflow") is not None,
    }


def infer(depth: int, precision: str = "float32", batch_size: int = 128, steps: int = 30) -> dict[str, Any]:
    """Images per second from uint8 images in the host's memory to logits in the host's memory.

    In float32 by cifarnet's Classifier; other precisions by the same model on a network of that precision.
    """
    from cifarnet.inference.classifier import Classifier
    from cifarnet.models.answers import Logits, run_batches
    from cifarnet.models.initial import initial_weights
    from cifarnet.models.network import build_model
    from cifarnet.models.spec import ModelSpec
    from cifarnet.preprocessing import CIFAR10_CLASSES
    from cifarnet.weights.formats.original import NORMALIZATION as ORIGINAL_NORMALIZATION
    from cifarnet.weights.record import Weights

    spec = ModelSpec(f"resnet{depth}")
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 32, 32, 3), np.uint8)
    weights = Weights(spec, initial_weights(spec, 0), CIFAR10_CLASSES, ORIGINAL_NORMALIZATION)
    if precision == "float32":
        classifier = Classifier(weights)

        def classify() -> None:
            classifier.logits(images, batch_size=batch_size)
    else:
        model = Logits(build_model(spec, weights.tensors, precision=precision), weights.normalization)

        def classify() -> None:
            run_batches(model, images, batch_size)

    return {"precision": precision, "images_per_s": batch_size / _median_seconds(classify, steps, WARMUP_STEPS)}


def logits(source: str | None, data: str, images: int, output: str, depth: int = 20) -> dict[str, Any]:
    """Logits of the first test ``images`` of ``data``, saved to ``output``; by initial weights without a ``source``."""
    from cifarnet.backend.devices import device
    from cifarnet.data.sources import load_data
    from cifarnet.inference.classifier import Classifier
    from cifarnet.models.initial import initial_weights
    from cifarnet.models.spec import ModelSpec
    from cifarnet.preprocessing import Normalization
    from cifarnet.weights.formats import load_weights
    from cifarnet.weights.record import Weights

    test = load_data(data).test
    if source:
        weights = load_weights(Path(source))
    else:
        spec = ModelSpec(f"resnet{depth}", len(test.class_names))
        weights = Weights(spec, initial_weights(spec, 0), test.class_names, Normalization.of(test.images))
    chosen = Classifier(weights).logits(test.images[:images])
    np.save(output, chosen)
    return {"device": str(device()), "kind": device().kind, "images": len(chosen), "depth": weights.spec.depth}


def history(
    depth: int,
    recipe: str,
    data: str,
    output: str,
    changes: dict[str, Any] | None = None,
    budget: float | None = None,
    seed: int = 0,
    precision: str | None = None,
    weights: str | None = None,
    freeze_base: bool = False,
    moving: bool = False,
) -> dict[str, Any]:
    """Train as ``cifarnet train`` does, in the new directory ``output``; return accuracy and times.

    ``changes`` are made to the recipe. ``epochs`` are (seconds since training began, test accuracy or None) at the end
    of each. Training begins, with compilation, ``start_seconds`` after the call, which comes ``import_seconds`` after
    the start of the process; a budget counts from there. ``refused`` is the message about a budget that is too small.
    ``moving`` adds the test accuracy with moving averages in place of moments from training images.
    """
    from cifarnet.backend.devices import device
    from cifarnet.errors import InvalidValueError
    from cifarnet.events import EpochDone, Planned, StepDone, Warned
    from cifarnet.recipes import named_recipe
    from cifarnet.runs.request import TrainRequest
    from cifarnet.training.start import train as train_run

    averaged = _moving_averages() if moving else None
    chosen = named_recipe(recipe).for_model(f"resnet{depth}").with_changes(**(changes or {}))
    directory = Path(output)
    done: list[tuple[float, float | None]] = []
    began: list[float] = []
    steps, warned = [0], [False]

    def note(event: Any) -> None:
        if isinstance(event, Planned):
            began.append(time.monotonic())
        if isinstance(event, EpochDone):
            seconds, accuracy = time.monotonic() - began[0], event.row.held_accuracy
            done.append((seconds, accuracy))
            tested = "" if accuracy is None else f", test {accuracy:.2%}"
            harness.note(f"{directory.name}: epoch {event.row.epoch}/{event.epochs} at {seconds:.0f} s{tested}")

        if isinstance(event, StepDone):
            steps[0] = event.step
        warned[0] |= isinstance(event, Warned) and "is enough for" in event.message

    called = time.monotonic()
    config = TrainRequest(
        chosen.on(device().kind),
        data=data,
        model=f"resnet{depth}",
        seed=seed,
        budget=budget,
        precision=precision,
        weights=weights,
        freeze_base=freeze_base,
    )
    try:
        result = train_run(config, directory, started=STARTED if budget else called, report=note)
    except InvalidValueError as error:
        if not budget:
            raise
        return {"refused": str(error), "seconds": time.monotonic() - STARTED}
    return {
        "import_seconds": called - STARTED,
        "start_seconds": began[0] - called,
        "epochs": done,
        "accuracy": result.metrics.accuracy,
        "seconds": result.seconds,
        "steps": steps[0],
        "below_one_epoch": warned[0],
        **({"moving": _accuracy(directory, data, averaged)} if averaged is not None else {}),
        "tensorflow_imported": sys.modules.get("tensorflow") is not None,
    }


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


def _accuracy(run: Path, data: str, tensors: dict[str, Any]) -> float:
    from dataclasses import replace

    from cifarnet.data.sources import load_data
    from cifarnet.inference.classifier import Classifier
    from cifarnet.weights.formats import load_weights

    weights, test = load_weights(run / "weights.h5"), load_data(data).test
    logits = Classifier(replace(weights, tensors=tensors)).logits(test.images)
    return float(np.mean(logits.argmax(axis=1) == test.labels))


def product(precision: str, size: int, repeats: int = 10) -> dict[str, Any]:
    """Floating-point operations a second of products of square matrices; the best of ``repeats``."""
    from keras import ops

    from cifarnet.backend.devices import device

    rng = np.random.default_rng(0)
    # Products of these keep their size, so that none overflows.
    first, second = (ops.cast(rng.standard_normal((size, size), np.float32) / size**0.5, precision) for _ in range(2))
    chain = 10 if device().kind == "gpu" else 1  # A GPU's start and the way to the host take time of their own.

    def multiply() -> None:
        result = first
        for _ in range(chain):
            result = times(result, second)
        ops.convert_to_numpy(ops.cast(result[:1, :1], "float32"))

    times = _compiled(lambda a, b: a @ b)
    seconds = _best_seconds(multiply, repeats)
    return {"precision": precision, "device": str(device()), "flops": chain * 2 * size**3 / seconds}


def copy(size: int, repeats: int = 10) -> dict[str, Any]:
    """Bytes a second, read and written, of copying ``size`` bytes within the device's memory; the best of some."""
    from keras import ops

    source = ops.zeros((size // 4,), "float32")
    # Its sign changes: a plain copy would be optimized away.
    negate = _compiled(lambda a: -a)

    def move() -> None:
        ops.convert_to_numpy(negate(source)[:1])

    return {"bytes_per_s": 2 * size / _best_seconds(move, repeats)}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


def _best_seconds(action: Callable[[], None], repeats: int) -> float:
    return min(_seconds(action, repeats, 2))


def _median_seconds(action: Callable[[], None], repeats: int, warmup: int) -> float:
    return statistics.median(_seconds(action, repeats, warmup))


def _seconds(action: Callable[[], None], repeats: int, warmup: int) -> list[float]:
    seconds = []
    for _ in range(warmup + repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds[warmup:]


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "execution": execution,
    "train": train,
    "infer": infer,
    "logits": logits,
    "history": history,
    "product": product,
    "copy": copy,
}


def main() -> None:
    """Run the tasks of the first argument."""
    from cifarnet.backend.select import use_backend

    use_backend(os.environ.get("KERAS_BACKEND"))
    for task in json.loads(sys.argv[1]):
        import gc

        import keras

        print(json.dumps(TASKS[task.pop("task")](**task)), flush=True)
        # The weights and images of one network must not take the next one's memory.
        keras.utils.clear_session(free_memory=True)
        gc.collect()


if __name__ == "__main__":
    main()
