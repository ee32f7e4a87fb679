"""Run directories that several tests use."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig


def run_config(recipe: Recipe, data: str = "cifar10", model: str = "resnet20", **others: Any) -> RunConfig:
    """Return a configuration as a run on a CPU writes it, of ``recipe`` and the ``others``."""
    resolved = {"backend": "tensorflow", "precision": "float32", "jit": False, "data_sha256": "0" * 64}
    return RunConfig(recipe=recipe, data=data, model=model, **{**resolved, **others})


CONFIG = run_config(RECIPES["documented"].with_changes(epochs=3), model="resnet8", data_sha256="abc")

HISTORY = """epoch,step,image_size,learning_rate,loss,accuracy,test_loss,test_accuracy
1,10,32,0.1,2.0,0.3,1.9,0.35
2,20,32,0.1,1.0,0.6,0.8,0.8
3,30,32,0.1,0.5,0.8,0.9,0.75
"""


def save_run(
    directory: Path, accuracy: float | None = 0.75, config: RunConfig = CONFIG, history: str = HISTORY, **metrics
) -> Path:
    """A run directory with all that a comparison reads; unfinished without an ``accuracy``."""
    files.write_config(directory, config.to_dict())
    (directory / files.HISTORY).write_text(history)
    if accuracy is not None:
        outcome = {"accuracy": accuracy, "loss": 0.9, "epoch": 3, "training_seconds": 60.0, **metrics}
        (directory / files.METRICS).write_text(json.dumps(outcome))
    return directory


def save_seeds(folder: Path, accuracies: dict[int, float | None], config: RunConfig = CONFIG) -> list[Path]:
    return [
        save_run(folder / f"s{seed}", a, replace(config, seed=seed, request_sha256=f"{seed:064x}"))
        for seed, a in accuracies.items()
    ]
