"""Small real weight files and image folders, for the tests of whatever evaluates or predicts."""

from pathlib import Path

import numpy as np
from PIL import Image

from cifarnet.models.spec import ModelSpec
from cifarnet.preprocessing import Normalization
from cifarnet.weights.formats.hdf5 import save_weights
from cifarnet.weights.record import Weights

SIZE = 8


def save_tiny_weights(path: Path, class_names: tuple[str, ...], bias: tuple[float, ...] | None = None) -> Path:
    """Weights of a ResNet-8 for 8x8 images; with ``bias``, its logits are ``bias`` whatever the image."""
    from cifarnet.models.initial import initial_weights

    spec = ModelSpec("resnet8", len(class_names), SIZE)
    tensors = initial_weights(spec, seed=1)
    if bias is not None:
        tensors["conv2d_1/kernel"] = np.zeros_like(tensors["conv2d_1/kernel"])
        tensors["conv2d_1/bias"] = np.array(bias, np.float32)
    save_weights(path, Weights(spec, tensors, class_names, Normalization(120.0, 64.0)))
    return path


def save_picture(path: Path, seed: int) -> Path:
    """A picture of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
    return path


def save_image_folder(root: Path, counts: dict[str, tuple[int, int]]) -> Path:
    """An image folder with (training, test) pictures per class; without test/ where there are none."""
    for label, (name, (train, test)) in enumerate(counts.items()):
        for split, count in (("train", train), ("test", test)):
            for k in range(count):
                save_picture(root / split / name / f"{k}.png", seed=100 * label + 10 * k + (split == "test"))
    return root
