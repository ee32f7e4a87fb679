"""Near-duplicates of test images among the training images: how many there are at each threshold, and pictures of them.

    python benchmarks/near_duplicates.py --data cifar10-jpeg75.tar.xz --low 0.78 --high 0.82 --output pairs.png

Prints the number of test images by the similarity of their most similar training image. The image shows the pairs whose
similarity is between --low and --high: the test image, mirrored where its mirror image is similar, beside the training
image. From these images the threshold of ``cifarnet.data.duplicates`` was chosen.
"""

from pathlib import Path

import harness
import numpy as np
from PIL import Image, ImageDraw

import cifarnet
from cifarnet.data.dataset import Splits
from cifarnet.data.duplicates import THRESHOLD, Nearest, nearest_training_images

ZOOM, COLUMNS, GAP = 3, 9, 12
STEP = 0.02


def draw_pairs(splits: Splits, nearest: Nearest, rows: np.ndarray) -> Image.Image:
    """Draw the test images ``rows`` beside their most similar training images, with the similarity above."""
    side = ZOOM * splits.test.images.shape[1]
    width, height = 2 * side + GAP, side + GAP
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(rows) // COLUMNS) * height), "white")
    text = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        x, y = place % COLUMNS * width, place // COLUMNS * height
        test = splits.test.images[row, :, ::-1] if nearest.mirrored[row] else splits.test.images[row]
        for offset, image in ((0, test), (side, splits.train.images[nearest.rows[row]])):
            picture = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (x + offset, y + GAP))
        text.text((x, y), f"{nearest.similarity[row]:.3f}", fill="black")
    return sheet


def main() -> None:
    """Search, print the table and draw the pairs."""
    parser = harness.parser(__doc__, "data")
    parser.add_argument("--low", type=float, default=THRESHOLD - STEP, help="(default: %(default)s)")
    parser.add_argument("--high", type=float, default=THRESHOLD + STEP, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="FILE.png with the pairs")
    args = parser.parse_args()
    splits = cifarnet.load_data(args.data)
    nearest = nearest_training_images(splits.test.images, splits.train.images)
    thresholds = np.arange(70, 100, 2) / 100
    counts = [int((nearest.similarity >= threshold).sum()) for threshold in thresholds]
    rows = [
        [f"{threshold:.2f}", f"{count:,}", f"{count / len(splits.test):.2%}"]
        for threshold, count in zip(thresholds, counts, strict=True)
    ]
    title = f"Test images by the similarity of a training image: {args.data}"
    harness.print_table(title, "similarity at least | test images | share", rows, harness.machine())
    if args.output:
        shown = np.flatnonzero((nearest.similarity >= args.low) & (nearest.similarity < args.high))
        draw_pairs(splits, nearest, shown[np.argsort(-nearest.similarity[shown])]).save(args.output)


if __name__ == "__main__":
    main()
