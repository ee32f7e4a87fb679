"""Data of reports that several tests use."""

from pathlib import Path

from cifarnet.backend.devices import Device
from cifarnet.events import EpochDone, HistoryRow, Planned
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import RECIPES

PLAN = Planned(
    spec=ModelSpec("resnet20"),
    params=1,
    trainable_params=1,
    data="pictures \x1b[2J ü",
    train_images=50_000,
    held_out_images=10_000,
    held_out="validation",
    recipe=RECIPES["documented"],
    device=Device("tensorflow", "cpu", "CPU, 2 cores"),
    epochs=250,
    steps=97_750,
    directory=Path("runs/x"),
    start_epoch=0,
    start_batch=0,
    frozen_base=False,
    precision="float32",
    budget=None,
)


def done(epoch, accuracy=0.5, best=False, held_accuracy=0.25, held_out="validation"):
    row = HistoryRow(epoch, 391 * epoch, 32, 0.1, 2 / epoch, accuracy, 3 / epoch, held_accuracy)
    return EpochDone(row, 250, held_out, 60.0, 500.0, best)


HISTORY = [
    {"epoch": 1.0, "learning_rate": 0.1, "loss": 2.0, "accuracy": 0.3, "test_loss": 1.9, "test_accuracy": 0.35},
    {"epoch": 2.0, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.6, "test_loss": None, "test_accuracy": None},
    {"epoch": 3.0, "learning_rate": 0.01, "loss": 0.5, "accuracy": 0.8, "test_loss": 0.9, "test_accuracy": 0.75},
]


def run(path: str, seed: int = 0, accuracy: float | None = 0.9, **changes) -> dict:
    done = accuracy is not None
    return {
        "run": path,
        "seed": seed,
        "finished": done,
        "accuracy": accuracy,
        "loss": 0.25 if done else None,
        "epoch": 7,
        "epochs": 9,
        "held_out": "test",
        "best_epoch": 6,
        "training_seconds": 432.0 if done else None,
        **changes,
    }


def group(members: list[dict], deviation: float | None = None, **settings) -> dict:
    first = members[0]
    seeds = {"seeds": len(members), "finished_seeds": len(members), "accuracy_deviation": deviation}
    return {
        "settings": settings,
        **seeds,
        **{k: first[k] for k in ("accuracy", "loss", "training_seconds")},
        "runs": members,
    }


COMPARISON = {
    "same_images": True,
    "differing": ["recipe", "resolutions", "nesterov", "l2", "budget"],
    "groups": [
        group(
            [run("runs/fast-0"), run("runs/fast-1", 1)],
            deviation=0.0123,
            recipe="fast",
            resolutions=((16, 0.5), (20, 0.25)),
            nesterov=True,
            l2=2.5e-4,
            budget=None,
        ),
        group(
            [run("runs/a\x1b[31m", accuracy=None, epochs=None)],
            recipe="[red]mine",
            resolutions=(),
            nesterov=False,
            l2=0.0,
            budget=60.0,
        ),
    ],
}


def evaluation(names=("cat", "dog", "eel"), matrix=((2, 1, 0), (0, 1, 0), (1, 1, 0))):
    return {
        "accuracy": 0.5,
        "accuracy_interval": [0.1876, 0.8124],
        "loss": 1.25,
        "top5_accuracy": 1.0,
        "ece": 0.0123,
        "per_class": [
            {"class": name, "precision": 2 / 3, "recall": 0.5, "f1": 0.25, "support": sum(row)}
            for name, row in zip(names, matrix, strict=True)
        ],
        "confusion_matrix": [list(row) for row in matrix],
        "images": 1234,
        "images_per_second": 5678.9,
        "engine": "onnx",
        "precision": "float32",
        "weights": "runs/[red]x/weights.h5",
        "data": "cifar10",
    }
