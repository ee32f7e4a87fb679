"""Pictures of none of the ten classes: how many ``--reject`` rejects, and how photos are classified.

    python benchmarks/unknown.py --weights resnet20 --data cifar10-jpeg75.tar.xz --textures brick.png --photos photos/

Prints the shares that are kept of the test images (95 % by the definition of the threshold), of synthetic pictures
(``pictures.py``) and of random squares of each texture. Photos are classified one by one, with each way to make them
square and with all views averaged. ``pip download --no-deps scikit-image`` has brick, grass, gravel and a dozen freely
licensed photos in ``skimage/data``.

``--compare DIR`` compares other scores (``rejection_scores.py``) at thresholds that keep 95 % of half of the test
images. It needs the network's logits and embeddings for the training images, which it keeps in DIR. ``--known`` names
the photos that show one of the classes; the others should be rejected.
"""

import hashlib
from pathlib import Path

import harness
import numpy as np
from pictures import KINDS, squares
from rejection_scores import Outputs, scores

import cifarnet
from cifarnet.choices import CROPS
from cifarnet.data.dataset import Splits
from cifarnet.data.images import fit_square, read_image
from cifarnet.inference.predict import ImageSource, find_images, predict
from cifarnet.inference.rejection import Rejection, required_rejection


def print_photos(classifier: cifarnet.Classifier, sources: list[ImageSource], facts: str) -> None:
    """Print the class of each of the photos, for each crop and for all views; rejected ones in brackets."""
    ways = [*((crop, "none") for crop in CROPS), (CROPS[0], "views")]
    answers = [list(predict(sources, classifier, crop=crop, tta=tta, reject=True)) for crop, tta in ways]
    rows = []
    for source, *predicted in zip(sources, *answers, strict=True):
        cells = [f"{each.predictions[0][0]} {each.predictions[0][1]:.0%}" for each in predicted]
        marked = [f"({cell})" if each.rejected else cell for cell, each in zip(cells, predicted, strict=True)]
        rows.append([Path(source.name).stem, *marked])
    harness.print_table(
        "Photos (rejected answers in brackets)", f"photo | {' | '.join(CROPS)} | all views", rows, facts
    )


def print_kept(
    classifier: cifarnet.Classifier, rejection: Rejection, pictures: dict[str, np.ndarray], facts: str
) -> None:
    """Print the share that is kept of each kind of pictures."""
    rows = []
    for kind, images in pictures.items():
        found = classifier.averaged_logits(images, tta="none", distances=rejection.by_distance)
        labels = found.logits.argmax(axis=1)
        mode = int(np.bincount(labels).argmax())
        called = f"{classifier.class_names[mode]} {(labels == mode).mean():.0%}"
        kept = f"{1 - rejection.rejected(found.logits, found.distances).mean():.1%}"
        values = found.logits.max(axis=1) if found.distances is None else found.distances
        rows.append([kind, f"{len(images):,}", kept, f"{np.median(values):.2f}", called])
    columns = f"pictures | number | kept by --reject | median of the {rejection.score} | most often called"
    harness.print_table("Pictures of no class", columns, rows, facts)


def print_comparison(
    classifier: cifarnet.Classifier, data: Splits, pictures: dict[str, np.ndarray], cache: Path, facts: str
) -> None:
    """Print the share that each score keeps of each kind of pictures."""
    weights = classifier.weights

    def outputs(kind: str, images: np.ndarray) -> Outputs:
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        file = cache / f"{weights.sha256()[:12]}-{digest[:12]}.npz"
        if not file.exists():
            cache.mkdir(parents=True, exist_ok=True)
            harness.note(f"{kind}: {len(images):,} images")
            np.savez(file, *(f(images).astype(np.float64) for f in (classifier.logits, classifier.embeddings)))
        with np.load(file) as stored:
            return Outputs(stored["arr_0"], stored["arr_1"])

    kernel, bias = (array for name, array in weights.tensors.items() if name.startswith("conv2d_1/"))
    train = outputs("training images", data.train.images)
    kernel = kernel.reshape(train.embeddings.shape[1], -1).astype(np.float64)
    candidates = scores(train, data.train.labels, kernel, bias.astype(np.float64), weights.temperature)
    found = {kind: outputs(kind, images) for kind, images in pictures.items()}
    rows = []
    for name, score in candidates.items():
        values = {kind: score(each) for kind, each in found.items()}
        test = values["test images"]
        kept = {kind: each >= np.quantile(test[::2], 0.05) for kind, each in values.items()}
        kept["test images"] = kept["test images"][1::2]
        cells = [
            f"{each.mean():.1%}" if kind != "photos" else f"{each.sum()}/{len(each)}" for kind, each in kept.items()
        ]
        worst = np.mean([kept[kind].mean() for kind in KINDS])
        rows.append((worst, [name, *cells]))
    columns = f"score | {' | '.join(found)}"
    harness.print_table(
        "Kept by other scores", columns, [row for _, row in sorted(rows, key=lambda row: row[0])], facts
    )


def main() -> None:
    """Classify and print the tables."""
    parser = harness.parser(__doc__, "data", "textures")
    parser.add_argument("--weights", default="resnet20")
    parser.add_argument("--count", type=int, default=1000, help="pictures of each kind")
    parser.add_argument("--photos", nargs="*", default=[], help="files or folders")
    parser.add_argument("--known", nargs="*", default=["chelsea", "horse"], help="names of photos that show a class")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="compare scores, and keep outputs in this folder")
    args = parser.parse_args()
    classifier = cifarnet.Classifier(args.weights)
    weights, rejection = classifier.weights, required_rejection(classifier.weights)
    rng = np.random.default_rng(0)
    data = cifarnet.load_data(args.data)
    pictures = {"test images": data.test.images}
    pictures |= {kind: draw(rng, args.count) for kind, draw in KINDS.items()}
    for path in args.textures:
        pictures[f"texture: {path.stem}"] = squares(rng, read_image(path, 512), args.count)
    facts = f"{harness.machine()}; {args.weights}, SHA-256 {weights.sha256()[:12]}, threshold {rejection.threshold:.2f}"
    print_kept(classifier, rejection, pictures, facts)
    sources = find_images(args.photos, bytes)
    if sources:
        print_photos(classifier, sources, facts)
    if args.compare:
        unknown = [source for source in sources if Path(source.name).stem not in args.known]
        if unknown:
            pictures["photos"] = np.stack([_square(source, weights.spec.image_size) for source in unknown])
        print_comparison(classifier, data, pictures, args.compare, facts)


def _square(source: ImageSource, size: int) -> np.ndarray:
    with source.open(size) as picture:
        return fit_square(picture, size, CROPS[0])


if __name__ == "__main__":
    main()
