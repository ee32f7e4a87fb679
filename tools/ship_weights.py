"""Add the weights of a finished run to those that come with cifarnet, and write their model card.

    python tools/ship_weights.py runs/r20 --data cifar10-jpeg75.tar.xz --test-set "CIFAR-10 (JPEG-75)"
    python tools/ship_weights.py resnet20 --data cifar10-jpeg75.tar.xz

The weights are rounded to float16, unless that changes the test accuracy by more than 0.02 points; then they stay
float32. The accuracy in the header of the file is measured from the file as it is shipped. The run's config.json,
history.csv and metrics.json are copied to benchmarks/runs/NAME, with its curves, the text of --device, and what float16
changes (rounding.json). The runs that it learned from (its first weights, its teachers, and theirs in turn) must be
there too. When the new weights replace some of these, rename the folder of the old run first and pass both names:
--renamed resnet20=resnet20-first.

The second command rounds, measures and describes weights again that come with cifarnet already. For weights in float16
the earlier comparison with float32 stays.

The card also has the accuracy without near-duplicates of training images, and the errors on 2,000 corrupted test
images, which take longer than all the rest.

The statistics by which --reject judges are those of all images that the run was trained on
(``embedding_statistics.py``). A run on all training images has none left to fit a temperature and rejection thresholds
on: --calibration takes them from a run of the same recipe that held images out. Run this script in a checkout.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from embedding_statistics import with_statistics
from model_card import DEVICE, NOWHERE, Rounding, learned_held_out, model_card, read_config, weights_page

from cifarnet.data.dataset import Dataset
from cifarnet.data.sources import load_data
from cifarnet.evaluation.evaluate import evaluate
from cifarnet.evaluation.metrics import accuracy
from cifarnet.inference.classifier import Classifier
from cifarnet.reports.figures import plots
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.weights.formats import load_weights
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.index import make_entry, read_index, write_index
from cifarnet.weights.record import Weights

ROOT = Path(__file__).parents[1]
KEPT = (files.HISTORY, files.METRICS)
CURVES = "curves.svg"
ROUNDING = "rounding.json"
CORRUPTED_IMAGES = 2_000
"""Test images that are corrupted for the card: all would take five times as long."""


def main() -> None:
    """Round the weights, compare the predictions, and write weights, index, run and model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN|NAME", help="a finished run, or weights that ship already")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--calibration", type=Path, metavar="RUN", help="a run of this recipe with validation images")
    parser.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW", help="what the run calls what is kept")
    parser.add_argument("--device", default="two cores of a shared CPU", help="what it was trained on, for its card")
    parser.add_argument("--test-set", default="CIFAR-10", help="what the test images are called in the index")
    args = parser.parse_args()
    folder = ROOT / "cifarnet" / "weights"
    index = read_index(folder, shipped=True)
    if entry := index.get(str(args.run)):
        weights, test_set = load_weights(entry.verify()), entry.test_set
        calibrated: Weights | None = weights
    else:
        weights, test_set = _new_weights(args), args.test_set
        calibrated = load_weights(args.calibration / files.WEIGHTS) if args.calibration else None
    name, test = weights.spec.name, load_data(args.data).test
    weights, rounding = _rounded(weights, test)
    weights = with_statistics(weights, read_config(_kept(name)), args.data, calibrated)
    path = folder / f"{name}.h5"
    classifier = Classifier(weights)
    measured, mirrored = (accuracy(classifier.logits(test.images, tta=tta), test.labels) for tta in ("none", "flip"))
    weights = replace(weights, accuracy=measured)
    save_weights(path, weights, half=rounding.half)
    entry = make_entry(name, path, test_set, len(test), shipped=True)
    index = {**index, name: entry}
    write_index(folder, index)
    corrupted = min(CORRUPTED_IMAGES, len(test))
    scores = evaluate(path, args.data, fair=True, corrupt=True, corrupt_images=corrupted)
    card = model_card(entry, _kept(name), scores, mirrored, rounding, Path(args.data).name, index)
    (ROOT / "docs" / f"{name}.md").write_text(card, encoding="utf-8")
    (ROOT / "docs" / "weights.md").write_text(weights_page(index), encoding="utf-8")
    print(f"{name}: {measured:.2%} on {len(test):,} images of {test_set}; {rounding}; {entry.sha256}")


def _new_weights(args: argparse.Namespace) -> Weights:
    """Return the weights of a finished run, after its record was copied to ``benchmarks/runs``."""
    weights = replace(load_weights(args.run / files.WEIGHTS), trained_on=None)
    _refuse_unknown_origin(args, weights.spec.name)
    if args.calibration:
        twin = load_weights(args.calibration / files.WEIGHTS)
        weights = replace(weights, temperature=twin.temperature, reject_below=twin.reject_below)
    _keep(args, weights.spec.name)
    return weights


def _rounded(weights: Weights, test: Dataset) -> tuple[Weights, Rounding]:
    """Return the weights as they are shipped, and what float16 changes, which is also recorded."""
    record = _kept(weights.spec.name) / ROUNDING
    with TemporaryDirectory() as there:
        save_weights(path := Path(there) / "half.h5", weights, half=True)
        half = load_weights(path)
    if record.exists() and half.sha256() == weights.sha256():
        return weights, Rounding(**json.loads(record.read_text(encoding="utf-8")))
    classes, rounded = (Classifier(each).logits(test.images).argmax(axis=1) for each in (weights, half))
    right = (int((each == test.labels).sum()) for each in (classes, rounded))
    rounding = Rounding(len(test), *right, changed=int((classes != rounded).sum()))
    record.write_text(json.dumps(asdict(rounding), indent=2) + "\n", encoding="utf-8")
    return half if rounding.half else weights, rounding


def _kept(name: str) -> Path:
    """Return the folder with the record of the run whose weights are called ``name``."""
    return ROOT / "benchmarks" / "runs" / name


def _refuse_unknown_origin(args: argparse.Namespace, name: str) -> None:
    """Raise SystemExit unless the records of all runs that this one learned from are complete and consistent."""
    config = read_config(args.run, args.renamed)
    if args.calibration and config.validation_split is not None:
        raise SystemExit(f"{args.run} held images out, and is calibrated itself: leave out --calibration.")
    calibrated = read_config(args.calibration, args.renamed) if args.calibration else config
    same = ("model", "recipe", "weights_sha256", "teacher_sha256")
    if any(getattr(calibrated, field) != getattr(config, field) for field in same):
        raise SystemExit(
            f"{args.calibration} differs from {args.run} in its network, recipe, first weights or teachers."
        )
    for learner, origin, sha256, taught in _origins(str(args.run), config):
        missing = [file for file in (files.CONFIG, files.METRICS, DEVICE) if not (origin / file).exists()]
        if missing:
            raise SystemExit(f"{learner} learned from {origin.name}, of which {origin} keeps no {', '.join(missing)}.")
        if origin.name == name:
            raise SystemExit(f"{origin} is where {args.run} will be kept: rename it, and give --renamed {name}=NEW.")
        metrics = json.loads((origin / files.METRICS).read_text(encoding="utf-8"))
        # The shipped weights may be rounded.
        shipped = read_index(ROOT / "cifarnet" / "weights", shipped=True).get(origin.name)
        rounded = [load_weights(shipped.path).sha256()] if shipped else []
        if sha256 not in (None, metrics["weights_sha256"], *rounded):
            raise SystemExit(f"{learner} learned from other weights than those of {origin}.")
        # The images of a teacher reach the network only through answers to other images. The card says so.
        if not taught and learned_held_out(read_config(origin), calibrated):
            raise SystemExit(f"{origin} learned images that {args.calibration or args.run} held out to calibrate on.")


def _origins(learner: str, config: RunConfig, taught: bool = False) -> Iterator[tuple[str, Path, str | None, bool]]:
    """Yield (learner, record of what it learned from, SHA-256 of those tensors, whether a teacher is between it and the
    run), back to the first weights.
    """
    used = [(name, sha256, True) for name, sha256 in zip(config.teacher, config.teacher_sha256, strict=True)]
    start = [] if config.weights is None else [(config.weights, config.weights_sha256, taught)]
    for name, sha256, by_teacher in [*start, *used]:
        origin = _kept(name)
        yield learner, origin, sha256, by_teacher
        yield from _origins(name, read_config(origin), by_teacher)


def _keep(args: argparse.Namespace, name: str) -> None:
    kept = _kept(name)
    kept.mkdir(parents=True, exist_ok=True)
    # Paths of the machine that trained stay out of the record.
    config = read_config(args.run, args.renamed)
    places = {"data": Path(config.data).name}
    places |= {name: getattr(config, name) for name in ("weights", "teacher", "teacher_path", "teacher_sha256")}
    files.write_config(kept, {**files.read_config(args.run), **places, **NOWHERE})
    for file in KEPT:
        shutil.copy(args.run / file, kept / file)
    history = files.read_history(kept)
    curves = plots.svg(plots.curves(history, files.held_out_name(history)))
    (kept / CURVES).write_text(curves, encoding="utf-8")
    (kept / DEVICE).write_text(args.device + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
