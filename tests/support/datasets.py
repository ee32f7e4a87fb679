"""Small data sets in every layout, made by code."""

import hashlib
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cifarnet.data.dataset import Splits

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def assert_same(one: Splits, other: Splits) -> None:
    assert (one.validation is None) == (other.validation is None)
    pairs = [(one.train, other.train), (one.test, other.test)]
    if one.validation is not None and other.validation is not None:
        pairs.append((one.validation, other.validation))
    for a, b in pairs:
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.class_names == b.class_names


def random_images(count: int, seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def image_folder(root: Path, *, train: int = 3, test: int = 2, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """``root/train/<class>/<n>.png`` and ``root/test/...``; without test images no test folder."""
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            for row, image in enumerate(random_images(count, seed=label + 100 * (split == "test"))):
                path = root / split / name / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return root


def fill(root: Path, *folders: str, count: int = 2, suffix: str = "png") -> Path:
    """``count`` pictures in each of ``folders`` below ``root``, no two of them alike."""
    for folder in folders:
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        for row in range(count):
            colour = tuple(hashlib.sha256(f"{folder} {row}".encode()).digest()[:3])
            Image.new("RGB", (32, 32), colour).save(place / f"{row}.{suffix}")
    return root


def left_out(splits: Splits) -> dict[str, int]:
    """How many files were left out for each reason."""
    return {files.reason: files.count for files in splits.left_out}


def batches(per_batch: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the six official batches, with few images."""
    rng = np.random.default_rng(7)
    return {
        name: (random_images(per_batch, seed=row), rng.integers(0, 10, per_batch)) for row, name in enumerate(BATCHES)
    }


def planes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), 3072))


def binary_layout(root: Path, per_batch: int = 4) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches(per_batch).items():
        records = np.concatenate([labels.astype(np.uint8)[:, None], planes(images)], 1)
        (root / f"{name}.bin").write_bytes(records.tobytes())
    (root / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return root


def python_layout(root: Path, per_batch: int = 4, protocol: int = 2) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches(per_batch).items():
        content = {b"data": planes(images), b"labels": labels.tolist()}
        (root / name).write_bytes(pickle.dumps(content, protocol))
    meta = {b"label_names": [name.encode() for name in CLASSES]}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol))
    return root


def cifar100_parts(count: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images, fine labels and coarse labels of ``train`` and ``test`` of CIFAR-100, with few images."""
    rng = np.random.default_rng(8)
    return {
        name: (random_images(count, seed=row), rng.integers(0, 100, count), rng.integers(0, 20, count))
        for row, name in enumerate(("train", "test"))
    }


def cifar100_binary(root: Path, count: int = 4) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, (images, fine, coarse) in cifar100_parts(count).items():
        records = np.concatenate([np.stack([coarse, fine], 1).astype(np.uint8), planes(images)], 1)
        (root / f"{name}.bin").write_bytes(records.tobytes())
    return root


def cifar100_python(root: Path, count: int = 4) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, (images, fine, coarse) in cifar100_parts(count).items():
        content = {b"data": planes(images), b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
        (root / name).write_bytes(pickle.dumps(content, 2))
    meta = {
        b"fine_label_names": [f"fine {k}".encode() for k in range(100)],
        b"coarse_label_names": [f"coarse {k}".encode() for k in range(20)],
    }
    (root / "meta").write_bytes(pickle.dumps(meta, 2))
    return root


def tar_of(folder: Path, archive: Path, arcname: str = ".", mode: str = "w:gz") -> Path:
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname)
    return archive


def zip_of(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


class Attack:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced
