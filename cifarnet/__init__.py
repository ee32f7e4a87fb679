"""cifarnet: train, evaluate, inspect and use networks for CIFAR-10 and other small images.

The names of the public API are imported on first use, so that ``import cifarnet`` is fast and imports no backend.
"""

import importlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # Type checkers take this name as true. The module typing takes longer to import than this one.
    from typing import Any

    from cifarnet.api import train as train
    from cifarnet.data.sources import load_data as load_data
    from cifarnet.evaluation.evaluate import evaluate as evaluate
    from cifarnet.export import export_model as export_model
    from cifarnet.inference.classifier import Classifier as Classifier
    from cifarnet.inference.classifier import load as load
    from cifarnet.models.network import build_model as build_model
    from cifarnet.models.spec import ModelSpec as ModelSpec
    from cifarnet.recipes import RECIPES as RECIPES
    from cifarnet.recipes import Recipe as Recipe
    from cifarnet.runs.directory import Run as Run
    from cifarnet.runs.request import TrainRequest as TrainRequest
    from cifarnet.training.resume import resume as resume
    from cifarnet.weights.catalog import load as _load_weights
    from cifarnet.weights.convert import convert_weights as convert_weights

    load_weights = _load_weights  # Only a name that stays the same is exported by its import.

__version__ = "0.2.0.dev0"

# oneDNN makes a training step of ResNet-20 about 1.75 times faster on AVX2 CPUs, and rounds differently. TensorFlow
# reads this variable when it is imported, so it is set before any module of cifarnet can import TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# The module of each name, and its name there.
_API = {
    "Classifier": ("cifarnet.inference.classifier", "Classifier"),
    "ModelSpec": ("cifarnet.models.spec", "ModelSpec"),
    "RECIPES": ("cifarnet.recipes", "RECIPES"),
    "Recipe": ("cifarnet.recipes", "Recipe"),
    "Run": ("cifarnet.runs.directory", "Run"),
    "TrainRequest": ("cifarnet.runs.request", "TrainRequest"),
    "build_model": ("cifarnet.models.network", "build_model"),
    "convert_weights": ("cifarnet.weights.convert", "convert_weights"),
    "evaluate": ("cifarnet.evaluation.evaluate", "evaluate"),
    "export_model": ("cifarnet.export", "export_model"),
    "load": ("cifarnet.inference.classifier", "load"),
    "load_data": ("cifarnet.data.sources", "load_data"),
    "load_weights": ("cifarnet.weights.catalog", "load"),
    "resume": ("cifarnet.training.resume", "resume"),
    "train": ("cifarnet.api", "train"),
}


def __getattr__(name: str) -> "Any":
    if name not in _API:
        from cifarnet.errors import did_you_mean

        raise AttributeError(
            f"module 'cifarnet' has no attribute {name!r}.{did_you_mean(name, _API)} It has {', '.join(sorted(_API))}."
        )
    module, attribute = _API[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
