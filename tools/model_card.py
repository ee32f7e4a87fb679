"""The text of the model cards and of the page of weights, which ``ship_weights.py`` writes into docs."""

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.evaluation.evaluate import Evaluation
from cifarnet.evaluation.metrics import Metrics
from cifarnet.hdf5 import read_hdf5
from cifarnet.models.layers import total_macs
from cifarnet.models.spec import describe
from cifarnet.reports.text import corruption_rows
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import Run
from cifarnet.weights.formats import load_header
from cifarnet.weights.index import NamedWeights
from cifarnet.weights.record import Weights

DEVICE = "device.txt"
"""The file in the record of a run that tells what it was trained on."""
TRAINING_IMAGES = 50_000
TOLERANCE = 0.0002
"""The most by which float16 may change the accuracy: 2 of 10,000 test images."""
NOWHERE: dict[str, Any] = dict.fromkeys(("data_path", "weights_path"))


@dataclass(frozen=True)
class Rounding:
    """What float16 changes on the test images.

    Attributes:
        images: number of test images.
        float32_right: how many of them are classified right with float32 weights.
        float16_right: how many with weights rounded to float16.
        changed: how many have another likeliest class in float16.
    """

    images: int
    float32_right: int
    float16_right: int
    changed: int

    @property
    def half(self) -> bool:
        """Whether the weights are shipped as float16."""
        return abs(self.float16_right - self.float32_right) <= TOLERANCE * self.images

    def __str__(self) -> str:
        before, after = self.float32_right / self.images, self.float16_right / self.images
        number = f"{self.changed:,} of {self.images:,}"
        if self.half:
            return f"float16; the likeliest class of {number} test images changed, float32 scored {before:.2%}"
        return f"float32; float16 would score {after:.2%}, and change the likeliest class of {number} test images"


def read_config(run: Path, renamed: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of ``run``, with names in place of the paths of its first weights and its teachers."""
    config = Run(run).config
    names = dict(pair.split("=", 1) for pair in renamed)

    def name(place: str) -> str:
        short = Path(place).name.removesuffix(".h5")
        return names.get(short, short)

    weights, teachers = config.weights and name(config.weights), tuple(map(name, config.teacher))
    return replace(config, weights=weights, teacher=teachers, teacher_path=(None,) * len(teachers), **NOWHERE)


def weights_page(index: Mapping[str, NamedWeights]) -> str:
    """Return the page with a table of the shipped weights, each with a link to its card."""
    rows = "\n".join(
        f"| [`{name}`]({name}.md) | {header.spec.title} | {header.accuracy:.2%} of {entry.test_images:,} images of"
        f" {entry.test_set} | {_stored(entry.path)} | {entry.path.stat().st_size / 1e6:.2f} MB |"
        for name, entry in sorted(index.items())
        for header in [load_header(entry.path)]
    )
    return f"""# The weights that come with cifarnet

Written by `tools/ship_weights.py`. Each name leads to a card: how the network was trained, what it scores without
near-duplicates and on corrupted images, and where it fails. `cifarnet weights` lists them too.

| name | network | test accuracy | stored as | file |
|---|---|---:|---|---:|
{rows}

Weights are stored as float16 where that changes the test accuracy by at most {100 * TOLERANCE:g} points, and as float32
otherwise. cifarnet reads both as float32.
"""


def model_card(
    entry: NamedWeights,
    run: Path,
    scores: Evaluation,
    mirrored: float,
    rounding: Rounding,
    data: str,
    index: Mapping[str, NamedWeights],
) -> str:
    """Return the model card of shipped weights.

    Args:
        entry: the weights.
        run: the record of their training, beside those of the runs that it learned from.
        scores: what the file scores, fair and corrupted too.
        mirrored: the accuracy of the mean of both mirror images.
        rounding: what float16 changes.
        data: what the commands on the card call the data source.
        index: all shipped weights.
    """
    weights, config, metrics = load_header(entry.path), read_config(run), scores.metrics
    low, high = metrics.accuracy_interval
    classes = "\n".join(
        f"| {each.name} | {each.precision:.1%} | {each.recall:.1%} | {each.f1:.3f} |" for each in metrics.per_class
    )
    images = round(TRAINING_IMAGES * (1 - (config.validation_split or 0)))
    teachers = [name for name in config.teacher if learned_held_out(read_config(run.parent / name), config)]
    calibration = calibration_text(weights, images, from_twin=config.validation_split is None, seen_by=teachers)
    return f"""# {weights.spec.title} for CIFAR-10 (`{entry.name}`)

Written by `tools/ship_weights.py`. The run's configuration, history and metrics are in
[`benchmarks/runs/{entry.name}`](../benchmarks/runs/{entry.name}).

| | |
|---|---|
| accuracy | {metrics.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) |
| with flips averaged | {mirrored:.2%} |
{_honest_rows(scores)}
| test images | {metrics.images:,} of {entry.test_set} |
| cross-entropy | {metrics.loss:.4f} |
| expected calibration error | {metrics.ece:.2%} |
| stored as | {rounding} |
| file | {entry.path.name}, {entry.path.stat().st_size / 1e6:.2f} MB, SHA-256 `{entry.sha256}` |

## Data

{images:,} of the 50,000 training images of CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny
images"): ten classes, 32x32 pixels. They and the test images were encoded as JPEG of quality 75, which blurs them a
little: accuracies are those for such images. This network was not measured on the lossless originals.

## Training

{_training(run)}
{_history(run)}
The test images selected nothing but the type in which the weights are stored.

## Classes

| class | precision | recall | F1 |
|---|---:|---:|---:|
{classes}

Most confused: {_confusions(metrics)}.

{_corruptions(scores, entry.name, data)}
## Calibration

{calibration}

## Known failures

{cheaper_and_better(entry, index)}- A picture of something else still gets one of the ten classes.
- Objects that fill a small part of the picture, or lie off its centre: the network sees the central square, in 32x32
  pixels.
"""


def cheaper_and_better(entry: NamedWeights, index: Mapping[str, NamedWeights]) -> str:
    """Return a line on the weights of ``index`` that cost less per image than ``entry`` and score better, or ""."""
    headers = {name: load_header(each.path) for name, each in {**index, entry.name: entry}.items()}
    cost = {name: total_macs(describe(header.spec)) for name, header in headers.items()}
    own = headers[entry.name].accuracy or 0.0
    better = [
        f"`{name}` ({header.accuracy:.2%})"
        for name, header in headers.items()
        if cost[name] < cost[entry.name] and (header.accuracy or 0.0) > own
    ]
    return f"- It costs more than {' and '.join(better)}, and scores less.\n" if better else ""


def learned_held_out(origin: RunConfig, config: RunConfig) -> bool:
    """Return whether the run ``origin`` was trained on images that the run with ``config`` held out."""
    held_out = [(each.data_sha256, each.validation_split, each.seed) for each in (origin, config)]
    return config.validation_split is not None and held_out[0] != held_out[1]


def calibration_text(weights: Weights, images: int, from_twin: bool = False, seen_by: Sequence[str] = ()) -> str:
    """Return the section Calibration of a card.

    Args:
        weights: the calibrated weights.
        images: the number of images that they were trained on.
        from_twin: whether the images of the calibration are those that another run of the recipe held out.
        seen_by: the names of teachers that were trained on images of the calibration.
    """
    if weights.reject_below is None:
        return "No images were held out to fit a temperature or a rejection threshold on: `--reject` is refused."
    source = (
        "training images that another run of the same recipe held out"
        if from_twin
        else f"the {TRAINING_IMAGES - images:,} training images that were held out"
    )
    distance = weights.reject_beyond is not None
    strange = (
        f"distance from the training images is above {weights.reject_beyond:.2f}"
        if distance
        else f"largest logit is below {weights.reject_below:.2f}"
    )
    paragraphs = [
        f"Logits are divided by the temperature {weights.temperature:.3f}. `--reject` refuses pictures whose {strange}."
        f" Both numbers come from {source}: the second keeps 95 % of them."
    ]
    if seen_by:
        paragraphs.append(
            f"Teachers that were trained on some of these images: {', '.join(f'`{name}`' for name in seen_by)}. The"
            " calibration error above is that of the test images, which no network was trained on."
        )
    if distance:
        paragraphs.append(
            "The distance is that of [Pictures of something else](predicting.md#pictures-of-something-else). Its class"
            f" means and its covariance are those of the {images:,} images that the network was trained on, without"
            " augmentation. Exports without the distance are judged by the largest logit:"
            f" {weights.reject_below:.2f} keeps 95 % of the same images."
        )
    paragraphs.append(
        "Which other pictures are rejected: [benchmarks/README.md](../benchmarks/README.md#pictures-of-no-class)."
    )
    return "\n\n".join(textwrap.fill(each, 120, break_long_words=False, break_on_hyphens=False) for each in paragraphs)


def _training(run: Path) -> str:
    """Return the command of ``run``, one option a line, and its epochs and minutes."""
    config, metrics = read_config(run), json.loads((run / files.METRICS).read_text(encoding="utf-8"))
    command = shlex.join(config.command(Path(files.CONFIG))).replace(" --", " \\\n        --")
    device = (run / DEVICE).read_text(encoding="utf-8").strip()
    return (
        f"    {command}\n\n"
        f"{metrics['epoch']} epochs in {metrics['training_seconds'] / 60:.0f} minutes with {config.backend} in"
        f" {config.precision}\non {device}. Selected by: {metrics['selected_by']}."
    )


def _history(run: Path) -> str:
    """Return the text about the teachers and the first weights of a run, recursively; "" for a run without them."""
    text, config = "", read_config(run)
    scored = [
        f"`{name}` ([card]({name}.md)), which scored {_accuracy(run.parent / name):.2%}" for name in config.teacher
    ]
    if len(scored) == 1:
        text += f"""
Its teacher was {scored[0]}.
"""
    elif scored:
        text += f"""
It learned from the mean of {len(scored)} teachers: {"; ".join(scored)}.
"""
    if config.weights is not None:
        origin = run.parent / config.weights
        text += f"""
It began with the weights `{config.weights}`, which had scored {_accuracy(origin):.2%} themselves
([`benchmarks/runs/{origin.name}`](../benchmarks/runs/{origin.name})) and were trained by

{_training(origin)}
{_history(origin)}"""
    return text


def _stored(path: Path) -> str:
    """Return the types of the tensors in a file, as words."""
    arrays = read_hdf5(path).datasets.items()
    return " and ".join(sorted({str(array.dtype) for name, array in arrays if name.startswith("weights/")}))


def _accuracy(run: Path) -> float:
    return float(json.loads((run / files.METRICS).read_text(encoding="utf-8"))["accuracy"])


def _honest_rows(scores: Evaluation) -> str:
    """Return the rows of the card's first table about near-duplicates and corrupted images."""
    fair, corruptions = scores.fair, scores.corruptions
    assert fair is not None
    assert corruptions is not None
    low, high = fair.accuracy_interval
    return (
        f"| without {fair.near_duplicates:,} near-duplicates of training images | {fair.accuracy:.2%}"
        f" (95 % interval {low:.2%} to {high:.2%}) |\n"
        f"| mean error on {corruptions.images:,} images in 15 corruptions at 5 severities |"
        f" {corruptions.mean_error:.2%} |"
    )


def _corruptions(scores: Evaluation, name: str, data: str) -> str:
    """Return the section on corrupted images and near-duplicates, with the command that measures both."""
    corruptions = scores.corruptions
    assert corruptions is not None
    head, rows = corruption_rows(corruptions.to_dict())
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""## Near-duplicates and corrupted images

    cifarnet evaluate {name} --data {data} --fair --corrupt --corrupt-images {corruptions.images}

How near-duplicates are found, and how images are corrupted: [Honest scores](predicting.md#honest-scores). Errors on
{corruptions.images:,} of the test images, of which {corruptions.clean_error:.2%} are wrong without corruption:

{table}
"""


def _confusions(metrics: Metrics) -> str:
    matrix = np.array(metrics.confusion_matrix)
    np.fill_diagonal(matrix, 0)
    worst = np.argsort(matrix, axis=None)[::-1][:3]
    names = [each.name for each in metrics.per_class]
    pairs = [np.unravel_index(cell, matrix.shape) for cell in worst]
    return ", ".join(
        f"{names[true]} taken for {names[predicted]} ({matrix[true, predicted]} times)" for true, predicted in pairs
    )
