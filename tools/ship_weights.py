"""Add the weights of a finished run to those that come with cifarnet, and write their model card.

    python tools/ship_weights.py runs/r20 --data cifar10-jpeg75.tar.xz --test-set "CIFAR-10 (JPEG-75)"

The weights are rounded to float16, unless that changes the likeliest class of a test image; then they stay float32.
The accuracy in the header of the file is measured from the file as it is shipped. The run's config.json, history.csv
and metrics.json are copied to benchmarks/runs/NAME, with its curves and the text of --device. The runs that it learned
from (its first weights, its teacher, and theirs in turn) must be there too. When the new weights replace some of these,
rename the folder of the old run first and pass both names: --renamed resnet20=resnet20-first.

The card also has the accuracy without near-duplicates of training images, and the errors on 2,000 corrupted test
images, which take longer than all the rest.

A run on all training images has none left to fit a temperature and a rejection threshold on: --calibration takes both
from a run of the same recipe that held images out. Run this script in a checkout.
"""

import argparse
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.data.sources import load_data
from cifarnet.evaluation.evaluate import Evaluation, evaluate
from cifarnet.evaluation.metrics import Metrics, accuracy
from cifarnet.inference.classifier import Classifier
from cifarnet.reports.figures import plots
from cifarnet.reports.text import corruption_rows
from cifarnet.runs import files
from cifarnet.runs.config import PLACES, RunConfig
from cifarnet.runs.directory import Run
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

ROOT = Path(__file__).parents[1]
KEPT = (files.HISTORY, files.METRICS)
CURVES = "curves.svg"
DEVICE = "device.txt"
TRAINING_IMAGES = 50_000
CORRUPTED_IMAGES = 2_000
"""Test images that are corrupted for the card: all would take five times as long."""
NOWHERE: dict[str, Any] = {f"{place}_path": None for place in PLACES}


def main() -> None:
    """Round the weights, compare the predictions, and write weights, index, run and model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--calibration", type=Path, metavar="RUN", help="a run of this recipe with validation images")
    parser.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW", help="what the run calls what is kept")
    parser.add_argument("--device", default="two cores of a shared CPU", help="what it was trained on, for its card")
    parser.add_argument("--test-set", default="CIFAR-10", help="what the test images are called in the index")
    args = parser.parse_args()
    weights = replace(load_weights(args.run / files.WEIGHTS), trained_on=None)
    _refuse_unknown_origin(args, weights.spec.name)
    if args.calibration:
        twin = load_weights(args.calibration / files.WEIGHTS)
        weights = replace(weights, temperature=twin.temperature, reject_below=twin.reject_below)
    test = load_data(args.data).test
    folder, name = ROOT / "cifarnet" / "weights", weights.spec.name
    path = folder / f"{name}.h5"
    whole = Classifier(weights)
    save_weights(path, weights, half=True)
    rounded = Classifier(load_weights(path))
    wanted, logits = whole.logits(test.images), rounded.logits(test.images)
    changed = int((logits.argmax(axis=1) != wanted.argmax(axis=1)).sum())
    half = not changed
    classifier, logits = (rounded, logits) if half else (whole, wanted)
    weights = replace(weights, accuracy=accuracy(logits, test.labels))
    save_weights(path, weights, half=half)
    entry = catalog.make_entry(name, path, args.test_set, len(test), shipped=True)
    catalog.write_index(folder, {**catalog.read_index(folder, shipped=True), name: entry})
    _keep(args, name)
    mirrored = classifier.logits(test.images, tta="flip")
    corrupted = min(CORRUPTED_IMAGES, len(test))
    scores = evaluate(path, args.data, fair=True, corrupt=True, corrupt_images=corrupted)
    card = _card(args, weights, scores, accuracy(mirrored, test.labels), entry)
    (ROOT / "docs" / f"{name}.md").write_text(card, encoding="utf-8")
    print(
        f"{name}: {weights.accuracy:.2%} on {len(test):,} images of {args.test_set}; {'float16' if half else 'float32'}"
        f" ({changed} likeliest classes would change in float16), {path.stat().st_size / 1e6:.2f} MB, {entry.sha256}"
    )


def _kept(name: str) -> Path:
    """Return the folder with the record of the run whose weights are called ``name``."""
    return ROOT / "benchmarks" / "runs" / name


def _read(run: Path, renamed: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of ``run``, with names in place of the paths of its first weights and its teacher."""
    config = Run(run).config
    names = dict(pair.split("=", 1) for pair in renamed)

    def name(place: str | None) -> str | None:
        short = place and Path(place).name.removesuffix(".h5")
        return short and names.get(short, short)

    return replace(config, weights=name(config.weights), teacher=name(config.teacher), **NOWHERE)


def _refuse_unknown_origin(args: argparse.Namespace, name: str) -> None:
    """Raise SystemExit unless the records of all runs that this one learned from are complete and consistent."""
    config = _read(args.run, args.renamed)
    calibrated = _read(args.calibration, args.renamed) if args.calibration else config
    same = ("recipe", "weights_sha256", "teacher_sha256")
    if any(getattr(calibrated, field) != getattr(config, field) for field in same):
        raise SystemExit(f"{args.calibration} has another recipe, or learned from other weights, than {args.run}.")
    for learner, origin, sha256 in _origins(str(args.run), config):
        missing = [file for file in (files.CONFIG, files.METRICS, DEVICE) if not (origin / file).exists()]
        if missing:
            raise SystemExit(f"{learner} learned from {origin.name}, of which {origin} keeps no {', '.join(missing)}.")
        if origin.name == name:
            raise SystemExit(f"{origin} is where {args.run} will be kept: rename it, and give --renamed {name}=NEW.")
        metrics = json.loads((origin / files.METRICS).read_text(encoding="utf-8"))
        # The shipped weights may be rounded.
        shipped = catalog.shipped().get(origin.name)
        rounded = [load_weights(shipped.path).sha256()] if shipped else []
        if sha256 not in (None, metrics["weights_sha256"], *rounded):
            raise SystemExit(f"{learner} learned from other weights than those of {origin}.")
        held_out = [(each.data_sha256, each.validation_split, each.seed) for each in (_read(origin), calibrated)]
        if calibrated.validation_split is not None and held_out[0] != held_out[1]:
            raise SystemExit(f"{origin} learned images that {args.calibration or args.run} held out to calibrate on.")


def _origins(learner: str, config: RunConfig) -> Iterator[tuple[str, Path, str | None]]:
    """Yield (learner, record of what it learned from, SHA-256 of those tensors), back to the first weights."""
    for name, sha256 in ((config.weights, config.weights_sha256), (config.teacher, config.teacher_sha256)):
        if name is not None:
            origin = _kept(name)
            yield learner, origin, sha256
            yield from _origins(name, _read(origin))


def _keep(args: argparse.Namespace, name: str) -> None:
    kept = _kept(name)
    kept.mkdir(parents=True, exist_ok=True)
    # Paths of the machine that trained stay out of the record.
    config = _read(args.run, args.renamed)
    places = {"data": Path(config.data).name, "weights": config.weights, "teacher": config.teacher}
    files.write_config(kept, {**files.read_config(args.run), **places, **NOWHERE})
    for file in KEPT:
        shutil.copy(args.run / file, kept / file)
    history = files.read_history(kept)
    curves = plots.svg(plots.curves(history, files.held_out_name(history)))
    (kept / CURVES).write_text(curves, encoding="utf-8")
    (kept / DEVICE).write_text(args.device + "\n", encoding="utf-8")


def _card(
    args: argparse.Namespace, weights: Weights, scores: Evaluation, mirrored: float, entry: catalog.NamedWeights
) -> str:
    kept = _kept(entry.name)
    config, metrics = _read(kept), scores.metrics
    low, high = metrics.accuracy_interval
    classes = "\n".join(
        f"| {each.name} | {each.precision:.1%} | {each.recall:.1%} | {each.f1:.3f} |" for each in metrics.per_class
    )
    images = round(TRAINING_IMAGES * (1 - (config.validation_split or 0)))
    if weights.reject_below is None:
        calibration = "No images were held out to fit a temperature or a rejection threshold on: `--reject` is refused."
    else:
        source = (
            "a run of the same recipe that held training images out"
            if args.calibration
            else f"the {TRAINING_IMAGES - images:,} training images that were held out"
        )
        calibration = (
            f"Logits are divided by the temperature {weights.temperature:.3f}, and `--reject` refuses pictures whose\n"
            f"largest logit is below {weights.reject_below:.2f}, which keeps 95 % of pictures of the ten classes.\n"
            f"Both come from {source}.\n"
            "What `resnet20` refuses of other pictures: [benchmarks/README.md](../benchmarks/README.md), section\n"
            "Pictures of no class."
        )
    return f"""# {weights.spec.title} for CIFAR-10 (`{entry.name}`)

Written by `tools/ship_weights.py`. The run's configuration, history and metrics are in
[`benchmarks/runs/{entry.name}`](../benchmarks/runs/{entry.name}).

| | |
|---|---|
| accuracy | {metrics.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) |
| with flips averaged | {mirrored:.2%} |
{_honest_rows(scores)}
| test images | {metrics.images:,} of {args.test_set} |
| cross-entropy | {metrics.loss:.4f} |
| expected calibration error | {metrics.ece:.2%} |
| file | {entry.path.name}, {entry.path.stat().st_size / 1e6:.2f} MB, SHA-256 `{entry.sha256}` |

## Data

{images:,} of the 50,000 training images of CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny
images"): ten classes, 32x32 pixels. They and the test images were encoded as JPEG of quality 75, which blurs them a
little: accuracies are those for such images. On the lossless originals this network was not measured.

## Training

{_training(kept)}
{_history(config)}
The test images selected nothing.

## Classes

| class | precision | recall | F1 |
|---|---:|---:|---:|
{classes}

Most confused: {_confusions(metrics)}.

{_corruptions(scores, entry.name, Path(args.data).name)}
## Calibration

{calibration}

## Known failures

- A picture of something else still gets one of the ten classes.
- Objects that fill a small part of the picture, or lie off its centre: the network sees the central square, in 32x32
  pixels.
"""


def _training(run: Path) -> str:
    """Return the command of ``run``, one option a line, and its epochs and minutes."""
    config, metrics = _read(run), json.loads((run / files.METRICS).read_text(encoding="utf-8"))
    command = shlex.join(config.command(Path(files.CONFIG))).replace(" --", " \\\n        --")
    device = (run / DEVICE).read_text(encoding="utf-8").strip()
    return (
        f"    {command}\n\n"
        f"{metrics['epoch']} epochs in {metrics['training_seconds'] / 60:.0f} minutes with {config.backend} in"
        f" {config.precision}\non {device}. Selected by: {metrics['selected_by']}."
    )


def _history(config: RunConfig) -> str:
    """Return the text about the teacher and the first weights of a run, recursively; "" for a run without them."""
    text = ""
    if config.teacher is not None:
        text += f"""
Its teacher was `{config.teacher}` ([card]({config.teacher}.md)), which scored {_accuracy(_kept(config.teacher)):.2%}.
"""
    if config.weights is not None:
        origin = _kept(config.weights)
        text += f"""
It began with the weights `{config.weights}`, which had scored {_accuracy(origin):.2%} themselves
([`benchmarks/runs/{origin.name}`](../benchmarks/runs/{origin.name})) and were trained by

{_training(origin)}
{_history(_read(origin))}"""
    return text


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


if __name__ == "__main__":
    main()
