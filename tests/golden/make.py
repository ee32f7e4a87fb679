"""Writes the golden files of the release that is installed: a weight file with logits, and a run that was stopped.

    python tests/golden/make.py tests/golden/0.1.0

Once for each release, when it is made; they are never written again. ``tests/training/test_golden.py`` reads them.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import cifarnet
from cifarnet.data.sources import load_data
from cifarnet.errors import InterruptedRunError
from cifarnet.events import StepDone
from cifarnet.inference.classifier import Classifier
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.start import train
from cifarnet.weights.formats import load_weights

CONFIG = TrainRequest(
    RECIPES["paper"].with_changes(epochs=2, batch_size=32), data="synthetic:100", model="resnet8", seed=3
)
IMAGES = 4
STOPPED = 6


def _stop(event: Any) -> None:
    if isinstance(event, StepDone) and event.step == STOPPED:
        os.kill(os.getpid(), signal.SIGTERM)


def main(folder: Path) -> None:
    """Write all files into the new ``folder``."""
    if folder.name != cifarnet.__version__:
        raise SystemExit(f"This is cifarnet {cifarnet.__version__}: name the folder so. Received: {folder}")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        train(CONFIG, Path(temporary) / "run")
        shutil.copy(Path(temporary) / "run" / "weights.h5", folder)
    logits = Classifier(load_weights(folder / "weights.h5")).logits(load_data(CONFIG.data).test.images[:IMAGES])
    (folder / "logits.json").write_text(json.dumps(logits.tolist()) + "\n")
    try:
        train(CONFIG, folder / "run", report=_stop)
    except InterruptedRunError as stopped:
        print(stopped)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
