"""What becomes of pictures that are none of the ten classes: how many ``--reject`` finds, and what photos are called.

    python benchmarks/unknown.py --weights resnet20 --data cifar10-jpeg75.tar.xz --textures brick.png --photos photos/

classifies the test images, of which the rejection threshold should keep 95 %, a thousand synthetic pictures of each
kind below, as many squares cut at random from each texture, and prints the shares that are kept. Photos are answered
one by one, with each way of making them square and with all of them averaged. ``pip download --no-deps scikit-image``
has brick, grass and gravel, and a dozen freely licensed photos, in its ``skimage/data``.
"""

from collections.abc import Callable
from pathlib import Path

import common
import numpy as np

from cifarnet.choices import CROPS
from cifarnet.data.images import read_image, resize_images
from cifarnet.data.sources import load_data
from cifarnet.evaluation.predict import find_images, predict, required_threshold
from cifarnet.inference.classifier import Classifier
from cifarnet.models.weights import load_weights
from cifarnet.weights import catalog

SIDE = 32
TEXTURE_SIDES = (32, 64, 128, 256)
"""Pixels of a texture that become 32: how near one looks at it."""


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Each value of each pixel for itself, uniform."""
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def coarse_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Squares of four by four pixels of one uniformly drawn colour."""
    return noise(rng, count)[:, : SIDE // 4, : SIDE // 4].repeat(4, axis=1).repeat(4, axis=2)


def clouds(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency, as that of natural pictures does (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((count, 3, SIDE, SIDE))) / frequency
    waves = np.fft.irfft2(spectrum, (SIDE, SIDE)).transpose(0, 2, 3, 1)
    spread = waves.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(128 + 56 * waves / spread, 0, 255).astype(np.uint8)


def stripes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Two colours that change into each other in waves, of any direction, 3 to 16 pixels long."""
    angle, length, phase = (rng.uniform(*span, (count, 1, 1)) for span in ((0, np.pi), (3, 16), (0, 2 * np.pi)))
    down, across = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)) / length + phase)
    one, other = rng.uniform(0, 256, (2, count, 1, 1, 3))
    share = (wave[..., None] + 1) / 2
    return (one * share + other * (1 - share)).astype(np.uint8)


def plain(rng: np.random.Generator, count: int) -> np.ndarray:
    """One colour."""
    return np.broadcast_to(noise(rng, count)[:, :1, :1], (count, SIDE, SIDE, 3)).copy()


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise, pixel by pixel": noise,
    "noise, 4x4 pixels": coarse_noise,
    "noise, 1/f": clouds,
    "stripes": stripes,
    "plain colours": plain,
}


def squares(rng: np.random.Generator, texture: np.ndarray, count: int) -> np.ndarray:
    """``count`` squares of ``TEXTURE_SIDES`` cut from ``texture`` (height, width, 3), shrunk to 32x32 pixels."""
    height, width, _ = texture.shape
    found = []
    for index in range(count):
        side = min(TEXTURE_SIDES[index % len(TEXTURE_SIDES)], height, width)
        top, left = rng.integers(0, (height - side + 1, width - side + 1))
        found.append(resize_images(texture[None, top : top + side, left : left + side], SIDE)[0])
    return np.stack(found)


def photo_table(classifier: Classifier, photos: list[str], facts: str) -> str:
    """What each of ``photos`` is called, with each crop and over all views; rejected ones in brackets."""
    sources = find_images(photos, bytes)
    ways = [*((crop, "none") for crop in CROPS), (CROPS[0], "views")]
    answers = [list(predict(sources, classifier, crop=crop, tta=tta, reject=True)) for crop, tta in ways]
    rows = []
    for source, *told in zip(sources, *answers, strict=True):
        cells = [f"{each.predictions[0][0]} {each.predictions[0][1]:.0%}" for each in told]
        rows.append(
            [Path(source.name).stem]
            + [f"({cell})" if each.rejected else cell for cell, each in zip(cells, told, strict=True)]
        )
    return common.table("Photos (rejected answers in brackets)", ["photo", *CROPS, "all views"], rows, facts)


def main() -> None:
    """Classify and print the tables."""
    parser = common.parser(__doc__)
    parser.add_argument("--weights", type=Path, default=Path("resnet20"))
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--count", type=int, default=1000, help="pictures of each kind")
    parser.add_argument("--textures", type=Path, nargs="*", default=[])
    parser.add_argument("--photos", nargs="*", default=[], help="files or folders")
    args = parser.parse_args()
    weights = load_weights(catalog.find(args.weights))
    threshold, classifier = required_threshold(weights), Classifier(weights)
    rng = np.random.default_rng(0)
    pictures = {"test images": load_data(args.data).test.images}
    pictures |= {kind: draw(rng, args.count) for kind, draw in KINDS.items()}
    for path in args.textures:
        pictures[f"texture: {path.stem}"] = squares(rng, read_image(path, 512), args.count)
    rows = []
    for kind, images in pictures.items():
        logits = classifier.logits(images)
        largest, label = logits.max(axis=1), logits.argmax(axis=1)
        common_label = int(np.bincount(label).argmax())
        rows.append(
            [
                kind,
                f"{len(images):,}",
                f"{(largest >= threshold).mean():.1%}",
                f"{np.median(largest):.2f}",
                f"{weights.class_names[common_label]} {(label == common_label).mean():.0%}",
            ]
        )
    facts = f"{common.machine()}; {args.weights}, SHA-256 {weights.sha256()[:12]}, threshold {threshold:.2f}"
    columns = ["pictures", "number", "kept by --reject", "median of the largest logit", "most often called"]
    print(common.table("Pictures of no class", columns, rows, facts))
    if args.photos:
        print(photo_table(classifier, args.photos, facts))


if __name__ == "__main__":
    main()
