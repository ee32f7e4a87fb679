"""The result of a finished run: the selected weights and their scores on the test images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet.evaluation.metrics import Metrics, measure
from cifarnet.evaluation.scored import Scored
from cifarnet.runs import files
from cifarnet.runs.config import RunConfig
from cifarnet.runs.directory import Run
from cifarnet.training.setup import Setup
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from cifarnet.training.loop import Loop


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run: the run directory.
        metrics: the scores on the test images.
        epoch: the epoch, from 1, whose weights were selected.
        selected_by: how that epoch was selected.
        seconds: the training time in seconds.
        weights_sha256: the SHA-256 of the weights.
        network: the name of the network in prose, such as ``ResNet-20``.
        scored: the test images with their logits.
        length: the recipe's ``epochs`` and ``steps``; one is None.
    """

    run: Run
    metrics: Metrics
    epoch: int
    selected_by: str
    seconds: float
    weights_sha256: str
    network: str
    scored: Scored
    length: dict[str, int | None]

    @classmethod
    def of(
        cls, run: Run, config: RunConfig, weights: Weights, scored: Scored, chosen: tuple[int, str], seconds: float
    ) -> "Result":
        """Return the result of ``run``: ``weights`` on the test images ``scored``, ``chosen`` as (epoch, reason)."""
        return cls(
            run,
            measure(scored.logits, scored.data.labels, scored.data.class_names),
            *chosen,
            seconds,
            weights.sha256(),
            weights.spec.title,
            scored,
            config.recipe.length,
        )

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.run.path

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        return {
            files.LENGTH: self.length,
            "selected_by": self.selected_by,
            "epoch": self.epoch,
            "training_seconds": self.seconds,
            "weights_sha256": self.weights_sha256,
            **self.metrics.to_dict(),
        }


def scored_result(
    run: Run, setup: Setup, loop: "Loop", last: Weights, best: Weights | None, used: Callable[[], float]
) -> tuple[Result, Weights]:
    """Select the weights of a run whose ``loop`` has finished, and score them on the test images.

    With validation images the weights of the best epoch are selected, otherwise those of the last epoch.

    Args:
        run: the run.
        setup: what it was trained with.
        loop: its loop.
        last: the weights of the last epoch.
        best: those of the best epoch; None without validation images.
        used: returns the seconds that the run has taken.
    """
    from cifarnet.evaluation.calibration import with_calibration, with_distances
    from cifarnet.inference.classifier import Classifier

    test, held_out, config = setup.data.test, setup.data.held_out, setup.config
    if best is not None:
        # They may be older than a change of the run's length or of the path of its data.
        weights = replace(best, recipe=config.recipe.to_dict(), trained_on=config.trained_on)
        classifier = Classifier(weights, engine="keras")
        weights = with_calibration(weights, classifier.logits(held_out.images), held_out.labels)
        weights = with_distances(weights, classifier.embeddings, setup.data.train, held_out.images)
        chosen = (loop.train_state.best_epoch or 0, "best validation accuracy")
        logits = classifier.logits(test.images)
    else:
        weights, chosen = last, (loop.train_state.epoch, "last epoch")
        known = loop.last_logits if loop.parts.evaluator.exact else None
        logits = Classifier(weights, engine="keras").logits(test.images) if known is None else known
    scored = Scored(test, weights.calibrated(logits))
    result = Result.of(run, config, weights, scored, chosen, used())
    return result, replace(weights, accuracy=result.metrics.accuracy)
