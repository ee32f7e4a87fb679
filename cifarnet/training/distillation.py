"""Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531): train a network on the outputs of teachers.

The teachers classify the same augmented and mixed images as the student in each step (Beyer et al. 2022, "Knowledge
distillation: A good teacher is patient and consistent", arXiv:2106.05237).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from cifarnet.backend.devices import Execution
from cifarnet.models.layers import total_macs
from cifarnet.models.network import Network, build_model
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import Recipe
from cifarnet.training.distribute import Strategy
from cifarnet.training.model import HostArray, Targets, TrainingModel
from cifarnet.weights.record import Weights


class Student(TrainingModel):
    """A training model that also learns from the outputs of networks with the weights ``teachers``.

    The loss of an image is ``a * T**2 * KL + (1 - a) * CE``, with ``a = recipe.distillation`` and
    ``T = recipe.distillation_temperature``. KL is the Kullback-Leibler divergence of the student's probabilities from
    the teachers', both at the temperature T, and CE the cross-entropy of the label. The factor T**2 keeps the size of
    the gradient independent of T (section 2.1 of the paper).

    The probabilities of several teachers are combined by their normalized geometric mean (section 3 of the paper). It
    is equal to the probabilities of the mean of the teachers' logits.

    The teachers, of which there is at least one, must have the same classes and image size as ``network``.
    """

    def __init__(
        self,
        network: Network,
        teachers: Sequence[Weights],
        images: np.ndarray | HostArray,
        normalization: Normalization,
        recipe: Recipe,
        execution: Execution,
        strategy: Strategy | None = None,
    ):
        super().__init__(network, images, normalization, recipe.with_teacher(), execution, strategy)
        self.teacher_normalizations = [teacher.normalization for teacher in teachers]
        self.teachers = [build_model(each.spec, each.tensors, precision=execution.precision) for each in teachers]
        for teacher in self.teachers:
            teacher.trainable = False

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        """Return logits (batch, 2, classes) of the images of ``batch``: first the student's, then the teachers'."""
        images = self.augmented(self.strategy.split(batch))
        # Teachers see images of full size, because they may not have been trained on smaller ones.
        answers = [
            teacher.logits(self.normalization.change(images, normalization), training=False)
            for teacher, normalization in zip(self.teachers, self.teacher_normalizations, strict=True)
        ]
        mean = sum(answers[1:], answers[0]) / len(answers)
        return ops.stack([self.logits(images, training), ops.stop_gradient(mean)], axis=1)

    def relative_cost(self, image_size: int) -> float:
        """Return the relative time of a step, with the teachers' forward passes, which take the same at all sizes.

        A step of the student is counted as three forward passes.
        """
        forward = sum(total_macs(teacher.description) for teacher in self.teachers)
        share = forward / total_macs(self.network.description) / 3
        return (super().relative_cost(image_size) + share) / (1 + share)

    def image_losses(self, targets: Targets, logits: Any) -> Any:
        """Return the loss of each image: (batch,)."""
        share, temperature = self.recipe.distillation, self.recipe.distillation_temperature
        assert share is not None
        assert temperature is not None
        by_labels = super().image_losses(targets, logits[:, 0])
        student, teacher = ops.unstack(ops.log_softmax(logits / temperature), axis=1)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return share * temperature**2 * divergence + (1 - share) * by_labels

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the student's accuracy and return all metrics."""
        return super().compute_metrics(x, y, y_pred[:, 0], sample_weight)
