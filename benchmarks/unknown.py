"""Pictures of none of the ten classes: how many ``--reject`` rejects, and how photos are classified.

    python benchmarks/unknown.py --weights resnet20 --data cifar10-jpeg75.tar.xz --textures brick.png --photos photos/

Prints the shares that are kept of the test images (95 % by the definition of the threshold), of synthetic pictures
(``pictures.py``) and of random squares of each texture. Photos are classified one by one, with each way to make them
square and with all views averaged. ``pip download --no-deps scikit-image`` has brick, grass, gravel and a dozen freely
licensed photos in ``skimage/data``.
"""

from pathlib import Path

import harness
import numpy as np
from pictures import KINDS, squares

import cifarnet
from cifarnet.choices import CROPS
from cifarnet.data.images import read_image
from cifarnet.inference.predict import find_images, predict, required_threshold


def print_photos(classifier: cifarnet.Classifier, photos: list[str], facts: str) -> None:
    """Print the class of each of ``photos``, for each crop and for all views; rejected ones in brackets."""
    sources = find_images(photos, bytes)
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


def main() -> None:
    """Classify and print the tables."""
    parser = harness.parser(__doc__, "data", "textures")
    parser.add_argument("--weights", default="resnet20")
    parser.add_argument("--count", type=int, default=1000, help="pictures of each kind")
    parser.add_argument("--photos", nargs="*", default=[], help="files or folders")
    args = parser.parse_args()
    classifier = cifarnet.Classifier(args.weights)
    weights, threshold = classifier.weights, required_threshold(classifier.weights)
    rng = np.random.default_rng(0)
    pictures = {"test images": cifarnet.load_data(args.data).test.images}
    pictures |= {kind: draw(rng, args.count) for kind, draw in KINDS.items()}
    for path in args.textures:
        pictures[f"texture: {path.stem}"] = squares(rng, read_image(path, 512), args.count)
    rows = []
    for kind, images in pictures.items():
        logits = classifier.logits(images)
        largest, labels = logits.max(axis=1), logits.argmax(axis=1)
        mode = int(np.bincount(labels).argmax())
        called = f"{weights.class_names[mode]} {(labels == mode).mean():.0%}"
        kept = f"{(largest >= threshold).mean():.1%}"
        rows.append([kind, f"{len(images):,}", kept, f"{np.median(largest):.2f}", called])
    facts = f"{harness.machine()}; {args.weights}, SHA-256 {weights.sha256()[:12]}, threshold {threshold:.2f}"
    columns = "pictures | number | kept by --reject | median of the largest logit | most often called"
    harness.print_table("Pictures of no class", columns, rows, facts)
    if args.photos:
        print_photos(classifier, args.photos, facts)


if __name__ == "__main__":
    main()
